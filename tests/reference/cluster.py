"""A step of the cluster once more, in scalars: an independent reading of its rules that the library is compared with.

Nothing here shares code or structure with the library: an object for each node and each task, in double precision.
What chance decides is handed in as a `Chance`: the tasks that come, how far apart, their candidates, the factor on λ.

The rules are a mapping `p`: the parameters by their names, of each node a list, and the game's `num_dispatchers`,
`num_candidates`, `max_tasks` and `episode_tasks`. What a step compares, it notes with the distance to where the verdict
turns: float32 may judge otherwise where that is tiny (`facts["margin"]`).
"""

import copy
import dataclasses
import math
from collections.abc import Callable, Iterable
from typing import Any

Facts = dict[str, Any]

CLASSES = ("production", "batch", "best_effort")
BY_CLASS = ("arrivals", "drops", "completions", "on_time", "missed", "completion_time", "presence")
TOLERANCE = 1e-6  # GB, where memory must fit


@dataclasses.dataclass(frozen=True)
class Task:
    """What is known of a task before it is placed."""

    number: int  # k
    run_time: float  # e: s, at speed 1
    cores: float
    memory: float  # GB
    rank: int  # its class: 0 production, 1 batch, 2 best effort


@dataclasses.dataclass
class Awaited:
    """A task in the window."""

    task: Task
    arrives: float  # s from now; at most 0: at hand


@dataclasses.dataclass
class Held:
    """A task on a node."""

    task: Task
    left: float  # s of run time, at speed 1
    age: float
    due: float  # s until its deadline
    arrives: float  # s until it is at the node
    running: bool = False


@dataclasses.dataclass
class Node:
    """What a node is, and how it stands."""

    cores: float
    memory: float
    speed: float
    idle_power: float
    dynamic_power: float
    network_delay: float
    transfer_time: float
    tier: int
    slots: list[Held | None]
    idle_for: float = 0.0
    wake_in: float = 0.0

    @property
    def tasks(self) -> list[Held]:
        """All that it holds, in the order of slots."""
        return [each for each in self.slots if each is not None]

    @property
    def running(self) -> list[Held]:
        return [each for each in self.tasks if each.running]

    @property
    def waiting(self) -> list[Held]:
        return [each for each in self.tasks if not each.running]

    @property
    def share(self) -> float:
        """Of the cores that it wants, what each running task gets."""
        wanted = cores_of(self.running)
        return min(1.0, self.cores / wanted) if wanted > 0 else 1.0

    @property
    def rate(self) -> float:
        """Run time that each running task gets through, a second."""
        return self.speed * self.share

    @property
    def backlog(self) -> float:
        """B: seconds until its memory has gone once round all that it holds."""
        ahead = sum(each.left * each.task.memory / self.rate for each in self.running)
        ahead += sum(each.left * each.task.memory / self.speed for each in self.waiting)
        return ahead / self.memory

    def is_able(self, task: Task) -> bool:
        """Whether it can take the task."""
        return self.memory >= task.memory and None in self.slots

    def fits(self, task: Task) -> bool:
        """Whether the task fits beside all that it holds."""
        return memory_of(self.tasks) + task.memory <= self.memory + TOLERANCE

    def delay(self, task: Task) -> float:
        """Seconds from placing until the task is there."""
        return self.network_delay + self.transfer_time * task.memory


@dataclasses.dataclass
class Cluster:
    """All nodes and the window, at the start of a step."""

    nodes: list[Node]
    window: list[Awaited]
    index: int = 0
    clock: int = 0
    step: int = 0
    over: bool = False

    @property
    def at_hand(self) -> list[Awaited]:
        return [each for each in self.window if each.arrives <= 0]

    def copy(self) -> "Cluster":
        """One that can be changed without changing this one."""
        window = [copy.copy(each) for each in self.window]
        slots = [[copy.copy(each) for each in node.slots] for node in self.nodes]
        nodes = [dataclasses.replace(node, slots=new) for node, new in zip(self.nodes, slots, strict=True)]
        return dataclasses.replace(self, nodes=nodes, window=window)


@dataclasses.dataclass(frozen=True)
class Chance:
    """What chance decides."""

    task: Callable[[int], Task]  # by k
    gap: Callable[[int], float]  # ξ, by k
    candidates: Callable[[int], list[int]]  # nodes, by k
    factor: Callable[[int], float]  # on λ, by slot


