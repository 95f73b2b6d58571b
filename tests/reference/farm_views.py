"""What is seen of a farm, in scalars: the observations and the global state that the library is compared with."""

from collections.abc import Sequence

from reference.farm import ABSENT, BUSY, DECLINED, WAITING, Facts, Farm, interval, outstanding, present, queue


def rates(p: Facts, farm: Farm) -> list[float]:
    """r: tasks that each worker does in a unit of time, as far as is known."""
    own = [worker.weighted_size / worker.weighted_time if worker.weighted_time > 0 else None for worker in farm.workers]
    known = [own[i] for i in present(farm) if own[i] is not None]
    mean = sum(known) / len(known) if known else 1 / p["task_time"]
    return [mean if each is None else each for each in own]


def expected_computed(farm: Farm, rate: Sequence[float], i: int) -> float:
    """The longest expected time until the chunk of a worker other than i is computed."""
    longest = 0.0
    for j, worker in enumerate(farm.workers):
        if j != i and worker.chunk:
            so_far = max(-worker.until_start, 0.0)
            longest = max(longest, max(worker.until_start, 0.0) + max(worker.in_hand / rate[j] - so_far, 0.0))
    return longest


def true_rows(p: Facts, farm: Farm) -> list[list[float]]:
    """What each worker would observe if all knew how fast everybody is."""
    there, rate, waiting, in_hand = present(farm), rates(p, farm), queue(farm), outstanding(farm)
    speeds = sum(farm.workers[i].speed for i in there)
    length = interval(p, farm)[1] if farm.remaining else 0
    in_all = sum(rate[i] for i in there)
    return [
        [
            float(farm.decider == i),
            float(worker.is_present),
            farm.remaining,
            length,
            in_hand,
            len(there),
            len(waiting) - (i in waiting),
            worker.told_wait,
            worker.waited,
            float(worker.chunks_done > 0),
            rate[i],
            in_all,
            expected_computed(farm, rate, i),
            worker.last_size,
            worker.last_time,
            p["comm_time"] + p["comm_per_task"],
            worker.speed,
            speeds,
        ]
        for i, worker in enumerate(farm.workers)
    ]


def without_speeds(rows: list[list[float]]) -> list[list[float]]:
    """What each worker does observe."""
    return [[*row[:16], 0.0, 0.0] for row in rows]


def global_state(p: Facts, farm: Farm) -> list[float]:
    """What a centralised critic may see in training: of each worker nine numbers, then seven of all."""
    rate, seen = rates(p, farm), []
    for i, worker in enumerate(farm.workers):
        seen += [float(worker.phase == phase) for phase in (ABSENT, BUSY, WAITING, DECLINED)]
        seen += [worker.in_hand, worker.until_back if worker.phase == BUSY else 0.0]
        seen += [worker.speed, rate[i], float(farm.decider == i)]
    speeds = sum(farm.workers[i].speed for i in present(farm))
    busy = [worker for worker in farm.workers if worker.phase == BUSY]
    work = farm.remaining * p["task_time"] + sum(worker.until_back * worker.speed for worker in busy)
    seen += [farm.remaining, farm.until_free, len(queue(farm)), p["comm_time"], speeds]
    return [*seen, work / speeds if speeds else 0.0, max((worker.until_back for worker in busy), default=0.0)]
