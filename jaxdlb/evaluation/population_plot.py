"""The figure of a population: how its members did, and with which hyper-parameters."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Int, Shaped
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxdlb.drawing.axes import plain, title
from jaxdlb.drawing.style import BLUE, DPI, GREY, INK, NORMAL, PALE, SMALL

_HEIGHTS = (3.0, 1.7)  # inches, of the first panel and of each other one
_CUT = 5.0  # percent of the values in the first panel that may lie below it: what has just begun, or gone astray


def members(
    agent_rounds: Shaped[np.ndarray, " T"],
    values: Mapping[str, Shaped[np.ndarray, "P T"]],
    line: Int[np.ndarray, " T"],
) -> Figure:
    """A panel for each of `values`, by label: all P members in grey, and in blue those that `line` follows.

    `line` says which member that is at each point, −1 where none is. The first of `values` is drawn on a linear scale,
    and all others, which must be positive, on logarithmic ones.
    """
    heights = [_HEIGHTS[0], *[_HEIGHTS[1]] * (len(values) - 1)]
    figure = Figure(figsize=(8, sum(heights) + 0.6), dpi=DPI, layout="constrained")
    panels = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights).ravel()
    for axes, (label, each) in zip(panels, values.items(), strict=True):
        _draw(axes, np.asarray(agent_rounds, np.float64), each, line)
        axes.set_ylabel(label, fontsize=NORMAL, color=INK)
    first, *others = panels
    _cut(first, next(iter(values.values())))
    for axes in others:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 3)))
        axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(ticker.NullFormatter())
    panels[-1].xaxis.set_major_formatter(ticker.EngFormatter(sep=" "))
    panels[-1].set_xlabel("agent-rounds of each member", fontsize=NORMAL, color=INK)
    num_members = len(next(iter(values.values())))
    title(
        first,
        f"A population of {num_members}",
        "blue: the best member and those that it is a copy of; grey: all others",
    )
    return figure


def _draw(axes: Axes, agent_rounds: np.ndarray, values: Shaped[np.ndarray, "P T"], line: Int[np.ndarray, " T"]) -> None:
    """All members, and the followed line above them, which ends in a dot."""
    axes.plot(agent_rounds, values.T, color=GREY, linewidth=0.7, alpha=0.45)
    known = line >= 0
    followed = values[line[known], np.flatnonzero(known)]
    axes.plot(agent_rounds[known], followed, color=BLUE, linewidth=2.0, zorder=3)
    axes.plot(agent_rounds[known][-1:], followed[-1:], color=BLUE, marker="o", markersize=5, zorder=4)
    axes.margins(x=0.01)
    axes.grid(axis="y", color=PALE, linewidth=0.8)
    plain(axes)
    axes.tick_params(labelsize=SMALL)


def _cut(axes: Axes, values: Shaped[np.ndarray, "P T"]) -> None:
    """Leave out the worst of what is drawn, lest it presses all else together."""
    finite = values[np.isfinite(values)]
    if len(finite) and finite.min() < finite.max():
        low, high = np.percentile(finite, _CUT), finite.max()
        axes.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
