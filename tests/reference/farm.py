"""The farm's rules once more, in scalars: an independent reading that the library is compared with.

Nothing here shares code or structure with the library: lists of workers and chunks, a queue that is sorted when it is
needed, in double precision. What chance decides is handed in (`Chance`).

The rules are a mapping `p`: the parameters by their names, of each worker a list, with the game's `num_sizes` and
`objective`. `noise`, `drift` and the rates of churn are not among them: they are in what chance decides.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Facts = dict[str, Any]
Chunk = tuple[int, int]  # its first task, and how many

ABSENT, BUSY, WAITING, DECLINED = range(4)
LEAST_PART = 1e-3  # of a task, for which no further task is given


@dataclasses.dataclass(frozen=True)
class Chance:
    """What is decided by the key of an episode, whatever anybody does."""

    costs: Sequence[float] | np.ndarray  # of the tasks, in their order
    speed: Callable[[int, float], float]  # of a worker at a time
    change: Callable[[int, int, bool], float]  # how long a worker stays as it is (there or not) after its n-th change


@dataclasses.dataclass
class Worker:
    """One worker, between two steps."""

    phase: int
    speed: float
    until_change: float
    until_start: float = 0.0
    until_back: float = 0.0
    compute_time: float = 0.0
    chunk: Chunk | None = None  # in hand
    waited: float = 0.0
    told_wait: float = 0.0
    changes: int = 0
    weighted_time: float = 0.0
    weighted_size: float = 0.0
    chunks_done: int = 0
    last_size: int = 0
    last_time: float = 0.0

    @property
    def is_present(self) -> bool:
        return self.phase != ABSENT

    @property
    def in_hand(self) -> int:
        return self.chunk[1] if self.chunk else 0


@dataclasses.dataclass
class Farm:
    """The master and all workers, between two steps."""

    workers: list[Worker]
    remaining: int  # tasks not handed out
    next_task: int = 0  # the first never handed out
    returned: list[Chunk] = dataclasses.field(default_factory=list)  # first in, first out
    time: float = 0.0
    until_free: float = 0.0
    chunks: int = 0
    decider: int | None = None
    over: bool = False
    step: int = 0


def rules(num_workers: int, **given: Any) -> Facts:
    """The defaults, with some replaced; of what each worker has its own, a single number stands for all."""
    slope = 4 / max(num_workers - 1, 1)
    of_each = {"latency": 0, "speed": [1 + slope * i for i in range(num_workers)], "join_time": 0}
    of_all = {
        **{"num_sizes": 16, "objective": "makespan", "job": 1000, "task_time": 1, "comm_time": 0.2, "comm_per_task": 0},
        **{"selfishness": 0, "horizon": 1_000_000},
    }
    unknown = set(given) - set(of_each) - set(of_all)
    assert not unknown, unknown
    each = {name: given.get(name, value) for name, value in of_each.items()}
    lists = {
        name: list(value) if isinstance(value, list | tuple) else [value] * num_workers for name, value in each.items()
    }
    return of_all | given | lists


def present(farm: Farm) -> list[int]:
    return [i for i, worker in enumerate(farm.workers) if worker.is_present]


def in_phase(farm: Farm, phase: int) -> list[int]:
    return [i for i, worker in enumerate(farm.workers) if worker.phase == phase]


def queue(farm: Farm) -> list[int]:
    """Those that wait: who has waited longest is the first, of equals the one of lower index."""
    return sorted(in_phase(farm, WAITING), key=lambda i: (-farm.workers[i].waited, i))


def outstanding(farm: Farm) -> int:
    """Tasks in hand of all workers."""
    return sum(worker.in_hand for worker in farm.workers)


def interval(p: Facts, farm: Farm) -> Chunk:
    """From which chunks are cut now."""
    return farm.returned[0] if farm.returned else (farm.next_task, p["job"] - farm.next_task)


# Reset


def reset(p: Facts, chance: Chance) -> Farm:
    """The farm at the start of an episode."""
    workers = []
    for i, join_time in enumerate(p["join_time"]):
        is_there = join_time == 0
        until_change = chance.change(i, 0, True) if is_there else join_time
        workers.append(Worker(WAITING if is_there else ABSENT, chance.speed(i, 0.0), until_change))
    farm = Farm(workers, remaining=p["job"])
    for ahead, i in enumerate(queue(farm)):
        workers[i].told_wait = p["comm_time"] * ahead
    farm.decider = next(iter(queue(farm)), None)
    return farm


# Action


def unrounded_sizes(p: Facts, farm: Farm) -> list[float]:
    """The shares of what remains that choices 2, 3, … stand for, less the least part of a task."""
    share = farm.remaining / len(present(farm))
    return [2 ** ((k - p["num_sizes"] + 5) / 2) * share - LEAST_PART for k in range(2, p["num_sizes"])]


def sizes(p: Facts, farm: Farm) -> list[int]:
    """What the decider gets by each choice, were they all legal."""
    _, most = interval(p, farm)
    return [0, 1, *(min(most, max(1, math.ceil(share))) for share in unrounded_sizes(p, farm))]


def legal(p: Facts, farm: Farm) -> list[list[bool]]:
    """Which choices each worker has."""
    choices = range(p["num_sizes"])
    masks = [[k == 0 for k in choices] for _ in farm.workers]
    if farm.decider is not None:
        given = sizes(p, farm)
        others = [worker for i, worker in enumerate(farm.workers) if i != farm.decider]
        masks[farm.decider] = [any(worker.in_hand for worker in others), True]
        masks[farm.decider] += [given[k] > given[k - 1] for k in choices[2:]]
    return masks


def asked(p: Facts, farm: Farm, action: int) -> int:
    """How many tasks the decider asks for; 0: it declines."""
    assert farm.decider is not None
    if action >= p["num_sizes"]:
        return min(interval(p, farm)[1], action - p["num_sizes"] + 1)
    is_legal = action >= 0 and legal(p, farm)[farm.decider][action]
    return sizes(p, farm)[action] if is_legal else 1


# One step


def step(p: Facts, chance: Chance, farm: Farm, action: Sequence[int]) -> Facts:
    """Play one step, which changes the farm; what happened in it."""
    if farm.over:
        return nothing(farm)
    chunks = farm.chunks
    if farm.decider is not None:
        decide(p, chance, farm, action[farm.decider])
    declines = int(farm.decider is not None and farm.chunks == chunks)
    times = next_events(farm)
    event = min(times, key=lambda each: times[each])  # the first of equals
    lasts = max(times[event], 0.0)
    spent = [time_spent(worker, lasts) for worker in farm.workers]
    facts = {"times": times, "event": event, **rewards(p, farm, spent, lasts)}
    finished = pass_time(p, farm, lasts)
    returned = happen(p, chance, farm, event)
    for i, worker in enumerate(farm.workers):
        worker.speed = chance.speed(i, farm.time)
    farm.step += 1
    computing, communicating, idle = (sum(column) for column in zip(*spent, strict=True))
    metrics = {
        "time": lasts,
        "chunks": farm.chunks - chunks,
        "declines": declines,
        "tasks_done": sum(count for _, count in finished),
        "tasks_returned": returned,
        "failures": int(event == "fail"),
        "joins": int(event == "join"),
        "compute_time": computing,
        "comm_time": communicating,
        "idle_time": idle,
        "remaining": farm.remaining,
        "outstanding": outstanding(farm),
        "present": len(present(farm)),
        "utility": facts["utility"],
    }
    return facts | {
        "finished": finished,
        "elapsed": lasts / p["task_time"],
        "discount": 0.0 if farm.over else 1.0,
        "last": farm.over or farm.step >= p["horizon"],
        "metrics": metrics,
    }


METRICS = (
    *("time", "chunks", "declines", "tasks_done", "tasks_returned", "failures", "joins"),
    *("compute_time", "comm_time", "idle_time", "remaining", "outstanding", "present", "utility"),
)


def nothing(farm: Farm) -> Facts:
    """What happens in a step of a farm that is over, and at a reset."""
    return {
        "reward": [0.0] * len(farm.workers),
        "finished": [],
        "elapsed": 0.0,
        "discount": 0.0 if farm.over else 1.0,
        "last": farm.over,
        "metrics": dict.fromkeys(METRICS, 0.0),
    }


# 1. Decide


def decide(p: Facts, chance: Chance, farm: Farm, action: int) -> None:
    """The decider declines, or gets a chunk and is busy."""
    assert farm.decider is not None
    worker = farm.workers[farm.decider]
    count = asked(p, farm, action)
    if count == 0:
        worker.phase = DECLINED
        return
    held = sum(each.chunk is not None for each in farm.workers)
    if farm.returned and len(farm.returned) + held >= 2 * len(farm.workers):
        count = farm.returned[0][1]
    first = cut(p, farm, count)
    held_up = p["comm_time"] + p["comm_per_task"] * count
    latency = p["latency"][farm.decider]
    cost = float(np.sum(np.asarray(chance.costs[first : first + count], np.float64)))
    farm.until_free = held_up
    worker.phase, worker.chunk = BUSY, (first, count)
    worker.until_start = held_up + latency
    worker.compute_time = p["task_time"] * cost / worker.speed
    worker.until_back = worker.until_start + worker.compute_time + latency
    farm.chunks += 1


def cut(p: Facts, farm: Farm, count: int) -> int:
    """Take so many tasks off the front of the interval; the first of them."""
    first, length = interval(p, farm)
    assert 1 <= count <= length
    if not farm.returned:
        farm.next_task += count
    elif count == length:
        farm.returned.pop(0)
    else:
        farm.returned[0] = (first + count, length - count)
    farm.remaining -= count
    return first


# 2. Next event


def next_events(farm: Farm) -> dict[str, float]:
    """When the next event of each kind comes; of equals the first counts."""
    there = [worker.until_change for worker in farm.workers if worker.is_present]
    away = [worker.until_change for worker in farm.workers if not worker.is_present]
    back = [worker.until_back for worker in farm.workers if worker.phase == BUSY]
    if farm.remaining == 0:
        serve = max(back, default=0.0)
    elif queue(farm):
        serve = max(farm.until_free, 0.0)
    else:
        serve = max(farm.until_free, min(back, default=math.inf))
    return {"fail": min(there, default=math.inf), "join": min(away, default=math.inf), "serve": serve}


# 3. Clocks


def pass_time(p: Facts, farm: Farm, lasts: float) -> list[Chunk]:
    """All clocks go on; the chunks that are done."""
    until_free = farm.until_free
    farm.time += lasts
    farm.until_free = max(until_free - lasts, 0.0)
    for worker in farm.workers:
        worker.until_change -= lasts
        if worker.phase == WAITING:
            worker.waited += lasts
        if worker.phase == BUSY:
            worker.until_start -= lasts
            worker.until_back -= lasts
    came = [i for i in in_phase(farm, BUSY) if farm.workers[i].until_back <= 0]
    finished = [finish(farm.workers[i]) for i in came]
    for i in came:
        worker = farm.workers[i]
        was_to_wait = max(until_free - (lasts - worker.waited), 0.0)
        worker.told_wait = was_to_wait + p["comm_time"] * queue(farm).index(i)
    return finished


def finish(worker: Worker) -> Chunk:
    """Its chunk is done, and it waits; the chunk."""
    assert worker.chunk is not None
    chunk, count = worker.chunk, worker.chunk[1]
    worker.phase, worker.chunk = WAITING, None
    worker.waited = -worker.until_back
    worker.chunks_done += 1
    worker.weighted_time += worker.chunks_done * worker.compute_time
    worker.weighted_size += worker.chunks_done * count
    worker.last_size, worker.last_time = count, worker.compute_time
    return chunk


# 4. Event


def happen(p: Facts, chance: Chance, farm: Farm, event: str) -> int:
    """A worker fails or joins, or the master turns to the next request; how many tasks come back undone."""
    farm.decider, returned = None, 0
    if event == "serve":
        farm.over = farm.remaining == 0
        farm.decider = None if farm.over else queue(farm)[0]
        return 0
    due = [i for i, worker in enumerate(farm.workers) if worker.until_change <= 0]
    if event == "fail":
        i = next(i for i in due if farm.workers[i].is_present)
        returned = fail(farm, farm.workers[i])
    else:
        i = next(i for i in due if not farm.workers[i].is_present)
        told = farm.until_free + p["comm_time"] * len(queue(farm))
        farm.workers[i].phase, farm.workers[i].waited, farm.workers[i].told_wait = WAITING, 0.0, told
    worker = farm.workers[i]
    worker.changes += 1
    worker.until_change = chance.change(i, worker.changes, worker.is_present)
    for each in (farm.workers[j] for j in in_phase(farm, DECLINED)):
        each.phase, each.waited, each.told_wait = WAITING, 0.0, farm.until_free
    return returned


def fail(farm: Farm, worker: Worker) -> int:
    """It is gone, and a chunk in its hand comes back; how many tasks that are."""
    count = worker.in_hand
    if worker.chunk:
        farm.returned.append(worker.chunk)
        farm.remaining += count
        assert len(farm.returned) <= 2 * len(farm.workers)
    worker.phase, worker.chunk = ABSENT, None
    return count


# 5. Reward


def ideal_makespan(p: Facts) -> float:
    """T*, of a farm that loses no time."""
    return p["job"] * p["task_time"] / sum(p["speed"])


def time_spent(worker: Worker, lasts: float) -> tuple[float, float, float]:
    """How long a worker computes, is busy without, and waits, in a time that begins now."""
    if not worker.is_present:
        return 0.0, 0.0, 0.0
    if worker.phase != BUSY:
        return 0.0, 0.0, lasts
    ends = (worker.until_start, worker.until_start + worker.compute_time)
    begin, end = (min(max(each, 0.0), lasts) for each in ends)
    busy = min(max(worker.until_back, 0.0), lasts)
    return end - begin, busy - (end - begin), lasts - busy


def rewards(p: Facts, farm: Farm, spent: list[tuple[float, float, float]], lasts: float) -> Facts:
    """Everybody's reward, and the mean utility, of a time spent so."""
    if p["objective"] == "makespan":
        lost = [lasts for _ in farm.workers]
    else:
        lost = [
            lasts - computing if worker.is_present else 0.0
            for worker, (computing, _, _) in zip(farm.workers, spent, strict=True)
        ]
    own = [-each / ideal_makespan(p) for each in lost]
    utility, kappa = sum(own) / len(own), p["selfishness"]
    return {"utility": utility, "reward": [(1 - kappa) * utility + kappa * each for each in own]}
