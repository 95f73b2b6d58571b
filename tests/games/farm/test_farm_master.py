"""The master in plain Python keeps the same books as the game's state, over random farms with churn and returns."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

import jaxdlb
from jaxdlb.games.farm import Farm
from jaxdlb.games.farm.master import Chunk, Master
from jaxdlb.recording import record

STEPS = 300
GAME = Farm(num_workers=4, objective="idle")


def farm(seed, **fields):
    """A random farm in which workers come, go, and lose what they have in hand."""
    random = np.random.default_rng(seed)
    return GAME.default_params(
        job=int(random.integers(200, 2000)),
        comm_time=random.uniform(0, 0.5),
        comm_per_task=random.uniform(0, 0.05),
        latency=random.uniform(0, 0.3, 4),
        speed=random.uniform(0.5, 5, 4),
        failure_rate=random.uniform(0, 0.1, 4) * random.integers(0, 2),
        rejoin_rate=random.uniform(0.05, 0.5, 4),
        join_time=np.append(0, random.uniform(0, 10, 3) * random.integers(0, 2, 3)),
        selfishness=random.uniform(0, 1),
        **fields,
    )


@dataclasses.dataclass(frozen=True)
class Wide:
    """Any choice that is legal, a few illegal ones, and codes that name a number of tasks."""

    name, kind = "wide", "heuristic"

    def init(self, game):
        return ()

    def act(self, key, carry, observation, params):
        which, choice, number = jax.random.split(key, 3)
        legal = jaxdlb.heuristic("random", game="farm").act(choice, (), observation, params)[1]
        other = jax.random.randint(number, legal.shape, -2, 60)
        return (), jax.numpy.where(jax.random.uniform(which, legal.shape) < 0.5, legal, other)


@functools.cache
def recorded(seed):
    return record(GAME, Wide(), farm(seed), jax.random.key(seed), STEPS)


def num_steps(played):
    """Those of a recording until the job is over."""
    over = played.states.over
    return int(np.argmax(over)) if over[-1] else played.num_rounds


def entry(tree, step):
    return jax.tree.map(lambda leaf: leaf[step], tree)


class Replay:
    """The events of a recording, told to a master; `play(step)` tells it of the step that follows upon a state."""

    def __init__(self, played):
        self.played, self.states = played, played.states
        self.master, self.now = Master(GAME, played.params), 0.0
        for worker in np.flatnonzero(self.states.phase[0] != 0):
            self.master.join(int(worker), 0.0)
        self.decider = self.master.serve(0.0)
        self.handed, self.expected = [], []

    def play(self, step):
        before, after = entry(self.states, step), entry(self.states, step + 1)
        metrics = {name: each[step] for name, each in self.played.timesteps.metrics.items()}
        assert (GAME.num_workers if self.decider is None else self.decider) == before.decider
        if self.decider is not None:
            chunk = self.master.decide(int(self.played.actions[step, self.decider]), self.now)
            size = before.remaining + metrics["tasks_returned"] - after.remaining
            self.handed.append(chunk)
            self.expected.append(Chunk(int(after.chunk_start[self.decider]), int(size)) if size else None)
        self.now += float(metrics["time"])
        back = np.flatnonzero(after.chunks_done > before.chunks_done)
        for worker in sorted(back, key=lambda each: (-after.waited[each], each)):
            at = self.now - float(after.waited[worker])
            self.master.finish(int(worker), float(after.last_time[worker]), at)
        for worker in np.flatnonzero(after.changes > before.changes):
            (self.master.join if after.phase[worker] else self.master.fail)(int(worker), self.now)
        self.decider = self.master.serve(self.now) if after.decider < GAME.num_workers else None
        return after, metrics


@pytest.mark.parametrize("seed", range(8))
def test_it_keeps_the_books_of_the_game(seed):
    played = recorded(seed)
    replay = Replay(played)
    assert not replay.master.over
    steps = num_steps(played)
    for step in range(steps):
        after, metrics = replay.play(step)
        seen = entry(played.timesteps.observation, step)
        np.testing.assert_allclose(replay.master.rows(replay.now), seen.own, rtol=2e-5, atol=2e-4)
        np.testing.assert_array_equal(replay.master.legal(), seen.legal)
        assert replay.master.over == after.over
        assert replay.master.tasks_done == played.params.job - metrics["remaining"] - metrics["outstanding"]
    assert replay.handed == replay.expected
    assert len(replay.handed) > 5


@pytest.mark.parametrize("seed", range(8))
def test_what_it_counts_is_what_the_metrics_count(seed):
    played = recorded(seed)
    replay = Replay(played)
    steps = num_steps(played)
    for step in range(steps):
        replay.play(step)
    master, sums = replay.master, {name: each[:steps].sum() for name, each in played.timesteps.metrics.items()}
    counted = {name: getattr(master, name) for name in ("chunks", "declines", "failures", "tasks_returned")}
    assert counted == {name: sums[name] for name in counted}
    np.testing.assert_allclose(master.idle_time(replay.now).sum(), sums["idle_time"], rtol=1e-4, atol=1e-3)
    if not sums["failures"] and master.over:  # else what a chunk that was lost took of the time is not known
        np.testing.assert_allclose(master.compute_time.sum(), sums["compute_time"], rtol=1e-4)
        np.testing.assert_allclose(master.comm_time.sum(), sums["comm_time"], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("objective", ["makespan", "idle"])
def test_rewards_of_a_job_are_those_of_the_game(objective):
    """Step by step where they are minus the time that passed, in sum where they are the time that workers lost."""
    game = dataclasses.replace(GAME, objective=objective)
    params = farm(3, drift=0.0).replace(failure_rate=jax.numpy.zeros(4))
    played = record(game, Wide(), params, jax.random.key(1), STEPS)
    replay = Replay(played)
    replay.master = Master(game, params)
    for worker in np.flatnonzero(played.states.phase[0] != 0):
        replay.master.join(int(worker), 0.0)
    replay.decider = replay.master.serve(0.0)
    steps = num_steps(played)
    assert played.states.over[-1]
    told = [replay.master.rewards(replay.now) for step in range(steps) if replay.play(step)]
    if objective == "makespan":
        np.testing.assert_allclose(told, played.timesteps.reward[:steps], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(np.sum(told, 0), played.timesteps.reward.sum(0), rtol=1e-4)


def test_a_worker_that_is_not_known_is_not_measured():
    master = Master(GAME, GAME.default_params(job=10))
    master.join(0, 0.0)
    master.serve(0.0)
    assert master.decide(1, 0.0) == Chunk(0, 1)
    master.finish(0, 2.0, 2.5)
    assert master.rows(2.5)[0, [9, 10, 13, 14]].tolist() == [1, 0.5, 1, 2]
    master.fail(0, 3.0)
    master.join(0, 4.0, known=False)
    assert master.rows(4.0)[0, [9, 10, 13, 14]].tolist() == [0, 1, 0, 0]
