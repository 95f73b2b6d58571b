"""Policies that are each a set of points: what they spend, and the harm of spending no more; in both, less is better.

A rule's points are its settings, a learned policy's are the values of a parameter at which it was trained. What a
policy has to offer is the lower-left hull of its points: whoever uses it takes the setting that is best for a budget,
and lies between two by using each for a part of the time. Policies are compared hull by hull: how much less one spends
at equal harm, and by what factor its harm is lower at equal spending.

Everything is a mean over training seeds and episodes, and intervals are bootstrapped over both: in every resample all
points are moved, and hulls drawn anew. All policies share the draws, as they have shared the episodes. A rule's best
settings are chosen by the very episodes that it is shown in, to its advantage.
"""

import csv
import dataclasses
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxdlb.evaluation import sweep as sweeps
from jaxdlb.evaluation.statistics import CONFIDENCE, Estimate
from jaxdlb.evaluation.sweep import Finding, Line, Sweep

_LEVELS = 201  # at which two hulls are compared
_LEAST_SHARE = 1e-3  # of the highest harm: no level is lower, since levels are spaced by equal factors

Hull = tuple[Float[np.ndarray, " P"], Float[np.ndarray, " P"]]  # what is spent, ascending; the harm, descending


@dataclasses.dataclass(frozen=True)
class Hulls:
    """The hull of a line: of its means, and of every resample."""

    line: Line
    of_means: Hull
    resampled: tuple[Hull, ...]

    @property
    def every(self) -> tuple[Hull, ...]:
        """All of them, that of the means first."""
        return (self.of_means, *self.resampled)


