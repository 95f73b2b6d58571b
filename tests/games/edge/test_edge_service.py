"""The service model against its fixed points and against the same chain in double precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference.edge import service as plain_service

from jaxdlb.games.edge.service import perform

# rate, warm time, cold time, idle time, instances; rejections, cold starts, pool: as `pacsltk` 0.2.0 computes them
FIXED_POINTS = [
    ((1, 0.5, 1.25, 60, 30), (0, 0.008251, 3.468168)),
    ((10, 0.5, 1.25, 60, 30), (0, 0.001566, 13.081873)),
    ((40, 0.5, 1.25, 60, 30), (0.338294, 0, 29.999983)),
    ((60, 0.5, 1.25, 60, 30), (7.947587, 0, 30)),
    ((10, 0.137, 0.513, 30, 7), (0.001639, 0.001917, 6.305816)),
    ((36, 0.25, 0.75, 2, 12), (2.304491, 0.029452, 11.734673)),
    ((10, 0.5, 1.25, 60, 1), (8.333333, 0, 1)),
]


def fares(numbers, most):
    rate, warm, cold, idle = (jnp.float32(each) for each in numbers[:4])
    return jax.jit(perform, static_argnums=5)(rate, warm, cold, idle, jnp.asarray(numbers[4], jnp.int32), most)


@pytest.mark.parametrize(("node", "expected"), FIXED_POINTS)
def test_the_fixed_points(node, expected):
    served = fares(node, 30)
    found = node[0] * served.reject_prob, served.cold_prob, served.pool_size
    np.testing.assert_allclose(found, expected, rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize(("most", "longest"), [(64, 300), (1000, 20)])
def test_float32_is_as_exact_as_double_precision(most, longest):
    draws = np.random.default_rng(most)
    count = 3000 if most < 100 else 100
    instances = draws.integers(1, most + 1, count)
    warm = draws.uniform(0.05, 2, count)
    rate = draws.uniform(0.003, 6, count) ** draws.choice([1, 3], count) / 3 * instances / warm
    cold = warm * draws.uniform(1, 5, count)
    idle = cold * draws.uniform(0.3, longest, count)
    nodes = [np.float32(each) for each in (rate, warm, cold, idle)]
    served = fares([*nodes, instances], most)
    exact = [plain_service(*map(float, node), int(m)) for *node, m in zip(*nodes, instances, strict=True)]
    reject, start, pool = np.transpose(exact)
    np.testing.assert_allclose(served.reject_prob, reject, rtol=3e-5, atol=1e-6)
    np.testing.assert_allclose(served.cold_prob, start, rtol=3e-5, atol=1e-6)
    np.testing.assert_allclose(served.pool_size, pool, rtol=1e-4, atol=1e-4)


def test_without_instances_everything_is_rejected():
    served = fares((10, 0.5, 1.25, 60, 0), 5)
    assert (float(served.reject_prob), float(served.cold_prob), float(served.pool_size)) == (1.0, 0.0, 0.0)


def test_rejections_have_the_slope_of_the_exact_model_in_the_rate():
    rate, rest = np.array([5.0, 40.0, 55.0, 60.0, 80.0]), (0.5, 1.25, 60.0)

    def lost(rate):
        return rate * perform(rate, *(jnp.float32(each) for each in rest), jnp.int32(30), 30).reject_prob

    slopes = jax.jit(jax.vmap(jax.grad(lost)))(jnp.asarray(rate, jnp.float32))
    exact = [
        (sum(sign * at * plain_service(at, *rest, 30)[0] for sign, at in ((1, each + 1e-4), (-1, each - 1e-4)))) / 2e-4
        for each in rate
    ]
    np.testing.assert_allclose(slopes, exact, rtol=1e-3, atol=1e-5)
