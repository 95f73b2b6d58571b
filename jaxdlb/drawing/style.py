"""Colours and sizes of all pictures, with no drawing.

The colours are those of Okabe and Ito, which colour-blind readers can tell apart; wherever a colour carries meaning, a
marker or a label carries it too.
"""

import itertools
from collections.abc import Iterator

PAPER, INK, GREY, PALE = "#ffffff", "#22303c", "#6b7885", "#e4e8ec"
BLUE, GREEN, VERMILION, PURPLE = "#0072b2", "#009e73", "#d55e00", "#cc79a7"
OCHRE, VIOLET = "#a67c00", "#6a51a3"
BAR, SHADE = "#a9cbe4", "#d5dade"

# Replaces each colour on a dark background: the same hue, with as much contrast as the colour has against white.
# Black is matplotlib's default.
DARK = {
    PAPER: "#14191f",
    INK: "#e3e8ed",
    GREY: "#9aa7b4",
    PALE: "#2e3843",
    BLUE: "#6cbcf0",
    GREEN: "#4fd1a9",
    VERMILION: "#ff9d5c",
    PURPLE: "#e0a3c6",
    OCHRE: "#e3bf4f",
    VIOLET: "#b09ae0",
    BAR: "#2c5a7c",
    SHADE: "#39434e",
    "#000000": "#e3e8ed",
}

LINES = (VERMILION, BLUE, GREEN, OCHRE, VIOLET, PURPLE, INK, GREY)  # of lines in one panel, in turn
MARKERS = ("D", "o", "s", "^", "v", "P", "X", "*")  # that go with them, where lines are few

DASHES = ("-", "--", "-.")  # of lines, in turn: wherever colours carry meaning, so does something else

LOADS = "YlGnBu"  # matplotlib's colour map for heat maps: darker means more
AGES = "YlOrBr"  # and for the age of news, from fresh to old
FAINT = 0.35  # opacity of what is only hinted at
DPI = 150  # of figures
SMALL, NORMAL, LARGE = 8.5, 10, 13  # font sizes in points
DASHED, DOTTED = (0, (4, 3)), (0, (1, 2))  # matplotlib line styles
MOST_LABELS = 16  # node labels in a row or column


def line_styles() -> Iterator[tuple[str, str]]:
    """Colours and dashes of lines, in turn and without end."""
    return zip(itertools.cycle(LINES), itertools.cycle(DASHES), strict=False)
