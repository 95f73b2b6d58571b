"""Who is up after a round, and what is left of the number that decided it; how often is tested in the game."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from jaxdlb.mechanics.churn import churn

ALIVE = jnp.array([True, True, False, False])
NUMBERS = jax.random.uniform(jax.random.key(0), (50_000, 4))


def after(failure, repair):
    return jax.vmap(churn, in_axes=(0, None, None, None))(NUMBERS, ALIVE, jnp.array(failure), jnp.array(repair))


def test_certain_failures_and_repairs_happen_and_impossible_ones_do_not():
    alive, _ = after([1.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 0.0])
    assert jnp.all(alive == jnp.array([False, True, True, False]))


def test_nodes_change_apart():
    alive, _ = after([0.5] * 4, [0.5] * 4)
    assert len(jnp.unique(alive, axis=0)) == 16


def test_where_nothing_changes_the_numbers_are_left_as_they_are():
    _, left = after([0.0] * 4, [0.0] * 4)
    assert jnp.array_equal(left, NUMBERS)


def test_what_is_left_is_uniform_whether_or_not_a_node_changed():
    alive, left = map(np.asarray, after([0.3, 0.01, 0.0, 0.0], [0.0, 0.0, 0.5, 0.98]))
    changed = alive != np.asarray(ALIVE)
    for node in range(4):
        for group in (left[changed[:, node], node], left[~changed[:, node], node]):
            assert stats.kstest(group, "uniform").pvalue > 1e-4
    assert left.min() >= 0 and left.max() < 1


def test_a_certain_arrival_comes_in_the_round_of_a_repair_too():
    largest = jnp.full(4, 1 - 2.0**-24)
    for probability in (1e-9, 1e-3, 0.3, 0.9, 1 - 2.0**-24, 1.0):
        _, left = churn(largest, ALIVE, jnp.full(4, probability), jnp.full(4, probability))
        assert jnp.all(left < 1)
