"""The JSON that marl-eval reads, in the layout of Gorsane et al. (2022), "Towards a standardised performance evaluation
protocol for cooperative MARL": environment, task, algorithm, run, step.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Metrics = Mapping[str, Sequence[float]]  # by name: a number for each episode, or their mean alone


@dataclasses.dataclass(frozen=True)
class Run:
    """One training seed of an algorithm in a task."""

    steps: Mapping[int, Metrics]  # by agent-rounds of training so far: how the policy of that time did
    absolute: Metrics  # how the best policy of the run did at the end
    agent_rounds: int  # of training in all


Runs = Mapping[tuple[str, str], Mapping[str, Sequence[Run]]]  # by environment and task, then by algorithm


def to_marl_eval(runs: Runs) -> dict[str, Any]:
    """The runs in marl-eval's layout, which wants as many runs and steps everywhere, and the same metrics.

    So there are the first runs of each algorithm in each task, as many as the fewest are; the steps that all have at
    the same agent-rounds or, where there are none, the end alone; and the metrics that are numbers throughout. Names of
    environments and tasks are in small letters, since marl-eval looks them up so, and commas in names of algorithms,
    which it refuses, are semicolons.
    """
    fewest = fewest_runs(runs)
    kept = {place: {name: each[:fewest] for name, each in own.items()} for place, own in runs.items()}
    everyone = [run for own in kept.values() for each in own.values() for run in each]
    shared = sorted(set.intersection(*({*run.steps} for run in everyone)))
    metrics = _metrics(everyone, shared)
    layout: dict[str, Any] = {}
    for (environment, task), own in kept.items():
        layout.setdefault(environment.lower(), {})[task.lower()] = {
            name.replace(",", ";"): {f"seed_{seed}": _laid_out(run, shared, metrics) for seed, run in enumerate(each)}
            for name, each in own.items()
        }
    return layout


def fewest_runs(runs: Runs) -> int:
    """The number of runs that every algorithm has in every task."""
    return min(len(each) for own in runs.values() for each in own.values())


def _metrics(runs: Iterable[Run], shared: Sequence[int]) -> list[str]:
    """The metrics that are finite numbers in every run, at every step that all share and at the end."""
    told = [metrics for run in runs for metrics in (run.absolute, *(run.steps[step] for step in shared))]
    return [
        name for name in told[0] if all(map(math.isfinite, (x for each in told for x in each.get(name, [math.nan]))))
    ]


def _laid_out(run: Run, shared: Sequence[int], metrics: Sequence[str]) -> dict[str, Any]:
    steps = {step: run.steps[step] for step in shared} or {run.agent_rounds: run.absolute}
    laid_out: dict[str, Any] = {
        f"step_{number}": {"step_count": step, **_plain(own, metrics)}
        for number, (step, own) in enumerate(steps.items(), start=1)
    }
    return laid_out | {"absolute_metrics": _plain(run.absolute, metrics)}


def _plain(own: Metrics, metrics: Sequence[str]) -> dict[str, list[float]]:
    return {name: [float(value) for value in own[name]] for name in metrics}
