"""Figures of recorded networks over time: what came to nodes and what became of it, and the bandwidth of links."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from jaxdlb.drawing import layout
from jaxdlb.drawing.axes import plain
from jaxdlb.drawing.figures import WIDTH, heading, legend
from jaxdlb.drawing.style import (
    BAR,
    DASHED,
    DPI,
    GREY,
    INK,
    LOADS,
    MOST_LABELS,
    NORMAL,
    PALE,
    SMALL,
    VERMILION,
)
from jaxdlb.games.edge.replay import Replay, lost_share
from jaxdlb.recording import Recording

MOST_PANELS = 32  # nodes of a timeline
MOST_BINS, BINS_OF_ALL = 288, 6000  # of one panel, and of all: fewer a panel where there are many
MOST_COLUMNS = 600  # of a heat map
STEP = "step of five minutes"
TITLE: dict[str, Any] = {"fontsize": NORMAL, "color": INK, "fontweight": "bold", "loc": "left"}

# Requests over time, node by node


def timeline(recordings: Mapping[str, Recording], replays: Mapping[str, Replay]) -> Figure:
    """What came to each node, what it served, of whomever, and what was lost there; and the loss of all nodes.

    A row a node and a column a policy; the nodes of a single recording stand in as many columns as it needs.
    """
    most_nodes = max(each.num_nodes for each in replays.values())
    shown = layout.evenly_spaced(most_nodes, MOST_PANELS)
    alone = len(replays) == 1
    columns = _columns(len(shown)) if alone else len(replays)
    rows = math.ceil(len(shown) * len(replays) / columns)
    height = float(np.clip(9 / rows, 0.66, 1.5))
    size = (max(WIDTH, 0.8 + 1.95 * columns), 2.6 + height * rows)
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    grid = figure.add_gridspec(rows + 1, columns, height_ratios=[*[height] * rows, 1.25])
    bins = int(np.clip(BINS_OF_ALL // (len(shown) * len(replays)), 48, MOST_BINS))
    top = max(_highest(each, bins) for each in replays.values())
    totals = []
    for column, (name, replayed) in enumerate(replays.items()):
        places = [divmod(k, columns) if alone else (k, column) for k in range(len(shown))]
        here = {node: place for node, place in zip(shown, places, strict=True) if node < replayed.num_nodes}
        panels = [_node(figure.add_subplot(grid[here[node]]), replayed, node, bins, top) for node in here]
        if not alone:
            panels[0].set_title(layout.caption(name, 30), **TITLE)
        _label_nodes(panels, list(here), columns=columns if alone else 1, labelled=column == 0)
        total = figure.add_subplot(grid[rows, :] if alone else grid[rows, column])
        totals.append(_total(total, replayed, lost_share(recordings[name]), labelled=column == 0))
    _share_scale(totals)
    _legend_of_timeline(figure)
    figure.supylabel("requests per second", fontsize=NORMAL, color=INK)
    title = f"Requests over time: {layout.caption(next(iter(replays)))}" if alone else "Requests over time"
    some = f" ({len(shown)} of {most_nodes} nodes)" if len(shown) < most_nodes else ""
    heading(figure, title + some)
    return figure


def _columns(num_panels: int) -> int:
    """Of the nodes of a single recording."""
    return 1 if num_panels <= 4 else 2 if num_panels <= 16 else 4


def _share_scale(panels: Sequence[Axes]) -> None:
    most = max(axes.get_ylim()[1] for axes in panels)
    for axes in panels:
        axes.set_ylim(0, most)


def _highest(replayed: Replay, bins: int) -> float:
    """The top of the highest stack or line of any node."""
    both = (replayed.served + replayed.lost, replayed.input_rate)
    return max(1.0, *(float(layout.shortened(series, bins).max()) for series in both))


def _node(axes: Axes, replayed: Replay, node: int, bins: int, top: float) -> Axes:
    """The stack of what a node served and what was lost there, and the line of what came to it."""
    came, edges = layout.binned(replayed.input_rate[:, node], bins)
    stack(axes, replayed.served[:, node], replayed.lost[:, node], bins)
    axes.axhline(replayed.capacity[node], color=INK, linewidth=0.8, linestyle=DASHED)
    axes.stairs(came, edges, color=INK, linewidth=1, baseline=None, label="input")
    axes.set(ylim=(0, 1.05 * top), xlim=(0, replayed.num_steps))
    return axes


def _label_nodes(panels: Sequence[Axes], nodes: Sequence[int], *, columns: int, labelled: bool) -> None:
    """Names of nodes beside the panels of a policy in so many columns, numbers at the ends of rows and columns."""
    for place, (axes, node) in enumerate(zip(panels, nodes, strict=True)):
        last = columns > 1 and place + columns >= len(panels)
        _ticks(axes, labelled=labelled and place % columns == 0, low=last)
        if labelled:
            axes.set_ylabel(f"node {node}", fontsize=SMALL, color=INK)


def stack(axes: Axes, served: Float[np.ndarray, " T"], lost: Float[np.ndarray, " T"], bins: int) -> None:
    """What was lost on top of what was served."""
    below, edges = layout.binned(served, bins)
    above, _ = layout.binned(served + lost, bins)
    axes.stairs(below, edges, fill=True, color=BAR, linewidth=0, label="served")
    axes.stairs(above, edges, baseline=below, fill=True, color=VERMILION, linewidth=0, label="lost")


def _total(axes: Axes, replayed: Replay, share: float, *, labelled: bool) -> Axes:
    """What was lost at all nodes together, and its share of what came."""
    lost, edges = layout.binned(replayed.lost.sum(axis=1), MOST_BINS)
    axes.stairs(lost, edges, fill=True, color=VERMILION, linewidth=0)
    said = "no requests" if math.isnan(share) else f"{100 * share:.1f}% lost"
    axes.set_title(f"all nodes: {said}", fontsize=SMALL, color=INK, fontweight="bold", loc="left", pad=2)
    axes.set_xlabel(STEP, fontsize=SMALL, color=INK)
    axes.set(ylim=(0, 1.05 * max(float(lost.max()), 1.0)), xlim=(0, replayed.num_steps))
    _ticks(axes, labelled=labelled, low=True)
    return axes


def _ticks(axes: Axes, *, labelled: bool, low: bool = False) -> None:
    """The look of a panel: numbers at the left of the first of a row, and under the last of a column."""
    plain(axes)
    axes.grid(axis="y", color=PALE, linewidth=0.8)
    axes.yaxis.set_major_locator(ticker.MaxNLocator(3, integer=True))
    axes.xaxis.set_major_locator(ticker.MaxNLocator(6, integer=True))
    axes.tick_params(labelleft=labelled, labelbottom=low)


def _legend_of_timeline(figure: Figure) -> None:
    handles = [
        Line2D([], [], color=INK, linewidth=1.2, label="input: came to the node"),
        Patch(color=BAR, label="served there"),
        Patch(color=VERMILION, label="lost there: rejected or refused"),
        Line2D([], [], color=INK, linewidth=1, linestyle=DASHED, label="capacity"),
    ]
    legend(figure, handles)


# Inputs and bandwidths, which no policy changes


class Rows(NamedTuple):
    """What is the same in some of the recordings: R labelled series over T steps."""

    names: list[str]  # of the recordings
    labels: list[str]
    values: Float[np.ndarray, "T R"]
    limit: float  # the summed capacity, for inputs


def inputs(replays: Mapping[str, Replay]) -> Figure:
    """The requests that come to each node, darker means more, and to all of them; recordings that agree share both."""
    rows = [
        Rows([name], [f"node {k}" for k in range(each.num_nodes)], each.input_rate.astype(float), each.capacity.sum())
        for name, each in replays.items()
    ]
    figure, panels = _heat_maps("Inputs", _distinct(rows), "requests per second\nthat come to the node")
    for axes, shown in panels:
        total, edges = layout.binned(shown.values.sum(axis=1), MOST_COLUMNS)
        axes.stairs(total, edges, color=INK, linewidth=1.3, baseline=None)
        axes.axhline(shown.limit, color=GREY, linewidth=1, linestyle=DASHED)
        axes.set_ylim(0, 1.08 * max(float(total.max()), shown.limit, 1.0))
    panels[0][0].set_ylabel("all nodes,\nrequests per second", fontsize=SMALL, color=INK)
    legend(
        figure,
        [
            Line2D([], [], color=INK, linewidth=1.3, label="requests that come to all nodes"),
            Line2D([], [], color=GREY, linewidth=1, linestyle=DASHED, label="what all nodes can serve"),
        ],
    )
    return figure


def bandwidth(replays: Mapping[str, Replay]) -> Figure:
    """The bandwidth of each link, darker means more, and its mean and range; recordings that agree share all."""
    rows = _distinct([_links(name, each) for name, each in replays.items()])
    if not all(each.labels for each in rows):
        return _nothing("Bandwidth", "There are no links.")
    figure, panels = _heat_maps("Bandwidth", rows, "Mbit/s")
    for axes, shown in panels:
        mean, edges = layout.binned(shown.values.mean(axis=1), MOST_COLUMNS)
        least, most = (
            layout.binned(end, MOST_COLUMNS).values for end in (shown.values.min(axis=1), shown.values.max(axis=1))
        )
        axes.stairs(most, edges, baseline=least, fill=True, color=BAR, linewidth=0)
        axes.stairs(mean, edges, color=INK, linewidth=1.3, baseline=None)
        axes.set_ylim(0, 1.08 * float(most.max()))
    panels[0][0].set_ylabel("links, Mbit/s", fontsize=SMALL, color=INK)
    handles = [
        Line2D([], [], color=INK, linewidth=1.3, label="mean over links"),
        Patch(color=BAR, label="from the slowest to the fastest"),
    ]
    legend(figure, handles)
    return figure


def _links(name: str, replayed: Replay) -> Rows:
    """The links in use: one row for both directions, or one for each where any two differ."""
    joined = replayed.adjacency | replayed.adjacency.T
    both = replayed.bandwidth == np.swapaxes(replayed.bandwidth, 1, 2)
    alike = bool(np.all(both[:, joined]))
    ends = np.argwhere(np.triu(joined) if alike else joined)
    labels = [f"{i}–{j}" if alike else f"{i} → {j}" for i, j in ends]
    return Rows([name], labels, replayed.bandwidth[:, ends[:, 0], ends[:, 1]].astype(float), 0.0)


def _distinct(rows: Sequence[Rows]) -> list[Rows]:
    """The rows with those that are equal put together."""
    kept: list[Rows] = []
    for each in rows:
        same = next((other for other in kept if _are_equal(each, other)), None)
        if same is None:
            kept.append(each)
        else:
            same.names.extend(each.names)
    return kept


def _are_equal(one: Rows, other: Rows) -> bool:
    same = one.labels == other.labels and one.limit == other.limit
    return same and np.array_equal(one.values, other.values)


def _heat_maps(title: str, rows: Sequence[Rows], unit: str) -> tuple[Figure, list[tuple[Axes, Rows]]]:
    """A heat map for each of `rows` on a common scale, and below each an empty panel over the same steps."""
    most_rows = max(len(each.labels) for each in rows)
    height = float(np.clip(0.22 * most_rows, 0.7, 5.0))
    size = (max(WIDTH, 3.2 * len(rows) + 1.6), height + 3.0)
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    grid = figure.subplots(2, len(rows), squeeze=False, height_ratios=[height, 1.4])
    norm = Normalize(0, max(1e-9, *(float(each.values.max()) for each in rows)))
    for axes, each in zip(grid[0], rows, strict=True):
        _heat_map(axes, each, norm)
        if len(rows) > 1:
            axes.set_title(layout.caption(", ".join(each.names), 36), fontsize=NORMAL, color=INK, loc="left")
    for axes, each in zip(grid[1], rows, strict=True):
        axes.set_xlim(0, len(each.values))
        _ticks(axes, labelled=True, low=True)
        axes.yaxis.set_major_locator(ticker.MaxNLocator(4))
        axes.set_xlabel(STEP, fontsize=SMALL, color=INK)
    bar = figure.colorbar(ScalarMappable(norm, LOADS), ax=list(grid[0]), pad=0.02, fraction=0.04, aspect=12)
    bar.outline.set_visible(False)
    bar.set_label(unit, fontsize=SMALL, color=INK)
    bar.ax.tick_params(labelsize=SMALL, length=0, colors=INK)
    bar.ax.yaxis.set_major_locator(ticker.MaxNLocator(4))
    heading(figure, title)
    return figure, list(zip(grid[1], rows, strict=True))


def _heat_map(axes: Axes, rows: Rows, norm: Normalize) -> None:
    axes.imshow(
        layout.shortened(rows.values, MOST_COLUMNS).T,
        extent=(0, len(rows.values), len(rows.labels) - 0.5, -0.5),
        norm=norm,
        cmap=LOADS,
        aspect="auto",
        interpolation="nearest",
    )
    shown = layout.evenly_spaced(len(rows.labels), MOST_LABELS)
    axes.set_yticks(shown, [rows.labels[k] for k in shown])
    axes.xaxis.set_major_locator(ticker.MaxNLocator(6, integer=True))
    plain(axes)
    axes.tick_params(labelbottom=False)


def _nothing(title: str, why: str) -> Figure:
    figure = Figure(figsize=(WIDTH, 1.2), dpi=DPI, layout="constrained")
    heading(figure, title)
    figure.text(0.01, 0.35, why, fontsize=NORMAL, color=INK)
    return figure
