"""The rack once more, as a discrete-event model on SimPy: an independent reading of its rules.

Nothing here shares code or structure with the library. Cores, I/O and interfaces are processes that take what waits for
them, first in, first out; packets are processes that sleep for their latency. Time is continuous, in ms; slices exist
only where decisions are taken. The tasks and what the agents choose are handed in; all else follows.
"""

import dataclasses
import math

import simpy

HEARTBEAT, REQUEST = 256, 64  # bytes


@dataclasses.dataclass
class Machine:
    """What a node is made of: times in ms, sizes in bytes, bandwidth in bit/s."""

    cores: int
    core_perf: float
    io_cores: int
    io_perf: float
    overhead: float
    bandwidth: float
    packet_overhead: float
    latency: float


@dataclasses.dataclass
class Task:
    """A task, and what becomes of it."""

    born: float
    dealt: float  # later than born if the central load balancer held it back
    node: int
    runtime: float
    io_time: float
    payload: float
    visits: list = dataclasses.field(default_factory=list)  # [node, landed, stolen or started]
    started: float = math.inf
    computed: float = math.inf
    io_started: float = math.inf
    done: float = math.inf

    @property
    def response(self):
        return self.done - self.born


@dataclasses.dataclass
class Request:
    """A steal request: whom, and whether the victim has heard it and the thief has been answered."""

    victim: int
    is_heard: bool = False
    is_answered: bool = False
    is_over: bool = False


class Node:
    """Cores with a queue, I/O with a queue, and an interface with a queue."""

    def __init__(self, env, machine):
        self.env, self.machine = env, machine
        self.waiting, self.computed, self.outbox = simpy.Store(env), simpy.Store(env), simpy.Store(env)
        self.completions = []
        self.num_present = 0
        for _ in range(machine.cores):
            env.process(self._compute())
        for _ in range(machine.io_cores):
            env.process(self._do_io())
        env.process(self._send())

    def receive(self, number, task):
        task.visits.append([number, self.env.now, math.inf])
        self.num_present += 1
        self.waiting.put(task)

    def send(self, size, deliver):
        """`deliver()` is called when a packet of `size` bytes arrives, whoever receives it."""
        self.outbox.put((size, deliver))

    def give(self):
        """The task that has waited longest for a core, which leaves."""
        task = self.waiting.items.pop(0)
        task.visits[-1][2] = self.env.now
        self.num_present -= 1
        return task

    def has_idle_core(self):
        return len(self.waiting.get_queue) > 0

    def _compute(self):
        while True:
            task = yield self.waiting.get()
            task.started = task.visits[-1][2] = self.env.now
            yield self.env.timeout(self.machine.overhead + task.runtime / self.machine.core_perf)
            task.computed = self.env.now
            self.computed.put(task)

    def _do_io(self):
        while True:
            task = yield self.computed.get()
            task.io_started = self.env.now
            yield self.env.timeout(task.io_time / self.machine.io_perf)
            task.done = self.env.now
            self.completions.append(task)
            self.num_present -= 1

    def _send(self):
        while True:
            size, deliver = yield self.outbox.get()
            bits = 8 * (size + self.machine.packet_overhead)
            yield self.env.timeout(1000 * bits / self.machine.bandwidth)
            self.env.process(self._travel(deliver))

    def _travel(self, deliver):
        yield self.env.timeout(self.machine.latency)
        deliver()


class Rack:
    """Nodes that deal with `tasks[r]`, those dealt in slice r, as `dispatch[r]` and `steal[r]` say for each node."""

    def __init__(self, machines, dt, tasks, dispatch, steal, period, phase):
        self.env = simpy.Environment()
        self.nodes = [Node(self.env, machine) for machine in machines]
        self.dt, self.period, self.phase = dt, period, phase
        self.tasks, self.dispatch, self.steal = tasks, dispatch, steal
        self.requests = {}  # of each thief, the last one
        self.num_migrated, self.num_asked, self.num_stolen = ([0] * len(tasks) for _ in range(3))
        self.beats = []  # (sender, slice after which it was sent, load, when it arrived)

    def run(self):
        self.env.process(self._play())
        self.env.run(until=len(self.tasks) * self.dt)
        return self

    def completions(self, number):
        """The tasks that the node has completed, in the order of time."""
        return self.nodes[number].completions

    def all_tasks(self):
        return [task for slice in self.tasks for task in slice]

    def heard(self, slice):
        """Of each node, the load as last heard at the start of a slice and its age in slices."""
        load, age = [0] * len(self.nodes), [slice] * len(self.nodes)
        for sender, sent, value, arrived in self.beats:
            if arrived <= (slice + 1e-3) * self.dt and slice - 1 - sent < age[sender]:
                load[sender], age[sender] = value, slice - 1 - sent
        return load, age

    def _play(self):
        seen = [0] * len(self.nodes)  # completions up to the start of the last slice
        for slice in range(len(self.tasks)):
            yield self._until(slice * self.dt)
            if slice > 0:
                self._beat(slice - 1)
            self._answer(slice)
            done = [len(node.completions) for node in self.nodes]
            self._ask(slice, [now > before for now, before in zip(done, seen, strict=True)])
            seen = done
            for task in self.tasks[slice]:
                yield self._until(task.dealt)
                self._deal(slice, task)

    def _until(self, time):
        return self.env.timeout(max(time - self.env.now, 0))

    def _deal(self, slice, task):
        to = self._choice(self.dispatch[slice], task.node)
        if to == task.node:
            self.nodes[to].receive(to, task)
        else:
            self.num_migrated[slice] += 1
            self.nodes[task.node].send(task.payload, lambda: self.nodes[to].receive(to, task))

    def _choice(self, choices, number):
        return choices[number] if 0 <= choices[number] < len(self.nodes) else number

    def _beat(self, slice):
        for number, node in enumerate(self.nodes):
            if (slice - self.phase[number]) % self.period == 0:
                node.send(HEARTBEAT, self._beat_of(number, slice, node.num_present))

    def _beat_of(self, number, slice, load):
        return lambda: self.beats.append((number, slice, load, self.env.now))

    def _ask(self, slice, has_completed):
        for thief, node in enumerate(self.nodes):
            victim = self._choice(self.steal[slice], thief)
            last = self.requests.get(thief)
            may_ask = (last is None or last.is_over) and (has_completed[thief] or node.has_idle_core())
            if may_ask and victim != thief:
                request = self.requests[thief] = Request(victim)
                self.num_asked[slice] += 1
                node.send(REQUEST, lambda request=request: setattr(request, "is_heard", True))

    def _answer(self, slice):
        """Thieves are served in turn, a different one first in each slice; refusals are sent after all tasks."""
        num_nodes, refused = len(self.nodes), []
        for thief in ((slice + k) % num_nodes for k in range(num_nodes)):
            request = self.requests.get(thief)
            if request is None or not request.is_heard or request.is_answered:
                continue
            request.is_answered = True
            victim = self.nodes[request.victim]
            if victim.waiting.items:
                task = victim.give()
                self.num_stolen[slice] += 1
                victim.send(task.payload, self._landing(thief, task, request))
            else:
                refused.append(thief)
        for thief in sorted(refused):
            request = self.requests[thief]
            self.nodes[request.victim].send(REQUEST, lambda request=request: setattr(request, "is_over", True))

    def _landing(self, thief, task, request):
        def land():
            request.is_over = True
            self.nodes[thief].receive(thief, task)

        return land
