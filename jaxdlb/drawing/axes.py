"""The look of matplotlib axes that all pictures share."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import ticker
from matplotlib.axes import Axes

from jaxdlb.drawing.style import DOTTED, GREY, INK, LARGE, NORMAL, PALE, PAPER, SMALL

_MARKERS = {50: "o", 95: "s", 99: "D"}  # of percentiles


def plain(axes: Axes) -> None:
    """Remove the frame and tick marks, and put the grid behind the data."""
    axes.spines[:].set_visible(False)
    axes.tick_params(labelsize=SMALL, length=0, colors=INK)
    axes.tick_params(which="minor", length=0)
    axes.set_axisbelow(True)


def plain_numbers() -> ticker.FuncFormatter:
    """Numbers at ticks, without powers of ten."""
    return ticker.FuncFormatter(lambda value, _: f"{value:,g}")


def times_exceeded(axes: Axes, percents: Sequence[int], unit: str, what: str, *, narrow: float) -> None:
    """Dress axes, logarithmic both, on which lines show the share of `what` that took longer than a time in `unit`.

    The shares of `percents` are marked. Ticks stand between powers of ten where the times span less than `narrow`.
    """
    low, high = axes.get_xlim()
    axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0) if high < narrow * low else (1.0,)))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_locator(ticker.NullLocator())
    plain(axes)
    axes.grid(color=PALE, linewidth=0.8)
    for percent in percents:
        axes.axhline(1 - percent / 100, color=GREY, linewidth=0.9, linestyle=DOTTED, zorder=1)
        text: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
        axes.annotate(f"p{percent}", (1, 1 - percent / 100), (4, 0), va="center", fontsize=SMALL, color=GREY, **text)
    axes.xaxis.set_major_formatter(plain_numbers())
    axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{100 * value:g}%"))
    axes.set_xlabel(f"response time, {unit}", fontsize=NORMAL, color=INK)
    axes.set_ylabel(f"{what} that took longer", fontsize=NORMAL, color=INK)


def mark_percentiles(axes: Axes, times: Mapping[int, float], colour: str) -> None:
    """Mark on a line of `times_exceeded` the time that each percentile is."""
    for percent, time in times.items():
        look: dict[str, Any] = {"marker": _MARKERS[percent], "markersize": 6.5, "markeredgecolor": PAPER}
        axes.plot(time, 1 - percent / 100, color=colour, linestyle="", zorder=3, **look)


def title(axes: Axes, text: str, subtitle: str, *, raised: float = 0) -> None:
    """A title and a line of explanation above the axes, flush left and `raised` by that many points."""
    axes.set_title(subtitle, fontsize=SMALL, color=GREY, loc="left", pad=8 + raised)
    style: dict[str, Any] = {"fontsize": LARGE, "color": INK, "fontweight": "bold"}
    axes.annotate(text, (0, 1), (0, 24 + raised), xycoords="axes fraction", textcoords="offset points", **style)
