"""The random choices that heuristics are made of."""

import itertools
import math
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdlb.policies.choice import least, pick_weighted, sample_peers

LARGEST = np.float32(1 - 2**-23)  # the largest number that jax.random.uniform draws


def test_a_weighted_choice_inverts_the_distribution_function():
    weights = jnp.asarray([[0.0, 1.0, 0.0, 3.0, 4.0, 0.0]])
    numbers = [0.0, 0.124, 0.126, 0.499, 0.501, LARGEST]
    assert [int(pick_weighted(jnp.asarray([x], jnp.float32), weights)[0]) for x in numbers] == [1, 1, 3, 3, 4, 4]


def test_booleans_are_equal_weights():
    allowed = jnp.asarray([[True, False, True, True]] * 4)
    numbers = jnp.asarray([0.0, 0.34, 0.67, LARGEST], jnp.float32)
    assert pick_weighted(numbers, allowed).tolist() == [0, 2, 3, 3]


def test_nothing_of_weight_0_is_picked_whatever_the_number():
    rng = np.random.default_rng(0)
    weights = jnp.asarray(rng.random((500, 33)) * (rng.random((500, 33)) < 0.2) + np.eye(500, 33), jnp.float32)
    weights = weights.at[33:, 7].set(0.1)
    for numbers in (np.zeros(500), rng.random(500), np.full(500, LARGEST)):
        picked = pick_weighted(jnp.asarray(numbers, jnp.float32), weights)
        assert bool(jnp.all(weights[jnp.arange(500), picked] > 0))


def test_the_least_score_is_found_among_those_allowed_alone():
    scores = jnp.asarray([[1.0, 2.0, 2.0, 5.0]] * 2)
    among = jnp.asarray([[False, True, True, True]] * 2)
    assert pick_weighted(jnp.asarray([0.49, 0.51]), least(scores, among)).tolist() == [1, 2]


@pytest.mark.parametrize(("num_nodes", "d", "width"), [(5, 2, 2), (5, 1, 3), (6, 3, 5)])
def test_samples_are_distinct_peers_every_set_equally_likely(num_nodes, d, width):
    draws = 6000
    numbers = jax.random.uniform(jax.random.key(5), (draws, num_nodes, width))
    peers, sampled = jax.jit(jax.vmap(lambda each: sample_peers(each, d)))(numbers)
    assert bool(jnp.all(sampled == (jnp.arange(width) < d)))
    for i in range(num_nodes):
        sets = Counter(frozenset(row) for row in np.asarray(peers[:, i, :d]).tolist())
        others = [j for j in range(num_nodes) if j != i]
        expected = list(map(frozenset, itertools.combinations(others, d)))
        assert set(sets) == set(expected)
        share = 1 / len(expected)
        # Within 4.5 standard errors: at most 60 sets a case, so all hold by chance in 99.9% of seeds.
        error = math.sqrt(share * (1 - share) / draws)
        assert all(abs(sets[each] / draws - share) <= 4.5 * error for each in expected)


def test_columns_beyond_the_sample_hold_the_node_itself():
    peers, _ = sample_peers(jnp.full((4, 3), LARGEST), 1)
    assert peers[:, 1:].tolist() == [[i, i] for i in range(4)]


def test_the_largest_numbers_stay_within_the_nodes():
    for num_nodes in (3, 1000):
        peers, _ = sample_peers(jnp.full((num_nodes, 1), LARGEST), 1)
        assert int(peers.min()) >= 0 and int(peers.max()) < num_nodes


def test_a_node_without_peers_samples_none():
    peers, sampled = sample_peers(jnp.zeros((1, 0)), 0)
    assert peers.shape == (1, 0) and sampled.shape == (0,)
