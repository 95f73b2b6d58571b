"""Policies as one parameter is swept: what one column costs at what the other gains, as response times at throughputs.

Intervals are bootstrapped over training seeds and episodes, which all policies share.
"""

import csv
import dataclasses
import io
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float

from jaxdlb.evaluation.numerals import written
from jaxdlb.evaluation.statistics import CONFIDENCE, Estimate

RESAMPLES = 1000
_WIDEST = 34  # characters of a name
_SEED = 0

_Ratios = Callable[[np.ndarray | None, np.ndarray | None], np.ndarray]  # of draws of seeds and episodes


@dataclasses.dataclass(frozen=True)
class Line:
    """One policy over V values; S training seeds (1 for what is not trained) in E episodes at each value."""

    name: str
    kind: str  # one of `policies.KINDS`
    gain: Float[np.ndarray, "V S E"]
    cost: Float[np.ndarray, "V S E"]
    members: tuple[str, ...] = ()  # what the policy was called at each value, where its options differ


@dataclasses.dataclass(frozen=True)
class Sweep:
    """All policies over the values of a parameter."""

    over: str  # the parameter
    values: tuple[float, ...]
    headers: tuple[str, str]  # of the column on either axis: gain, and cost
    lines: tuple[Line, ...]
    gains: bool = True  # whether a column is gained; else the gain is the parameter itself, and its header that
    meaning: str = ""  # of the parameter
    bound: Line | None = None  # what no policy's cost is below, where there is such a bound

    @property
    def learned(self) -> list[Line]:
        """The lines that were trained."""
        return [line for line in self.lines if line.kind == "learned"]

    @property
    def rules(self) -> list[Line]:
        """The heuristics, without oracles."""
        return [line for line in self.lines if line.kind == "heuristic"]


@dataclasses.dataclass(frozen=True)
class Finding:
    """The most that a policy is ahead of another, or of several, and where."""

    ratio: Estimate
    where: float  # the value, or the cost, at which


