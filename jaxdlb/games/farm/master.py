"""The master of a running farm: what `State` holds, kept in plain Python as things happen, without any engine.

Times are readings of one clock that does not go back, in the unit of the parameters. What only an engine can know, such
as when a chunk reaches its worker, the master takes to be as the parameters say.
"""

import collections
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxdlb.games.farm.dynamics import ROUNDING, shares
from jaxdlb.games.farm.types import Params, Phase
from jaxdlb.games.farm.views import Row


class Chunk(NamedTuple):
    """Tasks that are handed out together."""

    first: int
    size: int


class Master:
    """Pool, queue, measured rates and books of one job; a worker is a number below `num_workers`.

    At first everybody is absent. Each method is told when it happens: `now` or, of results, `at`.
    """

    def __init__(self, game: Any, params: Params) -> None:
        count, self._num_sizes = game.num_workers, game.num_sizes
        self.num_workers: int = count
        self.remaining = int(params.job)  # R: tasks not handed out, or handed out and lost
        self.chunks = self.declines = self.failures = self.joins = self.tasks_returned = 0  # so far
        self._comm_time, self._comm_per_task = float(params.comm_time), float(params.comm_per_task)
        self._latency, self._task_time = np.asarray(params.latency, np.float64), float(params.task_time)
        self._ideal = self.remaining * self._task_time / float(np.sum(params.speed))  # T*
        self._selfishness, self._objective = float(params.selfishness), game.objective
        self._next_task, self._num_tasks = 0, self.remaining
        self._returned: collections.deque[Chunk] = collections.deque()
        self._free_at, self._decider = 0.0, count  # nobody's request is being served
        self._phase = np.full(count, int(Phase.ABSENT))
        self._since, self._waited, self._told_wait = np.zeros((3, count))  # of requests
        self._chunk: list[Chunk | None] = [None] * count
        self._chunk_size = np.zeros(count, int)
        self._handed_at, self._starts_at = np.zeros((2, count))
        self._weighted_time, self._weighted_size = np.zeros((2, count))
        self._chunks_done, self._last_size = np.zeros((2, count), int)
        self._last_time = np.zeros(count)
        self._idle_since, self.compute_time, self.comm_time, self._idle = np.zeros((4, count))
        self._rewarded_at, self._lost_before = 0.0, np.zeros(count)

    @property
    def over(self) -> bool:
        """Whether the results of all tasks are there."""
        return self.remaining == 0 and not self._chunk_size.any()

    @property
    def tasks_done(self) -> int:
        """Whose results are there."""
        return self._num_tasks - self.remaining - int(self._chunk_size.sum())

    def join(self, worker: int, now: float, *, known: bool = True) -> None:
        """A worker comes and asks for work; one that is not `known` is another than was measured under its number."""
        if not known:
            for each in (self._weighted_time, self._weighted_size, self._chunks_done, self._last_size, self._last_time):
                each[worker] = 0
        told = self._until_free(now) + self._comm_time * self._num_waiting
        self._wait(worker, now, told)
        self._idle_since[worker] = now
        self.joins += 1
        self._ask_again(now)

    def fail(self, worker: int, now: float) -> None:
        """A worker is gone; a chunk that it had in hand is to be handed out again."""
        chunk = self._chunk[worker]
        if chunk is not None:
            self._returned.append(chunk)
            self.remaining += chunk.size
            self.tasks_returned += chunk.size
            computed = max(now - self._starts_at[worker], 0.0)
            self._book(worker, now, computed)
        else:
            self._idle[worker] += now - self._idle_since[worker]
        self._leave_queue(worker, now)
        self._phase[worker] = Phase.ABSENT
        self.failures += 1
        self._ask_again(now)

    def finish(self, worker: int, compute_time: float, at: float) -> Chunk:
        """The results of a worker's chunk are there, which took it so long to compute, and it asks for more.

        Results are told in the order in which they came, of those at one instant by worker.
        """
        chunk = self._chunk[worker]
        assert chunk is not None
        self._book(worker, at, compute_time)
        self._chunks_done[worker] += 1
        self._weighted_time[worker] += self._chunks_done[worker] * compute_time
        self._weighted_size[worker] += self._chunks_done[worker] * chunk.size
        self._last_size[worker], self._last_time[worker] = chunk.size, compute_time
        self._wait(worker, at, self._until_free(at) + self._comm_time * self._num_waiting)
        self._idle_since[worker] = at
        return chunk

    def serve(self, now: float) -> int | None:
        """Turn to the next request, and say whose it is; None if there is none, or nothing to hand out."""
        waiting = self._phase == Phase.WAITING
        if self.remaining == 0 or not waiting.any():
            return None
        self._decider = int(np.argmin(np.where(waiting, self._since, np.inf)))
        return self._decider

    def decide(self, code: int, now: float) -> Chunk | None:
        """The chunk that the worker whose request is being served gets for its choice; None if it declines."""
        worker, self._decider = self._decider, self.num_workers
        tasks = self._tasks_for(code)
        self._leave_queue(worker, now)
        if tasks == 0:
            self._phase[worker] = Phase.DECLINED
            self.declines += 1
            return None
        chunk = self._cut(tasks)
        self._idle[worker] += now - self._idle_since[worker]
        self._free_at = max(self._free_at, now) + self._comm_time + self._comm_per_task * chunk.size
        self._phase[worker], self._chunk[worker], self._chunk_size[worker] = Phase.BUSY, chunk, chunk.size
        self._handed_at[worker], self._starts_at[worker] = now, self._free_at + self._latency[worker]
        self.remaining -= chunk.size
        self.chunks += 1
        return chunk

    def legal(self) -> Bool[np.ndarray, "N A"]:
        """What each worker may choose, as in `dynamics.legal`."""
        mask = np.zeros((self.num_workers, self._num_sizes), bool)
        mask[:, 0] = True
        if self._decider < self.num_workers:
            sizes = self._sizes()
            mask[self._decider] = np.append([self._chunk_size.any(), True], sizes[2:] > sizes[1:-1])
        return mask

    def rows(self, now: float) -> Float[np.ndarray, "N 18"]:
        """What each worker sees, as in `views.rows`."""
        present, waiting = self._phase != Phase.ABSENT, self._phase == Phase.WAITING
        rates = self._rates(present)
        own = np.zeros((self.num_workers, len(Row)), np.float32)
        own[:, Row.DECIDES] = np.arange(self.num_workers) == self._decider
        own[:, Row.PRESENT] = present
        own[:, Row.REMAINING] = self.remaining
        own[:, Row.INTERVAL] = self._most
        own[:, Row.OUTSTANDING] = self._chunk_size.sum()
        own[:, Row.NUM_PRESENT] = present.sum()
        own[:, Row.OTHERS_WAITING] = waiting.sum() - waiting
        own[:, Row.TOLD_WAIT] = self._told_wait
        own[:, Row.WAITED] = np.where(waiting, now - self._since, self._waited)
        own[:, Row.MEASURED] = self._chunks_done > 0
        own[:, Row.RATE] = rates
        own[:, Row.TOTAL_RATE] = rates[present].sum()
        own[:, Row.OTHERS_TIME] = self._others_time(rates, now)
        own[:, Row.LAST_SIZE] = self._last_size
        own[:, Row.LAST_TIME] = self._last_time
        own[:, Row.COMM_TIME] = self._comm_time + self._comm_per_task
        return own

    def rewards(self, now: float) -> Float[np.ndarray, " N"]:
        """What each worker's agent earned since the last time that it was asked, by the objective of the game.

        What a chunk's way to and from its worker took of it is known, and counts, when the results are there.
        """
        lost = self.comm_time + self.idle_time(now)
        if self._objective == "makespan":
            own = np.full(self.num_workers, -(now - self._rewarded_at) / self._ideal)
        else:
            own = -(lost - self._lost_before) / self._ideal
        self._rewarded_at, self._lost_before = now, lost
        return (1 - self._selfishness) * own.mean() + self._selfishness * own

    def idle_time(self, now: float) -> Float[np.ndarray, " N"]:
        """How long each worker has waited, or had declined, until now."""
        idles = (self._phase == Phase.WAITING) | (self._phase == Phase.DECLINED)
        return self._idle + np.where(idles, now - self._idle_since, 0.0)

    @property
    def _most(self) -> int:
        """L: the most tasks that can be handed out now, the oldest chunk that came back or what is fresh."""
        return self._returned[0].size if self._returned else self._num_tasks - self._next_task

    @property
    def _num_waiting(self) -> int:
        return int(np.sum(self._phase == Phase.WAITING))

    def _until_free(self, now: float) -> float:
        return max(self._free_at - now, 0.0)

    def _wait(self, worker: int, since: float, told: float) -> None:
        self._phase[worker], self._since[worker], self._told_wait[worker] = Phase.WAITING, since, told

    def _ask_again(self, now: float) -> None:
        """All who declined wait again."""
        for worker in np.flatnonzero(self._phase == Phase.DECLINED):
            self._wait(int(worker), now, self._until_free(now))

    def _leave_queue(self, worker: int, now: float) -> None:
        if self._phase[worker] == Phase.WAITING:
            self._waited[worker] = now - self._since[worker]

    def _book(self, worker: int, now: float, computed: float) -> None:
        """Take a chunk out of a worker's hands, and note how it spent the time with it."""
        self.compute_time[worker] += computed
        self.comm_time[worker] += now - self._handed_at[worker] - computed
        self._chunk[worker], self._chunk_size[worker] = None, 0

    def _sizes(self) -> Int[np.ndarray, " A"]:
        """The tasks that each choice gives to the decider, as in `dynamics.sizes`."""
        present = max(int(np.sum(self._phase != Phase.ABSENT)), 1)
        fair = np.float32(self.remaining) / np.float32(present)
        cut = np.ceil(shares(np.arange(self._num_sizes), self._num_sizes) * fair - np.float32(ROUNDING))
        sizes = np.clip(cut, 1, max(self._most, 1)).astype(int)
        sizes[:2] = 0, 1
        return sizes

    def _tasks_for(self, code: int) -> int:
        """How many tasks the decider gets for what it plays, as in `dynamics.tasks_for`; 0: it declines."""
        if code == 0 and self._chunk_size.any():
            return 0
        if code >= self._num_sizes:
            return min(self._most, code - self._num_sizes + 1)
        sizes = self._sizes()
        return int(sizes[code]) if code > 0 and sizes[code] > sizes[code - 1] else 1

    def _cut(self, tasks: int) -> Chunk:
        """So many tasks off what comes first; the whole of it where there would else be too many pieces."""
        if not self._returned:
            self._next_task += tasks
            return Chunk(self._next_task - tasks, tasks)
        oldest = self._returned.popleft()
        is_full = len(self._returned) + 1 + np.count_nonzero(self._chunk_size) >= 2 * self.num_workers
        tasks = oldest.size if is_full else tasks
        if tasks < oldest.size:
            self._returned.appendleft(Chunk(oldest.first + tasks, oldest.size - tasks))
        return Chunk(oldest.first, tasks)

    def _rates(self, present: Bool[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
        """r, as in `views.rates`."""
        measured = self._weighted_time > 0
        each = self._weighted_size / np.where(measured, self._weighted_time, 1.0)
        counted = measured & present
        return np.where(measured, each, each[counted].mean() if counted.any() else 1 / self._task_time)

    def _others_time(self, rates: Float[np.ndarray, " N"], now: float) -> Float[np.ndarray, " N"]:
        """The longest time until another worker's chunk is computed, as in `views`."""
        until_start = self._starts_at - now
        left = np.maximum(self._chunk_size / rates - np.maximum(-until_start, 0.0), 0.0)
        expected = np.where(self._chunk_size > 0, np.maximum(until_start, 0.0) + left, 0.0)
        longest = int(np.argmax(expected))
        others = np.full(self.num_workers, expected[longest])
        others[longest] = np.delete(expected, longest).max(initial=0.0)
        return others