@dataclasses.dataclass
class Slot:
    """What happened on one node in one slot."""

    energy: float  # J
    use: float
    added: list[tuple[Task, float]]  # J that each running task added
    presence: list[tuple[Task, float]]  # s, of each task
    completed: list[tuple[Held, float]]  # each with its completion time
    missed: list[Task]
    on_time: list[Task]


def unless_exact(distance: float) -> float:
    """A distance to where a verdict turns; exactly none is as exact in float32, where numbers lie on a coarse grid."""
    return abs(distance) if distance else math.inf


def cores_of(tasks: Iterable[Held]) -> float:
    return sum(each.task.cores for each in tasks)


def memory_of(tasks: Iterable[Held]) -> float:
    return sum(each.task.memory for each in tasks)


def sleeps(p: Facts, node: Node) -> bool:
    return not node.tasks and node.idle_for >= p["sleep_after"]


def deadline(p: Facts, task: Task) -> float:
    """Seconds from a task's arrival."""
    return p["deadline_factor"][task.rank] * task.run_time


# ---------------------------------------------------------------------------------------------------------------- tasks


def enter(p: Facts, chance: Chance, k: int, before: float, clock: int) -> Awaited:
    """Task k as it enters the window in this slot, behind one that arrives in `before` seconds."""
    if p["episode_tasks"] is not None and k >= p["episode_tasks"]:
        return Awaited(chance.task(k), math.inf)
    return Awaited(chance.task(k), before + chance.gap(k) / (p["arrival_rate"] * chance.factor(clock)))


def idle_nodes(p: Facts) -> list[Node]:
    """All nodes, without tasks."""
    names = ("cores", "memory", "speed", "idle_power", "dynamic_power", "network_delay", "transfer_time", "tier")
    columns = zip(*(p[name] for name in names), strict=True)
    return [Node(*row, slots=[None] * p["max_tasks"]) for row in columns]


def reset(p: Facts, chance: Chance) -> Cluster:
    """The cluster at the start of an episode."""
    cluster = Cluster(idle_nodes(p), [])
    last = 0.0
    for k in range(p["num_dispatchers"]):
        cluster.window.append(enter(p, chance, k, last, clock=0))
        last = cluster.window[-1].arrives
    return cluster


def destination(nodes: list[Node], task: Task, candidates: list[int], choice: int) -> Node | None:
    """Where a task goes, as the nodes are now; None if it is dropped."""
    chosen = [candidates[choice]] if 0 <= choice < len(candidates) else []
    for w in [*chosen, *candidates, *range(len(nodes))]:
        if nodes[w].is_able(task):
            return nodes[w]
    return None


def place(p: Facts, chance: Chance, cluster: Cluster, choices: list[int], facts: Facts) -> None:
    """Every task at hand goes to a node, dispatcher after dispatcher; the window moves on."""
    at_hand = cluster.at_hand
    for awaited, choice in zip(at_hand, choices, strict=False):
        task = awaited.task
        facts["arrived"].append(task)
        node = destination(cluster.nodes, task, chance.candidates(task.number), choice)
        if node is None:
            facts["dropped"].append(task)
            continue
        facts["waits"].append((task, -awaited.arrives))
        age = -awaited.arrives
        due = max(deadline(p, task) - age, 0.0)
        held = Held(task, left=task.run_time, age=age, due=due, arrives=node.delay(task))
        facts["margins"].append(unless_exact(node.idle_for - p["sleep_after"]))
        if sleeps(p, node):
            node.wake_in = p["wake_time"]
        node.idle_for = 0.0
        node.slots[node.slots.index(None)] = held
    cluster.window = cluster.window[len(at_hand) :]
    cluster.index += len(at_hand)
    for k in range(cluster.index + len(cluster.window), cluster.index + p["num_dispatchers"]):
        last = cluster.window[-1].arrives if cluster.window else at_hand[-1].arrives
        cluster.window.append(enter(p, chance, k, last, cluster.clock))


# ----------------------------------------------------------------------------------------------------------------- time


def admit(node: Node, slot: float, margins: list[float]) -> None:
    """Waiting tasks that are there begin to run, in order, as far as memory goes."""
    there = [each for each in node.waiting if each.arrives < slot]
    margins.extend(abs(each.arrives - slot) for each in node.waiting)
    free = node.memory - memory_of(node.running)
    for each in sorted(there, key=lambda held: (held.task.rank, held.task.number)):
        free -= each.task.memory
        margins.append(unless_exact(free))
        if free < -TOLERANCE:
            return
        each.running = True


