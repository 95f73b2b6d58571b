"""What happens in a slice, stage by stage; each is a pure function on arrays. Times are in slices from its start."""

import dataclasses
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxdlb.games.rack import lines, network, responses
from jaxdlb.games.rack.lines import NOBODY, Served, Start, Station
from jaxdlb.games.rack.types import Arrivals, Lines, Params, Requests, State, Tasks
from jaxdlb.mechanics import chance, heartbeats, stealing
from jaxdlb.mechanics.churn import churn
from jaxdlb.mechanics.loops import while_any
from jaxdlb.mechanics.peer_view import Action

_HEARTBEATS, _CHURN = 101, 102  # folded into a slice's key; the generator folds in smaller numbers
FACTS = ("runtime", "io_time", "payload", "born", "lands", "computed")  # what is known of a task
_ROUNDING = 1e-3  # slices by which a packet may be late and still count as in time, for rounding


class Outbox(NamedTuple):
    """What stealing and dispatching change: where tasks are, and what interfaces have to send."""

    links: Lines
    tasks: Tasks
    interface_free: Float[Array, " N"]
    bound: Int[Array, " N"]


# Stealing


def answer_requests(state: State, params: Params) -> tuple[Outbox, Requests, Bool[Array, " N"]]:
    """1. Requests that have reached their victims get a task or a refusal; and which ones got a task.

    A victim that is up gives tasks that wait for a core, whoever has waited longest first, as far as they go; thief
    (slice mod N) is served first. Whoever has its answer may ask again.
    """
    num_nodes, asked = state.alive.shape[0], state.requests
    itself = jnp.arange(num_nodes, dtype=jnp.int32)
    is_over = asked.answered <= 0
    victim = jnp.where(is_over, itself, asked.victim)
    pending = jnp.where(is_over, jnp.inf, asked.answered)
    reached = (victim != itself) & (asked.heard <= 0) & jnp.isinf(pending)
    available = jnp.where(state.alive, state.cpu_queue, 0)
    first_thief = state.slice % num_nodes
    granted = stealing.serve_requests(victim, reached, available, first_thief)
    outbox = Outbox(state.links, state.tasks, state.interface_free, state.bound)
    outbox, answered = _give(outbox, pending, victim, granted, first_thief, params)
    interface_free, answered = _refuse(outbox.interface_free, answered, victim, reached & ~granted, params)
    return outbox._replace(interface_free=interface_free), Requests(victim, asked.heard, answered), granted


def _give(
    outbox: Outbox,
    answered: Float[Array, " N"],
    victim: Int[Array, " N"],
    granted: Bool[Array, " N"],
    first_thief: Int[Array, ""],
    params: Params,
) -> tuple[Outbox, Float[Array, " N"]]:
    """The granted tasks on their way: every victim gives one at a time, in the order of its thieves' turns."""

    def give_one(constants: tuple, carry: tuple) -> tuple:
        victim, turn, first_thief, params = constants
        outbox, answered, waiting = carry
        links, tasks, interface_free, bound = outbox
        nodes = jnp.arange(victim.shape[0], dtype=jnp.int32)
        asks = waiting[:, None] & (victim[:, None] == nodes)  # [thief, victim]
        gives = jnp.any(asks, axis=0)
        next_turn = jnp.min(jnp.where(asks, turn[:, None], nodes.shape[0]), axis=0)
        thief = (next_turn + first_thief) % nodes.shape[0]
        to = (nodes[:, None] == thief) & gives  # [thief, victim]
        head, slot = lines.take_earliest(lines.heads(links, tasks.lands), tasks.lands, tasks.following, gives)
        arrival, interface_free = network.send(interface_free, tasks.payload[slot], gives, params)
        place = jnp.where(gives, slot, tasks.following.shape[0])
        following = tasks.following.at[place].set(NOBODY, mode="drop")
        links, following = lines.append(dataclasses.replace(links, head=head.slot), following, to, slot, slot, 0)
        tasks = dataclasses.replace(
            tasks,
            lands=tasks.lands.at[place].set(arrival, mode="drop"),
            bound_for=tasks.bound_for.at[place].set(thief, mode="drop"),
            following=following,
        )
        got = jnp.any(to, axis=1)
        answered = jnp.where(got, jnp.sum(jnp.where(to, arrival, 0.0), axis=1), answered)
        return Outbox(links, tasks, interface_free, bound + got - gives), answered, waiting & ~got

    turn = (jnp.arange(victim.shape[0], dtype=jnp.int32) - first_thief) % victim.shape[0]
    constants, carry = (victim, turn, first_thief, params), (outbox, answered, granted)
    outbox, answered, _ = while_any(lambda constants, carry: jnp.any(carry[2]), give_one, constants, carry)
    return outbox, answered


