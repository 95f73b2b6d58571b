"""Pictures of recorded DLB games: loads as heat maps, and an animation of what moves between the nodes."""

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, PowerNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from jaxdlb.checks import check_size
from jaxdlb.drawing import animation as animated
from jaxdlb.drawing import layout
from jaxdlb.drawing.axes import plain
from jaxdlb.drawing.figures import heading
from jaxdlb.drawing.style import (
    AGES,
    BAR,
    BLUE,
    DASHED,
    DPI,
    GREEN,
    GREY,
    INK,
    LARGE,
    LOADS,
    MOST_LABELS,
    NORMAL,
    PALE,
    SHADE,
    SMALL,
    VERMILION,
)
from jaxdlb.games.dlb.panel import BOTTOM, HEARD, Panel, Scales
from jaxdlb.games.dlb.replay import Replay, replay
from jaxdlb.recording import Recording, check_drawable, frame_times

MOST_COLUMNS = 600  # of a heat map
MOST_OF_A_NAME = 32  # characters, in an animation: the rest of the line is for what changes

# Sizes of the animation in pixels; those of the second row are stacked vertically.
WIDTH, LEFT, RIGHT = 900, 54, 18
MARGIN, TITLE, NODES, GAP, STRIP, SPEEDS, FOOTER = 12, 32, 190, 6, 16, 30, 104
PANEL = TITLE + NODES + GAP + STRIP + SPEEDS


def figures(recordings: Mapping[str, Recording]) -> dict[str, tuple[str, Figure]]:
    """The loads of `recordings` (keyed by policy name): a caption and a figure, by file name without its suffix.

    Raises:
        ValueError: no recordings.
    """
    check_drawable(recordings)
    return {"loads": ("Loads of the nodes over the same rounds", heat_maps(recordings))}


