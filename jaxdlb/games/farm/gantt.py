"""A Gantt chart of recorded farms: what each worker does from when to when, and the sizes of chunks where they fit."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from jaxdlb.drawing import layout
from jaxdlb.drawing.axes import plain, plain_numbers
from jaxdlb.drawing.figures import WIDTH, heading, legend
from jaxdlb.drawing.style import BAR, BLUE, DPI, FAINT, GREY, INK, NORMAL, OCHRE, PALE, PAPER, SMALL, VERMILION, VIOLET
from jaxdlb.games.farm.replay import Chunks, Doing, Replay, Spans, representative

MOST_ROWS = 64  # workers that have one
MOST_LABELS = 16  # rows that are labelled one by one
OF_THE_ROW = 0.82  # that a bar is high
LABEL = 0.16  # inches that a row's label takes
ROW, LEAST, MOST = 0.24, 0.9, 3.9  # inches: of a worker's row, and of all of them
MASTER, ABOVE_IT = 0.17, 0.1  # inches: of the bars of the master, and between them and the last worker
PANEL = 470.0  # points: at least so wide are the axes
DIGIT, TEXT = 4.3, 7.0  # points: how wide a digit of a chunk's size is, and how large
FINE = 4.0  # points: bars that are narrower than that have no edges
LOOKS: Mapping[Doing, dict[str, Any]] = {
    Doing.COMPUTING: {"facecolor": BAR, "linewidth": 0},
    Doing.COMMUNICATING: {"facecolor": OCHRE, "linewidth": 0},
    Doing.DECLINED: {"facecolor": VIOLET, "alpha": FAINT, "linewidth": 0},
    Doing.ABSENT: {"facecolor": PAPER, "edgecolor": PALE, "hatch": "//////", "linewidth": 0},
}
WAITING: dict[str, Any] = {"facecolor": PALE, "linewidth": 0}
LOST: dict[str, Any] = {"facecolor": VERMILION, "alpha": FAINT, "linewidth": 0}
SERVING: dict[str, Any] = {"facecolor": BLUE, "linewidth": 0}
FAILURE: dict[str, Any] = {"color": VERMILION, "marker": "X", "linestyle": "", "markeredgecolor": PAPER}
NAMES: Mapping[Doing, str] = {
    Doing.COMPUTING: "computing",
    Doing.COMMUNICATING: "communicating",
    Doing.DECLINED: "declined",
    Doing.ABSENT: "absent",
}

Corners = Float[np.ndarray, "M 4 2"]


def corners(spans: Spans, rows: Mapping[int, float], height: float = OF_THE_ROW) -> Corners:
    """Those of the bars that stand for spans, in the rows that their workers have; others have none."""
    shown = np.isin(spans.worker, list(rows))
    middle = np.array([rows[each] for each in spans.worker[shown].tolist()])
    left, right = spans.start[shown], spans.end[shown]
    low, high = middle - height / 2, middle + height / 2
    return np.stack([np.stack(each, axis=1) for each in ((left, low), (left, high), (right, high), (right, low))], 1)


def rows_of(workers: Sequence[int]) -> dict[int, float]:
    """The place of each worker that is shown, from the top."""
    return {worker: float(place) for place, worker in enumerate(workers)}


def gantt(replays: Mapping[str, Replay]) -> Figure:
    """A panel for each policy, one below another on the same axis of time."""
    workers = representative(replays.values(), MOST_ROWS)
    height = float(np.clip(ROW * len(workers), LEAST, MOST)) + ABOVE_IT + MASTER
    figure = Figure(figsize=(WIDTH, 1.0 + (height + 0.5) * len(replays)), dpi=DPI, layout="constrained")
    panels = figure.subplots(len(replays), 1, sharex=True, squeeze=False)[:, 0]
    longest = max(each.end for each in replays.values())
    for axes, (name, replayed) in zip(panels, replays.items(), strict=True):
        _panel(axes, replayed, workers, height, longest)
        _title(axes, name, replayed)
    panels[-1].set_xlabel("time", fontsize=NORMAL, color=INK)
    legend(figure, _handles(list(replays.values())), columns=7)
    num_workers = max(len(each.workers) for each in replays.values())
    which = "" if len(workers) >= num_workers else f" ({len(workers)} of {num_workers:,}, the fastest first)"
    heading(figure, f"What workers do{which}")
    return figure


def _panel(axes: Axes, replayed: Replay, workers: Sequence[int], height: float, longest: float) -> None:
    rows = rows_of(workers)
    row = (height - ABOVE_IT - MASTER) / len(rows)  # inches
    last = len(rows) - 0.5 + (ABOVE_IT + MASTER / 2) / row
    axes.set(xlim=(0, 1.002 * longest), ylim=(len(rows) - 0.5 + (height / row - len(rows)), -0.5))
    draw(axes, replayed, rows)
    chunks = replayed.chunks
    serving = Spans(np.zeros(len(chunks.worker), int), chunks.asked, np.minimum(replayed.free, replayed.end))
    axes.add_collection(PolyCollection(list(corners(serving, {0: last}, MASTER / row)), label="serving", **SERVING))
    _write_sizes(axes, replayed, rows, longest)
    if replayed.is_over:
        axes.axvline(replayed.end, color=INK, linewidth=1.2)
    _dress(axes, replayed, workers, last, row)


def draw(axes: Axes, replayed: Replay, rows: Mapping[int, float]) -> None:
    """Bars of what the workers do that have a row, and a mark where one fails."""
    workers = np.array(list(rows))
    always = Spans(workers, np.zeros(len(workers)), np.full(len(workers), replayed.end))
    axes.add_collection(PolyCollection(list(corners(always, rows)), label="waiting", **WAITING))
    for doing, spans in replayed.doing.items():
        axes.add_collection(PolyCollection(list(corners(spans, rows)), label=NAMES[doing], **LOOKS[doing]))
    chunks = replayed.chunks
    lost = list(corners(Spans(chunks.worker[chunks.lost], chunks.asked[chunks.lost], chunks.left[chunks.lost]), rows))
    axes.add_collection(PolyCollection(lost, facecolor=PAPER, linewidth=0))
    axes.add_collection(PolyCollection(lost, label="lost", **LOST))
    size = 6 if len(rows) <= MOST_LABELS else 4
    axes.plot(*places(replayed.failures, rows), markersize=size, label="failure", zorder=4, **FAILURE)


def places(spans: Spans, rows: Mapping[int, float]) -> tuple[list[float], list[float]]:
    """When they begin, and the rows of their workers; of those that have one."""
    found = zip(spans.start.tolist(), spans.worker.tolist(), strict=True)
    shown = [(start, rows[worker]) for start, worker in found if worker in rows]
    return [start for start, _ in shown], [row for _, row in shown]


def _write_sizes(axes: Axes, replayed: Replay, rows: Mapping[int, float], longest: float) -> None:
    """The number of tasks of each chunk whose bar has room for it; and an edge between bars that are not too narrow."""
    chunks = replayed.chunks
    start, end = chunks.reached, np.minimum(np.minimum(chunks.computed, chunks.left), replayed.end)
    points = PANEL * (end - start) / longest
    wide = (points > FINE) & np.isin(chunks.worker, list(rows))
    edges = Spans(chunks.worker[wide], start[wide], end[wide])
    axes.add_collection(
        PolyCollection(list(corners(edges, rows)), facecolor="none", edgecolor=PAPER, linewidth=0.5, label="edges")
    )
    if len(rows) > MOST_LABELS:
        return
    fits = wide & has_room(chunks, points)
    for chunk in np.flatnonzero(fits):
        place = (start[chunk] + end[chunk]) / 2, rows[int(chunks.worker[chunk])]
        axes.annotate(f"{chunks.tasks[chunk]}", place, ha="center", va="center", fontsize=TEXT, color=INK)


def has_room(chunks: Chunks, points: Float[np.ndarray, " K"]) -> Bool[np.ndarray, " K"]:
    """Whether a bar so many points wide has room for the number of tasks of its chunk."""
    digits = np.floor(np.log10(np.maximum(chunks.tasks, 1))) + 1
    return points > DIGIT * digits + 3


def _title(axes: Axes, name: str, replayed: Replay) -> None:
    """The policy, and what came of it."""
    axes.set_title(summary(replayed), fontsize=SMALL, color=GREY, loc="left", pad=4)
    look: dict[str, Any] = {"fontsize": NORMAL, "color": INK, "fontweight": "bold"}
    axes.annotate(
        layout.caption(name, 80), (0, 1), (0, 17), xycoords="axes fraction", textcoords="offset points", **look
    )


def summary(replayed: Replay) -> str:
    """As in "makespan 66.7; workers idle for 21% of their time, communicating for 4%; 52 chunks"."""
    done = f"makespan {layout.number(replayed.end)}" if replayed.is_over else f"not over at {replayed.end:.3g}"
    idle, communicating = (100 * replayed.column(name) for name in ("idle", "communicating"))
    lost = replayed.column("tasks_returned")
    returned = f"; {lost:,.0f} tasks handed out again" if lost else ""
    spent = f"workers idle for {idle:.0f}% of their time, communicating for {communicating:.0f}%"
    return f"{done}; {spent}; {len(replayed.chunks.tasks):,} chunks{returned}"


def _dress(axes: Axes, replayed: Replay, workers: Sequence[int], last: float, row: float) -> None:
    """Which worker a row is of, and how fast it is; `row` is in inches."""
    places = labelled(len(workers), row)
    axes.set_yticks([*places, last], [*(f"{workers[place]}" for place in places), "master"])
    for place in places:
        said = f"{replayed.speed[workers[place]]:.3g}"
        axes.annotate(
            said, (1, place), (4, 0), xycoords=("axes fraction", "data"), textcoords="offset points", **_BESIDE
        )
    axes.annotate("speed", (1, last), (4, 0), xycoords=("axes fraction", "data"), textcoords="offset points", **_BESIDE)
    axes.set_ylabel("worker", fontsize=NORMAL, color=INK)
    axes.xaxis.set_major_formatter(plain_numbers())
    axes.xaxis.set_major_locator(ticker.MaxNLocator(8))
    plain(axes)


_BESIDE: dict[str, Any] = {"va": "center", "fontsize": SMALL, "color": GREY}


def labelled(num_rows: int, row: float) -> range:
    """The rows that have room for a label, each being so many inches high."""
    return range(0, num_rows, max(1, int(np.ceil(LABEL / row))))


def _handles(replays: Sequence[Replay]) -> list[Any]:
    """What the colours mean: of what can be seen in any panel."""
    seen = {doing for each in replays for doing, spans in each.doing.items() if len(spans.worker)}
    handles: list[Any] = [
        Patch(label=NAMES[doing], **LOOKS[doing]) for doing in (Doing.COMPUTING, Doing.COMMUNICATING) if doing in seen
    ]
    handles.append(Patch(label="waiting", **WAITING))
    handles += [Patch(label=NAMES[doing], **LOOKS[doing]) for doing in (Doing.DECLINED, Doing.ABSENT) if doing in seen]
    if any(each.chunks.lost.any() for each in replays):
        handles.append(Patch(label="chunk that is lost", **LOST))
    if any(len(each.failures.worker) for each in replays):
        handles.append(Line2D([], [], label="failure", **FAILURE))
    return [*handles, Patch(label="master is busy", **SERVING)]