def _refuse(
    interface_free: Float[Array, " N"],
    answered: Float[Array, " N"],
    victim: Int[Array, " N"],
    refused: Bool[Array, " N"],
    params: Params,
) -> tuple[Float[Array, " N"], Float[Array, " N"]]:
    """When interfaces are free once refusals are sent, in the order of thieves' indices, and when these arrive."""
    occupied = network.time_to_send(network.REQUEST, params.bandwidth, params.packet_overhead, params.dt)
    same = (victim == victim[:, None]) & refused
    place = jnp.sum(jnp.tril(same), axis=1)
    left = jnp.maximum(interface_free, 0.0)[victim] + place * occupied[victim]
    num_sent = jnp.sum(refused[:, None] & (victim[:, None] == jnp.arange(victim.shape[0])), axis=0)
    interface_free = jnp.where(num_sent > 0, jnp.maximum(interface_free, 0.0) + num_sent * occupied, interface_free)
    return interface_free, jnp.where(refused, left + network.latency(params)[victim], answered)


def ask(
    outbox: Outbox, requests: Requests, action: Action, params: Params
) -> tuple[Outbox, Requests, Bool[Array, " N"]]:
    """2. New requests set out; which nodes asked."""
    asked = action.steal != jnp.arange(action.steal.shape[0])
    arrival, interface_free = network.send(outbox.interface_free, network.REQUEST, asked, params)
    requests = Requests(
        victim=jnp.where(asked, action.steal, requests.victim),
        heard=jnp.where(asked, arrival, requests.heard),
        answered=jnp.where(asked, jnp.inf, requests.answered),
    )
    return outbox._replace(interface_free=interface_free), requests, asked


# Dispatching


def dispatch(
    outbox: Outbox, arrivals: Arrivals, action: Action, params: Params
) -> tuple[Outbox, Int[Array, " N"], Int[Array, " N"], Int[Array, " N"]]:
    """3. Arrived tasks are kept or sent; and how many each node was dealt, sent on, and lost for want of a slot."""
    links, tasks, interface_free, bound = outbox
    nodes = jnp.arange(bound.shape[0], dtype=jnp.int32)
    place = jnp.arange(arrivals.node.shape[0], dtype=jnp.int32)
    is_dealt = place < arrivals.num
    fits = is_dealt & (place < tasks.num_free)
    slot = tasks.free[jnp.maximum(tasks.num_free - 1 - place, 0)]
    to = action.dispatch[arrivals.node]
    sent = fits & (to != arrivals.node)

    together = (arrivals.node == arrivals.node[:, None]) & fits & fits[:, None]
    instant = jnp.maximum(arrivals.instant, 0.0)
    queue = network.Queue(same=together & (place <= place[:, None]), sent=sent, node=arrivals.node)
    arrival, interface_free = network.send_in_turn(interface_free, instant, arrivals.payload, queue, params)
    lands = jnp.where(sent, arrival, instant)
    new = [arrivals.runtime, arrivals.io_time, arrivals.payload, arrivals.instant, lands, jnp.zeros_like(lands)]
    following = _next_at_same_node(together, slot)

    own = (arrivals.node == nodes[:, None]) & fits  # [node, arrival]
    last = jnp.max(jnp.where(own, place, NOBODY), axis=1)
    first = jnp.minimum(jnp.min(jnp.where(own, place, place.shape[0]), axis=1), place[-1])
    at = jnp.where(fits, slot, tasks.free.shape[0])
    links_following = tasks.following.at[at].set(following, mode="drop")
    into = (action.dispatch == nodes[:, None]) & (last != NOBODY)  # [to, from]
    links, links_following = lines.append(links, links_following, into, slot[first], slot[last], 0)
    tasks = dataclasses.replace(
        tasks,
        **{name: getattr(tasks, name).at[at].set(value, mode="drop") for name, value in zip(FACTS, new, strict=True)},
        bound_for=tasks.bound_for.at[at].set(to, mode="drop"),
        following=links_following,
        num_free=tasks.num_free - jnp.sum(fits, dtype=jnp.int32),
    )
    num_dealt = jnp.sum((arrivals.node == nodes[:, None]) & is_dealt, axis=1, dtype=jnp.int32)
    num_fitting = jnp.sum(own, axis=1, dtype=jnp.int32)
    num_sent = jnp.where(action.dispatch == nodes, 0, num_fitting)
    bound = bound + jnp.sum(jnp.where(action.dispatch == nodes[:, None], num_fitting, 0), axis=1, dtype=jnp.int32)
    return Outbox(links, tasks, interface_free, bound), num_dealt, num_sent, num_dealt - num_fitting


