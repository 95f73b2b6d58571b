"""A recorded farm in the terms of a picture: who did what from when to when, as the game's own states say."""

import dataclasses
import enum
from collections.abc import Iterable, Mapping

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxdlb.games.farm import columns
from jaxdlb.games.farm.types import Phase
from jaxdlb.recording import Recording


class Doing(enum.IntEnum):
    """What a worker is seen to do; whoever is there and does none of this waits."""

    COMPUTING = 0
    COMMUNICATING = 1  # busy and not computing: its request is served, or a chunk or results are on their way
    DECLINED = 2
    ABSENT = 3


@dataclasses.dataclass(frozen=True)
class Spans:
    """M pieces of time, each of a worker."""

    worker: Int[np.ndarray, " M"]
    start: Float[np.ndarray, " M"]
    end: Float[np.ndarray, " M"]

    def until(self, time: float) -> "Spans":
        """What of them lies before an instant."""
        begun = self.start < time
        return Spans(self.worker[begun], self.start[begun], np.minimum(self.end[begun], time))


@dataclasses.dataclass(frozen=True)
class Chunks:
    """The K chunks that were handed out, in that order."""

    worker: Int[np.ndarray, " K"]
    first: Int[np.ndarray, " K"]  # task
    tasks: Int[np.ndarray, " K"]
    asked: Float[np.ndarray, " K"]  # when the master turned to the request
    reached: Float[np.ndarray, " K"]  # when the chunk reached the worker
    computed: Float[np.ndarray, " K"]  # when it was computed, had the worker stayed
    back: Float[np.ndarray, " K"]  # when its results reached the master, likewise
    left: Float[np.ndarray, " K"]  # when the worker was done with it: `back`, or earlier where it failed
    lost: Bool[np.ndarray, " K"]  # whether it failed


@dataclasses.dataclass(frozen=True)
class Replay:
    """T steps of N workers, from the reset on."""

    time: Float[np.ndarray, " T1"]  # of each state, T + 1 of them
    job: int
    speed: Float[np.ndarray, " N"]  # mean, as the parameters say
    phase: Int[np.ndarray, "T1 N"]
    waited: Float[np.ndarray, "T1 N"]
    decider: Int[np.ndarray, " T1"]  # N: nobody
    next_task: Int[np.ndarray, " T1"]
    returned: Int[np.ndarray, "T1 M 2"]
    chunks: Chunks
    free: Float[np.ndarray, " K"]  # when the master was free again, having handed out each chunk
    doing: Mapping[Doing, Spans]
    failures: Spans  # of no length
    is_over: bool
    metrics: Mapping[str, np.ndarray]  # [T], as the game reported them

    @property
    def workers(self) -> Int[np.ndarray, " W"]:
        """Those that are ever there."""
        return np.flatnonzero(np.any(self.phase != Phase.ABSENT, axis=0))

    @property
    def num_steps(self) -> int:
        return len(self.time) - 1

    @property
    def end(self) -> float:
        """When the recording ends."""
        return float(self.time[-1])

    def column(self, name: str, steps: slice = slice(None)) -> float:
        """What tables say of these steps in a column of theirs; NaN where there is nothing to say."""
        sums = {metric: np.sum(series[steps], dtype=np.float64) for metric, series in self.metrics.items()}
        with np.errstate(invalid="ignore", divide="ignore"):
            return float(columns.COLUMNS[name].of(sums))


def replay(recording: Recording) -> Replay:
    """What is drawn of a recording."""
    states, metrics = recording.states, recording.timesteps.metrics
    time = np.asarray(states.time, np.float64)
    absent = states.phase == Phase.ABSENT
    fails = ~absent[:-1] & absent[1:]
    chunks = _chunks(recording, time, fails)
    computing = Spans(chunks.worker, chunks.reached, np.minimum(chunks.computed, chunks.left))
    way = [(chunks.asked, chunks.reached), (chunks.computed, chunks.left)]
    communicating = _joined(Spans(chunks.worker, start, np.minimum(end, chunks.left)) for start, end in way)
    declined = _runs(states.phase == Phase.DECLINED, time, decided_before=True)
    step, worker = np.nonzero(fails)
    doing = {
        Doing.COMPUTING: computing,
        Doing.COMMUNICATING: communicating,
        Doing.DECLINED: declined,
        Doing.ABSENT: _runs(absent, time),
    }
    return Replay(
        time=time,
        job=int(recording.params.job),
        speed=np.asarray(recording.params.speed, np.float64),
        phase=states.phase,
        waited=states.waited,
        decider=states.decider,
        next_task=states.next_task,
        returned=states.returned,
        chunks=chunks,
        free=chunks.reached - np.asarray(recording.params.latency, np.float64)[chunks.worker],
        doing={each: _lasting(spans.until(float(time[-1]))) for each, spans in doing.items()},
        failures=Spans(worker, time[step + 1], time[step + 1]),
        is_over=bool(states.over[-1]),
        metrics=metrics,
    )


