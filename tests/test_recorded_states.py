"""Recordings: whole states of a game over some rounds, the same chances for all policies."""

import jax
import numpy as np
from reference import ticking

import jaxdlb
from jaxdlb import heuristic
from jaxdlb.recording import record

GAME = jaxdlb.make("dlb", num_nodes=3, capacity=6)
PARAMS = GAME.default_params(heartbeat_period=7, failure_prob=0.05, repair_prob=0.2)
KEY = jax.random.key(3)


def test_recordings_by_one_key_meet_the_same_arrivals_and_failures():
    first, second = (record(GAME, heuristic(name), PARAMS, KEY, 50) for name in ("random", "local"))
    np.testing.assert_array_equal(first.states.arrived, second.states.arrived)
    np.testing.assert_array_equal(first.states.alive, second.states.alive)
    assert not np.array_equal(first.states.load, second.states.load)
    assert not first.states.alive.all() and first.states.alive.any()


def test_a_recording_holds_what_was_played():
    game = jaxdlb.make("dlb", num_nodes=3, capacity=6, heartbeats="per_link")
    params = game.default_params(heartbeat_period=4, heartbeat_loss=0.4)
    recording = record(game, heuristic("random"), params, KEY, 60)
    states, actions, timesteps = recording.states, recording.actions, recording.timesteps
    assert recording.num_rounds == 60
    assert all(isinstance(leaf, np.ndarray | np.generic) for leaf in jax.tree.leaves(vars(recording)))
    assert {len(leaf) for leaf in jax.tree.leaves((actions, timesteps))} == {60}
    assert {len(leaf) for leaf in jax.tree.leaves(states)} == {61}
    itself = np.arange(3)
    assert np.all((actions.dispatch == itself) | states.arrived[:-1])
    assert np.any(actions.dispatch != itself)
    assert np.all(actions.steal == itself)
    np.testing.assert_array_equal(recording.params.completion_prob, params.completion_prob)
    assert states.in_transit.shape == (61, game.max_delay, 3)
    sent, landed = timesteps.metrics["migrations"].sum(), states.in_transit[-1].sum()
    assert 0 <= landed <= sent
    np.testing.assert_array_equal(timesteps.observation.own[:, :, 0], states.load[1:])
    assert states.heard_age.shape == (61, 3, 3) and states.heard_age.max() > 4


def test_a_recording_begins_at_reset_and_every_state_follows_by_a_step():
    """Even over a true end; the keys are those of an evaluation, one a round."""
    game = ticking.Ticking(num_workers=2, capacity=2)
    params = game.default_params(pieces=2, skill=0.5)
    recording = record(game, ticking.eager(), params, KEY, 12)
    assert recording.states.left[0].tolist() == [2, 2]
    assert recording.timesteps.discount[-1] == 0
    game_key, _ = jax.random.split(KEY)
    step = jax.jit(game.step)
    for t in range(12):
        before, after = (jax.tree.map(lambda leaf, t=t: leaf[t], recording.states) for t in (t, t + 1))
        state, timestep = step(jax.random.fold_in(game_key, t + 1), before, recording.actions[t], params)
        jax.tree.map(np.testing.assert_array_equal, state, after)
        assert timestep.elapsed == recording.timesteps.elapsed[t]


def test_an_oracle_is_shown_the_truth():
    stale = GAME.default_params(heartbeat_period=10**6, heartbeat_phase=10**6 - 1, initial_load=[6, 0, 0])
    oracle = record(GAME, heuristic("oracle_shortest_expected_delay"), stale, KEY, 40)
    heard = record(GAME, heuristic("shortest_expected_delay"), stale, KEY, 40)
    assert not np.array_equal(oracle.actions.dispatch, heard.actions.dispatch)
    arrived, load = oracle.states.arrived[:-1], oracle.states.load[:-1]
    delay = (load + 1) / np.asarray(stale.completion_prob)
    chosen = np.take_along_axis(delay, oracle.actions.dispatch, axis=1)
    np.testing.assert_allclose(chosen[arrived], np.broadcast_to(delay.min(axis=1, keepdims=True), (40, 3))[arrived])
