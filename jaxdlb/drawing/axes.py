"""The look of matplotlib axes that all pictures share."""

from typing import Any

from matplotlib import ticker
from matplotlib.axes import Axes

from jaxdlb.drawing.style import GREY, INK, LARGE, SMALL


def plain(axes: Axes) -> None:
    """Remove the frame and tick marks, and put the grid behind the data."""
    axes.spines[:].set_visible(False)
    axes.tick_params(labelsize=SMALL, length=0, colors=INK)
    axes.tick_params(which="minor", length=0)
    axes.set_axisbelow(True)


def plain_numbers() -> ticker.FuncFormatter:
    """Numbers at ticks, without powers of ten."""
    return ticker.FuncFormatter(lambda value, _: f"{value:,g}")


def title(axes: Axes, text: str, subtitle: str, *, raised: float = 0) -> None:
    """A title and a line of explanation above the axes, flush left and `raised` by that many points."""
    axes.set_title(subtitle, fontsize=SMALL, color=GREY, loc="left", pad=8 + raised)
    style: dict[str, Any] = {"fontsize": LARGE, "color": INK, "fontweight": "bold"}
    axes.annotate(text, (0, 1), (0, 24 + raised), xycoords="axes fraction", textcoords="offset points", **style)
