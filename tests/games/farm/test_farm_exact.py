"""Exact optima of small farms: against a recursion in exact fractions, and against what rules reach."""

import functools
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdlb
from jaxdlb import evaluation
from jaxdlb.games import GAMES
from jaxdlb.games.farm.bound import makespan_bound
from jaxdlb.theory import deterministic

ENTRY = GAMES["farm"]
ROWS = [  # speeds, J, c; optimum, the same if nobody may decline, bound; states and moves that there are
    ((2,), 10, 0.5, 5.5, 5.5, 5.5, 10, 55),
    ((1, 3), 12, 0.5, 4, 4, 3.625, 477, 1891),
    ((1, 4), 20, 0.25, 4.5, 4.5, 4.3, 709, 5102),
    ((1, 8), 9, 0.125, 1.25, 1.25, 1.1389, 98, 369),
    ((1, 2, 4), 14, 0.25, 2.75, 2.75, 2.3929, 2382, 10375),
    ((1, 0.125, 1), 8, 0.125, 4.25, 8.125, 3.9632, 343, 1070),
]


def episode_of(speeds, job, comm_time, objective="makespan", **further):
    game = jaxdlb.make("farm", num_workers=len(speeds), task_law="deterministic", objective=objective)
    speeds = np.array(speeds, float)
    return ENTRY.episode(game, game.default_params(speed=speeds, job=job, comm_time=comm_time, drift=0, **further))


def bound_of(episode):
    """T_b: in sum, tasks cost as much as there are."""
    return float(makespan_bound(episode.params, jnp.float32(episode.params.job)))


@pytest.mark.parametrize(("speeds", "job", "comm_time", "best", "taking", "bound", "num_states", "num_moves"), ROWS)
def test_the_table_of_optima(speeds, job, comm_time, best, taking, bound, num_states, num_moves):
    episode = episode_of(speeds, job, comm_time)
    moves = deterministic.explore(episode)
    assert (moves.num_states, moves.num_moves) == (num_states, num_moves)
    optimum = deterministic.optimum(moves)
    assert optimum.elapsed == pytest.approx(best, rel=1e-6)
    assert optimum.value == pytest.approx(-best * sum(speeds) / job, rel=1e-6)
    assert deterministic.optimum(moves, without=(0,)).elapsed == pytest.approx(taking, rel=1e-6)
    of_agents = deterministic.optimum(moves, without=episode.restricted["choices of agents alone"])
    assert of_agents.elapsed == pytest.approx(best, rel=1e-6)
    assert of_agents.choices.max() < episode.game.num_sizes
    assert bound_of(episode) == pytest.approx(bound, abs=5e-5)


def shortest(speeds, job, comm_time, comm_per_task, latency, objective):
    """The least makespan, or time that workers lose in the mean, in exact fractions: the rules of the game once more.

    What is left, who waits, and of each busy worker when its chunk reaches it, is computed, and is back.
    """
    num_workers = len(speeds)

    def spent(elapsed, busy):
        if objective == "makespan":
            return elapsed
        computing = (min(done, elapsed) - min(max(begins, 0), elapsed) for _, begins, done, _ in busy)
        return elapsed - sum(max(each, 0) for each in computing) / num_workers

    @functools.cache
    def best(left, queue, busy):
        worker, *others = queue
        results = [after(left, others, busy, Fraction(0))] if busy else []
        for tasks in range(1, left + 1):
            held = comm_time + comm_per_task * tasks
            begins = held + latency[worker]
            done = begins + tasks / speeds[worker]
            chunk = (worker, begins, done, done + latency[worker])
            results.append(after(left - tasks, others, (*busy, chunk), held))
        return min(results)

    def after(left, queue, busy, held):
        if not left:
            return spent(max(each[-1] for each in busy), busy)
        elapsed = max(held, 0 if queue else min(each[-1] for each in busy))
        later = [(worker, *(at - elapsed for at in times)) for worker, *times in busy]
        back = sorted((each[-1], each[0]) for each in later if each[-1] <= 0)
        still = tuple(sorted(each for each in later if each[-1] > 0))
        return spent(elapsed, busy) + best(left, (*queue, *(worker for _, worker in back)), still)

    return best(job, tuple(range(num_workers)), ())