def _chunks(recording: Recording, time: Float[np.ndarray, " T1"], fails: Bool[np.ndarray, "T N"]) -> Chunks:
    """The state after a step says of the chunk handed out in it when it reaches its worker, and when it is back."""
    states, metrics = recording.states, recording.timesteps.metrics
    step = np.flatnonzero(metrics["chunks"])
    worker, after = states.decider[step], step + 1
    reached = time[after] + states.until_start[after, worker]
    back = time[after] + states.until_back[after, worker]
    left, lost = back.copy(), np.zeros(len(step), bool)
    for failed in np.flatnonzero(metrics["tasks_returned"]):  # with the chunk that the worker was handed last
        (who,) = np.flatnonzero(fails[failed])
        chunk = np.flatnonzero((worker == who) & (step <= failed))[-1]
        left[chunk], lost[chunk] = time[failed + 1], True
    left = np.minimum(left, _free_again(states.chunk_size, time, step, worker))  # float32 may have rounded up
    outstanding = np.sum(states.chunk_size, axis=1)
    gone = metrics["tasks_done"] + metrics["tasks_returned"]
    return Chunks(
        worker=worker,
        first=states.chunk_start[after, worker],
        tasks=(np.diff(outstanding) + gone)[step].astype(int),
        asked=time[step],
        reached=reached,
        computed=reached + states.compute_time[after, worker],
        back=back,
        left=left,
        lost=lost,
    )


def _free_again(
    sizes: Int[np.ndarray, "T1 N"],
    time: Float[np.ndarray, " T1"],
    step: Int[np.ndarray, " K"],
    worker: Int[np.ndarray, " K"],
) -> Float[np.ndarray, " K"]:
    """The first event by which each worker has no more of the chunk that it was handed in a step; +∞: none."""
    found = np.full(len(step), np.inf)
    for each in np.unique(worker):
        own, free = worker == each, np.flatnonzero(sizes[:, each] == 0)
        found[own] = np.append(time[free], np.inf)[np.searchsorted(free, step[own] + 1)]
    return found


def _joined(spans: Iterable[Spans]) -> Spans:
    each = list(spans)
    return Spans(*(np.concatenate([getattr(one, name) for one in each]) for name in ("worker", "start", "end")))


def _lasting(spans: Spans) -> Spans:
    """Without those of no length."""
    kept = spans.end > spans.start
    return Spans(spans.worker[kept], spans.start[kept], spans.end[kept])


def _runs(holds: Bool[np.ndarray, "T1 N"], time: Float[np.ndarray, " T1"], *, decided_before: bool = False) -> Spans:
    """From when to when something holds of workers, which changes with an event, or with the decision before it."""
    edge = np.zeros((1, holds.shape[1]), int)
    change = np.diff(np.concatenate([edge, holds.astype(int), edge]), axis=0)
    worker, begins = np.nonzero(change.T == 1)
    _, ends = np.nonzero(change.T == -1)
    return Spans(worker, time[begins - decided_before], time[np.minimum(ends, len(time) - 1)])


def representative(replays: Iterable[Replay], most: int) -> list[int]:
    """The workers that are shown, at most `most` of those that are ever there, from the fastest to the slowest."""
    shown = list(replays)
    there = np.unique(np.concatenate([each.workers for each in shown]))
    there = there[there < min(len(each.speed) for each in shown)]
    speed = np.mean([each.speed[there] for each in shown], axis=0)
    order = there[np.argsort(-speed, kind="stable")]
    places = np.linspace(0, len(order) - 1, min(most, len(order))).round().astype(int)
    return [int(each) for each in order[places]]


def handed_out(replayed: Replay) -> tuple[Float[np.ndarray, " B"], dict[str, Int[np.ndarray, " B"]]]:
    """How many tasks are done, in hand and not in hand from an instant on, those of each event counted."""
    chunks = replayed.chunks
    instants = np.unique(np.concatenate([[0.0, replayed.end], chunks.asked, np.minimum(chunks.left, replayed.end)]))
    is_back = ~chunks.lost & (chunks.left <= replayed.end)
    done = _count(chunks.left[is_back], instants, chunks.tasks[is_back])
    gone = _count(chunks.left, instants, chunks.tasks)
    in_hand = _count(chunks.asked, instants, chunks.tasks) - gone
    return instants, {"done": done, "in hand": in_hand, "not in hand": replayed.job - done - in_hand}


def occupied(replayed: Replay) -> tuple[Float[np.ndarray, " B"], dict[str, Int[np.ndarray, " B"]]]:
    """From when on how many workers compute, communicate, have declined, are absent, and wait: by instant and name.

    Who is never there is not counted.
    """
    ends = [end for spans in replayed.doing.values() for end in (spans.start, spans.end)]
    instants = np.unique(np.concatenate([[0.0, replayed.end], *ends]))
    counts = {
        doing.name.lower(): _count(spans.start, instants) - _count(spans.end, instants)
        for doing, spans in replayed.doing.items()
    }
    counts["absent"] -= len(replayed.speed) - len(replayed.workers)
    counts["waiting"] = len(replayed.workers) - sum(counts.values())
    return instants, counts


def _count(
    times: Float[np.ndarray, " M"], instants: Float[np.ndarray, " B"], weights: Int[np.ndarray, " M"] | None = None
) -> Int[np.ndarray, " B"]:
    """How many of the times have come by each instant, or their weights."""
    order = np.argsort(times, kind="stable")
    each = np.ones(len(times), int) if weights is None else weights[order]
    return np.concatenate([[0], np.cumsum(each)])[np.searchsorted(times[order], instants, side="right")]
