"""Who is up after a round; how often is tested in the game."""

import jax
import jax.numpy as jnp

from jaxdlb.mechanics.churn import churn

ALIVE = jnp.array([True, True, False, False])


def test_certain_failures_and_repairs_happen_and_impossible_ones_do_not():
    keys = jax.random.split(jax.random.key(0), 200)
    failure, repair = jnp.array([1.0, 0.0, 1.0, 1.0]), jnp.array([0.0, 0.0, 1.0, 0.0])
    after = jax.vmap(churn, in_axes=(0, None, None, None))(keys, ALIVE, failure, repair)
    assert jnp.all(after == jnp.array([False, True, True, False]))


def test_nodes_change_apart():
    keys = jax.random.split(jax.random.key(1), 200)
    half = jnp.full(4, 0.5)
    after = jax.vmap(churn, in_axes=(0, None, None, None))(keys, ALIVE, half, half)
    assert len(jnp.unique(after, axis=0)) == 16
