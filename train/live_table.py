"""The table of jobs on real processes: makespans with their intervals, and differences from the best rule's."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxdlb.evaluation import Estimate, estimate, paired_difference
from jaxdlb.live.run import Outcome

_HEADER = (
    "policy",
    "makespan, s",
    "more than the best rule, s",
    "chunks",
    "idle",
    "communicating",
    "tasks returned",
    "workers lost",
    "a decision, ms",
)


@dataclasses.dataclass(frozen=True)
class Row:
    """A policy over all repetitions; means but for the decisions, of which it is the median."""

    name: str
    makespan: Estimate  # seconds
    more: Estimate | None  # paired, in seconds, than the best rule; None for that rule
    chunks: float
    idle: float  # shares of the time that workers were there
    communicating: float
    tasks_returned: float
    failures: float
    decision_ms: float
    slow_decision_ms: float  # which 95% take less than


def rows(outcomes: Mapping[str, Sequence[Outcome]], rules: Sequence[str]) -> list[Row]:
    """A row for each policy, the fastest first; the best rule is that of the least mean makespan."""
    makespans = {name: np.array([each.makespan for each in played]) for name, played in outcomes.items()}
    best = min(rules, key=lambda name: makespans[name].mean(), default=None)
    found = [_row(name, outcomes[name], makespans, best) for name in outcomes]
    return sorted(found, key=lambda row: row.makespan.mean)


def to_markdown(found: Sequence[Row]) -> str:
    """A table in Markdown."""
    lines = [_HEADER, ["---", *["---:"] * (len(_HEADER) - 1)], *map(_cells, found)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def to_json(found: Sequence[Row], outcomes: Mapping[str, Sequence[Outcome]]) -> list[dict[str, Any]]:
    """The rows as data, with the makespan of every repetition."""
    return [dataclasses.asdict(row) | {"makespans": [each.makespan for each in outcomes[row.name]]} for row in found]


def _row(name: str, played: Sequence[Outcome], makespans: Mapping[str, np.ndarray], best: str | None) -> Row:
    decisions = 1e3 * np.concatenate([each.decision_seconds for each in played])
    mean = lambda of: float(np.mean([of(each) for each in played]))  # noqa: E731
    return Row(
        name=name,
        makespan=estimate(makespans[name]),
        more=None if best is None or name == best else paired_difference(makespans[name], makespans[best]),
        chunks=mean(lambda each: each.chunks),
        idle=mean(lambda each: each.idle_share),
        communicating=mean(lambda each: each.comm_share),
        tasks_returned=mean(lambda each: each.tasks_returned),
        failures=mean(lambda each: each.failures),
        decision_ms=float(np.median(decisions)),
        slow_decision_ms=float(np.quantile(decisions, 0.95)),
    )


def _cells(row: Row) -> list[str]:
    return [
        row.name,
        _interval(row.makespan),
        "–" if row.more is None else _interval(row.more),
        f"{row.chunks:.0f}",
        f"{row.idle:.1%}",
        f"{row.communicating:.1%}",
        f"{row.tasks_returned:.1f}",
        f"{row.failures:.1f}",
        f"{row.decision_ms:.2f} (95%: {row.slow_decision_ms:.2f})",
    ]


def _interval(each: Estimate) -> str:
    return f"{each.mean:.2f} [{each.low:.2f}, {each.high:.2f}]"
