"""The training loop with a learner that costs nothing: what is logged, saved and stopped, and when."""

import math
import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

from jaxdlb import checkpoint
from train import loop
from train.loop import DivergedError, Schedule, StoppedError
from train.population import Population


@struct.dataclass
class State:
    key: jax.Array
    num_updates: jax.Array
    weights: jax.Array


class Walk:
    """Adds noise to its weights; `poison` is the update from which on they are NaN."""

    def __init__(self, poison=10**9):
        self.poison = poison
        self.traces = 0

    def init(self, key):
        return State(key=key, num_updates=jnp.int32(0), weights=jnp.zeros(3))

    def update(self, state):
        self.traces += 1
        key, noise_key = jax.random.split(state.key)
        number = state.num_updates + 1
        noise = jax.random.normal(noise_key, (3,)) + jnp.where(number >= self.poison, jnp.nan, 0.0)
        weights = state.weights + noise
        metrics = {"loss": weights[0], "utility": -number.astype(jnp.float32), "grad_norm": jnp.sum(noise)}
        return State(key=key, num_updates=number, weights=weights), metrics

    def policy_variables(self, state):
        return {"weights": state.weights}


class Listener:
    """Remembers what it is told; calls `then` at every interval."""

    def __init__(self, then=lambda progress: None):
        self.rows, self.progress, self.judged, self.then = [], [], [], then

    def start(self, update, num_updates):
        self.started = (update, num_updates)

    def held_out(self, rows):
        self.judged += rows

    def interval(self, rows, progress):
        self.rows += rows
        self.progress.append(progress)
        self.then(progress)


def schedule(num_updates, logging_interval=4, checkpoint_interval=8):
    return Schedule(num_updates, 10, logging_interval, checkpoint_interval)


def run(folder, population, plan, listener, state=None, **judge):
    with checkpoint.Writer(folder / "checkpoints", {}, num_latest=99) as writer:
        state = population.init() if state is None else state
        return loop.train(population, state, plan, writer, [listener], **judge)


def test_every_update_is_logged_and_the_host_is_visited_once_an_interval(tmp_path):
    listener, learner = Listener(), Walk()
    state = run(tmp_path, Population(learner, 0, 1), schedule(10), listener)
    assert [row["update"] for row in listener.rows] == list(range(1, 11))
    assert [row["utility"] for row in listener.rows] == [-k for k in range(1, 11)]
    assert [row["agent_rounds"] for row in listener.rows] == [10 * k for k in range(1, 11)]
    assert [progress.update for progress in listener.progress] == [4, 8, 10]
    assert listener.progress[1].utility == -6.5
    assert int(state.num_updates) == 10


def test_an_interval_cut_short_runs_the_same_program_and_the_update_is_traced_once(tmp_path):
    for length in (8, 11):
        learner = Walk()
        run(tmp_path / str(length), Population(learner, 0, 1), schedule(length), Listener())
        assert learner.traces == 1


def test_the_loop_makes_the_updates_that_calling_update_makes(tmp_path):
    population = Population(Walk(), 3, 1)
    state = run(tmp_path, population, schedule(9), Listener())
    expected = population.init()
    for _ in range(9):
        expected, _ = jax.jit(population.learner.update)(expected)
    np.testing.assert_array_equal(state.weights, expected.weights)


def test_checkpoints_are_saved_at_the_first_visit_after_each_interval_and_at_the_end(tmp_path):
    run(tmp_path, Population(Walk(), 0, 1), schedule(19, logging_interval=4, checkpoint_interval=6), Listener())
    assert checkpoint.steps(tmp_path / "checkpoints") == [8, 12, 19]


@pytest.mark.parametrize("num_seeds", [1, 2])
def test_each_checkpoint_is_scored_in_episodes_held_out_and_loggers_are_told(tmp_path, num_seeds):
    def held_out(variables):
        weights = np.asarray(variables["weights"]).reshape(num_seeds, -1)
        return [{"utility": float(each[0]), "response_time": 2.0} for each in weights]

    listener = Listener()
    run(tmp_path, Population(Walk(), 4, num_seeds), schedule(12), listener, held_out=held_out)
    assert [(row["update"], row["seed"]) for row in listener.judged] == [
        (u, s) for u in (8, 12) for s in range(num_seeds)
    ]
    assert [row["agent_rounds"] for row in listener.judged[::num_seeds]] == [80, 120]
    for step in (8, 12):
        scores = [row["utility"] for row in listener.judged if row["update"] == step]
        assert checkpoint.read_about(tmp_path, step)["utility"] == np.mean(scores)


