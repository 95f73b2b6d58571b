"""Figures as SVG, on paper of any colour, and the same figures for dark paper."""

import io
import re
from typing import Any, Protocol, runtime_checkable

from jaxdlb.drawing.style import DARK, DPI


@runtime_checkable
class Drawable(Protocol):
    """Whatever draws itself into a file: a matplotlib figure."""

    def savefig(self, fname: Any, **options: Any) -> Any: ...


def drawn(figure: Drawable) -> str:
    """The figure as SVG without paper of its own; the same figure gives the same text."""
    import matplotlib

    file = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "jaxdlb", "svg.fonttype": "path"}):
        figure.savefig(file, format="svg", dpi=DPI, facecolor="none", edgecolor="none", metadata={"Date": None})
    return file.getvalue()


def darkened(svg: str) -> str:
    """The SVG with each of the house's colours replaced by what stands for it on dark paper; others stay.

    Letters and shapes that matplotlib draws in black, and so does not colour, get the colour of ink as well.
    """
    shown = re.sub(r"#[0-9a-f]{6}\b", lambda match: DARK.get(match[0], match[0]), svg)
    return re.sub(r"<svg\b", f'<svg fill="{DARK["#000000"]}"', shown, count=1)
