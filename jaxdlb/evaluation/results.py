"""The results of an evaluation, their JSON form, and the samples that they rest on as CSV."""

import csv
import dataclasses
import io
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxdlb.evaluation.rollouts import Samples
from jaxdlb.evaluation.statistics import Estimate
from jaxdlb.game import Verdict


@dataclasses.dataclass(frozen=True)
class PolicyResult:
    """How one policy did."""

    name: str
    kind: str  # one of `policies.KINDS`
    columns: Mapping[str, Estimate]
    differences: Mapping[str, Estimate]  # of the utility and what else is judged: its own minus the best heuristic's
    num_seeds: int = 1  # training seeds that the row is over, and its intervals, besides episodes
    part_of: str | None = None  # the row that speaks for this one in the conclusion
    # by column, of a row over training seeds: the interquartile mean of the seeds' means, as `aggregates.interquartile`
    interquartile: Mapping[str, Estimate] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class BoundResult:
    """What no policy's mean in a column is below or, if not `is_least`, above."""

    of: str  # whose mean it is
    binds: str  # which policies it binds, as in "that drops no task"; "" for all
    is_least: bool
    value: Estimate


@dataclasses.dataclass(frozen=True)
class Staleness:
    """What a learner loses by stale news: how it did beside the same learner, trained and played with fresh news."""

    of: str  # the row of the learner
    fresh: str  # that of the same learner with fresh news
    differences: Mapping[str, Estimate]  # of the utility and what else is judged: the former minus the latter, paired


@dataclasses.dataclass(frozen=True)
class Gap:
    """How much of the utility between a baseline and the optimum the policies gain."""

    baseline: str  # the row that it is measured from
    optimum: str  # and the row that it is measured to
    closed: Mapping[str, Estimate]  # by row: percent


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """How several policies did in the same episodes, best utility first."""

    results: tuple[PolicyResult, ...]
    best_heuristic: str | None  # with the best mean utility; oracles do not count; None where nobody is judged
    columns: Mapping[str, tuple[str, str]]  # by name: the header in tables (with the unit), and the meaning
    num_episodes: int
    num_rounds: float  # of an episode; where it is measured by time, its duration
    warmup: float
    settings: Mapping[str, Any]
    verdicts: Mapping[str, Verdict] = dataclasses.field(default_factory=dict)  # of columns judged beside the utility
    warnings: Mapping[str, str] = dataclasses.field(default_factory=dict)  # of columns that ought to be 0
    # by policy: what its row rests on, for each column float64 [num_episodes]; none where it was read from JSON
    samples: Mapping[str, Samples] = dataclasses.field(default_factory=dict, compare=False, repr=False)
    bounds: Mapping[str, BoundResult] = dataclasses.field(default_factory=dict)  # of the columns that have one
    staleness: Staleness | None = None  # the price of stale news, where it was asked for
    gap: Gap | None = None  # where there is an optimal policy, and one to measure from
    by_time: bool = False  # whether episodes and their warm-up are measured in the game's own unit of time
    ended: bool = False  # whether every episode came to an end of its own within its rounds

    @property
    def best(self) -> PolicyResult:
        """The result of the best heuristic; there must be one."""
        return next(result for result in self.results if result.name == self.best_heuristic)

    @property
    def learned(self) -> list[PolicyResult]:
        """The rows that speak for what was learned: those over training seeds, where there are several."""
        return [result for result in self.results if result.kind == "learned" and result.part_of is None]

    @property
    def shown(self) -> list[str]:
        """The columns of a table: the utility, and those of which any policy has a number; none that warns."""
        return [name for name in self._told_of if name == "utility" or self._is_known(name)]

    @property
    def left_out(self) -> list[str]:
        """The columns that a table would have, if any policy had a number there."""
        return [name for name in self._told_of if name not in self.shown]

    @property
    def _told_of(self) -> list[str]:
        given = {name for result in self.results for name in result.columns}
        return [name for name in self.columns if name in given and name not in self.warnings]

    def _is_known(self, column: str) -> bool:
        means = [result.columns[column].mean for result in self.results if column in result.columns]
        return not all(math.isnan(mean) for mean in means)

    @property
    def is_over_seeds(self) -> bool:
        """Whether there is a row over training seeds."""
        return any(result.num_seeds > 1 for result in self.results)


