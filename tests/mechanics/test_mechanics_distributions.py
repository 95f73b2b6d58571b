import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxdlb.mechanics.distributions import (
    DISTRIBUTIONS,
    Bimodal,
    Constant,
    Exponential,
    Lognormal,
    Normal,
    Pareto,
    Uniform,
)

LAWS = {
    "constant": (Constant(3.0), None),
    "exponential": (Exponential(2.0), stats.expon(scale=2)),
    "normal": (Normal(7.0, 3.0), stats.norm(7, 3)),
    "mostly clamped": (Normal(0.5, 2.0), stats.norm(0.5, 2)),
    "uniform": (Uniform(1.0, 4.0), stats.uniform(1, 3)),
    "lognormal": (Lognormal(2.0, 0.8), stats.lognorm(0.8, scale=2 * np.exp(-0.32))),
    "pareto": (Pareto(1.5, 2.5), stats.pareto(2.5, scale=1.5)),
    "bimodal": (Bimodal(0.5, 5.5, 0.1), None),
}


def quantiles(law, num=2**20):
    """At the middles of `num` equal parts of [0, 1), as if drawn without any luck."""
    return np.asarray(law.quantile((jnp.arange(num) + 0.5) / num), np.float64)


@pytest.mark.parametrize("name", [name for name, (_, theirs) in LAWS.items() if theirs is not None])
def test_quantiles_are_those_of_another_library(name):
    law, theirs = LAWS[name]
    u = np.linspace(0.001, 0.999, 999)
    np.testing.assert_allclose(law.quantile(jnp.asarray(u)), np.maximum(theirs.ppf(u), 0), rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("name", LAWS)
def test_the_mean_is_that_of_the_draws(name):
    law, _ = LAWS[name]
    assert float(law.mean()) == pytest.approx(quantiles(law).mean(), rel=2e-3)


@pytest.mark.parametrize("name", LAWS)
def test_the_ends_of_the_uniform_numbers_give_finite_draws(name):
    law, _ = LAWS[name]
    ends = np.asarray(law.quantile(jnp.array([0.0, 1 - 2.0**-24])))
    assert np.all(np.isfinite(ends)) and np.all(ends >= 0) and ends[0] <= ends[1]


@pytest.mark.parametrize("kind", DISTRIBUTIONS)
def test_every_law_has_defaults_and_keeps_shapes(kind):
    law = DISTRIBUTIONS[kind]()
    assert law.quantile(jnp.zeros((2, 3))).shape == (2, 3)
    assert law.quantile(jnp.zeros((2, 3))).dtype == law.mean().dtype == jnp.float32


def test_two_numbers_come_with_their_shares():
    draws = quantiles(Bimodal(0.5, 5.5, 0.1))
    assert set(draws) == {0.5, 5.5}
    assert np.mean(draws == 5.5) == pytest.approx(0.1, abs=1e-5)
