"""Pictures of recorded farms: a Gantt chart, how far the job is, the sizes of chunks, and an animation."""

import math
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from jaxdlb.drawing import animation as animated
from jaxdlb.drawing import layout
from jaxdlb.drawing.grid import Grid
from jaxdlb.drawing.style import BAR, BLUE, GREY, INK, OCHRE, PALE, SMALL
from jaxdlb.games.farm import charts, gantt
from jaxdlb.games.farm.panel import GAP, IN_HAND, POOL, QUEUE, RETURNED, SPACE, Panel, Scene
from jaxdlb.games.farm.replay import Doing, Replay, replay, representative
from jaxdlb.recording import Recording, check_drawable, frame_times

# Sizes of the animation in pixels; those of the second row are stacked vertically.
ALONE, BESIDE, LEFT, BETWEEN, RIGHT = 640, 430, 62, 72, 18
MARGIN, TITLE, UNDER, FOOTER = 10, 48, 34, 66
LETTER = 11.4  # pixels of a name
MOST_FRAMES = 240
AT_THE_END = 0.05  # of the frames show the end


def figures(recordings: Mapping[str, Recording]) -> dict[str, tuple[str, Figure]]:
    """What workers do from when to when, how far the job is over time, and the sizes of chunks.

    A caption and a figure, by file name without its suffix. Of more than 64 workers so many have a row in the Gantt
    chart, evenly spaced from the fastest to the slowest.

    Raises:
        ValueError: no recordings.
    """
    check_drawable(recordings)
    replays = {name: replay(recording) for name, recording in recordings.items()}
    return {
        "gantt": ("What each worker does from when to when, with the tasks of its chunks", gantt.gantt(replays)),
        "progress": ("Tasks done, in hand and not in hand, and how many workers do what", charts.progress(replays)),
        "chunks": ("The tasks of each chunk over the time at which it was handed out", charts.sizes(replays)),
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
    """Write an animated GIF of farms: one panel for each of `recordings` (keyed by policy name), on one axis of time.

    At the top are the tasks of the job in their order: done, in hand and by whom, come back from a worker that failed,
    and never handed out. Then whose request the master serves, and who waits for it, in the order in which they are
    served. Below, a Gantt chart grows; pale bars ahead of the present last until a chunk's results are to come. Of more
    than 64 workers so many have a row, evenly spaced from the fastest to the slowest.

    Steps take unequal times, so frames are evenly spaced in time: from where the first of the recordings begins step
    `first_round` to where the last has played `num_frames` / `frames_per_round` steps, or ends. There are at most
    `num_frames` of them, and at most 240.

    Raises:
        ValueError: no recordings, a `first_round` beyond the end of one of them, or a number below its minimum.
    """
    frame_times(recordings, first_round, num_frames, frames_per_round)  # only to check what is asked for
    replays = {name: replay(recording) for name, recording in recordings.items()}
    longest = max(each.num_steps for each in replays.values()) - first_round
    num_steps = min(math.ceil(num_frames / frames_per_round), longest)
    wanted = min(num_frames, MOST_FRAMES, frames_per_round * num_steps)
    times = instants(list(replays.values()), first_round, num_steps, wanted)
    width = ALONE if len(replays) == 1 else BESIDE
    workers = representative(replays.values(), gantt.MOST_ROWS)
    scene = Scene(width, workers, 1.002 * max(each.end for each in replays.values()))
    high = TITLE + POOL + SPACE + QUEUE + GAP + scene.height + UNDER
    grid = Grid(len(replays), width, high, LEFT, BETWEEN, RIGHT, MARGIN, FOOTER)
    figure = grid.figure()
    panels = [_panel(figure, grid, place, *each, scene) for place, each in enumerate(replays.items())]
    _footer(figure, grid, list(replays.values()), len(workers))

    def move(time: float) -> None:
        for panel in panels:
            panel.move(time)

    moving = [artist for panel in panels for artist in panel.artists]
    seconds = seconds_per_round / frames_per_round
    animated.write(path, figure, moving, move, times, seconds, colours=[BAR, OCHRE])


def instants(replays: list[Replay], first_step: int, num_steps: int, num_frames: int) -> Float[np.ndarray, " F"]:
    """The times of the frames, evenly spaced; the last of them go on past the end, where all stands still."""
    begin = min(each.time[min(first_step, each.num_steps)] for each in replays)
    end = max(each.time[min(first_step + num_steps, each.num_steps)] for each in replays)
    return np.linspace(begin, end + AT_THE_END * (end - begin), num_frames)


def _panel(figure: Figure, grid: Grid, place: int, name: str, replayed: Replay, scene: Scene) -> Panel:
    """A recording in the animation: its name, how it stands, its tasks, its queue and its workers."""
    left, high = grid.corner(place)
    status = grid.heading(figure, place, layout.caption(name, int(grid.panel_width / LETTER)))
    high -= TITLE + POOL
    pool = grid.axes(figure, left, high, POOL)
    high -= SPACE + QUEUE
    queue = grid.axes(figure, left, high, QUEUE)
    high -= GAP + scene.height
    rows = grid.axes(figure, left, high, scene.height)
    return Panel(pool, queue, rows, status, replayed, scene)


def _footer(figure: Figure, grid: Grid, replays: list[Replay], num_shown: int) -> None:
    """The legend of what can be seen, and how many of the workers are shown."""
    seen = {doing for each in replays for doing, spans in each.doing.items() if len(spans.worker)}
    has_failures = any(len(each.failures.worker) for each in replays)
    of_failures: list[Any] = [
        Patch(
            label="lost; to be handed out again", **{"facecolor": RETURNED["facecolors"], "alpha": RETURNED["alpha"]}
        ),
        Line2D([], [], label="failure", **gantt.FAILURE),
    ]
    handles: list[Any] = [
        Patch(facecolor=BAR, label="computing; task done"),
        Patch(facecolor=IN_HAND["facecolors"], alpha=IN_HAND["alpha"], label="task in hand"),
        Patch(facecolor=PALE, label="waiting; task not handed out"),
        Patch(facecolor=OCHRE, label="communicating"),
        Patch(facecolor=BLUE, label="request that is served"),
        *(
            Patch(label=gantt.NAMES[each], **gantt.LOOKS[each])
            for each in (Doing.DECLINED, Doing.ABSENT)
            if each in seen
        ),
        *(of_failures if has_failures else []),
    ]
    figure.legend(
        handles=handles,
        loc="center left",
        bbox_to_anchor=(8 / grid.width, 40 / grid.height),
        ncols=5 if grid.columns > 1 else 3,
        frameon=False,
        fontsize=SMALL,
        labelcolor=INK,
        handlelength=1.4,
        columnspacing=1.4,
    )
    num_workers = max(len(each.workers) for each in replays)
    if num_shown < num_workers:
        said = f"{num_shown} of {num_workers:,} workers, from the fastest to the slowest"
        figure.text(12 / grid.width, 8 / grid.height, said, fontsize=SMALL, color=GREY, va="center")
