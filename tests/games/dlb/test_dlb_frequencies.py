"""How often things happen: each event with its own probability, and independently of the others.

The error allowed is that of `assert_frequency`: 4.5 standard errors.
"""

import jax
import numpy as np
import pytest
from reference.episodes import assert_frequency, batch_player, clusters, no_ops

from jaxdlb.games.dlb import DLB

N, CLUSTERS, ROUNDS = 3, 512, 200
GAME = DLB(N, capacity=8, max_delay=1, heartbeats="per_link")
ARRIVAL, COMPLETION = [0.1, 0.5, 0.9], [0.9, 0.5, 0.2]
FAILURE, REPAIR = [0.02, 0.1, 0.3], [0.3, 0.5, 0.1]
LOSS = 0.3
NODES = range(N)
PAIRS = [(0, 1), (0, 2), (1, 2)]


@pytest.fixture(scope="module")
def run():
    """The states [cluster, round] of many clusters in which every node keeps its tasks."""
    params = clusters(
        GAME,
        CLUSTERS,
        arrival_prob=ARRIVAL,
        completion_prob=COMPLETION,
        failure_prob=FAILURE,
        repair_prob=REPAIR,
        heartbeat_loss=LOSS,
        heartbeat_period=1,
        initial_load=1,
    )
    keys = jax.random.split(jax.random.key(17), CLUSTERS)
    states, _ = batch_player(GAME)(keys, params, no_ops(CLUSTERS, ROUNDS, N))
    return jax.tree.map(np.asarray, states)


@pytest.mark.parametrize("i", NODES)
def test_tasks_arrive_at_live_nodes_with_their_arrival_probability(run, i):
    assert_frequency(run.arrived[..., i], run.alive[..., i], ARRIVAL[i])


@pytest.mark.parametrize("i", NODES)
def test_live_nodes_with_work_complete_with_their_completion_probability(run, i):
    assert_frequency(run.completed[..., i], run.alive[..., i] & (run.load[..., i] > 0), COMPLETION[i])


@pytest.mark.parametrize("i", NODES)
def test_up_nodes_fail_and_down_nodes_are_repaired_with_their_probabilities(run, i):
    before, after = run.alive[:, :-1, i], run.alive[:, 1:, i]
    assert_frequency(~after, before, FAILURE[i])
    assert_frequency(after, ~before, REPAIR[i])


@pytest.mark.parametrize("link", [(i, j) for i in NODES for j in NODES if i != j])
def test_a_heartbeat_is_lost_with_the_loss_probability(run, link):
    i, j = link
    assert_frequency(run.heard_age[:, 1:, i, j] > 0, run.alive[:, 1:, j], LOSS)


@pytest.mark.parametrize("sender", NODES)
def test_receivers_lose_a_heartbeat_independently(run, sender):
    first, second = (run.heard_age[:, 1:, i, sender] > 0 for i in NODES if i != sender)
    assert_frequency(first & second, run.alive[:, 1:, sender], LOSS**2)


def test_a_receiver_loses_the_heartbeats_of_two_senders_independently(run):
    lost = run.heard_age[:, 1:, 0, 1:] > 0
    assert_frequency(lost.all(axis=-1), run.alive[:, 1:, 1:].all(axis=-1), LOSS**2)


@pytest.mark.parametrize("pair", PAIRS)
def test_nodes_have_their_events_independently(run, pair):
    i, j = pair
    both_up = run.alive[..., i] & run.alive[..., j]
    both_busy = both_up & (run.load[..., i] > 0) & (run.load[..., j] > 0)
    assert_frequency(run.arrived[..., i] & run.arrived[..., j], both_up, ARRIVAL[i] * ARRIVAL[j])
    assert_frequency(run.completed[..., i] & run.completed[..., j], both_busy, COMPLETION[i] * COMPLETION[j])
    failed = run.alive[:, :-1] & ~run.alive[:, 1:]
    assert_frequency(failed[..., i] & failed[..., j], both_up[:, :-1], FAILURE[i] * FAILURE[j])


@pytest.mark.parametrize("i", NODES)
def test_arrivals_are_independent_of_completions_and_of_the_round_before(run, i):
    busy = run.alive[..., i] & (run.load[..., i] > 0)
    assert_frequency(run.arrived[..., i] & run.completed[..., i], busy, ARRIVAL[i] * COMPLETION[i])
    up_twice = run.alive[:, :-1, i] & run.alive[:, 1:, i]
    assert_frequency(run.arrived[:, :-1, i] & run.arrived[:, 1:, i], up_twice, ARRIVAL[i] ** 2)


def test_clusters_have_their_events_independently(run):
    both = run.alive[0::2, :, 1] & run.alive[1::2, :, 1]
    assert_frequency(run.arrived[0::2, :, 1] & run.arrived[1::2, :, 1], both, ARRIVAL[1] ** 2)
