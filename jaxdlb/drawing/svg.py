"""Figures as SVG for light pages, and the same figures for dark pages."""

import io
import re
from typing import Any, Protocol, runtime_checkable

from jaxdlb.drawing.style import DARK, DPI


@runtime_checkable
class Drawable(Protocol):
    """Anything that can draw itself into a file, such as a matplotlib figure."""

    def savefig(self, fname: Any, **options: Any) -> Any: ...


def to_svg(figure: Drawable) -> str:
    """The figure as SVG with a transparent background; the same figure always gives the same text."""
    import matplotlib

    file = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "jaxdlb", "svg.fonttype": "path"}):
        figure.savefig(file, format="svg", dpi=DPI, facecolor="none", edgecolor="none", metadata={"Date": None})
    return file.getvalue()


def darkened(svg: str) -> str:
    """The SVG with each colour in `DARK` replaced by its counterpart for dark pages; other colours stay.

    Text and shapes that matplotlib leaves uncoloured because they are black get the colour of ink too.
    """
    shown = re.sub(r"#[0-9a-f]{6}\b", lambda match: DARK.get(match[0], match[0]), svg)
    return re.sub(r"<svg\b", f'<svg fill="{DARK["#000000"]}"', shown, count=1)
