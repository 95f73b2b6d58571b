"""Recordings: whole states of a game over some rounds, the same chances for all policies; every viewer draws them."""

import functools
import subprocess
import sys

import jax
import numpy as np
import pytest
from reference import ticking

import jaxdlb
from jaxdlb import heuristic
from jaxdlb.games import GAMES
from jaxdlb.recording import Viewer, record

GAME = jaxdlb.make("dlb", num_nodes=3, capacity=6, heartbeats="per_link")
PARAMS = GAME.default_params(load=0.9, heartbeat_period=4, heartbeat_loss=0.4, failure_prob=0.05, repair_prob=0.2)
STALE = GAME.default_params(heartbeat_period=10**6, heartbeat_phase=10**6 - 1, initial_load=[6, 0, 0])
KEY = jax.random.key(5)
NUM_ROUNDS = 60


@functools.cache
def recorded(name):
    return record(GAME, heuristic(name), PARAMS, KEY, NUM_ROUNDS)


@pytest.fixture(scope="module")
def step():
    return jax.jit(GAME.step)


def entry(tree, t):
    return jax.tree.map(lambda leaf: leaf[t], tree)


def assert_same(left, right):
    jax.tree.map(np.testing.assert_array_equal, left, jax.device_get(right))


@pytest.mark.parametrize("name", ["power_of_d_stealing", "oracle_shortest_expected_delay"])
def test_each_state_follows_from_the_one_before_and_the_action_between_them(name, step):
    """Each action is what the policy does upon what it may see; the keys are those of an evaluation, one a round."""
    policy, recording = heuristic(name), recorded(name)
    game_key, policy_key = jax.random.split(KEY)
    act, true = jax.jit(policy.act), jax.jit(GAME.true_observation)
    state, timestep = GAME.reset(jax.random.fold_in(game_key, 0), PARAMS)
    memory = policy.init(GAME)
    for t in range(6):
        assert_same(entry(recording.states, t), state)
        seen = true(state, PARAMS) if name.startswith("oracle") else timestep.observation
        memory, action = act(jax.random.fold_in(policy_key, t), memory, seen, PARAMS)
        assert_same(entry(recording.actions, t), action)
        state, timestep = step(jax.random.fold_in(game_key, t + 1), state, action, PARAMS)
        assert recording.timesteps.metrics["total_load"][t] == timestep.metrics["total_load"]
    assert_same(entry(recording.states, 6), state)


@pytest.mark.parametrize("at_once", [512, 2])
def test_a_recording_ends_with_a_true_end_and_goes_on_over_a_time_limit(at_once, monkeypatch):
    monkeypatch.setattr("jaxdlb.recording._AT_ONCE", at_once)
    game = ticking.Ticking(num_workers=2, capacity=2)
    params = game.default_params(pieces=2, skill=0.5, horizon=1)
    played = record(game, ticking.eager(), params, KEY, 12)
    assert played.states.left[0].tolist() == [2, 2]
    assert played.states.left[-1].tolist() == [0, 0] != played.states.left[-2].tolist()
    assert played.num_rounds == 3 and played.timesteps.discount.tolist() == [1, 1, 0]
    assert record(game, ticking.eager(), params, KEY, 2).num_rounds == 2
    game_key, _ = jax.random.split(KEY)
    step = jax.jit(game.step)
    for t in range(3):
        key = jax.random.fold_in(game_key, t + 1)
        state, timestep = step(key, entry(played.states, t), entry(played.actions, t), params)
        assert_same(entry(played.states, t + 1), state)
        assert timestep.elapsed == played.timesteps.elapsed[t]


def test_recordings_by_one_key_meet_the_same_arrivals_and_failures():
    first, second = recorded("random"), recorded("local")
    np.testing.assert_array_equal(first.states.arrived, second.states.arrived)
    np.testing.assert_array_equal(first.states.alive, second.states.alive)
    assert not np.array_equal(first.states.load, second.states.load)
    assert not first.states.alive.all() and first.states.alive.any()


def test_a_recording_holds_what_was_played_as_numpy_arrays():
    recording = recorded("random")
    states, actions, timesteps = recording.states, recording.actions, recording.timesteps
    assert recording.num_rounds == NUM_ROUNDS
    assert all(isinstance(leaf, np.ndarray | np.generic) for leaf in jax.tree.leaves(vars(recording)))
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(states))
    assert {len(leaf) for leaf in jax.tree.leaves((actions, timesteps))} == {NUM_ROUNDS}
    assert {len(leaf) for leaf in jax.tree.leaves(states)} == {NUM_ROUNDS + 1}
    itself = np.arange(3)
    assert np.all((actions.dispatch == itself) | states.arrived[:-1])
    assert np.any(actions.dispatch != itself)
    assert np.all(actions.steal == itself)
    np.testing.assert_array_equal(recording.params.completion_prob, PARAMS.completion_prob)
    assert states.in_transit.shape == (NUM_ROUNDS + 1, GAME.max_delay, 3)
    sent, landed = timesteps.metrics["migrations"].sum(), states.in_transit[-1].sum()
    assert 0 <= landed <= sent
    np.testing.assert_array_equal(timesteps.observation.own[:, :, 0], states.load[1:])
    assert states.heard_age.shape == (NUM_ROUNDS + 1, 3, 3) and states.heard_age.max() > 4


def test_an_oracle_is_shown_the_truth():
    oracle, heard = (
        record(GAME, heuristic(name), STALE, KEY, 40)
        for name in ("oracle_shortest_expected_delay", "shortest_expected_delay")
    )
    assert not np.array_equal(oracle.actions.dispatch, heard.actions.dispatch)
    arrived, load = oracle.states.arrived[:-1], oracle.states.load[:-1]
    delay = (load + 1) / np.asarray(STALE.completion_prob)
    chosen = np.take_along_axis(delay, oracle.actions.dispatch, axis=1)
    np.testing.assert_allclose(chosen[arrived], np.broadcast_to(delay.min(axis=1, keepdims=True), (40, 3))[arrived])


def test_a_recording_of_no_rounds_is_refused():
    with pytest.raises(ValueError, match="num_rounds is 0; it must be"):
        record(GAME, heuristic("local"), PARAMS, KEY, 0)


@pytest.mark.parametrize("name", [name for name, each in GAMES.items() if each.viewer is not None])
def test_every_viewer_is_one_and_draws_a_recording(name, tmp_path):
    found = GAMES.find(name)
    viewer = found.viewer()
    assert isinstance(viewer, Viewer)
    game = jaxdlb.make(name)
    policy = heuristic(next(iter(found.heuristics)), game=name)
    recordings = {policy.name: record(game, policy, game.default_params(), KEY, 3)}
    for caption, figure in viewer.figures(recordings).values():
        assert caption
        figure.savefig(tmp_path / "x.png", dpi=20)
    viewer.animation(recordings, tmp_path / "x.gif", num_frames=2)
    assert {path.name for path in tmp_path.iterdir()} >= {"x.gif"}


def test_a_game_is_known_and_played_without_the_plotting_library():
    program = "import sys, jaxdlb, jaxdlb.recording; jaxdlb.make('dlb'); sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