def _next_at_same_node(together: Bool[Array, "A A"], slot: Int[Array, " A"]) -> Int[Array, " A"]:
    """For each arrival, the slot of the next one at the same node, −1 for none: int32 [A]."""
    place = jnp.arange(slot.shape[0], dtype=jnp.int32)
    is_later = together & (place > place[:, None])
    following = jnp.min(jnp.where(is_later, place, slot.shape[0]), axis=1)
    return jnp.where(following < slot.shape[0], slot[jnp.minimum(following, slot.shape[0] - 1)], NOBODY)


# Working


class Computed(NamedTuple):
    """What starting tasks on cores changes."""

    outputs: Lines
    done: Float[Array, " M"]  # when the work of each task on a core is done
    num_started: Int[Array, " N"]


def compute(
    tasks: Tasks, links: Lines, outputs: Lines, core_free: Float[Array, "N C"], open: Bool[Array, " N"], params: Params
) -> Served:
    """4. Cores take the tasks that have landed, first come, first served, and pass them to I/O once computed."""
    station = Station(
        ready=tasks.lands,
        demand=tasks.runtime,
        fixed=params.overhead / params.dt,
        speed=params.core_perf * params.dt,
        open=open,
    )
    none = jnp.zeros(core_free.shape[0], jnp.int32)
    outcome = Computed(outputs, tasks.computed, none)
    head = lines.heads(links, station.ready)
    return lines.serve(station, head, core_free, tasks.following, outcome, _pass_to_io)


def _pass_to_io(station: Station, served: Served, start: Start) -> Served:
    outputs, done, num_started = served.outcome
    place = jnp.where(start.any, start.slot, done.shape[0])
    following = served.following.at[place].set(NOBODY, mode="drop")
    slot = start.slot[:, None]
    outputs, following = lines.append(outputs, following, start.server, slot, slot, 1)
    outcome = Computed(outputs, done.at[place].set(start.finish, mode="drop"), num_started + start.any)
    return served._replace(following=following, outcome=outcome)


class Finished(NamedTuple):
    """What starting tasks' I/O changes, and what is known of those that are done in this slice."""

    free: Int[Array, " M"]  # slots, as in `Tasks`
    num_free: Int[Array, ""]
    response: Float[Array, "N J"]  # slices, of the task in I/O
    completed: Int[Array, " N"]
    response_sum: Float[Array, " N"]  # ms
    histogram: Int[Array, " B"]


def finish(
    tasks: Tasks, outputs: Lines, done: Float[Array, " M"], following: Int[Array, " M"], state: State, params: Params
) -> Served:
    """5. Computed tasks do their I/O, first come, first served; then they are complete, and counted."""
    station = Station(
        ready=done,
        demand=tasks.io_time,
        fixed=jnp.zeros_like(params.io_perf),
        speed=params.io_perf * params.dt,
        open=state.alive,
        context=(tasks.born, params.dt),
    )
    ends = (state.io_free > 0) & (state.io_free <= 1)
    response = state.io_response * params.dt
    outcome = Finished(
        free=tasks.free,
        num_free=tasks.num_free,
        response=state.io_response,
        completed=jnp.sum(ends, axis=1, dtype=jnp.int32),
        response_sum=jnp.sum(jnp.where(ends, response, 0.0), axis=1),
        histogram=responses.count(responses.none(), response, ends),
    )
    return lines.serve(station, lines.heads(outputs, done), state.io_free, following, outcome, _complete)


def _complete(station: Station, served: Served, start: Start) -> Served:
    """A task whose I/O starts gives its slot back; if the I/O also ends in this slice, the task is counted."""
    born, dt = station.context
    free, num_free, io_response, completed, response_sum, histogram = served.outcome
    rank = jnp.cumsum(start.any) - 1
    free = free.at[jnp.where(start.any, num_free + rank, free.shape[0])].set(start.slot, mode="drop")
    response = start.finish - born[start.slot]
    ends = start.any & (start.finish <= 1)
    outcome = Finished(
        free=free,
        num_free=num_free + jnp.sum(start.any, dtype=jnp.int32),
        response=jnp.where(start.server, response[:, None], io_response),
        completed=completed + ends,
        response_sum=response_sum + jnp.where(ends, response * dt, 0.0),
        histogram=responses.count(histogram, response * dt, ends),
    )
    return served._replace(outcome=outcome)