@dataclasses.dataclass(frozen=True)
class Lead:
    """How far one policy is ahead of another, over all levels at which they are compared."""

    largest: Finding
    median: Estimate
    least: Finding
    behind: tuple[float, float] | None  # the first and the last level at which it is not ahead but behind


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One policy beside another; NaN where they have no level in common."""

    beside: str
    # of what is spent, and of the harm: the least of the other and of this one, where the other's is less
    further: tuple[tuple[float, float] | None, tuple[float, float] | None]
    less: Lead  # the share by which less is spent at equal harm
    fewer: Lead  # the factor by which the harm is lower at equal spending


def hull(spent: Float[np.ndarray, " M"], harm: Float[np.ndarray, " M"]) -> Hull:
    """The lower-left convex hull of M points: from where least is spent to where the harm is least.

    Points that are no numbers are left out; without any, it is empty.
    """
    known = np.isfinite(spent) & np.isfinite(harm)
    kept: list[tuple[float, float]] = []
    for point in sorted(zip(spent[known].tolist(), harm[known].tolist(), strict=True)):
        if kept and point[1] >= kept[-1][1]:
            continue  # it spends no less, and does no better
        while len(kept) > 1 and _is_above(kept[-2], kept[-1], point):
            kept.pop()
        kept.append(point)
    points = np.array(kept).reshape(-1, 2)
    return points[:, 0], points[:, 1]


def _is_above(left: tuple[float, float], middle: tuple[float, float], right: tuple[float, float]) -> bool:
    """Whether the middle one of three points lies on or above the line through the others."""
    return (middle[1] - left[1]) * (right[0] - left[0]) >= (right[1] - left[1]) * (middle[0] - left[0])


def hulls(line: Line, beside: Sequence[Line]) -> Hulls:
    """The hulls of a line, in resamples that it shares with the lines `beside` it."""
    draws = sweeps.resampled([line, *beside])
    return Hulls(line, hull(*sweeps.curve(line)), tuple(hull(*sweeps.curve(line, *each)) for each in draws))


def harm_at(each: Hull, levels: Float[np.ndarray, " L"]) -> Float[np.ndarray, " L"]:
    """The harm at what is spent; beyond its ends a hull goes on as it ended, for nobody must spend all."""
    return np.interp(levels, *each) if len(each[0]) else np.full(len(levels), np.nan)


def spent_at(each: Hull, levels: Float[np.ndarray, " L"]) -> Float[np.ndarray, " L"]:
    """What is spent at a harm; beyond its ends a hull goes on as it ended."""
    spent, harm = each
    return np.interp(levels, harm[::-1], spent[::-1]) if len(spent) else np.full(len(levels), np.nan)


def band(of: Hulls, levels: Float[np.ndarray, " L"]) -> tuple[np.ndarray, np.ndarray]:
    """The ends [L] of the intervals of the harm at what is spent."""
    low, high = sweeps.ends(np.stack([harm_at(each, levels) for each in of.resampled]))
    return low, high


def together(lines: Sequence[Line], name: str) -> Line:
    """The points of several lines as those of one: whoever uses it takes the best of all at each level."""
    return Line(
        name,
        lines[0].kind,
        np.concatenate([line.gain for line in lines]),
        np.concatenate([line.cost for line in lines]),
        tuple(member for line in lines for member in line.members),
    )


def compare(own: Hulls, other: Hulls) -> Comparison:
    """How one policy stands to another, at every level that both hulls reach.

    If the first hull has ended before the other begins, it counts with its end where the other begins: it spends less,
    or harms less, than that level allows.
    """
    (spent, harm), (other_spent, other_harm) = own.of_means, other.of_means
    if not len(spent) or not len(other_spent):
        nothing = np.array([])
        return Comparison(other.line.name, (None, None), _lead([], nothing, 0.0), _lead([], nothing, 1.0))
    least = ((other_spent[0], spent[0]), (other_harm[-1], harm[-1]))
    further = tuple((float(theirs), float(ours)) if theirs < ours else None for theirs, ours in least)
    budgets = _common(spent, other_spent)
    harms = _common(harm[::-1], other_harm[::-1], by_factors=True)
    pairs = list(zip(own.every, other.every, strict=True))
    with np.errstate(divide="ignore", invalid="ignore"):
        less = [1 - spent_at(mine, harms) / spent_at(theirs, harms) for mine, theirs in pairs]
        fewer = [harm_at(theirs, budgets) / harm_at(mine, budgets) for mine, theirs in pairs]
    return Comparison(other.line.name, (further[0], further[1]), _lead(less, harms, 0.0), _lead(fewer, budgets, 1.0))


def _common(own: np.ndarray, other: np.ndarray, *, by_factors: bool = False) -> Float[np.ndarray, " L"]:
    """The levels of either axis, along which both hulls ascend, at which one is compared with the other."""
    low, high = max(own[0], other[0]), min(own[-1], other[-1])
    if own[-1] < other[0]:
        return other[:1]
    low = max(low, _LEAST_SHARE * high) if by_factors else low
    if low > high or (by_factors and low <= 0):
        return np.array([])
    return np.unique((np.geomspace if by_factors else np.linspace)(low, high, _LEVELS))


def _lead(samples: Sequence[np.ndarray], levels: np.ndarray, parity: float) -> Lead:
    """Of numbers at levels, those of the means first and then those of every resample; `parity` is neither ahead."""
    known = np.isfinite(samples[0]) if len(levels) else np.array([], bool)
    if not known.any():
        nothing = Estimate(np.nan, np.nan, np.nan)
        return Lead(Finding(nothing, np.nan), nothing, Finding(nothing, np.nan), None)
    table, levels = np.stack(samples)[:, known], levels[known]

    def at(place: int) -> Finding:
        return Finding(_estimate(table[:, place]), float(levels[place]))

    behind = levels[table[0] < parity]
    return Lead(
        largest=at(int(np.argmax(table[0]))),
        median=_estimate(np.median(table, axis=1)),
        least=at(int(np.argmin(table[0]))),
        behind=(float(behind[0]), float(behind[-1])) if len(behind) else None,
    )


def _estimate(values: Float[np.ndarray, " R"]) -> Estimate:
    """The first value with the interval of all others, between two of them: some are infinite where no harm is left."""
    tail = (1 - CONFIDENCE) / 2
    low = np.quantile(values[1:], tail, method="lower")
    high = np.quantile(values[1:], 1 - tail, method="higher")
    return Estimate(float(values[0]), float(low), float(high))


def comparisons(sweep: Sweep, found: Sequence[Hulls]) -> list[Comparison]:
    """The first learned line beside every rule, the hardest to beat first, and last beside the best rule at each level.

    `found` are the hulls of the lines of the sweep.
    """
    own = next(each for each in found if each.line is sweep.learned[0])
    rules = [each for each in found if each.line.kind == "heuristic"]
    rows = [compare(own, each) for each in rules]
    rows.sort(key=lambda row: float(np.nan_to_num(row.fewer.median.mean, nan=np.inf)))
    if len(rules) < 2:
        return rows
    best = together(sweep.rules, "the best rule at each")
    return [*rows, compare(own, hulls(best, sweep.lines))]


def to_text(sweep: Sweep, rows: Sequence[Comparison]) -> str:
    """A table of how the learned policy stands to each rule, and in words where one of them is ahead of it."""
    spent, harm = (header.partition(",")[0] for header in sweep.headers)
    table = [
        ("beside", f"% less {spent} at equal {harm}: most", "median", f"times fewer {harm}: most", "median"),
        *(
            (
                each.beside,
                _found(each.less.largest, 100, harm),
                _written(each.less.median, 100),
                _found(each.fewer.largest, 1, spent),
                _written(each.fewer.median, 1),
            )
            for each in rows
        ),
    ]
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    lines = ["  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)) for row in table]
    told = behind(sweep, rows)
    return "\n".join([f"{sweep.headers[1]} against {spent}:", *(f"  {line}".rstrip() for line in lines), *told])


def behind(sweep: Sweep, rows: Sequence[Comparison]) -> list[str]:
    """In words, every rule that is ahead of the learned policy somewhere, or that there is none."""
    spent, harm = (header.partition(",")[0] for header in sweep.headers)
    name, said = sweep.learned[0].name, []
    for row in rows:
        if row.fewer.behind is not None:
            least = row.fewer.least
            factor = _inverse(least.ratio)
            where = f"at {_span(row.fewer.behind)} {spent}"
            doubt = _doubt(least.ratio, 1.0)
            said.append(f"{row.beside} is ahead {where}: up to {_written(factor, 1)} times fewer {harm}{doubt}")
        elif row.less.behind is not None:
            ratio = row.less.least.ratio
            more = _inverse(Estimate(1 - ratio.mean, 1 - ratio.high, 1 - ratio.low))  # of the rule's spending to ours
            share = Estimate(1 - more.mean, 1 - more.high, 1 - more.low)
            where = f"at {_span(row.less.behind)} {harm}"
            doubt = _doubt(ratio, 0.0)
            said.append(f"{row.beside} is ahead {where}: up to {_written(share, 100)}% less {spent}{doubt}")
        elif not np.isfinite([row.fewer.median.mean, row.less.median.mean]).any():
            said.append(f"{row.beside} has no level in common with {name}")
    if not any(" is ahead " in each for each in said):
        said.append(f"no rule is ahead of {name} at any level that both reach")
    for row in rows:
        for axis, ends in zip((spent, harm), row.further, strict=True):
            if ends is not None:
                said.append(f"{row.beside} gets down to {ends[0]:.3g} {axis}, {name} to {ends[1]:.3g}")
    return said


def _inverse(ratio: Estimate) -> Estimate:
    """One over a ratio, infinite where it is 0, as where a rule leaves no harm at all."""
    mean, low, high = (np.inf if value == 0 else 1 / value for value in (ratio.mean, ratio.high, ratio.low))
    return Estimate(mean, low, high)


def _doubt(estimate: Estimate, parity: float) -> str:
    return ", which may be chance" if estimate.high >= parity else ""


def _span(levels: tuple[float, float]) -> str:
    low, high = levels
    return f"{low:.3g}" if f"{low:.3g}" == f"{high:.3g}" else f"{low:.3g} to {high:.3g}"


def _found(finding: Finding, factor: float, of: str) -> str:
    written = _written(finding.ratio, factor)
    return written if written == "–" else f"{written} (at {finding.where:.3g} {of})"


def _written(estimate: Estimate, factor: float) -> str:
    if np.isnan(estimate.mean):
        return "–"
    mean, low, high = (f"{factor * value:.3g}" for value in (estimate.mean, estimate.low, estimate.high))
    return f"{mean} [{low}, {high}]"


def to_csv(found: Sequence[tuple[Sweep, Sequence[Hulls]]]) -> str:
    """A line for each kind of harm, policy and point: both means, their intervals, and whether it is on the hull."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    ends = [f"{name}_{end}" for name in ("spent", "harm") for end in ("", "low", "high")]
    writer.writerow(["column", "policy", "kind", "options", *(name.rstrip("_") for name in ends), "on_hull"])
    for sweep, lines in found:
        for each in lines:
            for row in points(each):
                numbers = [row[axis][end] for axis in ("spent", "harm") for end in ("mean", "low", "high")]
                about = [sweep.headers[1], each.line.name, each.line.kind, row["options"]]
                writer.writerow([*about, *numbers, row["on_hull"]])
    return file.getvalue()


def points(of: Hulls) -> list[dict[str, Any]]:
    """The points of a line as data."""
    line, draws = of.line, sweeps.resampled([of.line])
    curves = np.array([sweeps.curve(line), *(sweeps.curve(line, *each) for each in draws)])  # [1 + R, 2, V]
    kept = set(zip(*(axis.tolist() for axis in of.of_means), strict=True))
    return [
        {
            "options": member,
            "spent": dataclasses.asdict(_estimate(curves[:, 0, place])),
            "harm": dataclasses.asdict(_estimate(curves[:, 1, place])),
            "on_hull": tuple(curves[0, :, place].tolist()) in kept,
        }
        for place, member in enumerate(line.members)
    ]


def to_json(sweep: Sweep, found: Sequence[Hulls], rows: Sequence[Comparison]) -> dict[str, Any]:
    """All of it as data."""
    return {
        "spent": sweep.headers[0],
        "harm": sweep.headers[1],
        "policies": [{"name": each.line.name, "kind": each.line.kind, "points": points(each)} for each in found],
        "comparisons": [dataclasses.asdict(row) for row in rows],
        "behind": behind(sweep, rows),
    }
