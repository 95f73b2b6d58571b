"""The results of an evaluation, and their JSON form."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from jaxdlb.evaluation.statistics import Estimate
from jaxdlb.game import Verdict


@dataclasses.dataclass(frozen=True)
class PolicyResult:
    """How one policy did."""

    name: str
    kind: str  # one of `policies.KINDS`
    columns: Mapping[str, Estimate]
    differences: Mapping[str, Estimate]  # of the utility and what else is judged: its own minus the best heuristic's


@dataclasses.dataclass(frozen=True)
class BoundResult:
    """What no policy's mean in a column is below or, if not `is_least`, above."""

    of: str  # whose mean it is
    binds: str  # which policies it binds, as in "that drops no task"; "" for all
    is_least: bool
    value: Estimate


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """How several policies did in the same episodes, best utility first."""

    results: tuple[PolicyResult, ...]
    best_heuristic: str  # the name of the heuristic with the best mean utility; oracles do not count
    columns: Mapping[str, tuple[str, str]]  # by name: the header in tables (with the unit), and the meaning
    num_episodes: int
    num_rounds: int
    warmup: int
    settings: Mapping[str, Any]
    verdicts: Mapping[str, Verdict] = dataclasses.field(default_factory=dict)  # of columns judged beside the utility
    bounds: Mapping[str, BoundResult] = dataclasses.field(default_factory=dict)  # of the columns that have one

    @property
    def best(self) -> PolicyResult:
        """The result of the best heuristic."""
        return next(result for result in self.results if result.name == self.best_heuristic)


def to_json(evaluation: Evaluation) -> dict[str, Any]:
    """The evaluation as JSON-compatible data; NaN becomes null."""

    def plain(value: Estimate) -> dict[str, float | None]:
        return {end: None if math.isnan(x) else x for end, x in dataclasses.asdict(value).items()}

    results = [
        {
            "name": result.name,
            "kind": result.kind,
            "columns": {name: plain(value) for name, value in result.columns.items()},
            "differences": {name: plain(value) for name, value in result.differences.items()},
        }
        for result in evaluation.results
    ]
    fields = {field.name: getattr(evaluation, field.name) for field in dataclasses.fields(evaluation)}
    columns = {name: list(words) for name, words in evaluation.columns.items()}
    verdicts = {name: dataclasses.asdict(verdict) for name, verdict in evaluation.verdicts.items()}
    bounds = {name: dataclasses.asdict(each) | {"value": plain(each.value)} for name, each in evaluation.bounds.items()}
    kept = {"settings": dict(evaluation.settings), "verdicts": verdicts, "bounds": bounds}
    return fields | {"results": results, "columns": columns} | kept


def from_json(data: Mapping[str, Any]) -> Evaluation:
    """The evaluation from which `to_json` made `data`.

    Raises:
        ValueError: `data` was not made by `to_json`.
    """

    def restored(ends: Mapping[str, float | None]) -> Estimate:
        return Estimate(**{end: math.nan if x is None else float(x) for end, x in ends.items()})

    try:
        results = tuple(
            PolicyResult(
                name=result["name"],
                kind=result["kind"],
                columns={name: restored(ends) for name, ends in result["columns"].items()},
                differences={name: restored(ends) for name, ends in result["differences"].items()},
            )
            for result in data["results"]
        )
        columns = {name: (header, meaning) for name, (header, meaning) in data["columns"].items()}
        verdicts = {name: Verdict(**words) for name, words in data["verdicts"].items()}
        bounds = {
            name: BoundResult(**{**each, "value": restored(each["value"])}) for name, each in data["bounds"].items()
        }
        made = {"results": results, "columns": columns, "verdicts": verdicts, "bounds": bounds}
        return Evaluation(**{**data, **made})
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"evaluation is not what to_json writes: {type(error).__name__}: {error}") from None
