"""Colours and sizes of every picture, without any drawing.

Colours are those of Okabe and Ito, which colour-blind readers can tell apart; where a colour carries meaning, so does a
marker or a label.
"""

PAPER, INK, GREY, PALE = "#ffffff", "#22303c", "#6b7885", "#e4e8ec"
BLUE, GREEN, VERMILION, PURPLE = "#0072b2", "#009e73", "#d55e00", "#cc79a7"
BAR, SHADE = "#a9cbe4", "#d5dade"

# What stands for each colour on dark paper: as far from it as the colour is from white, and of the same hue.
# Black is what matplotlib draws with where nothing else is said.
DARK = {
    PAPER: "#14191f",
    INK: "#e3e8ed",
    GREY: "#9aa7b4",
    PALE: "#2e3843",
    BLUE: "#6cbcf0",
    GREEN: "#4fd1a9",
    VERMILION: "#ff9d5c",
    PURPLE: "#e0a3c6",
    BAR: "#2c5a7c",
    SHADE: "#39434e",
    "#000000": "#e3e8ed",
}

LOADS = "YlGnBu"  # matplotlib's name of the colours of a heat map: the darker, the more
AGES = "YlOrBr"  # and of the age of news, from fresh to old
FAINT = 0.35  # opacity of what is only hinted at
DPI = 150  # of figures
SMALL, NORMAL, LARGE = 8.5, 10, 13  # sizes of letters in points
DASHED = (0, (4, 3))  # a line style of matplotlib
MOST_LABELS = 16  # of nodes, beside or below each other
