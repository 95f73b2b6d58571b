"""Who sees what: rows and the nodes that they are, what a critic sees at any size, what networks make of it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdlb import learners
from jaxdlb.games.cluster import Cluster
from jaxdlb.games.cluster.views import Own, Peer
from jaxdlb.learners import MAPPOConfig
from jaxdlb.networks import NetworkConfig
from jaxdlb.networks.actor_critic import build_actor, features

GAME = Cluster(6, 3, 4, 3)
FEW = Cluster(4, 3, 2, 2, episode_tasks=5)
SIZES = [GAME, FEW, Cluster(9, 1, 9, 5)]
POINTER = NetworkConfig("pointer", hidden=(8, 8), critic_hidden=(8,))


@functools.cache
def played(game, steps=40):
    """Parameters, and states and time steps under uniform choices, of which the first are those of a reset."""
    params = game.default_params(memory=64, arrival_rate=2, slot=0.5, exec_cap=10)

    def advance(carry, key):
        state, timestep = carry
        action = game.action_space.sample(key, timestep.observation.legal)
        return game.step(key, state, action, params), carry

    def play(key):
        start, *keys = jax.random.split(key, steps + 1)
        return jax.lax.scan(advance, game.reset(start, params), jnp.stack(keys))[1]

    return params, *jax.jit(play)(jax.random.key(4))


def test_candidates_are_the_nodes_that_rows_are_about():
    params, _, timesteps = played(GAME)
    seen = timesteps.observation
    has_task = np.asarray(seen.own[..., Own.HAS_TASK]) > 0
    assert 0.1 < has_task.mean() < 0.9
    assert not np.asarray(seen.candidates)[~has_task].any()
    for column in (Peer.CORES, Peer.IDLE_POWER):
        of_nodes = np.asarray((params.cores, params.idle_power)[column == Peer.IDLE_POWER])
        shown = np.asarray(seen.peers[..., column])
        assert np.array_equal(shown[has_task], of_nodes[np.asarray(seen.candidates)][has_task])


def test_nothing_is_stale():
    params, states, timesteps = played(GAME)
    truth = jax.vmap(lambda state: GAME.true_observation(state, params))(states)
    for seen, true in zip(jax.tree.leaves(timesteps.observation), jax.tree.leaves(truth), strict=True):
        np.testing.assert_allclose(seen, true, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("game", SIZES, ids=lambda game: f"{game.num_nodes}")
def test_a_critic_sees_as_much_at_every_size(game):
    params, states, _ = played(game)
    whole = np.asarray(jax.jit(jax.vmap(lambda state: game.global_state(state, params)))(states))
    assert whole.shape[1] == 90 and np.isfinite(whole).all()
    no_more = np.isinf(states.window.arrives[:, 0])
    assert no_more.any() == (game is FEW)
    assert not whole[no_more, :6].any()


def test_tasks_come_however_little_arrives():
    """A factor of 0 counts as 0.001, so what comes into sight then is still to come."""
    game = Cluster(2, 2, 2, 2)
    nothing = {"kind": "step", "at": 1, "before": 0, "after": 1}
    params = game.default_params(arrival_rate=10, arrival_modulation=nothing)
    usual = game.default_params(arrival_rate=10)
    late, soon = (game.reset(jax.random.key(0), each)[0].window.arrives for each in (params, usual))
    np.testing.assert_allclose(late, 1000 * soon, rtol=1e-5)


def test_one_set_of_weights_plays_at_every_size():
    """And does not see which nodes rows are."""
    first = build_actor(GAME, POINTER)
    shown = [features(jax.tree.map(lambda leaf: leaf[9], played(game)[2].observation)) for game in SIZES]
    assert set(shown[0]) == {"own", "peers"}
    weights = first.init(jax.random.key(0), shown[0])
    for game, view in zip(SIZES, shown, strict=True):
        legal = jnp.ones((game.num_dispatchers, game.num_candidates), bool)
        _, distribution = build_actor(game, POINTER).apply(weights, (), view, legal)
        assert distribution.mode().shape == (game.num_dispatchers,)


def test_a_learner_discounts_by_the_time_that_passed():
    params = GAME.default_params(memory=64, arrival_rate=6, slot=0.5, exec_cap=10)
    config = MAPPOConfig(num_envs=4, rollout_length=16, num_epochs=1, num_minibatches=1, gamma=0.9)
    learner = learners.make(GAME, config, network=POINTER, sample_params=lambda key: params)
    state, rollout = jax.jit(lambda key: learner.collect(learner.init(key)))(jax.random.key(0))
    elapsed = np.asarray(rollout.steps.elapsed)
    assert set(elapsed.ravel().tolist()) == {0.0, 0.5}
    advantage, _ = learner.advantages(state, rollout)
    steps = rollout.steps
    earned, value, following = (
        np.asarray(each, np.float64) for each in (steps.earned, steps.value, rollout.next_value)
    )
    expected, after = np.zeros_like(earned), np.zeros_like(earned[0])
    for t in reversed(range(16)):
        discount = (0.9 ** elapsed[t])[:, None]
        carried = config.gae_lambda * discount * ~np.asarray(steps.last[t])[:, None]
        after = earned[t] + discount * following[t] - value[t] + carried * after
        expected[t] = after
    np.testing.assert_allclose(advantage, expected, rtol=1e-3, atol=1e-4)
