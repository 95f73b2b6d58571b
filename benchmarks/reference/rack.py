"""The `rack` game as a simulator in plain Python: what one would write without JAX.

Nodes are objects with deques and heaps, and slices a loop over them. It plays by the rules of the game and reckons what
the game reckons of each slice, but for three things, which speak for it: nodes never fail, the imbalance is left out,
and response times are kept as a list, not as a histogram. Times are in ms from the start.
"""

import math
import random
from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush, heapreplace
from typing import Any

from jaxdlb.games.rack import Params, Rack
from jaxdlb.games.rack.dealing import RoundRobin
from jaxdlb.games.rack.network import HEARTBEAT, REQUEST
from jaxdlb.games.rack.sources import Random
from jaxdlb.mechanics.distributions import Constant, Exponential

Draw = Callable[[], float]
Choose = Callable[[random.Random, int, int], int]  # of a node among so many: whom it sends tasks to, or asks for one


def at_random(rng: random.Random, node: int, num_nodes: int) -> int:
    """Any node, itself included."""
    return rng.randrange(num_nodes)


def itself(rng: random.Random, node: int, num_nodes: int) -> int:
    """No other node."""
    return node


POLICIES: dict[str, Choose] = {"random": at_random, "noop": itself}


class Task:
    """A task, and where it is in time."""

    __slots__ = ("born", "io_time", "landed", "number", "payload", "runtime")

    def __init__(self, number: int, born: float, runtime: float, io_time: float, payload: float) -> None:
        self.number = number  # of two at the same instant, the lower one goes first
        self.born = born
        self.landed = born
        self.runtime = runtime
        self.io_time = io_time
        self.payload = payload


class Request:
    """A steal request: when its victim has it, and when its thief has the answer; ∞ until then."""

    __slots__ = ("answered", "heard", "victim")

    def __init__(self, victim: "Node", heard: float) -> None:
        self.victim = victim
        self.heard = heard
        self.answered = math.inf


class Node:
    """Cores, I/O and an interface, each with what waits for it."""

    def __init__(self, number: int, params: dict[str, list[float]]) -> None:
        self.number = number
        self.core_perf = params["core_perf"][number]
        self.io_perf = params["io_perf"][number]
        self.overhead = params["overhead"][number]
        self.ms_per_byte = 8 * 1000 / params["bandwidth"][number]
        self.packet_overhead = params["packet_overhead"][number]
        self.latency = params["latency"][number]
        self.heartbeat_phase = params["heartbeat_phase"][number]
        self.cores = [0.0] * int(params["cores"][number])  # heaps of when each is free
        self.io_cores = [0.0] * int(params["io_cores"][number])
        self.landing: list[tuple[float, int, Task]] = []  # heap of tasks that travel to this node
        self.waiting: deque[Task] = deque()  # for a core
        self.computed: list[tuple[float, int, Task]] = []  # heap of tasks on a core, or waiting for I/O
        self.in_io: list[tuple[float, float]] = []  # heap of when each is done, and when it was born
        self.interface_free = 0.0
        self.request: Request | None = None
        self.num_present = 0
        self.num_completed = 0  # in the last slice
        self.busy = self.io_busy = 0.0  # sums over slices, as are those below
        self.sum_waiting = self.sum_waiting_for_io = 0
        self.utility = 0.0

    def send(self, size: float, time: float) -> float:
        """When a packet arrives that is handed to the interface at `time`."""
        self.interface_free = self.leaves(size, time)
        return self.interface_free + self.latency

    def leaves(self, size: float, time: float) -> float:
        """When its last bit would have left."""
        return max(self.interface_free, time) + (size + self.packet_overhead) * self.ms_per_byte

    def receive(self, task: Task, time: float) -> None:
        """The task will be here at `time`."""
        task.landed = time
        heappush(self.landing, (time, task.number, task))

    def compute(self, end: float) -> None:
        """Cores take the tasks that land before `end`, first come, first served."""
        landing, waiting, cores = self.landing, self.waiting, self.cores
        while landing and landing[0][0] < end:
            waiting.append(heappop(landing)[2])
            self.num_present += 1
        while waiting:
            task = waiting[0]
            start = max(task.landed, cores[0])
            if start >= end:
                break
            waiting.popleft()
            work = self.overhead + task.runtime / self.core_perf
            self.busy += work
            heapreplace(cores, start + work)
            heappush(self.computed, (start + work, task.number, task))
        self.sum_waiting += len(waiting)

    def do_io(self, end: float) -> int:
        """Computed tasks do their I/O in the order in which they were computed; how many have started it."""
        computed, io_cores = self.computed, self.io_cores
        num_started = 0
        while computed:
            start = max(computed[0][0], io_cores[0])
            if start >= end:
                break
            task = heappop(computed)[2]
            work = task.io_time / self.io_perf
            self.io_busy += work
            heapreplace(io_cores, start + work)
            heappush(self.in_io, (start + work, task.born))
            num_started += 1
        self.sum_waiting_for_io += sum(done < end for done, _, _ in computed)
        return num_started

    def complete(self, end: float, responses: list[float]) -> None:
        """Tasks whose I/O ends by `end` are complete."""
        self.num_completed = 0
        while self.in_io and self.in_io[0][0] <= end:
            done, born = heappop(self.in_io)
            responses.append(done - born)
            self.num_completed += 1
        self.num_present -= self.num_completed