def curve(
    line: Line, seeds: np.ndarray | None = None, episodes: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Mean gain [V] and mean cost [V], over all seeds and episodes or over those drawn.

    `seeds` are uniform numbers in [0, 1), at least as many as the line has seeds: the first S of them draw its own.
    """
    num_values, num_seeds, num_episodes = line.gain.shape
    drawn = np.arange(num_seeds) if seeds is None else (seeds[:num_seeds] * num_seeds).astype(int)
    episodes = np.arange(num_episodes) if episodes is None else episodes
    chosen = np.ix_(np.arange(num_values), drawn, episodes)
    return line.gain[chosen].mean(axis=(1, 2)), line.cost[chosen].mean(axis=(1, 2))


def band(line: Line) -> tuple[np.ndarray, np.ndarray]:
    """The ends [V] of the intervals of the cost."""
    low, high = ends(np.stack([curve(line, *drawn)[1] for drawn in resampled([line])]))
    return low, high


def lower_cost(line: Line, other: Line, values: Sequence[float], up_to: float) -> Finding:
    """The largest factor by which the cost of `line` is below that of `other`, at values of at most `up_to`.

    Costs are above 0; where one of the two is not known, nothing is compared. NaN where there is nothing to compare.
    """
    places = np.flatnonzero(np.asarray(values) <= up_to)

    def ratios(seeds: np.ndarray | None, episodes: np.ndarray | None) -> np.ndarray:
        return curve(other, seeds, episodes)[1][places] / curve(line, seeds, episodes)[1][places]

    return _largest([line, other], ratios, np.asarray(values, float)[places])


def more_gain(line: Line, others: Sequence[Line]) -> Finding:
    """The largest factor by which `line` gains more at the same cost than whichever of the others gains most there.

    Costs are those that `line` and one of the others reach; between two costs, gains are interpolated. NaN where there
    is no such cost.
    """
    own, rest = _known(curve(line)[1]), [_known(curve(other)[1]) for other in others]
    reached = np.concatenate([own, *rest])
    from_, to = max(_least(own), min(map(_least, rest), default=np.inf)), own.max(initial=-np.inf)
    levels = np.unique(reached[(from_ <= reached) & (reached <= to)])

    def ratios(seeds: np.ndarray | None, episodes: np.ndarray | None) -> np.ndarray:
        best = np.fmax.reduce([_gain_at(levels, *curve(other, seeds, episodes)) for other in others])
        return _gain_at(levels, *curve(line, seeds, episodes)) / best

    return _largest([line, *others], ratios, levels)


def _known(costs: np.ndarray) -> np.ndarray:
    """Costs without those that are NaN, as percentiles are where no task is completed."""
    return costs[np.isfinite(costs)]


def _least(costs: np.ndarray) -> float:
    return float(costs.min(initial=np.inf))


def _gain_at(levels: np.ndarray, gain: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """The most that is gained at a cost of at most each level; where none is as low, what is gained at the lowest."""
    known = np.isfinite(cost) & np.isfinite(gain)
    if not known.any():
        return np.full(levels.shape, np.nan)
    gain, cost = gain[known], cost[known]
    order = np.lexsort((gain, cost))
    return np.interp(levels, cost[order], np.maximum.accumulate(gain[order]))


def resampled(lines: Sequence[Line]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Draws, with replacement, of seeds (as `curve` takes them) and of episodes: the same for all lines."""
    random = np.random.default_rng(_SEED)
    num_seeds, num_episodes = max(line.gain.shape[1] for line in lines), lines[0].gain.shape[2]
    return [
        (random.random(num_seeds), np.asarray(random.integers(num_episodes, size=num_episodes)))
        for _ in range(RESAMPLES)
    ]


def _largest(lines: Sequence[Line], ratios: _Ratios, at: np.ndarray) -> Finding:
    """The largest of the ratios, with its interval, and where it is; ratios that are no numbers are left out."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found = ratios(None, None) if len(at) else np.array([])
        if not np.isfinite(found).any():
            return Finding(Estimate(np.nan, np.nan, np.nan), np.nan)
        place = int(np.argmax(np.where(np.isfinite(found), found, -np.inf)))
        low, high = ends(np.array([ratios(*drawn)[place] for drawn in resampled(lines)]))
    return Finding(Estimate(mean=float(found[place]), low=float(low), high=float(high)), float(at[place]))


def ends(samples: np.ndarray) -> np.ndarray:
    """Both ends, [2, …], of the interval that holds most of the samples; NaN where one of these is."""
    tail = (1 - CONFIDENCE) / 2
    return np.quantile(samples, [tail, 1 - tail], axis=0)


def to_csv(sweep: Sweep) -> str:
    """A line for each policy and value: what it was called there, mean gain, mean cost, and the cost's interval."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["policy", "options", sweep.over, *sweep.headers[not sweep.gains :], "low", "high"])
    for line in [*sweep.lines, *([sweep.bound] if sweep.bound else [])]:
        members = line.members or (line.name,) * len(sweep.values)
        rows = zip(members, sweep.values, *curve(line)[not sweep.gains :], *band(line), strict=True)
        writer.writerows([line.name, *row] for row in rows)
    return file.getvalue()


def to_text(sweep: Sweep) -> str:
    """The mean cost of each policy at each value, the least on average first, and the bound."""
    ranked = [*sorted(sweep.lines, key=usual_cost), *([sweep.bound] if sweep.bound else [])]
    table = [(f"{sweep.headers[1]}, by {sweep.over}", *(f"{value:g}" for value in sweep.values))]
    table += [(_cut(line.name), *map(_mean, *band(line), curve(line)[1])) for line in ranked]
    first, *others = (max(len(row[column]) for row in table) for column in range(len(table[0])))
    lines = [
        "  ".join([f"{name:{first}}", *(f"{cell:>{width}}" for cell, width in zip(cells, others, strict=True))])
        for name, *cells in table
    ]
    return "\n".join([*lines, "Means; ± is half the width of the 95% interval."])


def _mean(low: float, high: float, mean: float) -> str:
    return "–" if np.isnan(mean) else written(Estimate(mean, low, high))


def usual_cost(line: Line) -> float:
    """The geometric mean of its costs, as a logarithm; the highest where none is known."""
    costs = curve(line)[1]
    costs = costs[np.isfinite(costs) & (costs > 0)]
    return float(np.mean(np.log(costs))) if len(costs) else np.inf


def conclusion(sweep: Sweep, line: Line, up_to: float) -> str:
    """What `line` is ahead by: of each rule in cost at values up to `up_to`, and of the best rule in gain, if any."""
    gain, cost = (header.partition(",")[0] for header in sweep.headers)
    rows = [(rule, lower_cost(line, rule, sweep.values, up_to)) for rule in sweep.rules]
    rows.sort(key=lambda row: np.nan_to_num(row[1].ratio.mean, nan=np.inf))
    table = [
        ("beside", f"{cost} lower by a factor of, at {sweep.over} ≤ {up_to:g}"),
        *((_cut(rule.name), _written(lower, sweep.over)) for rule, lower in rows),
    ]
    gained = [""] * len(table)
    if sweep.gains:
        table.append((f"the best rule at each {cost}", ""))
        found = [*(more_gain(line, [rule]) for rule, _ in rows), more_gain(line, sweep.rules)]
        gained = [f"times the {gain} at the same {cost}", *(_written(each, "at") for each in found)]
    first, second = (max(len(row[column]) for row in table) for column in (0, 1))
    swept = f"{len(sweep.values)} values from {sweep.values[0]:g} to {sweep.values[-1]:g}"
    lines = [
        f"  {name:{first}}  {lower:{second}}  {more}".rstrip()
        for (name, lower), more in zip(table, gained, strict=True)
    ]
    return "\n".join([f"{line.name}, as {sweep.over} is swept ({swept}):", *lines])


def _cut(name: str) -> str:
    return name if len(name) <= _WIDEST else f"{name[: _WIDEST - 1]}…"


def _written(finding: Finding, where: str) -> str:
    ratio = finding.ratio
    if not np.isfinite(ratio.mean):
        return "–"
    return f"{ratio.mean:.2f} [{ratio.low:.2f}, {ratio.high:.2f}] ({where} {finding.where:.3g})"