def to_json(evaluation: Evaluation) -> dict[str, Any]:
    """The evaluation as JSON-compatible data, without its samples; NaN becomes null."""

    def plain(value: Estimate) -> dict[str, float | None]:
        return {end: None if math.isnan(x) else x for end, x in dataclasses.asdict(value).items()}

    results = [
        {
            "name": result.name,
            "kind": result.kind,
            "columns": {name: plain(value) for name, value in result.columns.items()},
            "differences": {name: plain(value) for name, value in result.differences.items()},
            "num_seeds": result.num_seeds,
            "part_of": result.part_of,
            "interquartile": {name: plain(value) for name, value in result.interquartile.items()},
        }
        for result in evaluation.results
    ]
    names = [field.name for field in dataclasses.fields(evaluation) if field.name != "samples"]
    fields = {name: getattr(evaluation, name) for name in names}
    columns = {name: list(words) for name, words in evaluation.columns.items()}
    verdicts = {name: dataclasses.asdict(verdict) for name, verdict in evaluation.verdicts.items()}
    bounds = {name: dataclasses.asdict(each) | {"value": plain(each.value)} for name, each in evaluation.bounds.items()}
    kept = {
        "settings": dict(evaluation.settings),
        "verdicts": verdicts,
        "warnings": dict(evaluation.warnings),
        "bounds": bounds,
        "staleness": None,
        "gap": None,
    }
    if (price := evaluation.staleness) is not None:
        differences = {name: plain(value) for name, value in price.differences.items()}
        kept["staleness"] = dataclasses.asdict(price) | {"differences": differences}
    if (gap := evaluation.gap) is not None:
        closed = {name: plain(value) for name, value in gap.closed.items()}
        kept["gap"] = {"baseline": gap.baseline, "optimum": gap.optimum, "closed": closed}
    return fields | {"results": results, "columns": columns} | kept


def to_csv(evaluation: Evaluation) -> str:
    """The samples as CSV, by which every estimate can be made anew: a line for each policy and episode.

    The fields are `policy`, `episode` (from 0) and the columns, in digits that read back as the same float64; a field
    is empty where an episode had nothing to divide by. Policies stand in the order of the table. A row over training
    seeds has no samples of its own: they are those of its seeds.
    """
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["policy", "episode", *evaluation.columns])
    for name in [result.name for result in evaluation.results if result.name in evaluation.samples]:
        values = zip(*(evaluation.samples[name][column].tolist() for column in evaluation.columns), strict=True)
        writer.writerows([name, episode, *map(_digits, each)] for episode, each in enumerate(values))
    return file.getvalue()


def from_csv(text: str) -> dict[str, Samples]:
    """The samples of which `to_csv` made `text`: by policy and column, float64 [num_episodes]; NaN where empty.

    Raises:
        ValueError: `text` was not made by `to_csv`.
    """
    lines = csv.DictReader(io.StringIO(text))
    columns = [name for name in lines.fieldnames or () if name not in ("policy", "episode")]
    found: dict[str, dict[str, list[float]]] = {}
    try:
        for line in lines:
            own = found.setdefault(line["policy"], {name: [] for name in columns})
            for name in columns:
                own[name].append(float(line[name] or math.nan))
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise ValueError(f"samples are not what to_csv writes: {type(error).__name__}: {error}") from None
    return {policy: {name: np.array(values) for name, values in own.items()} for policy, own in found.items()}


def to_table_csv(evaluation: Evaluation) -> str:
    """The table as CSV: a line for each policy, best utility first.

    The fields are `policy`, `kind` and of each column the mean, and as `…_low` and `…_high` the ends of its 95%
    interval, and so of `gap_closed` where there is a gap; a field is empty where there is nothing to average.
    """
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    gap = evaluation.gap
    names = [*evaluation.columns, *(["gap_closed"] if gap else [])]
    writer.writerow(["policy", "kind", *(f"{name}{end}" for name in names for end in ("", "_low", "_high"))])
    for result in evaluation.results:
        shown = [*(result.columns[name] for name in evaluation.columns), *([gap.closed[result.name]] if gap else [])]
        ends = [end for each in shown for end in dataclasses.astuple(each)]
        writer.writerow([result.name, result.kind, *map(_digits, ends)])
    return file.getvalue()


def _digits(value: float) -> str:
    return "" if math.isnan(value) else repr(value)


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
                num_seeds=result["num_seeds"],
                part_of=result["part_of"],
                interquartile={name: restored(ends) for name, ends in result.get("interquartile", {}).items()},
            )
            for result in data["results"]
        )
        columns = {name: (header, meaning) for name, (header, meaning) in data["columns"].items()}
        verdicts = {name: Verdict(**words) for name, words in data["verdicts"].items()}
        bounds = {
            name: BoundResult(**{**each, "value": restored(each["value"])}) for name, each in data["bounds"].items()
        }
        made: dict[str, Any] = {"results": results, "columns": columns, "verdicts": verdicts, "bounds": bounds}
        if (price := data.get("staleness")) is not None:
            differences = {name: restored(ends) for name, ends in price["differences"].items()}
            made["staleness"] = Staleness(**{**price, "differences": differences})
        if (gap := data.get("gap")) is not None:
            made["gap"] = Gap(**{**gap, "closed": {name: restored(ends) for name, ends in gap["closed"].items()}})
        return Evaluation(**{**data, **made})
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"evaluation is not what to_json writes: {type(error).__name__}: {error}") from None
