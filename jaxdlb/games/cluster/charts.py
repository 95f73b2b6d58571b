"""Figures of recorded clusters: what each tier does over time, which nodes are used, and how each class fares."""

import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib import colormaps, ticker
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_rgba
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from jaxdlb.drawing import layout
from jaxdlb.drawing.axes import plain, plain_numbers
from jaxdlb.drawing.figures import WIDTH, heading, legend
from jaxdlb.drawing.style import (
    DASHES,
    DPI,
    GREEN,
    GREY,
    INK,
    LINES,
    LOADS,
    MARKERS,
    NORMAL,
    PALE,
    PAPER,
    PURPLE,
    SHADE,
    SMALL,
    VERMILION,
    VIOLET,
)
from jaxdlb.games.cluster.reference import TIERS
from jaxdlb.games.cluster.replay import Replay, in_order
from jaxdlb.games.cluster.types import CLASSES

COLOURS = (VIOLET, GREEN, PURPLE)  # of tiers; vermilion is kept for what goes wrong
STEPS = (1, 2, 5, 10)  # between numbers at the scales, times a power of ten
DROPPED: dict[str, Any] = {"facecolor": VERMILION, "linewidth": 0}
MOST_BINS = 300  # of a series
NARROWEST = 3.0  # inches: of a policy's column
LETTERS = 10  # of a name, an inch
TITLE: dict[str, Any] = {"fontsize": NORMAL, "color": INK, "fontweight": "bold", "loc": "left"}
TIME = "time, s"


def summary(replayed: Replay) -> str:
    """As in "17.2 s, 98.9% kept, 0.14 Wh a task"."""
    took, kept, energy = (replayed.column(name) for name in ("completion_time", "sla", "energy_per_task"))
    return f"{_said(took)} s, {percent(kept)} kept, {_said(energy)} Wh a task"


def _said(number: float) -> str:
    return "–" if math.isnan(number) else layout.number(number)


def percent(share: float) -> str:
    """A share as pictures print it."""
    return "–" if math.isnan(share) else f"{100 * share:.1f}%"


class Row(NamedTuple):
    """A row of panels, one for each policy, on a scale of their own that goes up to `least` at least."""

    label: str
    draw: Callable[[Axes, Replay], Any]
    least: float


def tiers(replays: Mapping[str, Replay]) -> Figure:
    """Cores used, tasks that wait, power, deadlines missed and nodes asleep over time, by tier; a column a policy."""
    rows = [
        Row("cores used, %", _use, 100.0),
        Row("tasks waiting", lambda axes, each: _stack(axes, each, each.by_tier(each.slots.waiting)), 4.0),
        Row("power, kW", power, 1e-3),
        Row("deadlines missed\na second", losses, 1.0),
        Row("nodes asleep", lambda axes, each: _stack(axes, each, each.by_tier(each.slots.asleep)), 4.0),
    ]
    size = (max(WIDTH, 0.9 + NARROWEST * len(replays)), 1.3 + 1.35 * len(rows))
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    grid = figure.subplots(len(rows), len(replays), squeeze=False, sharey="row")
    for column, (name, replayed) in enumerate(replays.items()):
        shown = layout.caption(name, int(LETTERS * (size[0] - 0.9) / len(replays)))
        grid[0, column].set_title(f"{shown}\n{summary(replayed)}", **TITLE)
        for place, (axes, row) in enumerate(zip(grid[:, column], rows, strict=True)):
            row.draw(axes, replayed)
            dress(axes, replayed, low=place == len(rows) - 1, labelled=column == 0)
    for panels, row in zip(grid, rows, strict=True):
        panels[0].set_ylabel(row.label, fontsize=SMALL, color=INK)
        panels[0].set_ylim(0, 1.06 * max(row.least, *(axes.dataLim.y1 for axes in panels)))
    figure.align_ylabels()
    any_dropped = any(np.nansum(each.slots.dropped) for each in replays.values())
    dropped = Patch(label="dropped: no node could take it", **DROPPED)
    legend(figure, [*handles(), *([dropped] if any_dropped else [])])
    heading(figure, "Tiers over time")
    return figure


