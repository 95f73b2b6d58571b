"""The `farm` game as an event loop in plain Python: what one would write without JAX.

Workers are objects, results under way and requests heaps, times absolute. It plays by the rules of the game, chunk by
chunk, and reckons what they need: rates as they are measured, waits as they are told. It speaks for it that it keeps no
account of how workers spend their time, and that nobody but the worker whose request is served is looked at.
"""

import math
import random
from collections import deque
from collections.abc import Callable
from heapq import heapify, heappop, heappush

from jaxdlb.games.farm import Farm, Params
from jaxdlb.games.farm.dynamics import ROUNDING

FAIL, JOIN = 0, 1  # of changes at the same instant, failures come first
Rule = Callable[["Plain", "Worker"], int]  # how many tasks a worker gets; 0: it declines


def self_scheduling(size: int = 1) -> Rule:
    """Always as many."""
    return lambda farm, worker: size


def guided(least: int = 1) -> Rule:
    """⌈R / P⌉."""
    return lambda farm, worker: max(least, math.ceil(farm.remaining / farm.num_present - ROUNDING))


def adaptive_weighted_factoring(share: float = 0.5, least: int = 1, probe: int = 1, decline: bool = False) -> Rule:
    """`probe` tasks at first, then ⌈share · R · r / Σ r⌉; with `decline`, none for who is too slow for a task."""

    def tasks(farm: "Plain", worker: "Worker") -> int:
        mean = farm.mean_rate
        rate, total = worker.rate or mean, mean * farm.num_present
        if decline and farm.num_busy and 1 / rate > (farm.remaining + farm.outstanding) / max(total - rate, 1e-30):
            return 0
        if not worker.chunks_done:
            return probe
        return max(least, math.ceil(share * farm.remaining * rate / total - ROUNDING))

    return tasks


RULES: dict[str, Callable[..., Rule]] = {
    rule.__name__: rule for rule in (adaptive_weighted_factoring, guided, self_scheduling)
}


def seeing(rule: Rule) -> Rule:
    """The rule with what the game shows to the worker, as a learner would have to be told it, before each decision."""

    def tasks(farm: "Plain", worker: "Worker") -> int:
        farm.row(worker)
        farm.legal(worker)
        return rule(farm, worker)

    return tasks