def pass_slot(p: Facts, node: Node, margins: list[float]) -> Slot:
    """One slot on one node."""
    slot, slept, was_empty = p["slot"], sleeps(p, node), not node.tasks
    margins.append(unless_exact(node.idle_for - p["sleep_after"]))
    admit(node, slot, margins)
    share, rate = node.share, node.rate
    happened = Slot(node.idle_power * slot * (p["sleep_power"] if slept else 1.0), 0.0, [], [], [], [], [])
    used = 0.0  # core-seconds
    for place, each in enumerate(node.slots):
        if each is None:
            continue
        begins = min(max(node.wake_in, each.arrives, 0.0), slot)
        done = each.running and each.left <= rate * (slot - begins)
        instant = begins + each.left / rate if done else slot
        if each.running:
            worked = each.task.cores * share * (instant - begins)
            used += worked
            happened.added.append((each.task, node.dynamic_power * worked / node.cores))
            margins.append(abs(each.left - rate * (slot - begins)))
        happened.presence.append((each.task, instant))
        if each.due >= 0:
            margins.extend((abs(instant - each.due), unless_exact(each.due)))
        if each.due >= 0 and instant > each.due:
            happened.missed.append(each.task)
        if done and each.due >= 0 and instant <= each.due:
            happened.on_time.append(each.task)
        if done:
            happened.completed.append((each, each.age + instant))
            node.slots[place] = None
            continue
        if each.running:
            each.left -= rate * (slot - begins)
        each.age += slot
        each.due -= slot
        each.arrives -= slot
    happened.energy += node.dynamic_power * used / node.cores
    happened.use = used / (node.cores * slot)
    node.wake_in = max(node.wake_in - slot, 0.0)
    node.idle_for = node.idle_for + slot if was_empty else 0.0
    return happened


# ----------------------------------------------------------------------------------------------------------------- step


def step(p: Facts, chance: Chance, before: Cluster, choices: list[int]) -> tuple[Cluster, Facts]:
    """What a step makes of a cluster, and what happened in it."""
    cluster = before.copy()
    facts: Facts = {"arrived": [], "dropped": [], "waits": [], "margins": [math.inf], "slots": [], "elapsed": 0.0}
    if before.over:
        metrics = dict.fromkeys(_metrics(p, cluster, facts), 0)
        facts |= {"reward": 0.0, "metrics": metrics, "margin": math.inf, "last": True, "discount": 0.0}
        return cluster, facts
    place(p, chance, cluster, choices, facts)
    facts["margins"].extend(unless_exact(each.arrives) for each in cluster.window)
    if not cluster.at_hand:
        facts["slots"] = [pass_slot(p, node, facts["margins"]) for node in cluster.nodes]
        facts["elapsed"] = p["slot"]
        for each in cluster.window:
            each.arrives -= p["slot"]
        cluster.clock += 1
        facts["margins"].extend(abs(each.arrives) for each in cluster.window)
    no_more = all(math.isinf(each.arrives) for each in cluster.window)
    cluster.over = no_more and not any(node.tasks for node in cluster.nodes)
    cluster.step += 1
    facts["metrics"] = _metrics(p, cluster, facts)
    facts["reward"] = facts["metrics"]["utility"]
    facts["margin"] = min(facts["margins"])
    facts["last"] = cluster.over or cluster.step >= p["horizon"]
    facts["discount"] = 0.0 if cluster.over else 1.0
    return cluster, facts


