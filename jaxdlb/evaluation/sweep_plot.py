"""The figure of a sweep: what each policy costs at what it gains."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxdlb.drawing import layout
from jaxdlb.drawing.axes import plain, title
from jaxdlb.drawing.style import (
    BLUE,
    DASHED,
    DOTTED,
    DPI,
    GREEN,
    GREY,
    INK,
    LINES,
    NORMAL,
    PALE,
    PURPLE,
    SMALL,
    VERMILION,
)
from jaxdlb.evaluation import sweep as sweeps
from jaxdlb.evaluation.sweep import Line, Sweep

MARKERS = "osD^v<>PXhpd*"
_LEARNED = (BLUE, VERMILION, PURPLE)
_RULES = tuple(colour for colour in LINES if colour != GREEN)  # where there are rules alone
_BOUND: dict[str, Any] = {"color": INK, "linewidth": 1.4, "linestyle": DOTTED, "zorder": 2}
_WIDE = 10  # times the least: an axis of the parameter that spans so much is logarithmic, and ticks are fewer
_FINE = (1, 1.5, 2, 3, 4, 5, 6, 8)  # at which else there are ticks
_MOST_TICKS = 12  # of an axis of the parameter, one at each value
_HIGHEST = 30.0  # times the least cost: what costs more is only hinted at, at the upper edge


def frontier(sweep: Sweep) -> Figure:
    """Mean cost over mean gain, a point for each value, with bands of the 95% intervals; lower and further right wins.

    Where nothing is gained, the cost is drawn over the parameter. Learned policies are drawn in colour, the rule that
    costs least on average in green, all other rules in grey, each with a marker of its own; rules alone are all in
    colour. What no policy's cost is below is dotted.
    """
    figure = Figure(figsize=(9.5, 5.6), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    best = min(sweep.rules, key=sweeps.usual_cost, default=None)
    ranked = sorted(sweep.lines, key=sweeps.usual_cost, reverse=True)
    if sweep.bound is not None:
        axes.plot(*sweeps.curve(sweep.bound), label="no policy is below", **_BOUND)
    for place, line in enumerate(ranked):
        _draw(axes, line, style(line, sweep, best), MARKERS[place % len(MARKERS)])
    costs = np.concatenate([sweeps.curve(line)[1] for line in sweep.lines])
    costs = costs[np.isfinite(costs) & (costs > 0)]
    axes.set_yscale("log")
    if len(costs):
        axes.set_ylim(costs.min() * 0.85, min(costs.max() * 1.15, costs.min() * _HIGHEST))
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 3, 5) if high > _WIDE * low else _FINE))
    axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(ticker.NullFormatter())
    axes.grid(color=PALE, linewidth=0.8)
    if not sweep.gains:
        _scale_of_the_parameter(axes, sweep.values)
    meaning = "" if sweep.gains or not sweep.meaning else f": {sweep.meaning}"
    axes.set_xlabel(sweep.headers[0] + meaning, fontsize=NORMAL, color=INK)
    axes.set_ylabel(f"{sweep.headers[1]}, logarithmic scale", fontsize=NORMAL, color=INK)
    gain, cost = (header.partition(",")[0] for header in sweep.headers)
    wins = "further right and lower is better" if sweep.gains else "lower is better"
    subtitle = f"{sweep.over} from {sweep.values[0]:g} to {sweep.values[-1]:g}; {wins}; bands: 95%"
    title(axes, f"{cost} against {gain}", subtitle)
    plain(axes)
    handles, labels = axes.get_legend_handles_labels()
    legend: dict[str, Any] = {"frameon": False, "fontsize": SMALL, "labelcolor": INK}
    figure.legend(handles[::-1], labels[::-1], loc="outside right center", **legend)
    return figure


def _scale_of_the_parameter(axes: Axes, values: Sequence[float]) -> None:
    """A logarithmic axis where values span an order of magnitude; with a tick at each, if they are few."""
    if values[0] > 0 and values[-1] >= _WIDE * values[0]:
        axes.set_xscale("log")
    if len(values) <= _MOST_TICKS:
        axes.set_xticks(values, [f"{value:g}" for value in values])
    else:
        axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(ticker.NullLocator())


def style(line: Line, sweep: Sweep, best: Line | None) -> dict[str, Any]:
    """How a line is drawn: learned policies in colour, the `best` rule in green, other rules grey, oracles dashed."""
    if line.kind == "learned":
        place = [each.name for each in sweep.learned].index(line.name)
        return {"color": _LEARNED[place % len(_LEARNED)], "linewidth": 2.2, "zorder": 5}
    if line is best:
        return {"color": GREEN, "linewidth": 1.8, "zorder": 4}
    dashes: dict[str, Any] = {"linestyle": DASHED} if line.kind != "heuristic" else {}
    if not sweep.learned:
        place = [each.name for each in sorted(sweep.lines, key=sweeps.usual_cost)].index(line.name)
        return {"color": _RULES[place % len(_RULES)], "linewidth": 1.2, "zorder": 3, **dashes}
    return {"color": GREY, "linewidth": 0.9, "zorder": 3, "alpha": 0.8, **dashes}


def _draw(axes: Axes, line: Line, style: dict[str, Any], marker: str) -> None:
    gain, cost = sweeps.curve(line)
    low, high = sweeps.band(line)
    axes.fill_between(gain, low, high, color=style["color"], alpha=0.15, linewidth=0)
    axes.plot(gain, cost, marker=marker, markersize=4, label=layout.caption(line.name, 34), **style)
