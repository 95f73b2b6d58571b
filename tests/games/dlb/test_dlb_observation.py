"""What an agent sees, and above all what it does not."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference.episodes import batch_player, clusters, entry, no_ops, random_actions, random_clusters

from jaxdlb.games.dlb import DLB, views
from jaxdlb.mechanics.peer_view import Own, Peer

N, ROUNDS = 4, 12
GAMES = {kind: DLB(N, capacity=9, max_delay=2, heartbeats=kind) for kind in ("shared", "per_link")}
AGENT = 1
OTHERS = np.array([0, 2, 3])


@pytest.fixture(scope="module", params=GAMES)
def played(request):
    """(game, params, state) in the middle of a busy run."""
    game = GAMES[request.param]
    generator = np.random.default_rng(4)
    params = random_clusters(game, generator, 2, heartbeat_period=3, heartbeat_phase=[0, 1, 2, 3])
    keys = jax.random.split(jax.random.key(5), 2)
    states, _ = batch_player(game)(keys, params, random_actions(generator, (2, ROUNDS, N)))
    return game, entry(params, 0), entry(entry(states, 0), ROUNDS)


def view(played, **changes):
    """All that AGENT may know of the state, with some of its fields changed: the observation's rows of that agent."""
    _, params, state = played
    observation = views.observe(dataclasses.replace(state, **changes), params)
    return [np.asarray(leaf)[AGENT] for leaf in jax.tree.leaves(observation)]


def is_same(one, other):
    return all(np.array_equal(first, second) for first, second in zip(one, other, strict=True))


@pytest.mark.parametrize("field", ["load", "arrived", "completed", "alive"])
def test_an_agent_sees_its_own_state_and_nobody_elses(played, field):
    value = np.array(getattr(played[2], field))
    changed = ~value if value.dtype == bool else value + 1
    of_others, of_its_own = value.copy(), value.copy()
    of_others[OTHERS], of_its_own[AGENT] = changed[OTHERS], changed[AGENT]
    assert is_same(view(played), view(played, **{field: jnp.asarray(of_others)}))
    assert not is_same(view(played), view(played, **{field: jnp.asarray(of_its_own)}))


@pytest.mark.parametrize("field", ["in_transit", "heartbeats_in_flight", "modulation"])
def test_no_agent_sees_what_is_under_way_nor_the_state_of_the_arrivals(played, field):
    assert is_same(view(played), view(played, **{field: getattr(played[2], field) + 1}))


@pytest.mark.parametrize("field", ["heard_load", "heard_age"])
def test_an_agent_sees_what_it_heard_and_not_what_others_heard(played, field):
    value = np.array(getattr(played[2], field))
    assert not is_same(view(played), view(played, **{field: jnp.asarray(value + 1)}))
    if value.ndim == 2:
        of_others = value.copy()
        of_others[OTHERS] += 1
        assert is_same(view(played), view(played, **{field: jnp.asarray(of_others)}))


def test_a_dead_peer_shows_only_by_its_growing_age():
    """Two runs of the same events, in one of which node 3 fails at once: peers see the same, but for node 3's age."""
    game = GAMES["shared"]
    params = clusters(game, 2, arrival_prob=0.5, heartbeat_period=3, initial_load=2)
    failure = jnp.zeros((2, N)).at[1, 3].set(1.0)
    params = dataclasses.replace(params, failure_prob=failure)
    keys = jnp.stack([jax.random.key(8)] * 2)
    states, timesteps = batch_player(game)(keys, params, no_ops(2, ROUNDS, N))
    assert np.all(states.alive[0])
    assert not np.any(states.alive[1, 1:, 3])
    alive, dead = entry(timesteps.observation, 0), entry(timesteps.observation, 1)
    np.testing.assert_array_equal(alive.own[:, :3], dead.own[:, :3])
    np.testing.assert_array_equal(alive.peers[:, :3, :3], dead.peers[:, :3, :3])
    age = np.asarray(dead.peers[:, 0, 3, Peer.AGE])
    np.testing.assert_array_equal(age, np.arange(13))
    np.testing.assert_array_equal(dead.peers[:, 0, 3, Peer.LOAD], 2)
    assert alive.peers[:, 0, 3, Peer.AGE].max() == 2


