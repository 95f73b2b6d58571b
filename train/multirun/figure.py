"""The figure of a sweep: how the objective hangs on each key that took several values."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxdlb.drawing import layout
from jaxdlb.drawing.axes import plain, title
from jaxdlb.drawing.style import BLUE, DPI, GREY, INK, NORMAL, PALE, VERMILION

from ..objective import Objective
from .outcomes import Outcome, ranked

_COLUMNS = 3  # of panels, at the most
_FEW = 6  # values of a key that are all written below its panel, if they stand far enough apart
_HALF_BAR = 0.2  # half the width of the mark of a mean, where the values are no numbers
_LARGE_SPREAD = 10  # values that differ by more than this factor are drawn on a logarithmic scale
_BOTTOM = 0.025  # the height, as a share of a panel's, at which jobs without an objective are marked


def objectives(found: Sequence[Outcome], swept: Sequence[str], objective: Objective) -> Figure:
    """A panel for each key: a point for each job, the best one marked, and a line through the means of its values.

    There is no line where a sweeper chose new values of several keys for every job, of which none is a mean.
    Jobs without an objective are crosses at the bottom. One job must have an objective.
    """
    columns = min(len(swept), _COLUMNS)
    rows = math.ceil(len(swept) / columns)
    figure = Figure(figsize=(1.2 + 4.2 * columns, 0.8 + 3.5 * rows), dpi=DPI, layout="constrained")
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for axes, key in zip(panels.flat, swept, strict=False):
        _panel(axes, key, found, objective, joined=len(swept) == 1)
    for axes in panels.flat[len(swept) :]:
        axes.set_axis_off()
    _scale(panels[0, 0], "y", [each.objective for each in found if each.objective is not None])
    for axes in panels[:, 0]:
        axes.set_ylabel(objective.name, fontsize=NORMAL, color=INK)
    title(panels[0, 0], f"{_spoken(objective)} by what was swept", _subtitle(found, objective))
    return figure


def _panel(axes: Axes, key: str, found: Sequence[Outcome], objective: Objective, *, joined: bool) -> None:
    places, is_scale = _places(axes, [each.values.get(key, "") for each in found])
    heights = np.array([np.nan if each.objective is None else each.objective for each in found])
    known = np.isfinite(heights)
    values = np.unique(places[known])
    means = np.array([heights[known & (places == value)].mean() for value in values])
    if not is_scale:
        axes.hlines(means, values - _HALF_BAR, values + _HALF_BAR, color=GREY, linewidth=1.2, zorder=2)
    elif joined or len(values) < known.sum():
        axes.plot(values, means, color=GREY, linewidth=1.2, zorder=2)
    best = found.index(ranked(found, objective)[0])
    axes.scatter(places[known], heights[known], s=26, color=BLUE, alpha=0.75, linewidth=0, zorder=3)
    axes.scatter(places[best], heights[best], s=70, color=VERMILION, marker="D", linewidth=0, zorder=4)
    style: dict[str, Any] = {"marker": "x", "s": 28, "color": GREY, "linewidth": 1.2, "zorder": 3}
    failed = places[~known]
    axes.scatter(failed, np.full(len(failed), _BOTTOM), transform=axes.get_xaxis_transform(), **style)
    axes.grid(color=PALE, linewidth=0.8)
    axes.set_xlabel(layout.caption(key), fontsize=NORMAL, color=INK)
    axes.margins(x=0.08, y=0.14)
    plain(axes)


def _places(axes: Axes, values: Sequence[str]) -> tuple[np.ndarray, bool]:
    """Where each value stands, and whether on a scale: numbers do, anything else side by side as it came."""
    try:
        numbers = np.array([float(value) for value in values])
    except ValueError:
        names = list(dict.fromkeys(values))
        axes.set_xticks(range(len(names)), [layout.caption(name, 60 // len(names) + 4) for name in names])
        axes.set_xlim(-0.5, len(names) - 0.5)
        return np.array([names.index(value) for value in values], float), False
    _scale(axes, "x", numbers.tolist())
    few = np.unique(numbers)
    along = np.log(few) if axes.get_xscale() == "log" else few
    if 1 < len(few) <= _FEW and np.diff(along).min() > np.ptp(along) / (2 * _FEW):
        axes.set_xticks(few)
    return numbers, True


def _scale(axes: Axes, direction: str, values: Sequence[float]) -> None:
    """A logarithmic scale where the values are all above 0, or all below, and differ by a large factor."""
    axis, set_scale = {"x": (axes.xaxis, axes.set_xscale), "y": (axes.yaxis, axes.set_yscale)}[direction]
    sizes = np.abs(values)
    least, most = sizes.min(), sizes.max()
    if np.ptp(np.sign(values)) == 0 and most > _LARGE_SPREAD * least > 0:
        steps = (1.0, 2.0, 5.0) if most < 100 * least else (1.0,)
        if min(values) < 0:  # these have no logarithm: the scale is linear between 0 and less than the least of them
            set_scale("symlog", linthresh=least / 2)
            axis.set_major_locator(ticker.SymmetricalLogLocator(base=10, linthresh=least / 2, subs=steps))
        else:
            set_scale("log")
            axis.set_major_locator(ticker.LogLocator(subs=steps))
        axis.set_minor_formatter(ticker.NullFormatter())
    axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: layout.true_minus(f"{value:g}")))


def _subtitle(found: Sequence[Outcome], objective: Objective) -> str:
    best = ranked(found, objective)[0]
    assert best.objective is not None
    way = "up" if objective.direction == "maximize" else "down"
    failed = sum(each.objective is None for each in found)
    told = [
        f"{len(found)} jobs, further {way} is better",
        f"diamond: the best, {layout.number(best.objective)} of job {best.job}",
        *([f"crosses: {failed} without an objective"] if failed else []),
    ]
    return "; ".join(told)


def _spoken(objective: Objective) -> str:
    words = f"{objective.source} {objective.column}".replace("_", " ")
    return f"{words[0].upper()}{words[1:]}"