class Plain:
    """A rack under one policy, at first empty."""

    def __init__(self, game: Rack, params: Params, policy: str, seed: int) -> None:
        check(params)
        self.rng = random.Random(seed)
        self.choose = POLICIES[policy]
        self.dt, self.rate = float(params.dt), float(params.arrival_rate)
        self.period = max(round(float(params.heartbeat_period) / self.dt), 1)
        self.most_delay = game.max_delay * self.dt  # of a heartbeat
        self.runtime, self.io_time, self.payload = (
            sampler(law, self.rng) for law in (params.runtime, params.io_time, params.payload)
        )
        self.costs = {
            name: float(getattr(params, name))
            for name in ("migration_cost", "steal_cost", "holding_weight", "drop_cost")
        }
        self.per_node = self.rate * self.dt / len(params.cores)  # tasks that arrive at a node in a slice
        columns = {name: each.tolist() for name, each in vars(params).items() if getattr(each, "ndim", 0) == 1}
        self.nodes = [Node(number, columns) for number in range(len(params.cores))]
        self.num_free = game.max_tasks
        self.slice = 0
        self.next_born = self.rng.expovariate(self.rate)
        self.num_dealt = self.num_migrated = self.num_asked = self.num_stolen = self.num_dropped = 0
        self.responses: list[float] = []
        self.beats: list[tuple[float, int, int]] = []  # heap of heartbeats under way: when heard, of whom, their load
        self.heard_load = [0] * len(self.nodes)
        self.heard_slice = [0] * len(self.nodes)  # in which that was sent

    def play(self, num_slices: int) -> None:
        """So many further slices."""
        for _ in range(num_slices):
            self.play_slice()

    def play_slice(self) -> None:
        start, end = self.slice * self.dt, (self.slice + 1) * self.dt
        self.answer(start)
        self.ask(start)
        self.dispatch(end)
        for node in self.nodes:
            node.compute(end)
            self.num_free += node.do_io(end)
            node.complete(end, self.responses)
            node.utility -= self.costs["holding_weight"] * (node.num_present + len(node.landing)) / self.per_node
        self.beat(end)
        self.slice += 1

    def answer(self, start: float) -> None:
        """Victims that have got a request give the task that has waited longest, or refuse; thieves take turns."""
        num_nodes = len(self.nodes)
        for turn in range(num_nodes):
            thief = self.nodes[(self.slice + turn) % num_nodes]
            request = thief.request
            if request is None or request.heard > start or request.answered < math.inf:
                continue
            victim = request.victim
            if victim.waiting:
                task = victim.waiting.popleft()
                victim.num_present -= 1
                request.answered = victim.send(task.payload, start)
                thief.receive(task, request.answered)
                self.num_stolen += 1
            else:
                request.answered = victim.send(REQUEST, start)

    def ask(self, start: float) -> None:
        """Nodes that wait for no answer, and have completed a task or have an idle core, may ask another for one."""
        for node in self.nodes:
            if node.request is not None and node.request.answered > start:
                continue
            if node.num_completed == 0 and node.cores[0] > start:
                continue
            victim = self.choose(self.rng, node.number, len(self.nodes))
            if victim != node.number:
                node.request = Request(self.nodes[victim], node.send(REQUEST, start))
                node.utility -= self.costs["steal_cost"]
                self.num_asked += 1

    def dispatch(self, end: float) -> None:
        """Tasks are dealt round robin; what arrives at a node in one slice is kept, or sent to one other node."""
        chosen: dict[int, int] = {}
        while self.next_born < end:
            node = self.nodes[self.num_dealt % len(self.nodes)]
            task = Task(self.num_dealt, self.next_born, self.runtime(), self.io_time(), self.payload())
            self.num_dealt += 1
            self.next_born += self.rng.expovariate(self.rate)
            if self.num_free == 0:
                self.num_dropped += 1
                node.utility -= self.costs["drop_cost"]
                continue
            self.num_free -= 1
            if node.number not in chosen:
                chosen[node.number] = self.choose(self.rng, node.number, len(self.nodes))
            to = chosen[node.number]
            if to == node.number:
                node.receive(task, task.born)
            else:
                self.nodes[to].receive(task, node.send(task.payload, task.born))
                node.utility -= self.costs["migration_cost"]
                self.num_migrated += 1

    def beat(self, end: float) -> None:
        """Nodes whose turn it is tell all how many tasks they have, if in good time; and what is heard by now."""
        for node in self.nodes:
            is_due = (self.slice - node.heartbeat_phase) % self.period == 0
            if is_due and node.leaves(HEARTBEAT, end) + node.latency <= end + self.most_delay:
                heappush(self.beats, (node.send(HEARTBEAT, end), node.number, node.num_present))
        while self.beats and self.beats[0][0] <= end:
            _, number, load = heappop(self.beats)
            self.heard_load[number], self.heard_slice[number] = load, self.slice


def sampler(law: Any, rng: random.Random) -> Draw:
    """Numbers of a distribution, one a call; raises ValueError if it is neither constant nor exponential."""
    if isinstance(law, Constant):
        value = float(law.value)
        return lambda: value
    if isinstance(law, Exponential):
        rate = 1 / float(law.average)
        return lambda: rng.expovariate(rate)
    raise ValueError(f"a law is {type(law).__name__}; the plain simulator knows Constant and Exponential")


def check(params: Params) -> None:
    """Raise ValueError for a rack with what the simulator leaves out."""
    if max(params.failure_prob.tolist()) > 0:
        raise ValueError("failure_prob is above 0; nodes of the plain simulator never fail")
    if not isinstance(params.tasks, Random) or not isinstance(params.dealing, RoundRobin):
        raise ValueError("tasks and dealing must be random and round_robin for the plain simulator")
