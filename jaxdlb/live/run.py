"""Runs a function for every task of a job on worker processes, in chunks whose sizes agents choose."""

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from jaxdlb import games
from jaxdlb.live import calibration as calibrations
from jaxdlb.live import master as masters
from jaxdlb.live.calibration import Calibration
from jaxdlb.live.engine import Computed, Event, Joined, Left, Workers
from jaxdlb.live.master import Chunk
from jaxdlb.live.policy_team import PolicyAlgorithm
from jaxdlb.live.sending import Sent
from jaxdlb.live.session import Seats, Session
from jaxdlb.policies import Policy

_SPARE_SEATS = 4  # for workers that come while a job runs
_LOOK_SECONDS = 0.5  # between two looks at whether anybody is there
_EMPTY_CHUNKS = 24  # by which the way of a chunk is measured


@dataclasses.dataclass(frozen=True)
class Done:
    """A chunk whose results were accepted; times in seconds since the job began."""

    worker: str
    first: int
    size: int
    handed: float
    back: float
    computed: float  # how long the worker computed


@dataclasses.dataclass
class Outcome:
    """What came of a job, as far as it has got."""

    num_tasks: int
    by_task: dict[int, Any] = dataclasses.field(default_factory=dict)  # the results that there are, each accepted once
    log: list[Done] = dataclasses.field(default_factory=list)
    makespan: float = 0.0  # seconds from the first request until the last result
    chunks: int = 0  # handed out
    declines: int = 0
    tasks_returned: int = 0  # lost with their worker, and handed out again
    failures: int = 0  # workers that were gone
    joins: int = 0  # that came while the job ran
    late: int = 0  # chunks whose results came when nobody waited for them any more
    compute_seconds: float = 0.0  # of all workers
    comm_seconds: float = 0.0  # in which they had a chunk and did not compute
    idle_seconds: float = 0.0  # in which they had none
    decision_seconds: list[float] = dataclasses.field(default_factory=list)  # of each request

    @property
    def results(self) -> list[Any]:
        """In the order of the tasks.

        Raises:
            ValueError: some are missing.
        """
        missing = self.num_tasks - len(self.by_task)
        if missing:
            raise ValueError(f"results of {missing} of {self.num_tasks} tasks are missing; by_task holds the others")
        return [self.by_task[task] for task in range(self.num_tasks)]

    @property
    def idle_share(self) -> float:
        """Of the time that workers were there."""
        return self.idle_seconds / self._worker_seconds

    @property
    def comm_share(self) -> float:
        """Likewise, of the time in which they had a chunk and did not compute."""
        return self.comm_seconds / self._worker_seconds

    @property
    def _worker_seconds(self) -> float:
        return self.compute_seconds + self.comm_seconds + self.idle_seconds


class TaskFailedError(Exception):
    """The function raised for a task; no further tasks are begun.

    `task` is its place among the tasks, `worker` the name of the worker, `outcome` holds the results that there are.
    """

    def __init__(self, task: int, worker: str, told: str, outcome: Outcome) -> None:
        last = told.strip().splitlines()[-1]
        super().__init__(f"task {task} failed on worker {worker}: {last}")
        self.task, self.worker, self.traceback, self.outcome = task, worker, told, outcome


class NobodyThereError(Exception):
    """No worker has been there for some time; `outcome` holds the results that there are."""

    def __init__(self, seconds: float, outcome: Outcome) -> None:
        super().__init__(f"no worker has been there for {seconds:g} s; {len(outcome.by_task)} tasks are done")
        self.outcome = outcome


class LiveFarm:
    """A job: `function(task)` for every task, on `workers` that ask for chunks, of a size that `policy` says.

    `policy` is one of the game's, learned or a rule, or a team of agents such as a `LearnerAlgorithm`, that lives on
    from job to job. Agents are told times in units of the `calibration`. Workers may come and go, the latter with what
    they have in hand, which is handed out again; each task's result is accepted once.

    Raises:
        ValueError: no tasks, a function that cannot be sent, or a policy that is none or fits no running system.
    """

    def __init__(
        self,
        tasks: Sequence[Any],
        function: Callable[[Any], Any],
        policy: Any,
        workers: Workers,
        *,
        calibration: Calibration | None = None,
        game: Any = None,  # that agents of a policy play, with a seat for each worker; None: the policy's, or with some
        seed: int = 0,
        patience: float = 60.0,  # seconds that it waits for workers where there is none
    ) -> None:
        if not len(tasks):
            raise ValueError("tasks is empty; it must hold at least one")
        self._tasks, self._function, self._workers = tasks, Sent(function), workers
        self._calibration = calibration or calibrations.guessed(len(workers.names))
        self._patience = patience
        self._team = policy if hasattr(policy, "agent") else self._made(policy, game, seed)
        game = self._team.game
        self._master = masters.find(game), game, self._calibration.params(game, len(tasks))

    def run(self, told: Callable[[Outcome], None] | None = None) -> Outcome:
        """Do the job; `told` is called whenever results were accepted, with what there is so far.

        Raises:
            TaskFailedError: the function raised.
            NobodyThereError: no worker was there for too long.
        """
        make, game, params = self._master
        job = _Job(self._tasks, self._function, self._workers, self._calibration.task_seconds)
        job.begin(make(game, params), self._team)
        try:
            while not job.is_over:
                job.go_on(self._patience)
                if told is not None:
                    told(job.outcome)
        finally:
            job.end()
        return job.outcome

    def _made(self, policy: Policy, game: Any, seed: int) -> PolicyAlgorithm:
        seats = len(self._workers.names) + _SPARE_SEATS
        game = game or getattr(policy, "game", None) or self._calibration.game(seats)
        return PolicyAlgorithm(policy, game, self._calibration.params(game, len(self._tasks)), seed)