def _metrics(p: Facts, cluster: Cluster, facts: Facts) -> Facts:
    slots, time = facts["slots"], facts["elapsed"]
    completed = [each for slot in slots for each in slot.completed]
    lists = {
        "arrivals": [(task, 1) for task in facts["arrived"]],
        "drops": [(task, 1) for task in facts["dropped"]],
        "completions": [(held.task, 1) for held, _ in completed],
        "on_time": [(task, 1) for slot in slots for task in slot.on_time],
        "missed": [(task, 1) for slot in slots for task in slot.missed],
        "completion_time": [(held.task, took) for held, took in completed],
        "presence": [*facts["waits"], *(each for slot in slots for each in slot.presence)],
    }
    metrics: Facts = {"time": time, "slots": int(bool(slots))}
    for name in BY_CLASS:
        metrics[name] = sum(value for _, value in lists[name])
        for rank, title in enumerate(CLASSES):
            metrics[f"{name}_{title}"] = sum(value for task, value in lists[name] if task.rank == rank)
    for rank, title in enumerate(CLASSES):
        added = sum(joules for slot in slots for task, joules in slot.added if task.rank == rank)
        metrics[f"energy_kwh_{title}"] = added / 3.6e6
    use = [slot.use for slot in slots]
    joules = sum(slot.energy for slot in slots)
    variance = sum((each - _mean(use)) ** 2 for each in use) / len(use) if use else 0.0
    metrics["energy_kwh"] = joules / 3.6e6
    metrics["utilisation"] = _mean(use) * time
    metrics["balance"] = variance * time
    metrics["present"] = sum(len(node.tasks) for node in cluster.nodes)
    metrics["asleep"] = sum(sleeps(p, node) for node in cluster.nodes)
    weigh = p["class_weight"]
    missed = sum(weigh[task.rank] for slot in slots for task in slot.missed)
    dropped = sum(weigh[task.rank] for task in facts["dropped"])
    tasks = p["arrival_rate"] * p["slot"]  # that come in a slot
    w_sla, w_completion, w_energy, w_balance = p["weights"]
    metrics["cost_sla"] = w_sla * (missed + p["drop_cost"] * dropped) / tasks
    metrics["cost_completion"] = w_completion * metrics["presence"] / (p["completion_scale"] * tasks)
    metrics["cost_energy"] = w_energy * joules / 3600 / (p["energy_scale"] * tasks)
    metrics["cost_balance"] = w_balance * variance / p["balance_scale"]
    metrics["utility"] = -sum(metrics[f"cost_{part}"] for part in ("sla", "completion", "energy", "balance"))
    return metrics


def _mean(numbers: list[float]) -> float:
    return sum(numbers) / len(numbers) if numbers else 0.0


# ---------------------------------------------------------------------------------------------------------------- views


def outlook(p: Facts, node: Node, task: Task) -> tuple[float, float]:
    """T̂ and Ê of a task on a node."""
    fits, asleep = node.fits(task), sleeps(p, node)
    sharing = task.cores + cores_of(node.running) + (cores_of(node.waiting) if fits else 0.0)
    runs = task.run_time / (node.speed * min(1.0, node.cores / sharing)) if sharing else 0.0
    wakes = p["wake_time"] if asleep else node.wake_in
    estimate = node.delay(task) + wakes + (0.0 if fits else node.backlog) + runs
    energy = node.dynamic_power * task.cores / node.cores * task.run_time / node.speed
    if asleep:
        energy += node.idle_power * (1 - p["sleep_power"]) * (p["wake_time"] + runs)
    return estimate, energy


def standing(p: Facts, node: Node, task: Task) -> list[float]:
    """Columns 6 … 18 and 20 of a candidate: what changes on a node, in order, the estimates of a task at the end."""
    estimate, energy = outlook(p, node, task)
    running, waiting = node.running, node.waiting
    return [
        len(running),
        len(waiting),
        cores_of(running) / node.cores,
        cores_of(waiting) / node.cores,
        memory_of(running) / node.memory,
        memory_of(waiting) / node.memory,
        sum(each.left * each.task.cores for each in node.tasks) / (node.speed * node.cores),
        node.backlog,
        float(sleeps(p, node)),
        node.wake_in,
        node.idle_for,
        float(node.fits(task)),
        estimate,
        energy / 1000,
    ]


def candidate_row(p: Facts, node: Node, awaited: Awaited) -> list[float]:
    """The 23 columns of a candidate."""
    task = awaited.task
    *changing, estimate, kilojoules = standing(p, node, task)
    until_deadline = deadline(p, task) + awaited.arrives
    is_so = [node.cores, node.memory, node.speed, node.idle_power, node.dynamic_power, node.delay(task)]
    predicted = [estimate, estimate - until_deadline, kilojoules, task.cores / node.cores, task.memory / node.memory]
    return [*is_so, *changing, *predicted]


def flags(task: Task) -> list[float]:
    return [float(task.rank == rank) for rank in range(3)]


