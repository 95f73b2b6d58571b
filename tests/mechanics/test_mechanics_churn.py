"""Who is up after a round; how often is tested in the game."""

import jax
import jax.numpy as jnp

from jaxdlb.mechanics.churn import churn

ALIVE = jnp.array([True, True, False, False])
NUMBERS = jax.random.uniform(jax.random.key(0), (1000, 4))


def after(failure, repair):
    return jax.vmap(churn, in_axes=(0, None, None, None))(NUMBERS, ALIVE, jnp.array(failure), jnp.array(repair))


def test_certain_failures_and_repairs_happen_and_impossible_ones_do_not():
    assert jnp.all(after([1.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 0.0]) == jnp.array([False, True, True, False]))


def test_nodes_change_apart():
    assert len(jnp.unique(after([0.5] * 4, [0.5] * 4), axis=0)) == 16


def test_a_change_happens_where_the_number_is_below_its_probability():
    """The least number, 0, is below every probability but 0; the greatest, 1 − 2⁻²⁴, below 1 alone."""
    few = jnp.full(4, 1e-9)
    assert jnp.all(churn(jnp.zeros(4), ALIVE, few, few) == ~ALIVE)
    most = jnp.full(4, 1 - 2.0**-24)
    assert jnp.all(churn(most, ALIVE, most, most) == ALIVE)
    assert jnp.all(churn(most, ALIVE, jnp.ones(4), jnp.ones(4)) == ~ALIVE)