def heat_maps(recordings: Mapping[str, Recording]) -> Figure:
    """Loads by node and round, one panel for each of `recordings`, on a common colour scale: darker means more.

    Nodes are ordered by their speed q, slowest at the bottom.
    """
    columns = min(len(recordings), 2)
    rows = math.ceil(len(recordings) / columns)
    loads = [np.asarray(recording.states.load[1:]) for recording in recordings.values()]
    panel_height = min(1.6 + 0.17 * min(max(load.shape[1] for load in loads), MOST_LABELS), 4.5)
    figure = Figure(figsize=(1.2 + 4.2 * columns, 0.7 + panel_height * rows), dpi=DPI, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    heaviest = max(1, *(int(load.max()) for load in loads))
    # Most queues are short and a few are long: the square root of the load gives the short ones more of the colours.
    norm = PowerNorm(0.5, 0, heaviest) if heaviest > 10 else Normalize(0, heaviest)
    for axes, (name, recording) in zip(panels, recordings.items(), strict=False):
        _heat_map(axes, name, recording, norm)
    for axes in panels[len(recordings) :]:
        axes.set_axis_off()
    for axes in panels[: len(recordings) : columns]:
        axes.set_ylabel("node: speed", fontsize=NORMAL, color=INK)
    ticks = layout.round_loads(heaviest)
    bar = figure.colorbar(ScalarMappable(norm, LOADS), ax=list(panels), pad=0.02, fraction=0.04, ticks=ticks)
    bar.outline.set_visible(False)
    bar.set_label("load (tasks held)", fontsize=NORMAL, color=INK)
    bar.ax.tick_params(labelsize=SMALL, color=GREY, labelcolor=INK)
    heading(figure, "Loads over time")
    return figure


def _heat_map(axes: Axes, name: str, recording: Recording, norm: Normalize) -> None:
    load, speed = np.asarray(recording.states.load[1:]), np.asarray(recording.params.completion_prob)
    order = np.argsort(speed, kind="stable")
    axes.imshow(
        layout.shortened(load, MOST_COLUMNS)[:, order].T,
        extent=(0, len(load), -0.5, len(order) - 0.5),
        norm=norm,
        cmap=LOADS,
        origin="lower",
        aspect="auto",
        interpolation="nearest",
    )
    axes.set_title(layout.caption(name), fontsize=NORMAL, color=INK, fontweight="bold", loc="left")
    shown = layout.evenly_spaced(len(order), MOST_LABELS)
    axes.set_yticks(shown, [f"{order[k]}: q = {speed[order[k]]:.2f}" for k in shown])
    axes.set_xlabel("round", fontsize=NORMAL, color=INK)
    axes.xaxis.set_major_locator(ticker.MaxNLocator(6, integer=True))
    plain(axes)


def animation(
    recordings: Mapping[str, Recording],
    path: str | os.PathLike[str],
    *,
    first_round: int = 0,
    num_frames: int = 100,
    frames_per_round: int = 4,
    seconds_per_round: float = 0.4,
    most_load: int | None = None,
    most_age: int | None = None,
) -> None:
    """Write an animated GIF of the games: one panel for each of `recordings` (keyed by policy name), on shared scales.

    Bars are the nodes' loads, with their speeds q below. A dashed outline is the load last reported to the other nodes,
    and the strip below shows how old that news is; the line across a bar is the balanced load. Tasks are dots that go
    from a ring to an arrowhead; a question mark is a thief's request on its way to the victim, and a cross marks its
    refusal. Triangles are arrivals (above) and completions (below); a node that is down is shaded. There are at most
    `num_frames` frames, starting at `first_round` and ending with the shortest recording.

    `most_load` (tasks) and `most_age` (rounds) are the ends of the scales, by default the maxima over all recordings.
    Set them to make separate GIFs comparable; anything beyond them is cut off.

    Raises:
        ValueError: no recordings, a `first_round` beyond the end of one of them, or a number below its minimum.
    """
    for name, end in {"most_load": most_load, "most_age": most_age}.items():
        if end is not None:
            check_size(name, end, 1)
    times = frame_times(recordings, first_round, num_frames, frames_per_round)
    replays = [replay(recording) for recording in recordings.values()]
    scales = _scales(replays, times, most_load, most_age)
    figure = Figure(figsize=(WIDTH / 100, _height(len(replays)) / 100), dpi=100, facecolor="white")
    panels = _panels(figure, dict(zip(recordings, replays, strict=True)), scales, first_round)
    _footer(figure, scales)
    elapsed = Line2D([0, 0], [1, 1], color=BAR, linewidth=8)
    figure.add_artist(elapsed)

    def move(time: float) -> None:
        share = (time - times[0]) / max(times[-1] - times[0], 1e-9)
        elapsed.set_xdata([0, share])
        for panel in panels:
            panel.move(time)

    moving = [elapsed, *(artist for panel in panels for artist in panel.artists.values())]
    seconds = seconds_per_round / frames_per_round
    animated.write(path, figure, moving, move, times, seconds, colours=[BAR, SHADE], colour_map=AGES)


def _scales(
    replays: Sequence[Replay], times: Float[np.ndarray, " F"], most_load: int | None, most_age: int | None
) -> Scales:
    """The scales for every panel: as given, or wide enough for everything shown."""
    states = slice(int(times[0]), int(times[-1]) + 2)
    loads = [load[states].max() for each in replays for load in (each.load, each.heard_load)]
    ages = [each.heard_age[states].max() for each in replays]
    return Scales(load=most_load or max(4.0, *map(float, loads)), age=most_age or max(1.0, *map(float, ages)))


def _height(num_panels: int) -> int:
    return MARGIN + num_panels * PANEL + FOOTER


def _panels(figure: Figure, replays: Mapping[str, Replay], scales: Scales, first_round: int) -> list[Panel]:
    """One panel per game, stacked vertically, with everything drawn that does not move."""
    height = _height(len(replays))
    panels = []
    for place, (name, replayed) in enumerate(replays.items()):
        top = height - MARGIN - place * PANEL
        heading = (top - 0.55 * TITLE) / height
        text: dict[str, Any] = {"color": INK, "va": "center"}
        figure.text(
            LEFT / WIDTH, heading, layout.caption(name, MOST_OF_A_NAME), fontsize=LARGE, fontweight="bold", **text
        )
        status = figure.text(1 - RIGHT / WIDTH, heading, "", fontsize=NORMAL, ha="right", **text)
        nodes = _add_axes(figure, top - TITLE - NODES, NODES)
        strip = _add_axes(figure, top - TITLE - NODES - GAP - STRIP, STRIP)
        _dress(nodes, strip, replayed, scales)
        panels.append(Panel(nodes, strip, status, replayed, scales, first_round))
    return panels


def _add_axes(figure: Figure, bottom: float, height: float) -> Axes:
    """Axes as wide as the figure, with `bottom` and `height` in pixels."""
    whole = figure.get_figheight() * figure.dpi
    return figure.add_axes((LEFT / WIDTH, bottom / whole, (WIDTH - LEFT - RIGHT) / WIDTH, height / whole))


def _dress(nodes: Axes, strip: Axes, replayed: Replay, scales: Scales) -> None:
    """Draw what does not move: the scales and labels of the nodes, and of the strip of ages below them."""
    num_nodes = replayed.num_nodes
    nodes.set(ylim=(BOTTOM * scales.top, scales.top))
    nodes.set_ylabel("load (tasks held)", fontsize=SMALL, color=INK)
    nodes.yaxis.set_major_locator(ticker.MaxNLocator(5, integer=True, min_n_ticks=3))
    nodes.grid(axis="y", color=PALE, linewidth=0.8)
    strip.set(ylim=(-0.5, 0.5), yticks=[])
    for axes in (nodes, strip):
        axes.set(xlim=(-0.6, num_nodes - 0.4), xticks=[])
        plain(axes)
    few = num_nodes <= MOST_LABELS
    shown = layout.evenly_spaced(num_nodes, 64)
    strip.set_xticks(shown, [f"{replayed.speed[k]:.2f}" for k in shown], rotation=0 if few else 90)
    strip.tick_params(axis="x", labelsize=SMALL if few else 6.5)
    text: dict[str, Any] = {"fontsize": SMALL, "color": GREY, "ha": "right", "textcoords": "offset points"}
    strip.annotate("age", (0, 0.5), (-6, 0), xycoords="axes fraction", va="center", **text)
    strip.annotate("q", (0, 0), (-6, -3.5), xycoords="axes fraction", va="top", **text)


def _footer(figure: Figure, scales: Scales) -> None:
    """Draw the legend and the scale of ages."""
    whole = figure.get_figheight() * figure.dpi
    no_line: dict[str, Any] = {"linestyle": ""}
    moving = [
        Line2D([], [], marker="v", color=GREEN, label="arrival", **no_line),
        Line2D([], [], marker="v", color=GREY, label="completion", **no_line),
        Line2D([], [], marker="o", color=BLUE, label="migrated task"),
        Line2D([], [], marker="$?$", markersize=8, color=VERMILION, label="steal request", **no_line),
        Line2D([], [], marker="x", color=VERMILION, label="refused", **no_line),
        Line2D([], [], marker="o", color=VERMILION, label="stolen task"),
    ]
    standing = [
        Patch(color=BAR, label="load"),
        Patch(facecolor="none", edgecolor=HEARD, linestyle=DASHED, label="load last reported to the others"),
        Line2D([], [], color=INK, linewidth=2, label="balanced load: all nodes would drain at the same time"),
        Patch(color=SHADE, label="down"),
    ]
    for handles, bottom in ((moving, 78), (standing, 54)):
        figure.add_artist(
            figure.legend(
                handles=handles,
                loc="center left",
                bbox_to_anchor=((LEFT - 10) / WIDTH, bottom / whole),
                ncols=len(handles),
                frameon=False,
                fontsize=SMALL,
                labelcolor=INK,
                handlelength=1.5,
                columnspacing=1.5,
            )
        )
    text: dict[str, Any] = {"fontsize": SMALL, "color": GREY, "va": "center"}
    figure.text(LEFT / WIDTH, 27 / whole, "q: speed; everything that moves goes from ring to arrowhead", **text)
    figure.text(0.73, 27 / whole, "age of news (rounds)", ha="right", **text)
    scale = figure.add_axes((0.74, 22 / whole, 0.24, 10 / whole))
    bar = figure.colorbar(ScalarMappable(Normalize(0, scales.age), AGES), cax=scale, orientation="horizontal")
    bar.outline.set_visible(False)
    bar.ax.xaxis.set_major_locator(ticker.MaxNLocator(4, integer=True))
    bar.ax.tick_params(labelsize=SMALL, length=0, colors=INK, pad=2)
