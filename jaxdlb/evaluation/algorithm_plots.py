"""The figure of a contest of algorithms: aggregates, performance profiles, and how likely one is better."""

from collections.abc import Mapping
from typing import Any

from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from jaxdlb.drawing import layout
from jaxdlb.drawing.axes import plain, title
from jaxdlb.drawing.style import DASHED, DPI, GREY, INK, LARGE, LINES, MARKERS, NORMAL, PALE, SMALL
from jaxdlb.evaluation.algorithm_tables import HEADERS, likely, scale, shown
from jaxdlb.evaluation.algorithms import Contest
from jaxdlb.evaluation.statistics import Estimate

MOST_PAIRS = 10  # of algorithms; of more, the best one is shown beside every other
_NAME = 40  # characters


def algorithms(contest: Contest) -> Figure:
    """A panel for each aggregate with 95% intervals; below, performance profiles and probabilities of improvement.

    An algorithm has one colour and marker throughout; the best interquartile mean stands on top.
    """
    pairs = _pairs(contest)
    wanted, count = shown(contest), len(contest.standings)
    heights = (1.1 + 0.3 * count, max(3.2, 1.1 + 0.3 * len(pairs)))
    figure = Figure(figsize=(3.2 * len(wanted) + 2.5, sum(heights) + 0.8), dpi=DPI, layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=heights, squeeze=False)[:, 0]
    looks = {name: _look(place) for place, name in enumerate(contest.standings)}
    panels = above.subplots(1, len(wanted), sharey=True, squeeze=False)[0]
    for axes, aggregate in zip(panels, wanted, strict=True):
        _aggregate(axes, aggregate, contest, looks)
    _rows(panels[0], [layout.caption(name, _NAME) for name in contest.standings])
    _head(
        above, "Algorithms over training seeds and tasks", f"{contest.column} as {scale(contest)}; bars: 95% intervals"
    )
    left, *right = below.subplots(1, 2 if pairs else 1, squeeze=False, width_ratios=(3, 2) if pairs else None)[0]
    _profiles(left, contest, looks)
    if pairs:
        _improvements(right[0], pairs, looks)
    style: dict[str, Any] = {"frameon": False, "fontsize": SMALL, "labelcolor": INK}
    left.legend(loc="best", **style)
    return figure


def _look(place: int) -> dict[str, Any]:
    return {"color": LINES[place % len(LINES)], "marker": MARKERS[place % len(MARKERS)]}


def _pairs(contest: Contest) -> dict[tuple[str, str], Estimate]:
    """The pairs to show, the one that is more likely better first."""
    pairs, best = dict(likely(contest)), next(iter(contest.standings))
    return pairs if len(pairs) <= MOST_PAIRS else {pair: each for pair, each in pairs.items() if best in pair}


def _head(figure: SubFigure, text: str, below: str) -> None:
    """A title flush left above all panels, and a line of explanation below them."""
    figure.suptitle(text, x=0.01, ha="left", fontsize=LARGE, color=INK, fontweight="bold")
    figure.supxlabel(below, x=0.01, ha="left", fontsize=SMALL, color=GREY)


def _aggregate(axes: Axes, aggregate: str, contest: Contest, looks: Mapping[str, dict[str, Any]]) -> None:
    for row, (name, standing) in enumerate(contest.standings.items()):
        _bar(axes, row, standing.aggregates[aggregate], looks[name])
    side = "lower" if aggregate == "optimality_gap" else "higher"
    if aggregate == "optimality_gap":  # which is never below 0
        most = max(0.1, *(each.aggregates[aggregate].high for each in contest.standings.values()))
        axes.set_xlim(-0.04 * most, 1.04 * most)
    axes.set_xlabel(f"{HEADERS[aggregate]} ({side} is better)", fontsize=NORMAL, color=INK)
    axes.xaxis.set_major_locator(ticker.MaxNLocator(4))
    axes.grid(color=PALE, linewidth=0.8)
    plain(axes)


def _bar(axes: Axes, row: int, estimate: Estimate, look: Mapping[str, Any]) -> None:
    """An interval with its value in the middle, and in numbers above."""
    axes.plot([estimate.low, estimate.high], [row, row], color=look["color"], linewidth=2.2, solid_capstyle="butt")
    axes.plot(estimate.mean, row, markersize=6.5, zorder=3, **look)
    style: dict[str, Any] = {"ha": "center", "va": "bottom", "fontsize": SMALL, "color": INK}
    axes.annotate(
        layout.true_minus(f"{estimate.mean:.3g}"), (estimate.mean, row), (0, 5), textcoords="offset points", **style
    )


def _rows(axes: Axes, names: list[str]) -> None:
    """The names of rows, the first on top."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.7)


def _profiles(axes: Axes, contest: Contest, looks: Mapping[str, dict[str, Any]]) -> None:
    for name, standing in contest.standings.items():
        colour = looks[name]["color"]
        axes.fill_between(
            contest.levels, standing.band[0], standing.band[1], color=colour, alpha=0.15, linewidth=0, step="post"
        )
        axes.step(
            contest.levels,
            standing.profile,
            where="post",
            color=colour,
            marker=looks[name]["marker"],
            markevery=20,
            markersize=4.5,
            label=layout.caption(name, _NAME),
        )
    axes.axvline(1, color=GREY, linewidth=1, linestyle=DASHED)
    axes.set_xlim(contest.levels[0], contest.levels[-1])
    axes.set_ylim(-0.02, 1.04)
    axes.set_xlabel("score τ", fontsize=NORMAL, color=INK)
    axes.set_ylabel("share of seeds and tasks\nwith a score above τ", fontsize=NORMAL, color=INK)
    axes.grid(color=PALE, linewidth=0.8)
    title(axes, "Performance profile", "higher is better; dashed: the policy that scores 1; bands: 95%")
    plain(axes)


def _improvements(axes: Axes, pairs: Mapping[tuple[str, str], Estimate], looks: Mapping[str, dict[str, Any]]) -> None:
    for row, ((ours, _), estimate) in enumerate(pairs.items()):
        _bar(axes, row, estimate, looks[ours])
    _rows(axes, [f"{layout.caption(a, _NAME)}\nover {layout.caption(b, _NAME)}" for a, b in pairs])
    axes.axvline(0.5, color=GREY, linewidth=1, linestyle=DASHED)
    axes.set_xlim(-0.03, 1.03)
    axes.set_xlabel("P(a seed of the first scores more)", fontsize=NORMAL, color=INK)
    axes.grid(color=PALE, linewidth=0.8)
    title(axes, "Probability of improvement", "in the same task; dashed: as likely as not; bars: 95%")
    plain(axes)