def test_a_peers_changes_stay_unknown_until_its_next_heartbeat():
    """Two runs of the same events, in one of which node 3 starts with more tasks than anybody has heard of."""
    game = GAMES["shared"]
    params = clusters(game, 2, heartbeat_period=50, heartbeat_phase=5, initial_load=[1, 1, 1, 5], arrival_prob=0.3)
    params = dataclasses.replace(params, completion_prob=params.completion_prob.at[1, 3].set(1e-6))
    keys = jnp.stack([jax.random.key(9)] * 2)
    states, timesteps = batch_player(game)(keys, params, no_ops(2, ROUNDS, N))
    assert not np.array_equal(states.load[0, :6, 3], states.load[1, :6, 3])
    quick, slow = (entry(timesteps.observation.peers, c)[:, 0, 3] for c in (0, 1))
    known = [Peer.LOAD, Peer.AGE]
    np.testing.assert_array_equal(quick[:6, known], slow[:6, known])
    assert quick[6, Peer.LOAD] != slow[6, Peer.LOAD]


def test_the_columns_are_what_their_names_say(played):
    game, params, state = played
    own, peers = (np.asarray(leaf) for leaf in jax.tree.leaves(game.true_observation(state, params))[:2])
    for column, expected in (
        (Own.LOAD, state.load),
        (Own.ARRIVED, state.arrived),
        (Own.COMPLETED, state.completed),
        (Own.RATE, params.completion_prob),
        (Own.ALIVE, state.alive),
    ):
        np.testing.assert_array_equal(own[:, column], np.asarray(expected, np.float32))
    np.testing.assert_array_equal(peers[..., Peer.RATE], np.broadcast_to(params.completion_prob, (N, N)))
    np.testing.assert_array_equal(peers[..., Peer.IS_SELF], np.eye(N))
    assert (own.shape[1], peers.shape[2]) == (len(Own), len(Peer))


def test_choices_are_legal_only_with_an_event_and_the_own_index_always(played):
    game, params, state = played
    state = dataclasses.replace(
        state, arrived=jnp.array([True, False, True, False]), completed=jnp.array([False, False, True, True])
    )
    legal = game.true_observation(state, params).legal
    assert legal.dispatch.sum(axis=1).tolist() == [N, 1, N, 1]
    assert legal.steal.sum(axis=1).tolist() == [1, 1, N, N]
    assert np.all(np.diagonal(legal.dispatch))
    assert np.all(np.diagonal(legal.steal))


def test_the_true_observation_is_fresh_and_otherwise_the_same(played):
    game, params, state = played
    fresh = game.true_observation(state, params)
    np.testing.assert_array_equal(fresh.peers[..., Peer.LOAD], np.broadcast_to(state.load, (N, N)))
    np.testing.assert_array_equal(fresh.peers[..., Peer.AGE], 0)
    seen = views.observe(state, params)
    assert not np.array_equal(seen.peers, fresh.peers)
    np.testing.assert_array_equal(seen.own, fresh.own)
    assert is_same(jax.tree.leaves(seen.legal), jax.tree.leaves(fresh.legal))


@pytest.mark.parametrize("field", ["load", "arrived", "completed", "alive", "heard_load", "heard_age", "in_transit"])
def test_the_global_state_shows_the_whole_cluster(played, field):
    game, params, state = played
    value = np.array(getattr(state, field))
    flat = value.reshape(-1)
    before = np.asarray(game.global_state(state, params))
    assert before.shape == (N * (9 + game.max_delay) + 9,)
    assert before.dtype == np.float32
    for k in range(flat.size):
        changed = flat.copy()
        changed[k] = ~flat[k] if flat.dtype == bool else flat[k] + 4
        other = dataclasses.replace(state, **{field: jnp.asarray(changed.reshape(value.shape))})
        assert not np.array_equal(before, game.global_state(other, params))


def test_the_global_state_shows_the_costs_the_delays_and_the_rates(played):
    game, params, state = played
    before = np.asarray(game.global_state(state, params))
    rates, costs = ("arrival_prob", "completion_prob"), ("migration_cost", "steal_cost", "imbalance_weight")
    for field in (*rates, *costs, "transfer_delay", "heartbeat_period", "heartbeat_delay", "heartbeat_loss"):
        other = dataclasses.replace(params, **{field: getattr(params, field) / 2 + 3})
        assert not np.array_equal(before, game.global_state(state, other)), field
