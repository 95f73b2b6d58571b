"""Pictures of recorded clusters: tiers over time, the use of nodes, how classes fare, and an animation."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from jaxdlb.drawing import animation as animated
from jaxdlb.drawing import layout
from jaxdlb.drawing.grid import Grid
from jaxdlb.drawing.style import BAR, BLUE, GREY, INK, OCHRE, PAPER, SHADE, SMALL, VERMILION
from jaxdlb.games.cluster import charts
from jaxdlb.games.cluster.panel import MOST_NODES, Panel, Scene
from jaxdlb.games.cluster.reference import TIERS
from jaxdlb.games.cluster.replay import Replay, in_order, replay
from jaxdlb.recording import Recording, check_drawable, frame_times

# Sizes of the animation in pixels; those of the second row are stacked vertically.
ALONE, BESIDE, LEFT, BETWEEN, RIGHT = 620, 430, 82, 92, 18
MARGIN, TITLE, GAP, STRIP, UNDER, FOOTER = 10, 48, 12, 50, 44, 84
LEAST = 1.0  # kW, and deadlines missed a second: up to which scales go at least
LABEL = -58  # pixels from the left end of a panel to the middle of what its scales are called
MOST_OF_A_NAME = 40  # characters


def figures(recordings: Mapping[str, Recording]) -> dict[str, tuple[str, Figure]]:
    """Use, queue, power and deadlines missed over time by tier; the use of every node; and how classes fare.

    A caption and a figure, by file name without its suffix.

    Raises:
        ValueError: no recordings.
    """
    check_drawable(recordings)
    replays = {name: replay(recording) for name, recording in recordings.items()}
    return {
        "tiers": ("What the nodes of each tier do, draw and miss over time", charts.tiers(replays)),
        "use": ("Which share of its cores each node uses over time, and when it sleeps", charts.use(replays)),
        "classes": ("Deadlines kept, completion time and energy of each class of tasks", charts.classes(replays)),
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
    """Write an animated GIF of clusters: one panel for each of `recordings` (keyed by policy name), on shared scales.

    Each node is a bar: what its running tasks want of its cores, and how far that goes beyond them. Below hang the
    tasks that wait, and those whose deadline has passed. Tasks fly from their dispatchers to the nodes on which they
    are placed. At the bottom are the power that all nodes draw and the deadlines missed over the whole recording, with
    the present marked. Of more than 50 nodes of a tier so many are shown, evenly spaced from the smallest to the
    largest. There are at most `num_frames` frames, starting at step `first_round` and ending with the shortest
    recording; in many steps tasks are placed and no time passes.

    Raises:
        ValueError: no recordings, a `first_round` beyond the end of one of them, or a number below its minimum.
    """
    times = frame_times(recordings, first_round, num_frames, frames_per_round)
    replays = {name: replay(recording) for name, recording in recordings.items()}
    width = ALONE if len(replays) == 1 else BESIDE
    scenes = [scene_for(each, width) for each in replays.values()]
    cluster = max(each.height for each in scenes)
    grid = Grid(len(replays), width, TITLE + cluster + 2 * (GAP + STRIP) + UNDER, LEFT, BETWEEN, RIGHT, MARGIN, FOOTER)
    figure = grid.figure()
    episodes = [
        Episode(figure, grid, place, name, replays[name], scene, cluster)
        for place, (name, scene) in enumerate(zip(replays, scenes, strict=True))
    ]
    for strips in zip(*(episode.strips for episode in episodes), strict=True):
        most = max(LEAST, *(axes.dataLim.y1 for axes in strips))
        for axes in strips:
            axes.set_ylim(0, 1.06 * most)
    _footer(figure, grid, max(len(each.tier) for each in replays.values()), max(len(each.nodes) for each in scenes))

    def move(time: float) -> None:
        for episode in episodes:
            episode.move(time)

    moving = [artist for episode in episodes for artist in episode.artists]
    seconds = seconds_per_round / frames_per_round
    colours = [BAR, SHADE, OCHRE, *charts.COLOURS]
    animated.write(path, figure, moving, move, times, seconds, colours=colours)


def scene_for(replayed: Replay, width: float) -> Scene:
    """The nodes of each tier that are shown: all, or some evenly spaced from the smallest to the largest."""
    tiers = []
    for tier in range(len(TIERS)):
        nodes = in_order(replayed, tier)
        places = np.linspace(0, len(nodes) - 1, min(len(nodes), MOST_NODES)).round().astype(int)
        tiers.append(tuple(nodes[place] for place in places))
    return Scene(width, tuple(tiers))


class Episode:
    """A recording in the animation: its name, how it stands, its nodes, and power and losses over time."""

    def __init__(
        self, figure: Figure, grid: Grid, place: int, name: str, replayed: Replay, scene: Scene, height: float
    ) -> None:
        self._begins = replayed.begins
        left, high = grid.corner(place)
        status = grid.heading(figure, place, layout.caption(name, MOST_OF_A_NAME))
        high -= TITLE + scene.height
        self.panel = Panel(grid.axes(figure, left, high, scene.height), status, replayed, scene)
        high -= height - scene.height
        self.strips: list[Axes] = []
        for draw, label in ((charts.power, "power,\nkW"), (charts.losses, "missed\na second")):
            high -= GAP + STRIP
            axes = grid.axes(figure, left, high, STRIP)
            draw(axes, replayed)
            charts.dress(axes, replayed, low=draw is charts.losses, labelled=True)
            axes.yaxis.set_major_locator(ticker.MaxNLocator(2, steps=charts.STEPS))
            axes.set_ylabel(label, fontsize=SMALL, color=GREY, va="center")
            axes.yaxis.set_label_coords(LABEL / grid.panel_width, 0.5)
            self.strips.append(axes)
        self._present = [axes.axvline(0, color=INK, linewidth=1.5) for axes in self.strips]
        self.artists = [*self.panel.artists.values(), *self._present]

    def move(self, time: float) -> None:
        """Put every artist where it belongs at `time`, in steps."""
        self.panel.move(time)
        now = float(np.interp(time, np.arange(len(self._begins)), self._begins))
        for line in self._present:
            line.set_xdata([now, now])


def _footer(figure: Figure, grid: Grid, num_nodes: int, num_shown: int) -> None:
    """The legend, and how many of the nodes are shown."""
    handles: list[Any] = [
        Patch(color=BAR, label="cores wanted"),
        Patch(color=OCHRE, label="beyond all cores"),
        Patch(color=SHADE, label="asleep"),
        Patch(facecolor=PAPER, edgecolor=OCHRE, hatch="//////", linewidth=0, label="wakes"),
        Patch(color=BLUE, label="task that waits"),
        Patch(color=VERMILION, label="task past its deadline, or dropped"),
        Line2D([], [], color=INK, linestyle="", marker="o", markersize=5, label="task that is placed"),
        *charts.handles(),
    ]
    figure.legend(
        handles=handles,
        loc="center left",
        bbox_to_anchor=(8 / grid.width, 54 / grid.height),
        ncols=5 if grid.columns > 1 else 4,
        frameon=False,
        fontsize=SMALL,
        labelcolor=INK,
        handlelength=1.4,
        columnspacing=1.4,
    )
    if num_shown < num_nodes:
        said = f"{num_shown} of {num_nodes:,} nodes, of each tier from the smallest to the largest"
        figure.text(12 / grid.width, 9 / grid.height, said, fontsize=SMALL, color=GREY, va="center")