def observe(p: Facts, chance: Chance, cluster: Cluster) -> Facts:
    """What every dispatcher sees: `own` [M, 12], `peers` [M, K, 23] and `legal` [M, K]."""
    nodes, at_hand = cluster.nodes, cluster.at_hand
    tasks = [each for node in nodes for each in node.tasks]
    of_all = [
        len(at_hand) / p["num_dispatchers"],
        cores_of(tasks) / sum(node.cores for node in nodes),
        memory_of(tasks) / sum(node.memory for node in nodes),
        sum(sleeps(p, node) for node in nodes) / len(nodes),
    ]
    seen: Facts = {"own": [], "peers": [], "legal": []}
    for awaited in at_hand:
        task, candidates = awaited.task, chance.candidates(awaited.task.number)
        until_deadline = deadline(p, task) + awaited.arrives
        seen["own"].append([1.0, task.run_time, task.cores, task.memory, *flags(task), until_deadline, *of_all])
        seen["peers"].append([candidate_row(p, nodes[w], awaited) for w in candidates])
        able = [nodes[w].is_able(task) for w in candidates]
        seen["legal"].append(able if any(able) else [choice == 0 for choice in range(len(able))])
    size = p["num_candidates"]
    for _ in range(p["num_dispatchers"] - len(at_hand)):
        seen["own"].append([0.0] * 8 + of_all)
        seen["peers"].append([[0.0] * 23 for _ in range(size)])
        seen["legal"].append([choice == 0 for choice in range(size)])
    return seen


def remaining(node: Node, held: Held) -> float:
    """ρ: how long a task still takes, as far as one can tell."""
    if held.running:
        return held.left / node.rate
    return held.left / node.speed + node.backlog + node.wake_in


def crowded(node: Node) -> list[float]:
    """How far what is wanted of a node lies above some levels, and the square of its work, all in tenths."""
    cores, memory = cores_of(node.tasks) / node.cores, memory_of(node.tasks) / node.memory
    work = sum(each.left * each.task.cores for each in node.tasks) / (node.speed * node.cores)
    beyond = [max(cores - level, 0) for level in (0, 0.25, 0.5, 0.75, 1, 1.5, 2)]
    return [10 * each for each in (*beyond, *(max(memory - level, 0) for level in (0.5, 0.75, 1)), (work / 10) ** 2)]


def global_state(p: Facts, cluster: Cluster) -> Facts:
    """What a critic sees, by the contract's order, in named parts."""
    nodes, first = cluster.nodes, cluster.window[0]
    if math.isinf(first.arrives):
        first = Awaited(Task(first.task.number, 0.0, 0.0, 0.0, rank=-1), 0.0)  # there is none
    task = first.task
    rows = []
    for node in nodes:
        *changing, _, estimate, kilojoules = standing(p, node, task)
        rows.append([*changing, estimate, kilojoules])
    columns = list(zip(*rows, strict=True))
    tiers = [[row for row, node in zip(rows, nodes, strict=True) if node.tier == tier] for tier in range(3)]
    ahead, all_left = [], 0.0
    for rank in range(3):
        of_class = [(node, each) for node in nodes for each in node.tasks if each.task.rank == rank]
        times = [(remaining(node, each), each.due) for node, each in of_class]
        in_time = [(rho, due) for rho, due in times if due >= 0]
        late = sum(rho > due for rho, due in in_time)
        chances = sum(1 / (1 + math.exp(-(rho - due) / 5)) for rho, due in in_time)
        ahead += [sum(rho for rho, _ in times), len(in_time), late, chances]
        all_left += ahead[-4]
    tasks = [(node, each) for node in nodes for each in node.tasks]
    crowding = [crowded(node) for node in nodes]
    used = [min(cores_of([each for each in node.tasks if each.running]) / node.cores, 1.0) for node in nodes]
    mean_used = sum(used) / len(used)
    capacity = sum(node.speed * node.cores for node in nodes)
    dynamic = sum(
        node.dynamic_power * each.left * each.task.cores / (node.cores * node.speed) / 1000 for node, each in tasks
    )
    idle = sum(node.idle_power * (p["sleep_power"] if sleeps(p, node) else 1.0) / 1000 for node in nodes)
    held = [each for _, each in tasks]
    return {
        "first": [task.run_time, task.cores, task.memory, *flags(task)[:2], -first.arrives],
        "at_hand": [float(len(cluster.at_hand))],
        "tiers": [[_mean(list(column)) for column in zip(*tier, strict=True)] or [0.0] * 13 for tier in tiers],
        "most": [max(column) for column in columns],
        "least": [min(column) for column in columns],
        "crowding": [
            [_mean(list(column)) for column in zip(*tier, strict=True)] or [0.0] * 11
            for tier in ([row for row, node in zip(crowding, nodes, strict=True) if node.tier == k] for k in range(3))
        ],
        "variance": [10 * sum((each - mean_used) ** 2 for each in used) / len(used)],
        "load": [100 * p["arrival_rate"] / capacity, p["sleep_after"]],
        "classes": ahead,
        "totals": [all_left, len(tasks), dynamic, idle, cores_of(held), memory_of(held)],
    }
