"""What whole figures share: how wide they are, their heading and their legend."""

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from jaxdlb.drawing.style import INK, LARGE, SMALL

WIDTH = 8.6  # inches: a page


def heading(figure: Figure, text: str) -> None:
    """A heading above everything, flush left."""
    figure.suptitle(text, fontsize=LARGE, color=INK, fontweight="bold", x=0.01, ha="left")


def legend(figure: Figure, handles: Sequence[Any], columns: int | None = None) -> None:
    """A legend below everything, flush left."""
    figure.legend(
        handles=handles,
        loc="outside lower left",
        ncols=columns or len(handles),
        frameon=False,
        fontsize=SMALL,
        labelcolor=INK,
        handlelength=1.8,
        columnspacing=1.6,
    )
