"""The figure of what policies do with a node's requests, by how many come to it."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from jaxdlb.drawing import layout
from jaxdlb.drawing.axes import plain
from jaxdlb.drawing.figures import WIDTH, heading, legend
from jaxdlb.drawing.style import BAR, BLUE, DPI, INK, NORMAL, PALE, SMALL, VERMILION
from jaxdlb.games.edge.charts import TITLE
from jaxdlb.games.edge.replay import Replay

MOST_BINS = 25
COLUMNS = 3  # of panels
COLOURS = {"kept at home": BAR, "forwarded": BLUE, "refused": VERMILION}


class Shares(NamedTuple):
    """Means over the steps and nodes whose input lies in each of B bins; NaN in a bin without any."""

    home: Float[np.ndarray, " B"]
    forwarded: Float[np.ndarray, " B"]
    refused: Float[np.ndarray, " B"]


def policy(replays: Mapping[str, Replay]) -> Figure:
    """The mean shares of a node's input that stay at home, go to neighbours and are refused, by that input.

    A panel a recording, over all of its nodes and steps, on the same scales.
    """
    edges = bins_of(max(int(each.input_rate.max()) for each in replays.values()))
    columns = 2 if len(replays) == 4 else min(len(replays), COLUMNS)
    rows = math.ceil(len(replays) / columns)
    size = (WIDTH, 1.4 + rows * (2.6 if columns > 1 else 3.2))
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for place, axes in enumerate(panels):
        if place >= len(replays):
            axes.set_axis_off()
    for place, (axes, (name, replayed)) in enumerate(zip(panels, replays.items(), strict=False)):
        _panel(axes, shares_of(replayed, edges), edges)
        axes.set_title(layout.caption(name, 30), **TITLE)
        lowest = place + columns >= len(replays)
        axes.tick_params(labelleft=place % columns == 0, labelbottom=lowest)
        axes.set_xlabel("requests per second that come to the node" if lowest else "", fontsize=SMALL, color=INK)
    legend(figure, [Patch(color=colour, label=label) for label, colour in COLOURS.items()])
    figure.supylabel("mean share of them", fontsize=NORMAL, color=INK)
    heading(figure, "What nodes do with their requests")
    return figure


def bins_of(highest: int) -> Int[np.ndarray, " B1"]:
    """The ends of at most `MOST_BINS` bins of equal width for inputs from 1 to the highest; B1 = B + 1."""
    width = max(1, math.ceil(highest / MOST_BINS))
    return 1 + np.arange(max(1, math.ceil(highest / width)) + 1) * width


def shares_of(replayed: Replay, edges: Int[np.ndarray, " B1"]) -> Shares:
    """The mean shares in each bin; steps in which nothing came to a node have none."""
    came = replayed.input_rate > 0
    inputs = replayed.input_rate[came]
    bins = np.searchsorted(edges, inputs, side="right") - 1
    away, refused = replayed.forwarded.sum(axis=2)[came] / inputs, replayed.refused[came] / inputs
    count = np.bincount(bins, minlength=len(edges) - 1)
    with np.errstate(invalid="ignore"):
        means = [np.bincount(bins, each, len(edges) - 1) / count for each in (1 - away - refused, away, refused)]
    return Shares(*means)


def _panel(axes: Axes, shares: Shares, edges: Int[np.ndarray, " B1"]) -> None:
    """Bars as wide as their bins, one kind on top of the other."""
    below = np.zeros(len(edges) - 1)
    for share, colour in zip(shares, COLOURS.values(), strict=True):
        axes.bar(edges[:-1] - 0.5, share, np.diff(edges), below, align="edge", color=colour, linewidth=0)
        below = below + share
    plain(axes)
    axes.grid(axis="y", color=PALE, linewidth=0.8)
    axes.set(xlim=(edges[0] - 0.5, edges[-1] - 0.5), ylim=(0, 1))
    axes.xaxis.set_major_locator(ticker.MaxNLocator(5, integer=True))
    axes.yaxis.set_major_formatter(ticker.PercentFormatter(1, decimals=0))
    axes.tick_params(labelsize=SMALL)