class _Job:
    """What happens at the workers, told to a session until all results are there."""

    def __init__(self, tasks: Sequence[Any], function: Sent, workers: Workers, unit: float) -> None:
        self.outcome = Outcome(len(tasks))
        self._tasks, self._function, self._workers, self._unit = tasks, function, workers, unit
        self._in_hand: dict[str, tuple[str, Chunk, float]] = {}  # by the number of the chunk: whose, and since when
        self._alone_since = self._began = time.perf_counter()

    @property
    def is_over(self) -> bool:
        """Whether all results are there."""
        return self._session.master.over

    def begin(self, master: masters.Master, team: Any) -> None:
        """Hand out the first chunks to those that are there."""
        for _ in self._workers.events(0.001):
            pass  # of earlier jobs, and who came and went in between
        self._session = Session(master, team, self._hand_out, Seats(master.num_workers))
        self._began = time.perf_counter()
        self._session.start(self._workers.names)
        self._at_first = master.joins
        self._session.serve(0.0)

    def go_on(self, patience: float) -> None:
        """Wait for something to happen, and serve the requests that there are then."""
        for event in self._workers.events(_LOOK_SECONDS):
            self._note(event)
        self._session.serve(self._now())
        self._count()
        if self._workers.names:
            self._alone_since = time.perf_counter()
        elif time.perf_counter() - self._alone_since > patience:
            raise NobodyThereError(patience, self.outcome)

    def end(self) -> None:
        """Nobody waits for what is still in hand; say what came of it all."""
        for chunk in self._in_hand:
            self._workers.drop(chunk)
        self._session.end(self._now())
        self._count()

    def _count(self) -> None:
        """Keep the outcome's numbers as they are now."""
        master, outcome = self._session.master, self.outcome
        for name in ("chunks", "declines", "failures", "tasks_returned"):
            setattr(outcome, name, getattr(master, name))
        outcome.joins = master.joins - self._at_first
        outcome.makespan = outcome.log[-1].back if outcome.log else 0.0
        until = outcome.makespan / self._unit if self.is_over else self._now()
        outcome.compute_seconds = float(master.compute_time.sum()) * self._unit
        outcome.comm_seconds = float(master.comm_time.sum()) * self._unit
        outcome.idle_seconds = float(master.idle_time(until).sum()) * self._unit
        outcome.decision_seconds = self._session.decision_seconds

    def _now(self) -> float:
        return (time.perf_counter() - self._began) / self._unit

    def _hand_out(self, worker: str, chunk: Chunk) -> None:
        tasks = self._tasks[chunk.first : chunk.first + chunk.size]
        number = self._workers.send(worker, self._function, tasks)
        self._in_hand[number] = worker, chunk, time.perf_counter() - self._began

    def _note(self, event: Event) -> None:
        if isinstance(event, Joined):
            self._session.join(event.name, self._now())
        elif isinstance(event, Left):
            for number in [number for number, (worker, *_) in self._in_hand.items() if worker == event.name]:
                del self._in_hand[number]
                self._workers.drop(number)
            self._session.leave(event.name, self._now())
        elif event.chunk not in self._in_hand:
            self.outcome.late += 1
        else:
            self._accept(event)

    def _accept(self, event: Computed) -> None:
        worker, chunk, handed = self._in_hand.pop(event.chunk)
        results = dict(enumerate(event.results, chunk.first))
        assert not results.keys() & self.outcome.by_task.keys()
        self.outcome.by_task |= results
        if event.failure is not None:
            raise TaskFailedError(chunk.first + len(results), worker, event.failure, self.outcome)
        back = event.at - self._began
        self.outcome.log.append(Done(worker, chunk.first, chunk.size, handed, back, event.seconds))
        self._session.finish(worker, event.seconds / self._unit, back / self._unit)


def calibrate(tasks: Sequence[Any], function: Callable[[Any], Any], workers: Workers) -> tuple[Calibration, Outcome]:
    """Measure workers and tasks: some empty chunks, and then these tasks by self-scheduling, one at a time.

    The way of a chunk is the median of the empty ones, sent one by one. Ten tasks for each worker or more will do.

    Raises:
        TooFewError: too few tasks for each worker to get one; a ValueError.
        TaskFailedError: the function raised.
    """
    empty = [_empty_chunk(name, workers) for name in _in_turn(workers.names, _EMPTY_CHUNKS)]
    rule = games.heuristic("self_scheduling", game=next(iter(masters.playable())))
    outcome = LiveFarm(tasks, function, rule, workers).run()
    seconds: Mapping[str, list[float]] = {name: [] for name in workers.names}
    for each in outcome.log:
        if each.worker in seconds:
            seconds[each.worker].append(each.computed)
    return calibrations.measured(seconds, empty), outcome


def _in_turn(names: Sequence[str], count: int) -> Iterator[str]:
    return (names[place % len(names)] for place in range(count))


def _empty_chunk(name: str, workers: Workers) -> float:
    """How long a chunk without tasks takes there and back, in seconds; NaN if it does not come."""
    began = time.perf_counter()
    number = workers.send(name, Sent(len), [])
    until = began + 10
    while time.perf_counter() < until:
        for event in workers.events(0.1):
            if isinstance(event, Computed) and event.chunk == number:
                return event.at - began
    return float(np.nan)
