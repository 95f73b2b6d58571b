"""Minibatches by blocks: every item once, of every block one, whole sequences as one, all orders alike."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdlb.learners import minibatches

SIZES = [(4, 8, 4), (4, 6, 8), (16, 32, 2), (4, 1, 8), (1, 3, 2), (6, 4, 3)]  # M, items of an environment, E


@pytest.mark.parametrize("sizes", SIZES)
def test_every_item_is_in_one_minibatch_and_each_minibatch_has_one_of_every_block(sizes):
    num_minibatches, num_items, num_envs = sizes
    blocks = minibatches.blocks(*sizes)
    items = jnp.arange(num_items * num_envs).reshape(num_items, num_envs)
    order = blocks.shuffled(jax.random.key(3))
    taken = [np.asarray(blocks.take(items, chosen)) for chosen in order]
    assert len(taken) == num_minibatches
    np.testing.assert_array_equal(np.sort(np.concatenate(taken, axis=None)), np.arange(num_items * num_envs))
    for one in taken:
        step, env = np.divmod(one, num_envs)
        np.testing.assert_array_equal(step // blocks.steps, np.broadcast_to(np.arange(blocks.rows)[:, None], one.shape))
        np.testing.assert_array_equal(env // blocks.envs, np.broadcast_to(np.arange(blocks.columns), one.shape))


def test_a_block_has_as_few_environments_as_can_be():
    assert [minibatches.blocks(*sizes).envs for sizes in SIZES] == [1, 2, 1, 4, 1, 3]


def test_where_a_sequence_is_one_item_all_its_steps_are_taken():
    blocks = minibatches.blocks(4, 1, 8)
    batch = {"step": jnp.arange(5 * 8 * 2).reshape(5, 8, 2)}
    for chosen in blocks.shuffled(jax.random.key(0)):
        env = np.asarray(chosen)[0] + 4 * np.arange(2)
        np.testing.assert_array_equal(blocks.take(batch, chosen)["step"], np.asarray(batch["step"])[:, env])


def test_all_orders_of_a_block_are_equally_likely():
    """Counts of the 6 orders of 3 items in 6,000 blocks: each within 4.5 standard deviations (false alarm: 4e-5)."""
    order = np.asarray(minibatches.blocks(3, 3, 6000).shuffled(jax.random.key(1)))[:, 0]
    _, counts = np.unique(order, axis=1, return_counts=True)
    assert len(counts) == 6
    assert np.abs(counts - 1000).max() < 4.5 * np.sqrt(6000 * 1 / 6 * 5 / 6)


def test_what_is_drawn_in_an_environment_does_not_depend_on_how_many_there_are():
    few, many = (minibatches.blocks(4, 8, num_envs).shuffled(jax.random.key(2)) for num_envs in (4, 12))
    np.testing.assert_array_equal(few, many[:, :, :4])
