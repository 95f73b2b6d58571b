"""Policies as one parameter is swept: what one column costs at what the other gains, as response times at throughputs.

Intervals are bootstrapped over training seeds and episodes, which all policies share.
"""

import csv
import dataclasses
import io
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float

from jaxdlb.evaluation.statistics import CONFIDENCE, Estimate

RESAMPLES = 1000
_WIDEST = 34  # characters of a name
_SEED = 0


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

    def named(self, name: str) -> Line:
        """The line of that name."""
        return next(line for line in self.lines if line.name == name)

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
    """Mean gain [V] and mean cost [V], over all seeds and episodes or over those given."""
    seeds = np.arange(line.gain.shape[1]) if seeds is None else seeds % line.gain.shape[1]
    episodes = np.arange(line.gain.shape[2]) if episodes is None else episodes
    chosen = np.ix_(np.arange(line.gain.shape[0]), seeds, episodes)
    return line.gain[chosen].mean(axis=(1, 2)), line.cost[chosen].mean(axis=(1, 2))


def band(line: Line) -> tuple[np.ndarray, np.ndarray]:
    """The ends [V] of the intervals of the cost."""
    return _ends(np.stack([curve(line, *drawn)[1] for drawn in _resampled([line])]))


def lower_cost(line: Line, other: Line, values: Sequence[float], up_to: float) -> Finding:
    """The largest factor by which the cost of `line` is below that of `other`, at values of at most `up_to`."""
    places = np.flatnonzero(np.asarray(values) <= up_to)

    def ratios(seeds: np.ndarray | None, episodes: np.ndarray | None) -> np.ndarray:
        return curve(other, seeds, episodes)[1][places] / curve(line, seeds, episodes)[1][places]

    place = int(np.argmax(ratios(None, None)))
    return Finding(_estimate([line, other], lambda *drawn: float(ratios(*drawn)[place])), float(values[places[place]]))


def more_gain(line: Line, others: Sequence[Line]) -> Finding:
    """The largest factor by which `line` gains more at the same cost than whichever of the others gains most there.

    Costs are those that `line` and one of the others reach; between two values, gains are interpolated.
    """
    own, rest = curve(line)[1], [curve(other)[1] for other in others]
    reached = [level for level in np.concatenate([own, *rest]) if own.min() <= level <= own.max()]
    levels = np.array(sorted(level for level in reached if any(each.min() <= level for each in rest)))
    if not len(levels):
        return Finding(Estimate(np.nan, np.nan, np.nan), np.nan)

    def ratios(seeds: np.ndarray | None, episodes: np.ndarray | None) -> np.ndarray:
        best = np.max([_gain_at(levels, *curve(other, seeds, episodes)) for other in others], axis=0)
        return _gain_at(levels, *curve(line, seeds, episodes)) / best

    place = int(np.argmax(ratios(None, None)))
    return Finding(_estimate([line, *others], lambda *drawn: float(ratios(*drawn)[place])), float(levels[place]))


def _gain_at(levels: np.ndarray, gain: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """The most that is gained at a cost of at most each level; where none is as low, what is gained at the lowest."""
    return np.interp(levels, np.maximum.accumulate(cost), np.maximum.accumulate(gain))


def _resampled(lines: Sequence[Line]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Draws, with replacement, of seeds and of episodes: the same for all lines."""
    random = np.random.default_rng(_SEED)
    num_seeds, num_episodes = max(line.gain.shape[1] for line in lines), lines[0].gain.shape[2]
    return [
        (
            np.asarray(random.integers(num_seeds, size=num_seeds)),
            np.asarray(random.integers(num_episodes, size=num_episodes)),
        )
        for _ in range(RESAMPLES)
    ]


def _estimate(lines: Sequence[Line], of: Callable[[np.ndarray | None, np.ndarray | None], float]) -> Estimate:
    low, high = _ends(np.array([of(*drawn) for drawn in _resampled(lines)]))
    return Estimate(mean=of(None, None), low=float(low), high=float(high))


def _ends(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(samples, [tail, 1 - tail], axis=0)
    return low, high


def to_csv(sweep: Sweep) -> str:
    """A line for each policy and value: what it was called there, mean gain, mean cost, and the cost's interval."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["policy", "options", sweep.over, *sweep.headers, "low", "high"])
    for line in sweep.lines:
        members = line.members or (line.name,) * len(sweep.values)
        rows = zip(members, sweep.values, *curve(line), *band(line), strict=True)
        writer.writerows([line.name, *row] for row in rows)
    return file.getvalue()


def conclusion(sweep: Sweep, line: Line, up_to: float) -> str:
    """What `line` is ahead by: of each rule in cost at values up to `up_to`, and of the best rule in gain."""
    gain, cost = (header.partition(",")[0] for header in sweep.headers)
    most = more_gain(line, sweep.rules)
    rows = [(rule.name, lower_cost(line, rule, sweep.values, up_to), more_gain(line, [rule])) for rule in sweep.rules]
    rows.sort(key=lambda row: row[1].ratio.mean)
    rows = [(_cut(name), lower, more) for name, lower, more in rows]
    width = max(len("rule"), *(len(name) for name, *_ in rows))
    words = f"{cost} lower by a factor of, at {sweep.over} ≤ {up_to:g}"
    lines = [
        f"{line.name}, as {sweep.over} is swept ({len(sweep.values)} values from {sweep.values[0]:g} to "
        f"{sweep.values[-1]:g}):",
        f"  {'beside':{width}}  {words:44}  times the {gain} at the same {cost}",
        *(f"  {name:{width}}  {_written(low, sweep.over):44}  {_written(more, 'at')}" for name, low, more in rows),
        f"  {'the best rule at each ' + cost:{width + 46}}  {_written(most, 'at')}",
    ]
    return "\n".join(lines)


def _cut(name: str) -> str:
    return name if len(name) <= _WIDEST else f"{name[: _WIDEST - 1]}…"


def _written(finding: Finding, where: str) -> str:
    ratio = finding.ratio
    if not np.isfinite(ratio.mean):
        return "–"
    return f"{ratio.mean:.2f} [{ratio.low:.2f}, {ratio.high:.2f}] ({where} {finding.where:.3g})"
