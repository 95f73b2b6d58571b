"""The figure of what policies suffer at what they spend, each by its hull."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxdlb.drawing import layout
from jaxdlb.drawing.axes import plain, title
from jaxdlb.drawing.style import DPI, INK, NORMAL, PALE, SMALL
from jaxdlb.evaluation import frontier
from jaxdlb.evaluation.frontier import Hulls
from jaxdlb.evaluation.sweep import Sweep
from jaxdlb.evaluation.sweep_plot import MARKERS, style

_FINE = 200  # points of a hull that is drawn: straight between two settings, it is bent on a logarithmic scale
_HIGHEST, _LOWEST = 30.0, 1e-4  # times the least harm of rules, and of the highest: the rest is only hinted at


def hulls(sweep: Sweep, found: Sequence[Hulls], best: str | None) -> Figure:
    """The harm over what is spent: the hull of each line, with the band of its 95% intervals; the lower left wins.

    Learned policies are drawn in colour, the rule called `best` in green, other rules in grey, oracles dashed.
    """
    figure = Figure(figsize=(9.5, 5.6), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    green = next((each.line for each in found if each.line.name == best), None)
    shown = sorted((each for each in found if len(each.of_means[0])), key=lambda each: -_middle(each))
    for place, each in enumerate(shown):
        _draw(axes, each, style(each.line, sweep, green), MARKERS[place % len(MARKERS)])
    harms = np.concatenate([each.of_means[1] for each in shown])
    axes.set_yscale("log")
    if (harms > 0).any():
        least, most = harms[harms > _LOWEST * harms.max()].min(), harms.max()
        axes.set_ylim(least * 0.6, min(most * 1.25, least * 10 * _HIGHEST))
    axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(ticker.NullFormatter())
    axes.grid(color=PALE, linewidth=0.8)
    axes.set_xlabel(sweep.headers[0], fontsize=NORMAL, color=INK)
    axes.set_ylabel(f"{sweep.headers[1]}, logarithmic scale", fontsize=NORMAL, color=INK)
    spent, harm = (header.partition(",")[0] for header in sweep.headers)
    told = f"{sweep.learned[0].name} trained at {sweep.over} from {sweep.values[0]:g} to {sweep.values[-1]:g}"
    title(axes, f"{harm} against {spent}", f"{told}; rules at their best settings; lower left is better; bands: 95%")
    plain(axes)
    handles, labels = axes.get_legend_handles_labels()
    legend: dict[str, Any] = {"frameon": False, "fontsize": SMALL, "labelcolor": INK}
    figure.legend(handles[::-1], labels[::-1], loc="outside right center", **legend)
    return figure


def _middle(each: Hulls) -> float:
    """Where a hull lies, for the order of the legend: near the lower left or far from it."""
    spent, harm = each.of_means
    return float(np.min(np.log(np.maximum(spent, 1e-12)) + np.log(np.maximum(harm, 1e-12))))


def _draw(axes: Axes, each: Hulls, look: dict[str, Any], marker: str) -> None:
    spent = each.of_means[0]
    levels = np.unique(np.concatenate([spent, np.linspace(spent[0], spent[-1], _FINE)]))
    low, high = frontier.band(each, levels)
    axes.fill_between(levels, low, high, color=look["color"], alpha=0.15, linewidth=0)
    if len(spent) == 1:
        axes.vlines(spent, low, high, color=look["color"], linewidth=0.9, alpha=0.5)
    places = np.searchsorted(levels, spent).tolist()
    values, name = frontier.harm_at(each.of_means, levels), layout.caption(each.line.name, 34)
    axes.plot(levels, values, marker=marker, markersize=4, markevery=places, label=name, **look)
