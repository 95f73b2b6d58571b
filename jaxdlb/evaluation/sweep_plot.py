"""The figure of a sweep: what each policy costs at what it gains."""

from typing import Any

import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxdlb.drawing import layout
from jaxdlb.drawing.axes import plain, title
from jaxdlb.drawing.style import BLUE, DASHED, DPI, GREEN, GREY, INK, NORMAL, PALE, PURPLE, SMALL, VERMILION
from jaxdlb.evaluation import sweep as sweeps
from jaxdlb.evaluation.sweep import Line, Sweep

MARKERS = "osD^v<>PXhpd*"
_LEARNED = (BLUE, VERMILION, PURPLE)
_HIGHEST = 30.0  # times the least cost: what costs more is only hinted at, at the upper edge


def frontier(sweep: Sweep) -> Figure:
    """Mean cost over mean gain, a point for each value, with bands of the 95% intervals; lower and further right wins.

    Learned policies are drawn in colour, the rule that costs least on average in green, all other rules in grey, each
    with a marker of its own.
    """
    figure = Figure(figsize=(9.5, 5.6), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    best = min(sweep.rules, key=_usual_cost, default=None)
    ranked = sorted(sweep.lines, key=_usual_cost, reverse=True)
    for place, line in enumerate(ranked):
        _draw(axes, line, style(line, sweep, best), MARKERS[place % len(MARKERS)])
    costs = np.concatenate([sweeps.curve(line)[1] for line in sweep.lines])
    costs = costs[np.isfinite(costs) & (costs > 0)]
    axes.set_yscale("log")
    if len(costs):
        axes.set_ylim(costs.min() * 0.85, min(costs.max() * 1.15, costs.min() * _HIGHEST))
    axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 3, 5)))
    axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(ticker.NullFormatter())
    axes.grid(color=PALE, linewidth=0.8)
    axes.set_xlabel(sweep.headers[0], fontsize=NORMAL, color=INK)
    axes.set_ylabel(f"{sweep.headers[1]}, logarithmic scale", fontsize=NORMAL, color=INK)
    gain, cost = (header.partition(",")[0] for header in sweep.headers)
    subtitle = (
        f"{sweep.over} from {sweep.values[0]:g} to {sweep.values[-1]:g}; further right and lower is better; bands: 95%"
    )
    title(axes, f"{cost} against {gain}", subtitle)
    plain(axes)
    handles, labels = axes.get_legend_handles_labels()
    legend: dict[str, Any] = {"frameon": False, "fontsize": SMALL, "labelcolor": INK}
    figure.legend(handles[::-1], labels[::-1], loc="outside right center", **legend)
    return figure


def _usual_cost(line: Line) -> float:
    """The geometric mean of its costs, as a logarithm; the highest where none is known."""
    costs = sweeps.curve(line)[1]
    costs = costs[np.isfinite(costs) & (costs > 0)]
    return float(np.mean(np.log(costs))) if len(costs) else np.inf


def style(line: Line, sweep: Sweep, best: Line | None) -> dict[str, Any]:
    """How a line is drawn: learned policies in colour, the `best` rule in green, other rules grey, oracles dashed."""
    if line.kind == "learned":
        place = [each.name for each in sweep.learned].index(line.name)
        return {"color": _LEARNED[place % len(_LEARNED)], "linewidth": 2.2, "zorder": 5}
    if line is best:
        return {"color": GREEN, "linewidth": 1.8, "zorder": 4}
    dashes = {"linestyle": DASHED} if line.kind != "heuristic" else {}
    return {"color": GREY, "linewidth": 0.9, "zorder": 3, "alpha": 0.8, **dashes}


def _draw(axes: Axes, line: Line, style: dict[str, Any], marker: str) -> None:
    gain, cost = sweeps.curve(line)
    low, high = sweeps.band(line)
    axes.fill_between(gain, low, high, color=style["color"], alpha=0.15, linewidth=0)
    axes.plot(gain, cost, marker=marker, markersize=4, label=layout.caption(line.name, 34), **style)