class Chance:
    """What befalls workers: where a job begins in the table, how speeds drift, how long workers stay or are away."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)

    def start(self, length: int) -> int:
        """The entry of the table that is the cost of task 0."""
        return self.rng.randrange(length)

    def normal(self, worker: int, period: int) -> float:
        """By which the speed of a worker drifts in a period."""
        return self.rng.gauss(0.0, 1.0)

    def exponential(self, worker: int, changes: int) -> float:
        """How long a worker stays as it is after so many changes, at a rate of 1."""
        return self.rng.expovariate(1.0)


class Worker:
    """A worker, and what the master has measured of it."""

    __slots__ = (
        *("number", "latency", "mean_speed", "speed", "period", "leaves", "returns", "present", "changes"),
        *("first", "size", "compute_time", "asked", "told_wait"),
        *("chunks_done", "weighted_time", "weighted_size", "rate", "last_size", "last_time"),
    )

    def __init__(self, number: int, latency: float, speed: float, leaves: float, returns: float) -> None:
        self.number = number
        self.latency = latency
        self.mean_speed = self.speed = speed
        self.period = -1  # of drift, in which it has this speed
        self.leaves = leaves  # rates of changes
        self.returns = returns
        self.present = False
        self.changes = 0
        self.first = self.size = 0  # its chunk, if it is busy
        self.compute_time = 0.0
        self.asked = self.told_wait = 0.0  # when, and how long it was told to wait
        self.chunks_done = self.last_size = 0
        self.weighted_time = self.weighted_size = 0.0
        self.rate = 0.0  # tasks per unit of time, 0: not measured
        self.last_time = 0.0


class Plain:
    """A farm under one rule, which does one job after another."""

    def __init__(self, game: Farm, params: Params, rule: Rule, chance: Chance) -> None:
        self.rule = rule
        self.chance = chance
        self.job = int(params.job)
        self.shares = [2 ** ((choice - game.num_sizes + 5) / 2) for choice in range(2, game.num_sizes)]
        names = ("task_time", "comm_time", "comm_per_task", "noise", "drift", "drift_period")
        self.task_time, self.comm_time, self.comm_per_task, self.noise, self.drift, self.drift_period = (
            float(getattr(params, name)) for name in names
        )
        each = (params.latency, params.speed, params.failure_rate, params.rejoin_rate)
        self.of_workers = list(zip(*(column.tolist() for column in each), strict=True))
        self.join_times = params.join_time.tolist()
        self.length = len(game.costs.table)
        self.sums = _sums(game.costs.table.tolist())
        self.num_events = 0  # in all jobs

    def begin(self) -> None:
        """All that a job needs, anew."""
        self.start = self.chance.start(self.length)
        self.workers = [Worker(number, *each) for number, each in enumerate(self.of_workers)]
        self.now = self.free = 0.0  # the clock, and when the master is free
        self.remaining, self.next_task = self.job, 0
        self.returned: deque[tuple[int, int]] = deque()  # chunks that came back: first task and count
        self.under_way: list[tuple[float, int, Worker]] = []  # heap of when whose results reach the master
        self.queue: list[tuple[float, int, Worker]] = []  # heap of requests: when they came, of whom
        self.changes: list[tuple[float, int, int, Worker]] = []  # heap of when who fails or joins
        self.declined: list[Worker] = []
        self.chunks = self.declines = self.tasks_returned = self.outstanding = 0
        self.num_busy = self.num_present = 0
        self.num_measured, self.sum_of_rates = 0, 0.0  # of those present
        for worker, join_time in zip(self.workers, self.join_times, strict=True):
            if join_time == 0:
                self.arrive(worker)
                self.draw_change(worker)
            else:
                heappush(self.changes, (join_time, JOIN, worker.number, worker))

    @property
    def mean_rate(self) -> float:
        """Of those measured and present."""
        return self.sum_of_rates / self.num_measured if self.num_measured else 1 / self.task_time

    def play(self) -> float:
        """One job; its makespan."""
        self.begin()
        self.num_events -= bool(self.queue)  # whose request is served at the start is decided by no event
        queue, changes = self.queue, self.changes
        while True:
            self.num_events += 1
            serve = self.next_service()
            if changes and changes[0][0] <= serve:
                self.come_back(changes[0][0])
                self.change()
                continue
            self.come_back(serve)
            if not self.remaining:
                return self.now
            _, _, worker = heappop(queue)
            tasks = self.rule(self, worker)
            if tasks:
                self.hand_out(worker, tasks)
            else:
                self.declined.append(worker)
                self.declines += 1

    def next_service(self) -> float:
        """When the master turns to a request or, if nothing is left to be handed out, the last results come in."""
        if self.remaining:
            if self.queue:
                return max(self.free, self.now)
            return max(self.free, self.under_way[0][0] if self.under_way else math.inf)
        return max(self.under_way)[0] if self.under_way else self.now

    def come_back(self, time: float) -> None:
        """What has come in by then is done, its workers' requests queue; the n-th chunk of a worker weighs n."""
        self.now = time
        under_way, queue = self.under_way, self.queue
        while under_way and under_way[0][0] <= time:
            item = heappop(under_way)
            came, _, worker = item
            worker.asked, worker.told_wait = came, max(self.free - came, 0.0) + self.comm_time * len(queue)
            heappush(queue, item)
            size, worker.size = worker.size, 0
            self.outstanding -= size
            self.num_busy -= 1
            worker.chunks_done = weight = worker.chunks_done + 1
            worker.weighted_time += weight * worker.compute_time
            worker.weighted_size += weight * size
            worker.last_size, worker.last_time = size, worker.compute_time
            if worker.weighted_time > 0:
                rate = worker.weighted_size / worker.weighted_time
                self.num_measured += not worker.rate
                self.sum_of_rates += rate - worker.rate
                worker.rate = rate

    def hand_out(self, worker: Worker, tasks: int) -> None:
        """A chunk off the front of what came back or, if nothing did, of what was never handed out."""
        if self.returned:
            first, count = self.returned.popleft()
            if len(self.returned) + 1 + self.num_busy >= 2 * len(self.workers):
                tasks = count
            tasks = min(tasks, count)
            if tasks < count:
                self.returned.appendleft((first + tasks, count - tasks))
        else:
            first = self.next_task
            tasks = min(tasks, self.job - first)
            self.next_task += tasks
        self.remaining -= tasks
        self.outstanding += tasks
        self.num_busy += 1
        self.chunks += 1
        place = (self.start + first) % self.length
        cost = tasks + self.noise * (self.sums[place + tasks] - self.sums[place] - tasks)
        worker.first, worker.size = first, tasks
        worker.compute_time = compute_time = self.task_time * cost / self.speed(worker)
        self.free = self.now + self.comm_time + self.comm_per_task * tasks
        heappush(self.under_way, (self.free + 2 * worker.latency + compute_time, worker.number, worker))

    def row(self, worker: Worker) -> list[float]:
        """What the worker sees whose request is served, in the order of the game's columns but for speeds."""
        mean = self.mean_rate
        others_time = 0.0
        for came, _, each in self.under_way:
            starts = came - each.latency - each.compute_time
            computed = max(starts, self.now) + max(each.size / (each.rate or mean) - max(self.now - starts, 0.0), 0.0)
            others_time = max(others_time, computed - self.now)
        return [
            *(1.0, 1.0, self.remaining, self.interval, self.outstanding, self.num_present, len(self.queue)),
            *(worker.told_wait, self.now - worker.asked, worker.chunks_done > 0, worker.rate or mean),
            *(mean * self.num_present, others_time, worker.last_size, worker.last_time),
            self.comm_time + self.comm_per_task,
        ]

    def legal(self, worker: Worker) -> list[bool]:
        """What the worker may choose."""
        fair, most = self.remaining / self.num_present, self.interval
        legal, before = [self.num_busy > 0, True], 1
        for share in self.shares:
            size = min(most, max(1, math.ceil(share * fair - ROUNDING)))
            legal.append(size > before)
            before = size
        return legal

    @property
    def interval(self) -> int:
        """L: how many tasks can be handed out at once."""
        return self.returned[0][1] if self.returned else self.job - self.next_task

    def speed(self, worker: Worker) -> float:
        """That of the present period of drift."""
        period = int(self.now / self.drift_period)
        if self.drift and worker.period != period:
            drifted = self.drift * self.chance.normal(worker.number, period) - self.drift**2 / 2
            worker.period, worker.speed = period, worker.mean_speed * math.exp(drifted)
        return worker.speed

    def change(self) -> None:
        """The next worker fails or joins; all who declined ask again."""
        _, kind, _, worker = heappop(self.changes)
        if kind == FAIL:
            self.fail(worker)
        else:
            self.arrive(worker)
        worker.changes += 1
        self.draw_change(worker)
        for each in self.declined:
            self.ask(each, ahead=0)
        self.declined.clear()

    def arrive(self, worker: Worker) -> None:
        """It is there, and asks for a chunk."""
        worker.present = True
        self.num_present += 1
        self.num_measured += worker.rate > 0
        self.sum_of_rates += worker.rate
        self.ask(worker, ahead=len(self.queue))

    def ask(self, worker: Worker, ahead: int) -> None:
        """A request that comes now."""
        worker.asked, worker.told_wait = self.now, max(self.free - self.now, 0.0) + self.comm_time * ahead
        heappush(self.queue, (self.now, worker.number, worker))

    def fail(self, worker: Worker) -> None:
        """It is gone with its request; a chunk in its hand is to be handed out again."""
        worker.present = False
        self.num_present -= 1
        self.num_measured -= worker.rate > 0
        self.sum_of_rates -= worker.rate
        if worker.size:
            self.returned.append((worker.first, worker.size))
            self.remaining += worker.size
            self.outstanding -= worker.size
            self.tasks_returned += worker.size
            self.num_busy -= 1
            worker.size = 0
            _remove(self.under_way, worker)
        elif worker in self.declined:
            self.declined.remove(worker)
        else:
            _remove(self.queue, worker)

    def draw_change(self, worker: Worker) -> None:
        """When it fails or, if it is away, comes back."""
        rate = worker.leaves if worker.present else worker.returns
        if rate > 0:
            lasts = self.chance.exponential(worker.number, worker.changes) / rate
            heappush(self.changes, (self.now + lasts, FAIL if worker.present else JOIN, worker.number, worker))


def _remove(heap: list[tuple[float, int, Worker]], worker: Worker) -> None:
    heap[:] = [item for item in heap if item[2] is not worker]
    heapify(heap)


def _sums(costs: list[float]) -> list[float]:
    """Of the first 0, 1, … costs, twice through them, for a chunk may begin near their end."""
    sums, total = [0.0], 0.0
    for cost in [*costs, *costs]:
        total += cost
        sums.append(total)
    return sums
