"""Algorithms over tasks and training seeds: scores beside yardsticks, aggregates, and how likely one is better.

Every task has yardsticks, policies that played the same episodes: `one` scores 1, and `zero`, where there is one, 0.
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from jaxdlb.evaluation import aggregates
from jaxdlb.evaluation.aggregates import AGGREGATES
from jaxdlb.evaluation.statistics import Estimate

NUM_LEVELS = 101  # at which a profile is known
_SEED = 0


@dataclasses.dataclass(frozen=True)
class Task:
    """One column of what every algorithm did in one task, in the same E episodes."""

    name: str
    samples: Mapping[str, Float[np.ndarray, "S E"]]  # by algorithm, of S training seeds
    one: tuple[str, Float[np.ndarray, " E"]]  # the policy that scores 1
    zero: tuple[str, Float[np.ndarray, " E"]] | None = None  # the policy that scores 0; None: scores are ratios
    lower_is_better: bool = False


@dataclasses.dataclass(frozen=True)
class Standing:
    """How an algorithm did over all tasks."""

    scores: Float[np.ndarray, "S T"]
    aggregates: Mapping[str, Estimate]  # by the names of `AGGREGATES`
    profile: Float[np.ndarray, " L"]  # the share of scores above each level
    band: Float[np.ndarray, "2 L"]  # the ends of its intervals


@dataclasses.dataclass(frozen=True)
class Contest:
    """How several algorithms did in the same tasks, the best interquartile mean first."""

    column: str  # its header
    tasks: tuple[Task, ...]
    levels: Float[np.ndarray, " L"]  # of scores
    standings: Mapping[str, Standing]  # by algorithm
    improvements: Mapping[tuple[str, str], Estimate]  # of ordered pairs: how likely the first is better
    resamples: int


def contest(column: str, tasks: Sequence[Task], resamples: int) -> Contest:
    """Score the algorithms in all tasks and aggregate, with 95% intervals by `resamples` resamples.

    The bootstrap is stratified: in each resample every task keeps its numbers of seeds and of episodes, and draws both
    with replacement, the seeds of each algorithm for itself and the episodes for all algorithms and yardsticks alike,
    since all have played them.

    Raises:
        ValueError: no tasks, not the same algorithms in all, not as many seeds of one in all, a yardstick that cannot
            be divided by, or resamples that are no positive number.
    """
    _check(tasks, resamples)
    random = np.random.default_rng(_SEED)
    found = {name: _table([scores_of(task)[name] for task in tasks]) for name in tasks[0].samples}
    drawn_by_task = [_resampled(task, random, resamples) for task in tasks]
    drawn = {name: _table([each[name] for each in drawn_by_task]) for name in found}
    ranked = sorted(found, key=lambda name: -aggregates.interquartile_mean(found[name]))
    everything = np.concatenate([scores.ravel() for scores in found.values()])
    levels = np.linspace(min(0.0, everything.min()), max(1.0, everything.max()) * 1.05, NUM_LEVELS)
    return Contest(
        column=column,
        tasks=tuple(tasks),
        levels=levels,
        standings={name: _standing(found[name], drawn[name], levels) for name in ranked},
        improvements={
            (ours, theirs): aggregates.interval(
                aggregates.probability_of_improvement(found[ours], found[theirs]),
                aggregates.probability_of_improvement(drawn[ours], drawn[theirs]),
            )
            for ours, theirs in itertools.permutations(ranked, 2)
        },
        resamples=resamples,
    )


def scores_of(task: Task) -> dict[str, Float[np.ndarray, " S"]]:
    """Each algorithm's scores in a task, one for each training seed.

    Raises:
        ValueError: scores cannot be had by the task's yardsticks.
    """
    everything = np.full((1, task.one[1].shape[0]), 1 / task.one[1].shape[0])
    return {name: scores[0] for name, scores in _scored(task, everything).items()}


def _scored(task: Task, episodes: Float[np.ndarray, "R E"]) -> dict[str, Float[np.ndarray, "R S"]]:
    """The scores by the episodes of each resample.

    With a `zero`, (x − zero)/(one − zero). Without, the ratio to `one` that is above 1 where x is better: of gains
    x/one, and of costs one/x, be they written as costs or, like a negative utility, as what they take away.
    """
    own = {name: aggregates.means(samples, episodes) for name, samples in task.samples.items()}
    one = aggregates.means(task.one[1][None], episodes)
    if task.zero is not None:
        zero = aggregates.means(task.zero[1][None], episodes)
        return {name: (values - zero) / (one - zero) for name, values in own.items()}
    if _is_cost(task):
        return {name: one / values for name, values in own.items()}
    return {name: values / one for name, values in own.items()}


def _is_cost(task: Task) -> bool:
    """Whether a value closer to 0 is better."""
    return bool((task.one[1].mean() > 0) == task.lower_is_better)


def _resampled(task: Task, random: np.random.Generator, resamples: int) -> dict[str, Float[np.ndarray, "R S"]]:
    episodes = aggregates.resampled_shares(random, task.one[1].shape[0], resamples)
    return {name: aggregates.resampled_seeds(random, scores) for name, scores in _scored(task, episodes).items()}


def _table(by_task: Sequence[Float[np.ndarray, "*R S"]]) -> Float[np.ndarray, "*R S T"]:
    return np.stack(by_task, axis=-1)


def _standing(
    found: Float[np.ndarray, "S T"], drawn: Float[np.ndarray, "R S T"], levels: Float[np.ndarray, " L"]
) -> Standing:
    return Standing(
        scores=found,
        aggregates={name: aggregates.interval(of(found), of(drawn)) for name, of in AGGREGATES.items()},
        profile=aggregates.profile(found, levels),
        band=aggregates.ends(aggregates.profile(drawn, levels)),
    )


def _check(tasks: Sequence[Task], resamples: int) -> None:
    if resamples < 1:
        raise ValueError(f"resamples is {resamples}; it must be an integer ≥ 1")
    if not tasks:
        raise ValueError("tasks is empty; there must be at least one")
    everyone = list(dict.fromkeys(name for task in tasks for name in task.samples))
    for task in tasks:
        for name in everyone:
            _check_seeds(name, task, tasks)
        _check_yardsticks(task)


def _check_seeds(name: str, task: Task, tasks: Sequence[Task]) -> None:
    if name not in task.samples:
        raise ValueError(f"{name} has no run of {task.name}; every algorithm must have runs of every task")
    first, count = len(tasks[0].samples.get(name, ())), len(task.samples[name])
    if tasks[0].samples.get(name) is not None and count != first:
        raise ValueError(
            f"{name} has {count} training seeds of {task.name} and {first} of {tasks[0].name}; it must have equally "
            "many of every task"
        )


def _check_yardsticks(task: Task) -> None:
    """Raise ValueError unless every score is a finite number, and a better value has a higher one."""
    own = [(name, float(each.mean())) for name, samples in task.samples.items() for each in samples]
    yardsticks = [(name, float(each.mean())) for name, each in filter(None, (task.one, task.zero))]
    for name, value in (*own, *yardsticks):
        if not np.isfinite(value):
            raise ValueError(f"{name} has no number in some episodes of {task.name}; a score needs one in all")
    if task.zero is None:
        _check_ratios(task, own, *yardsticks[0])
    else:
        _check_order(task, *yardsticks)


def _check_ratios(task: Task, own: Sequence[tuple[str, float]], yardstick: str, one: float) -> None:
    for name, value in own:
        if not value * one > 0:
            raise ValueError(
                f"{name} has {value:.4g} in {task.name}, and {yardstick}, which scores 1, {one:.4g}; as scores are "
                "ratios, both must be on the same side of 0 (zero=… names a policy that scores 0 instead)"
            )


def _check_order(task: Task, one: tuple[str, float], zero: tuple[str, float]) -> None:
    if not (zero[1] > one[1] if task.lower_is_better else zero[1] < one[1]):
        raise ValueError(
            f"zero is {zero[0]}, which has {zero[1]:.4g} in {task.name}; it must be worse than {one[0]}, which scores "
            f"1 and has {one[1]:.4g}"
        )