def test_where_nothing_is_held_out_training_scores_a_checkpoint(tmp_path):
    run(tmp_path / "none", Population(Walk(), 0, 1), schedule(8), Listener())
    unknown = lambda variables: [{"utility": math.nan}]  # noqa: E731
    run(tmp_path / "unknown", Population(Walk(), 0, 1), schedule(8), Listener(), held_out=unknown)
    assert [checkpoint.read_about(tmp_path / name)["utility"] for name in ("none", "unknown")] == [-6.5, -6.5]


def test_seeds_train_side_by_side_and_are_logged_apart(tmp_path):
    listener = Listener()
    state = run(tmp_path, Population(Walk(), 5, 3), schedule(4), listener)
    assert [(row["update"], row["seed"]) for row in listener.rows] == [(u, s) for u in range(1, 5) for s in range(3)]
    assert len({row["loss"] for row in listener.rows}) == 12
    assert state.weights.shape == (3, 3)
    restored = checkpoint.restore_state(tmp_path, Population(Walk(), 5, 3).template())[1]
    np.testing.assert_array_equal(restored.weights, state.weights)


@pytest.mark.parametrize("num_seeds", [1, 2])
def test_a_run_that_is_cut_anywhere_and_resumed_ends_as_one_that_is_not(tmp_path, num_seeds):
    population = Population(Walk(), 1, num_seeds)
    whole = run(tmp_path / "whole", population, schedule(21), Listener())
    run(tmp_path / "cut", population, schedule(10), Listener())
    step, state = checkpoint.restore_state(tmp_path / "cut", population.template())
    listener = Listener()
    resumed = run(tmp_path / "cut", population, schedule(21), listener, state)
    assert (step, listener.rows[0]["update"]) == (10, 11)
    assert [progress.update for progress in listener.progress] == [12, 16, 20, 21]
    np.testing.assert_array_equal(resumed.weights, whole.weights)
    np.testing.assert_array_equal(jax.random.key_data(resumed.key), jax.random.key_data(whole.key))


def test_nan_stops_training_names_the_update_and_keeps_the_last_good_checkpoint(tmp_path):
    listener = Listener()
    with pytest.raises(DivergedError, match=r"stopped at update 14: loss is nan \(and grad_norm with it\)"):
        run(tmp_path, Population(Walk(poison=14), 0, 1), schedule(40), listener)
    assert checkpoint.steps(tmp_path / "checkpoints") == [8]
    assert listener.progress[-1].update == 16
    state = checkpoint.restore_state(tmp_path, Population(Walk(), 0, 1).template())[1]
    assert np.isfinite(state.weights).all()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_training_after_the_interval_with_a_checkpoint(tmp_path, number, capfd):
    before = signal.getsignal(number)

    def strike(progress):
        if progress.update == 12:
            os.kill(os.getpid(), number)

    with pytest.raises(StoppedError, match=f"{number.name} after update 12") as stopped:
        run(tmp_path, Population(Walk(), 0, 1), schedule(40), Listener(strike))
    assert stopped.value.signal_number == number
    assert checkpoint.steps(tmp_path / "checkpoints") == [8, 12]
    assert signal.getsignal(number) is before
    assert f"{number.name}: stopping after this interval" in capfd.readouterr().err


class Late:
    """Signals of which one comes just after the loop has asked for the `visits`-th time."""

    def __init__(self, visits):
        self.visits = visits

    def asked(self):
        self.visits -= 1
        return None if self.visits >= 0 else signal.SIGTERM


@pytest.mark.parametrize("visits", range(1, 5))
def test_whenever_a_signal_comes_the_update_that_it_stops_after_is_saved(tmp_path, visits):
    with pytest.raises(StoppedError, match=f"after update {4 * visits}") as stopped:
        run(tmp_path, Population(Walk(), 0, 1), schedule(40), Listener(), signals=Late(visits))
    assert stopped.value.signal_number == signal.SIGTERM
    assert checkpoint.steps(tmp_path / "checkpoints")[-1] == 4 * visits


def test_a_signal_that_comes_while_the_program_is_compiled_stops_before_the_first_update(tmp_path):
    listener = Listener()
    with pytest.raises(StoppedError, match="after update 0"):
        run(tmp_path, Population(Walk(), 0, 1), schedule(40), listener, signals=Late(0))
    assert (listener.rows, checkpoint.steps(tmp_path / "checkpoints")) == ([], [])
