"""The part of an animation that shows one farm: its artists, and how they look at a given time."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.text import Text

from jaxdlb.drawing.axes import plain, plain_numbers
from jaxdlb.drawing.grid import PIXELS
from jaxdlb.drawing.style import BAR, BLUE, FAINT, GREEN, GREY, INK, PALE, PAPER, SMALL, VERMILION
from jaxdlb.games.farm import gantt
from jaxdlb.games.farm.replay import Replay, Spans
from jaxdlb.games.farm.types import Phase

# Heights in pixels, from the top of a panel downwards.
POOL, SPACE, QUEUE, GAP = 22, 14, 24, 16
ROW, LEAST, MOST = 24.0, 90.0, 260.0  # of a worker, and of all of them
BOX = 24  # pixels from one request in the queue to the next
MASTER = 52  # how wide it is
LONGEST_LABEL = 16  # pixels of the pool that a worker's number takes
DIGIT = 7.5  # pixels
EDGE: dict[str, Any] = {"edgecolors": PAPER, "linewidths": 0.8}
IN_HAND: dict[str, Any] = {"facecolors": GREEN, "alpha": 0.55, **EDGE}
RETURNED: dict[str, Any] = {"facecolors": VERMILION, "alpha": FAINT, **EDGE}
AHEAD: dict[str, Any] = {"facecolors": BAR, "alpha": FAINT, "linewidths": 0}

Corners = Float[np.ndarray, "M 4 2"]


@dataclasses.dataclass(frozen=True)
class Scene:
    """What all panels have in common."""

    width: float  # pixels
    workers: Sequence[int]  # those shown, from the top
    longest: float  # time that all of them show

    @property
    def height(self) -> float:
        """Of the rows of the workers, in pixels."""
        return float(np.clip(ROW * len(self.workers), LEAST, MOST))

    @property
    def rows(self) -> dict[int, float]:
        """The place of each worker."""
        return gantt.rows_of(self.workers)


@dataclasses.dataclass(frozen=True)
class Moment:
    """A farm at some time."""

    step: int  # that lasts
    in_hand: Int[np.ndarray, " I"]  # chunks, by their places in `Chunks`
    done: int  # tasks
    next_task: int  # the first never handed out
    returned: Int[np.ndarray, "M 2"]  # chunks that came back, some of them perhaps handed out again just now
    served: int | None  # the worker whose request keeps the master busy
    queue: list[int]  # workers, in the order in which they are served


def moment(replayed: Replay, time: float) -> Moment:
    """What has happened by `time`, what was decided at that instant included."""
    chunks = replayed.chunks
    step = int(np.clip(np.searchsorted(replayed.time, time, side="right") - 1, 0, replayed.num_steps - 1))
    begun, back = chunks.asked <= time, ~chunks.lost & (chunks.left <= time)
    serving = np.flatnonzero(begun & (time < replayed.free) & (time < chunks.left))
    return Moment(
        step=step,
        in_hand=np.flatnonzero(begun & (time < chunks.left)),
        done=int(chunks.tasks[back].sum()),
        next_task=int(replayed.next_task[step + 1]),
        returned=replayed.returned[step],
        served=int(chunks.worker[serving[-1]]) if len(serving) else None,
        queue=_queue(replayed, step, time),
    )


def _queue(replayed: Replay, step: int, time: float) -> list[int]:
    """Those who waited as the step began, longest first, but for the one who is served; then who came since."""
    if time >= replayed.end:
        step += 1
    phase, waited = replayed.phase[step], replayed.waited[step]
    waiting = np.flatnonzero((phase == Phase.WAITING) & (np.arange(len(phase)) != replayed.decider[step]))
    chunks = replayed.chunks
    since = np.flatnonzero(~chunks.lost & (replayed.time[step] < chunks.left) & (chunks.left <= time))
    came = chunks.worker[since[np.argsort(chunks.left[since], kind="stable")]]
    still = came[phase[came] == Phase.BUSY]  # who came back as the step began waits already, or is served
    return [*waiting[np.argsort(-waited[waiting], kind="stable")].tolist(), *still.tolist()]


class Panel:
    """One farm: `artists`, in drawing order, and `move(time)`, which puts them in their places."""

    def __init__(self, pool: Axes, queue: Axes, rows: Axes, status: Text, replayed: Replay, scene: Scene) -> None:
        self._replay, self._scene, self._status = replayed, scene, status
        _dress(pool, queue, rows, replayed, scene)
        label: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": SMALL, "color": INK, "zorder": 6}
        self._pool: dict[str, Any] = {
            "done": pool.add_collection(PolyCollection([], facecolors=BAR, linewidths=0)),
            "beneath": pool.add_collection(PolyCollection([], facecolors=PAPER, linewidths=0)),
            "returned": pool.add_collection(PolyCollection([], **RETURNED)),
            "in hand": pool.add_collection(PolyCollection([], **IN_HAND)),
        }
        self._queue: dict[str, Any] = {
            "master": queue.add_collection(PolyCollection([], edgecolors=BLUE, linewidths=1.2)),
            "requests": queue.add_collection(PolyCollection([], facecolors=PALE, linewidths=0)),
        }
        self._rows: dict[str, Any] = {
            "waiting": rows.add_collection(PolyCollection([], **gantt.WAITING)),
            "ahead": rows.add_collection(PolyCollection([], **AHEAD)),
            **{each.name: rows.add_collection(PolyCollection([], **gantt.LOOKS[each])) for each in replayed.doing},
            "beneath": rows.add_collection(PolyCollection([], facecolors=PAPER, linewidths=0)),
            "lost": rows.add_collection(PolyCollection([], **gantt.LOST)),
            "failures": rows.plot([], [], markersize=6 if len(scene.workers) <= 16 else 4, **gantt.FAILURE)[0],
            "now": rows.axvline(0, color=INK, linewidth=1.5),
        }
        most = int((scene.width - MASTER) // BOX) - 1
        self._served = queue.text(MASTER / 2, 0.5, "", **label | {"fontweight": "bold"})
        self._requests = [queue.text(MASTER + BOX * (place + 1), 0.5, "", **label) for place in range(most)]
        self._holders = {worker: pool.text(0, 0.5, f"{worker}", **label) for worker in replayed.workers.tolist()}
        few = len(scene.workers) <= gantt.MOST_LABELS
        self._sizes = {worker: rows.text(0, row, "", **label) for worker, row in scene.rows.items() if few}

    @property
    def artists(self) -> list[Any]:
        """All that moves, in drawing order."""
        texts = [self._served, *self._requests, *self._holders.values(), *self._sizes.values(), self._status]
        return [*self._pool.values(), *self._queue.values(), *self._rows.values(), *texts]

    def move(self, time: float) -> None:
        """Put every artist where it belongs at `time`."""
        time = min(time, self._replay.end)
        now = moment(self._replay, time)
        self._move_pool(now)
        self._move_queue(now)
        self._move_rows(now, time)
        done = f"{now.done:,} of {self._replay.job:,} tasks done"
        idle = self._replay.column("idle", slice(now.step + (time >= self._replay.end)))
        self._status.set_text(f"time {time:.1f}    {done}    idle {'–' if np.isnan(idle) else f'{100 * idle:.0f}%'}")

    def _move_pool(self, now: Moment) -> None:
        """The tasks in their order: done, in hand and by whom, come back, and never handed out."""
        chunks, returned = self._replay.chunks, now.returned[now.returned[:, 1] > 0]
        first, tasks = chunks.first[now.in_hand], chunks.tasks[now.in_hand]
        self._pool["done"].set_verts(_boxes(np.zeros(1), np.full(1, now.next_task), 0, 1))
        again, held = _boxes(returned[:, 0], returned.sum(axis=1), 0, 1), _boxes(first, first + tasks, 0, 1)
        self._pool["beneath"].set_verts([*again, *held])
        self._pool["returned"].set_verts(again)
        self._pool["in hand"].set_verts(held)
        pixels = self._scene.width / self._replay.job
        wide = dict(zip(chunks.worker[now.in_hand].tolist(), zip(first, tasks, strict=True), strict=True))
        for worker, text in self._holders.items():
            start, count = wide.get(worker, (0, 0))
            text.set_x(start + count / 2)
            text.set_visible(bool(count * pixels > LONGEST_LABEL))

    def _move_queue(self, now: Moment) -> None:
        """Whose request keeps the master busy, and who waits for it."""
        self._queue["master"].set(
            verts=_boxes(np.zeros(1), np.full(1, float(MASTER)), 0, 1),
            facecolors=PAPER if now.served is None else BLUE,
        )
        self._served.set(
            text="free" if now.served is None else f"{now.served}", color=GREY if now.served is None else PAPER
        )
        shown = now.queue[: len(self._requests)]
        middle = MASTER + BOX * (np.arange(len(shown)) + 1.0)
        self._queue["requests"].set_verts(_boxes(middle - 0.44 * BOX, middle + 0.44 * BOX, 0, 1))
        left_out = len(now.queue) - len(shown)
        labels = [f"{worker}" for worker in shown] + [""] * (len(self._requests) - len(shown))
        if left_out:
            labels[-1] = f"+{left_out + 1}"
        for text, label in zip(self._requests, labels, strict=True):
            text.set_text(label)

    def _move_rows(self, now: Moment, time: float) -> None:
        """What the workers did so far, and until when those who have a chunk are expected back."""
        replayed, rows, chunks = self._replay, self._scene.rows, self._replay.chunks
        workers = np.array(list(rows))
        begin, until = np.zeros(len(workers)), np.full(len(workers), time)
        self._rows["waiting"].set_verts(gantt.corners(Spans(workers, begin, until), rows))
        for doing, spans in replayed.doing.items():
            self._rows[doing.name].set_verts(gantt.corners(spans.until(time), rows))
        holders = chunks.worker[now.in_hand]
        ahead = Spans(holders, np.full(len(holders), time), chunks.back[now.in_hand])
        self._rows["ahead"].set_verts(gantt.corners(ahead, rows))
        lost = chunks.lost & (chunks.left <= time)
        bars = gantt.corners(Spans(chunks.worker[lost], chunks.asked[lost], chunks.left[lost]), rows)
        self._rows["beneath"].set_verts(bars)
        self._rows["lost"].set_verts(bars)
        self._rows["failures"].set_data(*gantt.places(replayed.failures.until(np.nextafter(time, np.inf)), rows))
        self._rows["now"].set_xdata([time, time])
        self._write_sizes(now)

    def _write_sizes(self, now: Moment) -> None:
        """How many tasks each worker has in hand, where its bar has room for it."""
        chunks, pixels = self._replay.chunks, self._scene.width / self._scene.longest
        held = dict(zip(chunks.worker[now.in_hand].tolist(), now.in_hand.tolist(), strict=True))
        for worker, text in self._sizes.items():
            chunk = held.get(worker)
            text.set_text("" if chunk is None else f"{chunks.tasks[chunk]}")
            if chunk is not None:
                start, end = chunks.reached[chunk], min(chunks.computed[chunk], self._scene.longest)
                text.set_x((start + end) / 2)
                text.set_visible(bool(pixels * (end - start) > DIGIT * len(text.get_text()) + 2))


def _boxes(left: Any, right: Any, bottom: float, top: float) -> Corners:
    """Corners of upright rectangles."""
    low, high = (np.full(len(left), float(each)) for each in (bottom, top))
    corners = [(left, low), (left, high), (right, high), (right, low)]
    return np.stack([np.stack(corner, axis=1) for corner in corners], axis=1)


def _dress(pool: Axes, queue: Axes, rows: Axes, replayed: Replay, scene: Scene) -> None:
    """Draw what does not move."""
    left: dict[str, Any] = {"ha": "right", "va": "center", "color": GREY, "fontsize": SMALL}
    for axes, label in ((pool, "tasks"), (queue, "master")):
        axes.set_axis_off()
        axes.set_ylim(0, 1)
        axes.annotate(label, (0, 0.5), (-6, 0), xycoords="axes fraction", textcoords="offset points", **left)
    pool.set_xlim(0, replayed.job)
    whole = _boxes(np.zeros(1), np.full(1, float(replayed.job)), 0, 1)
    pool.add_collection(PolyCollection(list(whole), facecolors=PALE, linewidths=0, zorder=0))
    queue.set_xlim(0, scene.width)
    rows.set(xlim=(0, scene.longest), ylim=(len(scene.workers) - 0.5, -0.5))
    places = gantt.labelled(len(scene.workers), scene.height / len(scene.workers) / PIXELS)
    rows.set_yticks(places, [f"{scene.workers[place]}" for place in places])
    rows.set_ylabel("worker", fontsize=SMALL, color=GREY)
    rows.xaxis.set_major_formatter(plain_numbers())
    rows.xaxis.set_major_locator(ticker.MaxNLocator(6))
    plain(rows)
