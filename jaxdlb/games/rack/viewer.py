"""Pictures of recorded racks: what nodes did over time, how long tasks took, and an animation of what moves."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyBboxPatch, Patch

from jaxdlb.drawing import animation as animated
from jaxdlb.drawing import layout
from jaxdlb.drawing.grid import Grid
from jaxdlb.drawing.style import (
    BAR,
    BLUE,
    GREEN,
    GREY,
    INK,
    MOST_LABELS,
    PALE,
    PAPER,
    SHADE,
    SMALL,
    VERMILION,
)
from jaxdlb.games.rack import charts
from jaxdlb.games.rack.clock import Unit, unit_for
from jaxdlb.games.rack.panel import SHADES, Panel, shade
from jaxdlb.games.rack.replay import Replay, replay
from jaxdlb.games.rack.scene import BALANCER, FEW, ROW, Scene, scene_for
from jaxdlb.recording import Recording, check_drawable, frame_times

# Sizes of the animation in pixels.
ALONE, BESIDE = 640, 452  # width of the nodes of a rack that is alone, and of one beside another
LEFT, GAP, RIGHT = 84, 30, 14  # left of the first panel of a row, between panels, and right of the last one
MARGIN, TITLE, FOOTER = 10, 44, 62
MOST_OF_A_NAME = 46  # characters
BODY = "#f4f5f6"  # of a node: what a GIF's coarse colours leave grey


def figures(recordings: Mapping[str, Recording]) -> dict[str, tuple[str, Figure]]:
    """What nodes did over time, and how long tasks took: a caption and a figure, by file name without its suffix.

    Raises:
        ValueError: no recordings.
    """
    check_drawable(recordings)
    return {
        "nodes": ("What each node did over the same slices", charts.timeline(recordings)),
        "responses": ("Response times of the tasks completed in these slices", charts.distribution(recordings)),
    }


def animation(
    recordings: Mapping[str, Recording],
    path: str | os.PathLike[str],
    *,
    first_round: int = 0,
    num_frames: int = 100,
    frames_per_round: int = 4,
    seconds_per_round: float = 0.4,
) -> None:
    """Write an animated GIF of racks: one panel for each of `recordings` (keyed by policy name), on shared scales.

    Tasks fall from the central load balancer onto the piles of tasks that wait for a core; the cores of a node are the
    upper cells of its box, filled while they are busy at the start of the slice, and darker if they are faster. Below
    are the cells of its I/O, and the tasks that wait for that hang under the box. Dots on arcs are tasks that fly from
    node to node, from when they are handed to the interface to when they land; a question mark is a thief's request,
    a cross its refusal. A packet is shown for most of a slice at least, even if it flies for less.

    There are at most `num_frames` frames, starting at slice `first_round` and ending with the shortest recording.

    Raises:
        ValueError: no recordings, a `first_round` beyond the end of one of them, or a number below its minimum.
    """
    times = frame_times(recordings, first_round, num_frames, frames_per_round)
    replays = [replay(recording, first_round, int(times[-1])) for recording in recordings.values()]
    scene = scene_for(replays, ALONE if len(replays) == 1 else BESIDE)
    grid = Grid(len(replays), scene.width, TITLE + scene.height + MARGIN, LEFT, GAP, RIGHT, MARGIN, FOOTER)
    figure = grid.figure()
    panels = _panels(figure, grid, dict(zip(recordings, replays, strict=True)), scene)
    _footer(figure)
    elapsed = Line2D([0, 0], [1, 1], color=BAR, linewidth=8)
    figure.add_artist(elapsed)

    def move(time: float) -> None:
        elapsed.set_xdata([0, (time - times[0]) / max(times[-1] - times[0], 1e-9)])
        for panel in panels:
            panel.move(time)

    moving = [elapsed, *(artist for panel in panels for artist in panel.artists.values())]
    seconds = seconds_per_round / frames_per_round
    animated.write(path, figure, moving, move, times, seconds, colours=[BAR, SHADE], colour_map=SHADES)


def _panels(figure: Figure, grid: Grid, replays: Mapping[str, Replay], scene: Scene) -> list[Panel]:
    """One panel a rack, two side by side, with everything drawn that does not move."""
    units = _units(list(replays.values()))
    panels = []
    for place, (name, replayed) in enumerate(replays.items()):
        left, top = grid.corner(place)
        status = grid.heading(figure, place, layout.caption(name, MOST_OF_A_NAME))
        axes = grid.axes(figure, left, top - TITLE - scene.height, scene.height)
        axes.set(xlim=(0, scene.width), ylim=(0, scene.height))
        axes.set_axis_off()
        _dress(axes, replayed, scene, labelled=place % grid.columns == 0)
        panels.append(Panel(axes, status, replayed, scene, units))
    return panels


def _units(replays: Sequence[Replay]) -> tuple[Unit, Unit]:
    """The units of the clock, and of response times."""
    p99 = np.concatenate([each.p99 for each in replays])
    known = p99[np.isfinite(p99)]
    dt = max(each.dt for each in replays)
    return unit_for(10 * dt), unit_for(float(np.median(known)) if len(known) else dt)


def _dress(axes: Axes, replayed: Replay, scene: Scene, *, labelled: bool) -> None:
    """Draw what does not move: the balancer, the nodes with all their cores, the scales and what they mean."""
    low, _ = scene.balancer
    axes.add_patch(_box(0, low, scene.width, BALANCER, fill=PALE))
    middle: dict[str, Any] = {"ha": "center", "va": "center", "color": INK}
    axes.text(scene.width / 2, low + BALANCER / 2, "central load balancer", fontsize=SMALL, **middle)
    for height, _ in scene.ticks():
        axes.plot([0, scene.width], [height, height], color=PALE, linewidth=0.8)
    bottom, top = scene.body
    for centre in scene.centres[: replayed.num_nodes]:
        axes.add_patch(_box(centre - scene.box / 2, bottom, scene.box, top - bottom, fill=BODY))
    for bank in (scene.core_bank(replayed.cores), scene.io_bank(replayed.io_cores)):
        _, corners = scene.cells(bank.counts, bank)
        idle: dict[str, Any] = {"facecolors": PAPER, "edgecolors": SHADE, "linewidths": 0.7}
        tiny = {"facecolors": SHADE, "linewidths": 0}
        axes.add_collection(PolyCollection(list(corners), **(idle if bank.grid.cell > 5 else tiny)))
    floor = [[(0, height), (scene.width, height)] for height in (bottom, top)]
    axes.add_collection(LineCollection(floor, colors=PALE, linewidths=0.8, zorder=0))
    _label_nodes(axes, replayed, scene)
    if labelled:
        _label_rows(axes, replayed, scene)


def _box(left: float, bottom: float, width: float, height: float, fill: str) -> FancyBboxPatch:
    style = "round,pad=0,rounding_size=3"
    return FancyBboxPatch((left, bottom), width, height, boxstyle=style, facecolor=fill, edgecolor=GREY, linewidth=0.8)


def _label_nodes(axes: Axes, replayed: Replay, scene: Scene) -> None:
    """Below each node: how many cores it has and how fast they are, or the latter alone where there are many nodes."""
    few = scene.num_nodes <= FEW
    core_words, io_words = (" cores of speed ", " I/O of speed ") if scene.num_nodes <= 2 else (" × ", " × ")
    style: dict[str, Any] = {"ha": "center", "va": "center", "color": INK, "fontsize": SMALL if few else 7}
    for node in layout.evenly_spaced(replayed.num_nodes, MOST_LABELS):
        x = scene.centres[node]
        if few:
            core = f"{replayed.cores[node]}{core_words}{replayed.core_perf[node]:.3g}"
            io = f"{replayed.io_cores[node]}{io_words}{replayed.io_perf[node]:.3g}"
            axes.text(x, 1.5 * ROW, core, **style)
            axes.text(x, 0.5 * ROW, io, **style)
        else:
            axes.text(x, 0.5 * ROW, f"{replayed.core_perf[node]:.2g}", **style)


def _label_rows(axes: Axes, replayed: Replay, scene: Scene) -> None:
    """To the left: what stands at each height."""
    style: dict[str, Any] = {"ha": "right", "va": "center", "color": GREY, "fontsize": SMALL}
    for height, load in scene.ticks():
        axes.text(-6, height, f"{load:,}", **style)
    axes.text(-6, scene.core_bank(replayed.cores).middle, "cores", **style)
    axes.text(-6, scene.io_bank(replayed.io_cores).middle, "I/O", **style)
    turned = style | {"ha": "center", "rotation": 90}
    axes.text(-54, scene.body[1] + scene.cpu_pile / 2, "tasks waiting", **turned)
    if scene.num_nodes > FEW:
        axes.text(-6, 0.5 * ROW, "speed", **style)
    elif scene.num_nodes > 2:
        axes.text(-6, 1.5 * ROW, "cores × speed", **style | {"fontsize": 7})
        axes.text(-6, 0.5 * ROW, "I/O × speed", **style | {"fontsize": 7})


def _footer(figure: Figure) -> None:
    whole = figure.get_figheight() * figure.dpi
    no_line: dict[str, Any] = {"linestyle": ""}
    moving = [
        Line2D([], [], marker="o", color=GREEN, label="arriving task", **no_line),
        Line2D([], [], marker="o", color=BLUE, label="task sent on", **no_line),
        Line2D([], [], marker="$?$", markersize=8, color=VERMILION, label="steal request", **no_line),
        Line2D([], [], marker="x", color=VERMILION, label="refusal", **no_line),
        Line2D([], [], marker="o", color=VERMILION, label="stolen task", **no_line),
        Line2D([], [], marker="v", color=GREY, label="completions", **no_line),
    ]
    slow, fast = shade(np.array([0.0, 1.0]))
    standing = [
        Patch(color=BAR, label="tasks waiting: for a core above, for I/O below"),
        Patch(facecolor=PAPER, edgecolor=SHADE, label="idle core"),
        Patch(color=slow, label="busy, slow"),
        Patch(color=fast, label="busy, fast"),
        Patch(color=SHADE, label="down"),
    ]
    for handles, height in ((moving, 42), (standing, 18)):
        figure.add_artist(
            figure.legend(
                handles=handles,
                loc="center left",
                bbox_to_anchor=((LEFT - 10) / (100 * figure.get_figwidth()), height / whole),
                ncols=len(handles),
                frameon=False,
                fontsize=SMALL,
                labelcolor=INK,
                handlelength=1.2,
                columnspacing=1.4,
                handletextpad=0.6,
            )
        )
