"""What an evaluation says of many policies, and its JSON."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from jaxdlb.evaluation.statistics import Estimate

# Column: its header, with the unit, and what it says.
COLUMNS: Mapping[str, tuple[str, str]] = {
    "utility": ("utility", "mean over nodes and rounds; 0 is a perfectly balanced cluster at no cost"),
    "imbalance": (
        "imbalance",
        "of the nodes' drain times: their variance in rounds², or as the game is set, in rounds",
    ),
    "response_time": ("response time, rounds", "from a task's arrival to its completion, by Little's law"),
    "queue_length": ("queue length, tasks", "tasks that a node holds, the one in service included"),
    "migrations_per_arrival": ("migrations per arrival", "arrived tasks sent to another node"),
    "steal_requests_per_completion": ("steal requests per completion", "granted or not"),
    "drops": ("drops per round", "tasks dropped at full nodes, in the whole cluster"),
}


@dataclasses.dataclass(frozen=True)
class PolicyResult:
    """How one policy did."""

    name: str
    kind: str  # heuristic; oracle, which sees the true state; learned
    columns: Mapping[str, Estimate]
    difference: Estimate  # its utility minus the best heuristic's in the same episodes


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """How many policies did in the same episodes, the best utility first."""

    results: tuple[PolicyResult, ...]
    best_heuristic: str  # the name of the one with the best mean utility; oracles are out of the contest
    num_episodes: int
    num_rounds: int
    warmup: int
    settings: Mapping[str, Any]

    @property
    def best(self) -> PolicyResult:
        """The best heuristic's result."""
        return next(result for result in self.results if result.name == self.best_heuristic)


def to_json(evaluation: Evaluation) -> dict[str, Any]:
    """The evaluation as JSON can hold it; what is NaN becomes null."""

    def plain(value: Estimate) -> dict[str, float | None]:
        return {end: None if math.isnan(x) else x for end, x in dataclasses.asdict(value).items()}

    results = [
        {
            "name": result.name,
            "kind": result.kind,
            "columns": {name: plain(value) for name, value in result.columns.items()},
            "difference": plain(result.difference),
        }
        for result in evaluation.results
    ]
    fields = {field.name: getattr(evaluation, field.name) for field in dataclasses.fields(evaluation)}
    return fields | {"results": results, "settings": dict(evaluation.settings)}


def from_json(data: Mapping[str, Any]) -> Evaluation:
    """The evaluation that `to_json` wrote.

    Raises:
        ValueError: something else.
    """

    def restored(ends: Mapping[str, float | None]) -> Estimate:
        return Estimate(**{end: math.nan if x is None else float(x) for end, x in ends.items()})

    try:
        results = tuple(
            PolicyResult(
                name=result["name"],
                kind=result["kind"],
                columns={name: restored(ends) for name, ends in result["columns"].items()},
                difference=restored(result["difference"]),
            )
            for result in data["results"]
        )
        return Evaluation(**{**data, "results": results})
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"evaluation is not what to_json writes: {type(error).__name__}: {error}") from None
