"""Pictures of recorded pods: limits against the budget, what is used of them, requests that wait, and an animation."""

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
from jaxdlb.games.pods import charts, responses
from jaxdlb.games.pods.limits import DENIED, limits
from jaxdlb.games.pods.panel import HEIGHT, LABEL, MOST_PODS, Panel, Scene
from jaxdlb.games.pods.replay import Replay, replay, representative
from jaxdlb.recording import Recording, check_drawable, frame_times

# Sizes of the animation in pixels; those of the second row are stacked vertically.
ALONE, BESIDE, LEFT, GAP, RIGHT = 600, 430, 76, 82, 18
MARGIN, TITLE, SPACE, STRIP, UNDER, FOOTER = 10, 44, 14, 54, 44, 66
MOST_OF_A_NAME = 40  # characters


def figures(recordings: Mapping[str, Recording]) -> dict[str, tuple[str, Figure]]:
    """Limits, usage and requests over time and, where the game counts them, response times.

    A caption and a figure, by file name without its suffix. Of many pods some are shown one by one, and the caption
    says which.

    Raises:
        ValueError: no recordings.
    """
    check_drawable(recordings)
    replays = {name: replay(recording) for name, recording in recordings.items()}
    which = charts.note(replays)
    drawn = {
        "limits": ("CPU limits of all pods against the budget that they share", limits(replays)),
        "usage": (f"What pods use of their CPU limits, and what they want{which}", charts.usage(replays)),
        "requests": (f"Requests that pods hold, and those past their objective{which}", charts.requests(replays)),
    }
    if responses.are_counted(replays):
        drawn["responses"] = ("Response times of the requests completed", responses.distribution(replays))
    return drawn


def animation(
    recordings: Mapping[str, Recording],
    path: str | os.PathLike[str],
    *,
    first_round: int = 0,
    num_frames: int = 100,
    frames_per_round: int = 4,
    seconds_per_round: float = 0.4,
) -> None:
    """Write an animated GIF of pods: one panel for each of `recordings` (keyed by policy name), on shared scales.

    Outlines are the limits of pods, filled as far as they are used, with a tick at what the requests that come want.
    Below are the requests that wait at the end of the step, then the limits side by side within the budget, followed
    by what was asked for but denied. At the bottom is what came and what was late over the whole recording, with the
    present marked. Of more than 16 pods so many are shown, evenly spaced from the one that wants most CPU to the one
    that wants least. There are at most `num_frames` frames, starting at step `first_round` and ending with the shortest
    recording.

    Raises:
        ValueError: no recordings, a `first_round` beyond the end of one of them, or a number below its minimum.
    """
    times = frame_times(recordings, first_round, num_frames, frames_per_round)
    replays = {name: replay(recording) for name, recording in recordings.items()}
    width = ALONE if len(replays) == 1 else BESIDE
    grid = Grid(len(replays), width, TITLE + HEIGHT + SPACE + STRIP + UNDER, LEFT, GAP, RIGHT, MARGIN, FOOTER)
    steps = slice(int(times[0]), int(times[-1]) + 2)
    scene = scene_for(replays, steps, width)
    figure = grid.figure()
    top = max(float(np.max(each.metrics["arrivals"] / each.interval)) for each in replays.values())
    episodes = [
        Episode(figure, grid, place, name, replayed, scene, top)
        for place, (name, replayed) in enumerate(replays.items())
    ]
    _footer(figure, grid, len(scene.pods), min(each.num_pods for each in replays.values()))

    def move(time: float) -> None:
        for episode in episodes:
            episode.move(time)

    moving = [artist for episode in episodes for artist in episode.artists]
    seconds = seconds_per_round / frames_per_round
    animated.write(path, figure, moving, move, times, seconds, colours=[BAR, SHADE, OCHRE])


def scene_for(replays: Mapping[str, Replay], steps: slice, width: float) -> Scene:
    """Scales wide enough for everything that the pods shown do in these steps."""
    pods = representative(replays.values(), MOST_PODS)
    shown = [each[steps][:, pods] for one in replays.values() for each in (one.limit, one.usage, one.wanted)]
    held = [one.held[steps][:, pods] for one in replays.values()]
    top = max(float(np.nan_to_num(each).max()) for each in shown)
    most = max(int(np.nan_to_num(each).max()) for each in held)
    return Scene(width, tuple(pods), 1.04 * max(top, 1.0), max(most, 1))


class Episode:
    """A recording in the animation: its name, how it stands, its pods, and all of its requests over time."""

    def __init__(
        self,
        figure: Figure,
        grid: Grid,
        place: int,
        name: str,
        replayed: Replay,
        scene: Scene,
        top: float,
    ) -> None:
        self._interval = replayed.interval
        left, high = grid.corner(place)
        status = grid.heading(figure, place, layout.caption(name, MOST_OF_A_NAME))
        pods = grid.axes(figure, left, high - TITLE - HEIGHT, HEIGHT)
        self.panel = Panel(pods, status, replayed, scene)
        strip = grid.axes(figure, left, high - TITLE - HEIGHT - SPACE - STRIP, STRIP)
        _dress_strip(strip, replayed, top, grid.panel_width)
        self._now = strip.axvline(0, color=INK, linewidth=1.5)
        self.artists = [*self.panel.artists.values(), self._now]

    def move(self, time: float) -> None:
        """Put every artist where it belongs at `time`, in steps."""
        self.panel.move(time)
        self._now.set_xdata([time * self._interval] * 2)


def _dress_strip(axes: Axes, replayed: Replay, top: float, width: float) -> None:
    """All requests of the recording, and those that were late."""
    charts.violations(axes, replayed)
    charts.dress(axes, low=True, labelled=True)
    axes.set(xlim=(0, replayed.seconds), ylim=(0, 1.06 * max(top, 1.0)))
    axes.yaxis.set_major_locator(ticker.MaxNLocator(2))
    axes.set_ylabel("requests\nper second", fontsize=SMALL, color=GREY, va="center")
    axes.yaxis.set_label_coords(LABEL / width, 0.5)


def _footer(figure: Figure, grid: Grid, shown: int, num_pods: int) -> None:
    """The legend, and how many of the pods are shown."""
    handles: list[Any] = [
        Patch(facecolor=PAPER, edgecolor=INK, label="limit"),
        Patch(color=BAR, label="used"),
        Line2D([], [], color=OCHRE, linewidth=3, label="wanted"),
        Patch(color=BLUE, label="request that waits"),
        Patch(color=VERMILION, label="late: past its objective"),
        Patch(label="denied", **DENIED),
        Patch(color=SHADE, label="absent" if shown == num_pods else "absent; others"),
    ]
    figure.legend(
        handles=handles,
        loc="center left",
        bbox_to_anchor=(8 / grid.width, 44 / grid.height),
        ncols=len(handles) if grid.columns > 1 else 4,
        frameon=False,
        fontsize=SMALL,
        labelcolor=INK,
        handlelength=1.4,
        columnspacing=1.4,
    )
    if shown < num_pods:
        said = f"{shown} of {num_pods:,} pods, from the one that wants most CPU to the one that wants least"
        figure.text(12 / grid.width, 12 / grid.height, said, fontsize=SMALL, color=GREY, va="center")