def handles() -> list[Any]:
    """What the colours of tiers mean."""
    return [Patch(color=colour, label=f"{name} tier") for name, colour in zip(TIERS, COLOURS, strict=True)]


def dress(axes: Axes, replayed: Replay, *, low: bool, labelled: bool) -> None:
    """The look of a panel over time: numbers at the left of the first of a row, and under the last of a column."""
    plain(axes)
    axes.grid(axis="y", color=PALE, linewidth=0.8)
    axes.set_xlim(0, replayed.seconds)
    axes.yaxis.set_major_locator(ticker.MaxNLocator(4, steps=STEPS))
    axes.yaxis.set_major_formatter(plain_numbers())
    axes.xaxis.set_major_locator(ticker.MaxNLocator(6))
    axes.tick_params(labelleft=labelled, labelbottom=low)
    if low:
        axes.set_xlabel(TIME, fontsize=SMALL, color=INK)


def _use(axes: Axes, replayed: Replay) -> None:
    """Of the cores of each tier, the share that is used."""
    used, cores = replayed.by_tier(replayed.slots.use * replayed.cores), replayed.by_tier(replayed.cores[None])
    for tier, (name, colour, dashes) in enumerate(zip(TIERS, COLOURS, DASHES, strict=True)):
        if not cores[tier]:
            continue
        values, edges = layout.binned(100 * used[tier] / cores[tier], MOST_BINS)
        seconds = edges * replayed.slot
        axes.stairs(values, seconds, baseline=None, color=colour, linewidth=1.4, linestyle=dashes, label=name)


def power(axes: Axes, replayed: Replay) -> None:
    """Stacked, kW."""
    _stack(axes, replayed, replayed.by_tier(replayed.slots.power) / 1000)


def losses(axes: Axes, replayed: Replay) -> None:
    """Deadlines missed on nodes of each tier, stacked, and tasks dropped upon them, a second."""
    below = _stack(axes, replayed, replayed.slots.missed.T / replayed.slot)
    dropped, edges = layout.binned(replayed.slots.dropped / replayed.slot, MOST_BINS)
    seconds = edges * replayed.slot
    axes.stairs(below + dropped, seconds, baseline=below, fill=True, label="dropped", **DROPPED)


def _stack(axes: Axes, replayed: Replay, of_tiers: Float[np.ndarray, "3 S"]) -> Float[np.ndarray, " B"]:
    """Areas upon one another, the high tier at the bottom; returns the top."""
    below = np.zeros(1)
    for name, colour, series in zip(TIERS, COLOURS, of_tiers, strict=True):
        values, edges = layout.binned(series, MOST_BINS)
        below, seconds = np.broadcast_to(below, values.shape), edges * replayed.slot
        axes.stairs(below + values, seconds, baseline=below, fill=True, color=colour, linewidth=0, label=name)
        below = below + values
    return below


def use(replays: Mapping[str, Replay]) -> Figure:
    """The use of every node over time, a heat map for each policy: the darker, the more; grey where nodes sleep."""
    columns = min(len(replays), 2)
    rows = math.ceil(len(replays) / columns)
    figure = Figure(figsize=(WIDTH, 1.1 + 3.4 * rows), dpi=DPI, layout="constrained")
    _apart(figure, 0.24)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels[len(replays) :]:
        axes.set_axis_off()
    for place, (axes, (name, replayed)) in enumerate(zip(panels, replays.items(), strict=False)):
        _heat_map(axes, replayed, labelled=place % columns == 0)
        axes.set_title(layout.caption(name, 40), **TITLE)
        if place + columns >= len(replays):
            axes.set_xlabel(TIME, fontsize=SMALL, color=INK)
    bar = figure.colorbar(ScalarMappable(Normalize(0, 100), LOADS), ax=list(panels), pad=0.02, fraction=0.03, aspect=25)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=SMALL, length=0, colors=INK)
    bar.set_label("cores of the node that are used, %", fontsize=SMALL, color=INK)
    legend(figure, [Patch(color=SHADE, label="asleep")])
    heading(figure, "Use of the nodes over time")
    return figure