def drawn(random):
    """A farm of two workers, all of whose times are dyadic, so that float32 has them exactly."""
    return {
        "speeds": [Fraction(2 ** int(random.integers(0, 4)), 2) for _ in range(2)],
        "job": int(random.integers(4, 9)),
        "comm_time": Fraction(int(random.integers(0, 5)), 8),
        "comm_per_task": Fraction(int(random.integers(0, 3)), 16),
        "latency": [Fraction(int(random.integers(0, 3)), 8) for _ in range(2)],
    }


@pytest.mark.parametrize("objective", ["makespan", "idle"])
def test_optima_of_random_farms_are_those_of_exact_fractions(objective):
    random = np.random.default_rng(3)
    for _ in range(8):
        farm = drawn(random)
        plain = {name: np.array(value, float) for name, value in farm.items()} | {"job": farm["job"]}
        episode = episode_of(plain.pop("speeds"), plain.pop("job"), plain.pop("comm_time"), objective, **plain)
        found = deterministic.solve(episode)
        ideal = farm["job"] / sum(farm["speeds"])
        exact = float(shortest(**farm, objective=objective) / ideal)
        assert found.value == pytest.approx(-exact, rel=1e-5), farm
        assert found.elapsed >= bound_of(episode) * (1 - 1e-6)


def test_in_a_comparison_the_optimal_sequence_is_best_and_closes_the_gap():
    episode = episode_of((1, 3), 12, 0.5)
    best = deterministic.solve(episode)
    rules = [ENTRY.heuristics[name].make() for name in ("static", "guided")]
    result = evaluation.compare(
        episode.game,
        [best.policy(), *rules],
        lambda key: episode.params,
        jax.random.key(0),
        num_episodes=8,
        num_rounds=100,
        warmup=0,
        baseline=ENTRY.baseline,
    )
    first, *others = result.results
    assert (first.name, first.kind) == ("optimum", "optimal")
    assert first.columns["makespan"].mean == pytest.approx(4, rel=1e-6)
    assert all(np.all(result.samples[each.name]["makespan"] >= 4 - 1e-5) for each in others)
    assert result.best_heuristic in ENTRY.heuristics
    assert (result.gap.baseline, result.gap.optimum) == ("static", "optimum")
    assert (result.gap.closed["static"].mean, result.gap.closed["optimum"].mean) == (0, 100)


REFUSED = {
    "noise is 1; it must be 0, or task_law 'deterministic', for an exact solution": ({"task_law": "exponential"}, {}),
    "drift is 0.3; it must be 0 for": ({}, {"drift": 0.3}),
    r"failure_rate is \[0, 0.5\]; it must be 0 for": ({}, {"failure_rate": np.array([0, 0.5]), "rejoin_rate": 1}),
    r"join_time is \[0, 2\]; it must be 0 for": ({}, {"join_time": np.array([0.0, 2.0])}),
    "job is 10,000; it must be at most 200 for": ({}, {"job": 10_000}),
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_what_is_left_to_chance_is_refused_in_a_sentence(sentence):
    sizes, fields = REFUSED[sentence]
    game = jaxdlb.make("farm", **{"num_workers": 2, "task_law": "deterministic"} | sizes)
    with pytest.raises(ValueError, match=sentence):
        ENTRY.episode(game, game.default_params(**{"drift": 0.0} | fields))


def test_without_noise_any_law_of_costs_will_do():
    game = jaxdlb.make("farm", num_workers=2, task_law="exponential")
    assert ENTRY.episode(game, game.default_params(drift=0, noise=0, job=12)).game is game
