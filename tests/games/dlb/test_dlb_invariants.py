"""What holds in every round of every run, whatever the agents do."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference.episodes import batch_player, random_actions, random_clusters

from jaxdlb.games.dlb import DLB

CLUSTERS, ROUNDS = 128, 150
GAMES = [DLB(8, capacity=6, max_delay=4), DLB(5, capacity=3, max_delay=2, heartbeats="per_link")]


@pytest.fixture(scope="module", params=GAMES, ids=["shared", "per_link"])
def run(request):
    """(game, params, states, timesteps) of many clusters under hostile actions; leading axes: cluster, round."""
    game = request.param
    generator = np.random.default_rng(5)
    params = random_clusters(game, generator, CLUSTERS, horizon=generator.integers(1, ROUNDS, CLUSTERS))
    actions = random_actions(generator, (CLUSTERS, ROUNDS, game.num_nodes))
    states, timesteps = batch_player(game)(jax.random.split(jax.random.key(6), CLUSTERS), params, actions)
    return game, *jax.tree.map(np.asarray, (params, states, timesteps))


def assert_conserved(params, timesteps):
    totals = {name: np.cumsum(timesteps.metrics[name], axis=1) for name in ("arrivals", "completions", "drops")}
    present = timesteps.metrics["total_load"] + timesteps.metrics["total_in_transit"]
    initial = params.initial_load.sum(axis=1, keepdims=True)
    np.testing.assert_array_equal(initial + totals["arrivals"], totals["completions"] + totals["drops"] + present)


def test_tasks_are_conserved_in_every_round(run):
    _, params, _, timesteps = run
    assert_conserved(params, timesteps)
    for name in ("arrivals", "completions", "migrations", "steal_requests", "steals", "drops"):
        assert timesteps.metrics[name].sum() > 1000, f"hardly any {name}: the run tests little"


def test_no_node_holds_more_than_the_capacity_or_less_than_nothing(run):
    game, _, states, _ = run
    assert states.load.min() == 0
    assert states.load.max() == game.capacity
    assert states.in_transit.min() == 0


def test_nothing_is_under_way_beyond_the_transfer_delay(run):
    _, params, states, _ = run
    rows = np.arange(states.in_transit.shape[2])
    too_far = rows >= params.transfer_delay[:, None]
    assert not np.any(states.in_transit.sum(axis=3) * too_far[:, None, :])


def test_a_delay_that_the_game_cannot_represent_is_played_as_its_longest(run):
    """Where nobody called `validate`: tasks are conserved, and heartbeats tell their true age."""
    game, params, *_ = run

    def play(delay):
        delays = jnp.full_like(params.transfer_delay, delay)
        slow = dataclasses.replace(params, transfer_delay=delays, heartbeat_delay=delays)
        actions = random_actions(np.random.default_rng(7), (CLUSTERS, ROUNDS, game.num_nodes))
        return batch_player(game)(jax.random.split(jax.random.key(8), CLUSTERS), slow, actions)

    longest, too_long = play(game.max_delay), play(game.max_delay + 3)
    assert_conserved(params, too_long[1])
    jax.tree.map(np.testing.assert_array_equal, too_long, longest)


def test_what_is_heard_was_true_when_it_was_said(run):
    """Whatever the delay, the loss and the churn: what i heard of j is j's load of `heard_age` rounds ago."""
    game, params, states, timesteps = run
    peers = timesteps.observation.peers
    heard, age = peers[..., 0].astype(int), peers[..., 1].astype(int)
    round = np.arange(ROUNDS + 1)[None, :, None, None]
    cluster, sender = np.arange(CLUSTERS)[:, None, None, None], np.arange(game.num_nodes)
    np.testing.assert_array_equal(heard, states.load[cluster, round - age, sender])
    assert np.all(age <= round)
    assert np.max(age) > params.heartbeat_period.max()


def test_down_nodes_have_no_events(run):
    _, _, states, _ = run
    down = ~states.alive
    assert down.sum() > 1000
    assert not np.any(states.arrived & down)
    assert not np.any(states.completed & down)
    assert not np.any(states.completed & (states.load == 0))


def test_the_mean_reward_is_the_utility_and_never_positive(run):
    _, _, _, timesteps = run
    utility = timesteps.metrics["utility"]
    np.testing.assert_allclose(timesteps.reward.mean(axis=2), utility, rtol=1e-4, atol=1e-4)
    assert utility.max() <= 0


def test_an_episode_is_cut_at_its_horizon_and_the_game_goes_on(run):
    _, params, states, timesteps = run
    np.testing.assert_array_equal(np.argmax(timesteps.last, axis=1), params.horizon)
    np.testing.assert_array_equal(timesteps.last, states.round >= params.horizon[:, None])
    assert np.all(timesteps.discount == 1)
    assert timesteps.metrics["arrivals"][:, -1].sum() > 0
