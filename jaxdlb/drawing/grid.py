"""Where panels of an animation stand: arithmetic in pixels, and the axes that follow from it."""

import dataclasses
import math
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from jaxdlb.drawing.style import INK, LARGE, NORMAL, PAPER

PIXELS = 100  # an inch


@dataclasses.dataclass(frozen=True)
class Grid:
    """Panels of one size, two side by side, above a footer; all sizes are in pixels.

    Places are counted from the lower left corner of the figure, panels row by row from the top.
    """

    num_panels: int
    panel_width: float
    panel_height: float
    left: float  # of the first panel of a row
    gap: float  # between two panels of a row
    right: float  # of the last one
    margin: float  # above the first row
    footer: float  # below the last one

    @property
    def columns(self) -> int:
        return min(self.num_panels, 2)

    @property
    def width(self) -> float:
        return self.left + self.columns * self.panel_width + (self.columns - 1) * self.gap + self.right

    @property
    def height(self) -> float:
        return self.margin + math.ceil(self.num_panels / self.columns) * self.panel_height + self.footer

    def corner(self, place: int) -> tuple[float, float]:
        """The upper left corner of a panel."""
        row, column = divmod(place, self.columns)
        return self.left + column * (self.panel_width + self.gap), self.height - self.margin - row * self.panel_height

    def figure(self) -> Figure:
        """An empty figure of this size."""
        return Figure(figsize=(self.width / PIXELS, self.height / PIXELS), dpi=PIXELS, facecolor=PAPER)

    def axes(self, figure: Figure, left: float, bottom: float, height: float) -> Axes:
        """Axes as wide as a panel."""
        return figure.add_axes(
            (left / self.width, bottom / self.height, self.panel_width / self.width, height / self.height)
        )

    def heading(self, figure: Figure, place: int, name: str) -> Text:
        """Write the name at the top of a panel; returns the line below it, in which nothing stands yet."""
        left, top = self.corner(place)
        look: dict[str, Any] = {"color": INK, "va": "center"}
        at = left / self.width
        figure.text(at, (top - 14) / self.height, name, fontsize=LARGE, fontweight="bold", **look)
        return figure.text(at, (top - 34) / self.height, "", fontsize=NORMAL, **look)
