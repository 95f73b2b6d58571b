"""Recordings hold what happened, whole; and every registered viewer draws them."""

import subprocess
import sys

import jax
import numpy as np
import pytest

import jaxdlb
from jaxdlb.games import GAMES
from jaxdlb.recording import Viewer, record

GAME = jaxdlb.make("dlb", num_nodes=3, capacity=6, heartbeats="per_link")
PARAMS = GAME.default_params(load=0.9, heartbeat_period=3, heartbeat_loss=0.2)
KEY = jax.random.key(5)
NUM_ROUNDS = 6


def entry(tree, t):
    return jax.tree.map(lambda leaf: leaf[t], tree)


@pytest.mark.parametrize("name", ["power_of_d_stealing", "oracle_shortest_expected_delay"])
def test_each_state_follows_from_the_one_before_and_the_action_between_them(name):
    """Each action is what the policy does upon what it may see; the keys are the recorder's own affair."""
    policy = jaxdlb.heuristic(name)
    recording = record(GAME, policy, PARAMS, KEY, NUM_ROUNDS)
    game_key, policy_key = jax.random.split(KEY)
    step, act, true = jax.jit(GAME.step), jax.jit(policy.act), jax.jit(GAME.true_observation)
    state, timestep = GAME.reset(jax.random.fold_in(game_key, 0), PARAMS)
    memory = policy.init(GAME)
    for t in range(NUM_ROUNDS):
        jax.tree.map(np.testing.assert_array_equal, entry(recording.states, t), jax.device_get(state))
        seen = true(state, PARAMS) if name.startswith("oracle") else timestep.observation
        memory, action = act(jax.random.fold_in(policy_key, t), memory, seen, PARAMS)
        jax.tree.map(np.testing.assert_array_equal, entry(recording.actions, t), jax.device_get(action))
        state, timestep = step(jax.random.fold_in(game_key, t + 1), state, action, PARAMS)
        assert recording.timesteps.metrics["total_load"][t] == timestep.metrics["total_load"]
    jax.tree.map(np.testing.assert_array_equal, entry(recording.states, NUM_ROUNDS), jax.device_get(state))
    assert recording.num_rounds == NUM_ROUNDS
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(recording.states))


def test_two_policies_meet_the_same_arrivals():
    one, other = (record(GAME, jaxdlb.heuristic(name), PARAMS, KEY, 40) for name in ("local", "random"))
    np.testing.assert_array_equal(one.states.arrived, other.states.arrived)
    assert np.any(one.states.load != other.states.load)


def test_a_recording_of_no_rounds_is_refused():
    with pytest.raises(ValueError, match="num_rounds is 0; it must be"):
        record(GAME, jaxdlb.heuristic("local"), PARAMS, KEY, 0)


@pytest.mark.parametrize("name", [name for name, entry in GAMES.items() if entry.viewer is not None])
def test_every_viewer_is_one_and_draws_a_recording(name, tmp_path):
    found = GAMES.find(name)
    viewer = found.viewer()
    assert isinstance(viewer, Viewer)
    game = jaxdlb.make(name)
    policy = jaxdlb.heuristic(next(iter(found.heuristics)), game=name)
    recordings = {policy.name: record(game, policy, game.default_params(), KEY, 3)}
    for caption, figure in viewer.figures(recordings).values():
        assert caption
        figure.savefig(tmp_path / "x.png", dpi=20)
    viewer.animation(recordings, tmp_path / "x.gif", num_frames=2)
    assert {path.name for path in tmp_path.iterdir()} >= {"x.gif"}


def test_a_game_is_known_and_played_without_the_plotting_library():
    program = "import sys, jaxdlb, jaxdlb.recording; jaxdlb.make('dlb'); sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
