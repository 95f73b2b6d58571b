"""The pooled queue: what it plays, and that no policy of the agents does better."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdlb
from jaxdlb import heuristic
from jaxdlb.evaluation import evaluate_all, sums
from jaxdlb.evaluation.bounds import NOBODY, bound_samples
from jaxdlb.games.dlb import DLB
from jaxdlb.games.dlb.pooled import PooledQueue, serves
from jaxdlb.policies import NODE_HEURISTICS
from jaxdlb.recording import record

KEY = jax.random.key(5)
GAME = DLB(num_nodes=4, capacity=200)


def test_the_fastest_nodes_that_are_up_serve_as_many_as_there_are_tasks():
    rate, alive = jnp.array([0.2, 0.9, 0.5, 0.7]), jnp.array([True, False, True, True])
    served = [serves(jnp.int32(present), alive, rate).tolist() for present in range(5)]
    assert served == [[0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 1], [1, 0, 1, 1], [1, 0, 1, 1]]
    equal = serves(jnp.int32(2), jnp.ones(4, bool), jnp.full(4, 0.5))
    assert equal.tolist() == [1, 1, 0, 0]


def at_least(rates):
    """The probabilities that at least 1, 2, … of independent events happen."""
    law = functools.reduce(np.convolve, [[1 - q, q] for q in rates], np.ones(1))
    return 1 - np.cumsum(law)[:-1]


def test_no_other_busy_nodes_complete_more():
    """The step of the proof: for every set of busy nodes, P(at least k completions) is at most the pooled queue's."""
    rate, alive = np.array([0.31, 0.94, 0.52, 0.77, 0.12]), np.array([True, True, False, True, True])
    up = np.flatnonzero(alive)
    for size in range(1, len(up) + 1):
        pooled = np.asarray(serves(jnp.int32(size), jnp.asarray(alive), jnp.asarray(rate, jnp.float32)))
        most = at_least(rate[pooled > 0])
        for busy in itertools.combinations(up, size):
            assert np.all(at_least(rate[list(busy)]) <= most + 1e-12)


def test_one_node_is_its_own_pooled_queue():
    """Task for task: the same numbers decide."""
    game = DLB(num_nodes=1, capacity=500)
    params = game.default_params(
        arrival_prob=0.4, completion_prob=0.6, initial_load=7, failure_prob=0.1, repair_prob=0.5
    )
    sizes = {"num_episodes": 4, "num_rounds": 200, "warmup": 20}
    (alone,) = sums(game, [heuristic("local")], lambda key: params, KEY, **sizes)
    (pooled,) = sums(PooledQueue(game), [NOBODY], lambda key: params, KEY, **sizes)
    np.testing.assert_array_equal(pooled["present"], alone["total_load"])
    for name in ("arrivals", "completions", "steps"):
        np.testing.assert_array_equal(pooled[name], alone[name])


def test_tasks_are_conserved_and_arrivals_are_those_of_the_game():
    params = GAME.default_params(initial_load=3, failure_prob=0.02, repair_prob=0.1)
    recording = record(PooledQueue(GAME), NOBODY, params, KEY, 300)
    metrics = recording.timesteps.metrics
    balance = 12 + np.cumsum(metrics["arrivals"]) - np.cumsum(metrics["completions"])
    np.testing.assert_array_equal(metrics["present"], balance)
    assert metrics["present"].min() >= 0
    played = record(GAME, heuristic("random"), params, KEY, 300)
    np.testing.assert_array_equal(metrics["arrivals"], played.timesteps.metrics["arrivals"])
    np.testing.assert_array_equal(recording.states.alive, played.states.alive)


CLUSTERS = {
    "reference": {},
    "everything at once": {"transfer_delay": 0, "heartbeat_period": 1, "load": 0.8},
    "equal nodes": {"completion_prob": 0.5, "transfer_delay": 0, "heartbeat_period": 1},
    "light": {"load": 0.3, "transfer_delay": 0},
    "failures": {"failure_prob": 0.01, "repair_prob": 0.1, "load": 0.6},
    "bursts": {"arrival_modulation": {"kind": "markov", "busy": 1.4}, "load": 0.7},
    "far away": {"transfer_delay": 4, "heartbeat_delay": 4, "initial_load": 10},
}
STEADY = {"arrival_modulation": {"kind": "markov", "busy": 1.0, "calm": 1.0}}


def params_of(place, fields):
    """A cluster that is known by its holding weight, 1, 2, …"""
    return GAME.default_params(**(STEADY | fields), holding_weight=1.0 + place)


ALL = jax.tree.map(
    lambda *leaves: jnp.stack(leaves), *(params_of(place, fields) for place, fields in enumerate(CLUSTERS.values()))
)


def any_cluster(key):
    place = jax.random.randint(key, (), 0, len(CLUSTERS))
    return jax.tree.map(lambda leaf: leaf[place], ALL)


@functools.cache
def episodes():
    """Of episodes on all clusters: what each policy made of them, the bounds, and the name of the cluster."""
    policies, sizes = list(NODE_HEURISTICS), {"num_episodes": 140, "num_rounds": 400, "warmup": 100}
    played = evaluate_all(GAME, [heuristic(each) for each in policies], any_cluster, KEY, **sizes)
    (pooled,) = sums(PooledQueue(GAME), [NOBODY], any_cluster, KEY, **sizes)
    weight = -pooled["utility"] / pooled["present"] * GAME.num_nodes
    names = np.array(list(CLUSTERS))[np.round(weight).astype(int) - 1]
    return dict(zip(policies, played, strict=True)), bound_samples(GAME, any_cluster, KEY, **sizes), names


@pytest.mark.parametrize("name", CLUSTERS)
def test_no_heuristic_and_no_oracle_is_faster_than_the_pooled_queue(name):
    """In the same episodes, within 4 standard errors of the paired difference.

    A policy exactly as fast would be refused by chance once in 500 times (Student's t with some 15 degrees of freedom
    for each cluster); all of these are slower.
    """
    played, bound, names = episodes()
    here = names == name
    assert here.sum() >= 10
    for policy, samples in played.items():
        for column, sign in (("response_time", 1), ("utility", -1)):
            above = sign * (samples[column] - bound[column])[here]
            assert np.mean(above) > -4 * np.std(above, ddof=1) / np.sqrt(here.sum()), (policy, column)


def test_the_bound_is_nearly_reached_where_everything_is_known_and_nothing_travels():
    played, bound, names = episodes()
    here = names == "equal nodes"
    nearest = min(np.mean(samples["response_time"][here]) for samples in played.values())
    assert nearest < 1.2 * np.mean(bound["response_time"][here])


def test_random_clusters_have_bounds_of_their_own():
    draw = jaxdlb.randomised(GAME, GAME.default_params(), load=(0.2, 0.9))
    found = bound_samples(GAME, draw, KEY, num_episodes=6, num_rounds=100, warmup=10)
    assert len(set(found["response_time"].tolist())) == 6
    assert np.all(np.isnan(found["utility"]))