# Between slices


def count_landing(tasks: Tasks, num_nodes: int) -> Int[Array, " N"]:
    """How many tasks are on their way to each node, at the start of a slice: int32 [N]."""
    to = jnp.where(tasks.lands > 0, tasks.bound_for, num_nodes)
    return jnp.zeros(num_nodes, jnp.int32).at[to].add(1, mode="drop")


class Loads(NamedTuple):
    """Where each node's tasks are between two slices."""

    bound: Int[Array, " N"]  # at the node or on their way to it
    landing: Int[Array, " N"]  # of these, on their way
    cpu_queue: Int[Array, " N"]
    io_queue: Int[Array, " N"]

    @property
    def present(self) -> Int[Array, " N"]:
        return self.bound - self.landing


def count(state: State, tasks: Tasks, bound: Int[Array, " N"], cpu: Served, io: Served) -> Loads:
    """The tasks of each node after a slice that began with `state`; `bound` still holds those completed in it."""
    num_completed = io.outcome.completed
    begun = num_busy(state.core_free) + state.io_queue + num_busy(state.io_free)
    beyond = begun + cpu.outcome.num_started - num_completed  # started on a core, and not complete
    bound = bound - num_completed
    landing = count_landing(tasks, bound.shape[0])
    return Loads(
        bound=bound,
        landing=landing,
        cpu_queue=bound - landing - beyond,
        io_queue=beyond - num_busy(cpu.free - 1) - num_busy(io.free - 1),
    )


def num_busy(free: Float[Array, "N C"]) -> Int[Array, " N"]:
    """How many servers are busy at the start of a slice: int32 [N]."""
    return jnp.sum((free > 0) & jnp.isfinite(free), axis=1, dtype=jnp.int32)


def fail_and_repair(key: PRNGKeyArray, alive: Bool[Array, " N"], params: Params) -> Bool[Array, " N"]:
    """7. Which nodes are up after this slice's churn."""
    (number,) = chance.uniforms(chance.fold_in(key, _CHURN), 1, alive.shape[0])
    return churn(number, alive, params.failure_prob, params.repair_prob)


class News(NamedTuple):
    """What nodes have heard of each other, and what is on its way."""

    heard_load: Int[Array, "*I N"]
    heard_age: Int[Array, "*I N"]
    in_flight: Int[Array, "D N"]
    ages: Int[Array, "D N"]


def hear(
    key: PRNGKeyArray,
    news: News,
    interface_free: Float[Array, " N"],
    load: Int[Array, " N"],
    alive: Bool[Array, " N"],
    slice: Int[Array, ""],
    params: Params,
) -> tuple[News, Float[Array, " N"]]:
    """8. What is heard after this slice, once its heartbeats have been sent, and when interfaces are free.

    One packet reaches all peers. A heartbeat that its interface could not deliver within D slices is left out.
    """
    period = jnp.maximum(jnp.round(params.heartbeat_period / params.dt), 1).astype(jnp.int32)
    due = heartbeats.sends_now(slice, params.heartbeat_phase, period, alive)
    arrival, _ = network.send(interface_free, network.HEARTBEAT, due, params)
    delay = jnp.maximum(jnp.ceil(arrival - _ROUNDING), 0)
    sends = due & (delay <= news.in_flight.shape[0])
    _, interface_free = network.send(interface_free, network.HEARTBEAT, sends, params)
    delay = jnp.where(sends, delay, 0).astype(jnp.int32)
    arriving, in_flight = heartbeats.launch(news.in_flight, jnp.where(sends, load, heartbeats.NOTHING_SENT), delay)
    age, ages = heartbeats.launch(news.ages, jnp.where(sends, delay, heartbeats.NOTHING_SENT), delay)
    key = chance.fold_in(key, _HEARTBEATS)
    heard = heartbeats.hear(key, news.heard_load, news.heard_age, arriving, age, params.heartbeat_loss, load)
    return News(*heard, in_flight, ages), interface_free


def pass_time(tasks: Tasks, computed: Float[Array, " M"]) -> Tasks:
    """6. The tasks as seen a slice later, with the times when they were `computed`."""
    return dataclasses.replace(tasks, born=tasks.born - 1, lands=tasks.lands - 1, computed=computed - 1)