def _apart(figure: Figure, inches: float) -> None:
    """Keep neighbouring panels so far apart that numbers under them do not touch."""
    engine = figure.get_layout_engine()
    assert isinstance(engine, ConstrainedLayoutEngine)
    engine.set(w_pad=inches / 2)


def _heat_map(axes: Axes, replayed: Replay, *, labelled: bool) -> None:
    """Nodes by tier, the low one at the bottom, and from the smallest to the largest upwards."""
    groups = [in_order(replayed, tier) for tier in reversed(range(len(TIERS)))]
    order = [node for group in groups for node in group]
    shown, asleep = (
        layout.shortened(each[:, order], MOST_BINS).T for each in (replayed.slots.use, replayed.slots.asleep)
    )
    colours = colormaps[LOADS](Normalize(0, 1)(shown))
    colours[(asleep > 0.5) & (shown <= 0.005)] = to_rgba(SHADE)
    extent = (0, replayed.seconds, 0, len(order))
    axes.imshow(colours, extent=extent, origin="lower", aspect="auto", interpolation="nearest", label="use")
    ends = np.cumsum([0, *map(len, groups)])
    for end in ends[1:-1]:
        axes.axhline(end, color=PAPER, linewidth=2)
    names = [f"{name} tier" for name in reversed(TIERS)]
    middles = [(low + high) / 2 for low, high in itertools.pairwise(ends)]
    known = [k for k, group in enumerate(groups) if group]
    axes.set_yticks(
        [middles[k] for k in known], [names[k] if labelled else "" for k in known], rotation=90, va="center"
    )
    axes.xaxis.set_major_locator(ticker.MaxNLocator(6))
    plain(axes)


def classes(replays: Mapping[str, Replay]) -> Figure:
    """Deadlines kept, completion time and energy added by class, a marker for each policy."""
    figure = Figure(figsize=(WIDTH, 2.6 + 0.22 * math.ceil(len(replays) / 3)), dpi=DPI, layout="constrained")
    _apart(figure, 0.5)
    shown = (
        ("sla", "deadlines kept, %", 100.0),
        ("completion_time", "completion time, s", 1.0),
        ("energy_per_task", "energy added by a task, Wh", 1.0),
    )
    panels = figure.subplots(1, len(shown), sharey=True)
    for axes, (column, label, unit) in zip(panels, shown, strict=True):
        for place, replayed in enumerate(replays.values()):
            found = [unit * replayed.column(f"{column}_{each}") for each in CLASSES]
            heights = -np.arange(len(CLASSES)) + _offset(place, len(replays))
            look: dict[str, Any] = {"markersize": 7, "markeredgecolor": PAPER, "linestyle": ""}
            axes.plot(found, heights, color=LINES[place % len(LINES)], marker=MARKERS[place % len(MARKERS)], **look)
        plain(axes)
        axes.grid(axis="x", color=PALE, linewidth=0.8)
        axes.spines["left"].set(visible=True, color=GREY, linewidth=0.8)
        axes.margins(x=0.08)
        axes.set_ylim(-len(CLASSES) + 0.5, 0.5)
        axes.set_yticks(-np.arange(len(CLASSES)), [each.replace("_", " ") for each in CLASSES])
        axes.set_xlabel(label, fontsize=SMALL, color=INK)
        axes.xaxis.set_major_locator(ticker.MaxNLocator(4))
        axes.xaxis.set_major_formatter(plain_numbers())
    names = [layout.caption(name, 30) for name in replays]
    marks: list[Any] = [
        Line2D([], [], color=LINES[k % len(LINES)], marker=MARKERS[k % len(MARKERS)], linestyle="", label=name)
        for k, name in enumerate(names)
    ]
    legend(figure, marks, columns=min(len(marks), 3))
    heading(figure, "How each class fares")
    return figure


def _offset(place: int, count: int) -> float:
    """Of a policy's marker within the band of a class."""
    return 0.5 * (0.5 - (place + 0.5) / count)
