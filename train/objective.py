"""What the runs of a sweep are compared by: one number of each, named by `objective`."""

import dataclasses
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxdlb import checkpoint, evaluation
from jaxdlb.checks import did_you_mean
from jaxdlb.game import Column

from .build import Scenario
from .loggers import Row, metrics_file

DIRECTIONS = ("maximize", "minimize")
LAST = 0.1  # the share of updates, at the end, that a metric of training is averaged over
_HIGHER_IS_BETTER = ("utility", "reward")  # of what no verdict is declared for


@dataclasses.dataclass(frozen=True)
class Objective:
    """A column or a metric of a run, and which way it is better."""

    source: str  # evaluation, held_out or training
    column: str
    direction: str  # one of DIRECTIONS

    @property
    def name(self) -> str:
        """As the config names it."""
        return f"{self.source}.{self.column}"


def of(settings: Any, scenario: Scenario, population: Any) -> Objective:
    """The objective that the settings name or, where they name none, the utility of what judges the run last.

    `population` is what is trained: its `update` says which metrics there are.

    Raises:
        ValueError: an objective that the run will not have, an unknown direction, or none where nothing says which way
            the objective is better.
    """
    sources = _sources(settings, scenario)
    if settings.objective is None:  # every run has a utility in each of its sources
        return Objective(sources[0], "utility", _direction(settings.direction, "utility", scenario.game.columns))
    name = settings.objective
    source, _, column = name.partition(".")
    if source not in sources:
        raise ValueError(f"objective is {name!r}; it must begin with {_listed(sources)} in this run{_why_not(source)}")
    known = _metrics(population) if source == "training" else scenario.game.columns
    if column not in known:
        raise ValueError(
            f"objective is {name!r}; after {source}. it must be one of {', '.join(known)}{did_you_mean(column, known)}"
        )
    return Objective(source, column, _direction(settings.direction, column, scenario.game.columns))


def value(folder: Path, objective: Objective) -> float:
    """The objective of a run that has ended: a mean over its training seeds; NaN if there is nothing to take it of."""
    if objective.source == "evaluation":
        read = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
        return float(evaluation.from_json(read).learned[0].columns[objective.column].mean)
    if objective.source == "held_out":
        best = checkpoint.best_step(folder / checkpoint.FOLDER)
        rows = [row for row in metrics_file.read(folder, metrics_file.HELD_OUT) if row["update"] == best]
    else:
        rows = _last(metrics_file.read(folder))
    return float(np.mean([row[objective.column] for row in rows])) if rows else float("nan")


def _sources(settings: Any, scenario: Scenario) -> list[str]:
    """Where this run will have numbers, what judges it last first."""
    held_out = settings.evaluation.held_out_episodes != 0
    evaluated = settings.evaluation.enabled and settings.across.over is None
    there = {"evaluation": evaluated, "held_out": held_out, "training": True}
    return [name for name, is_there in there.items() if is_there]


def _metrics(population: Any) -> Collection[str]:
    return jax.eval_shape(population.update, population.template())[1]


def _direction(given: str | None, column: str, columns: Mapping[str, Column]) -> str:
    if given is not None:
        if given not in DIRECTIONS:
            raise ValueError(f"direction is {given!r}; it must be {_listed(DIRECTIONS)}")
        return given
    verdict = columns[column].verdict if column in columns else None
    if verdict is None and column not in _HIGHER_IS_BETTER:
        raise ValueError(f"direction is not given; it must be {_listed(DIRECTIONS)}, since nothing says it of {column}")
    return "minimize" if verdict is not None and verdict.lower_is_better else "maximize"


def _last(rows: list[Row]) -> list[Row]:
    """The rows of the last tenth of the updates, and of one at least."""
    newest = max((row["update"] for row in rows), default=0)
    return [row for row in rows if row["update"] > min(newest * (1 - LAST), newest - 1)]


def _why_not(source: str) -> str:
    return {
        "evaluation": ", since evaluation.enabled is false",
        "held_out": ", since evaluation.held_out_episodes is 0",
    }.get(source, "")


def _listed(names: Collection[str]) -> str:
    return " or ".join(names)
