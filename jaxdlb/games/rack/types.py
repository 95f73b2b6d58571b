"""The parameters and the state of the rack."""

from typing import Any

import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from jaxdlb.checks import AMOUNT, COST, COUNT, POSITIVE_AMOUNT, POSITIVE_COUNT, PROBABILITY, SPEED, Interval
from jaxdlb.games.rack.dealing import DEALINGS, Dealing
from jaxdlb.games.rack.sources import SOURCES, Source
from jaxdlb.mechanics import arrivals
from jaxdlb.mechanics.distributions import DISTRIBUTIONS, Constant, Distribution, Exponential
from jaxdlb.parameters import law, parameter, per_size

LOSS = Interval(0, 1, high_open=True)
RATE = Interval(1e-12)  # from above, the most arrivals of a slice bound it


def _speeds(game: Any) -> np.ndarray:
    return np.linspace(0.5, 2.0, game.num_nodes)


@struct.dataclass(kw_only=True)
class Params:
    """Everything a user may sweep or randomise; every leaf is an array. Times are in ms, sizes in bytes.

    `arrival_rate` follows from the offered load (`generator.SHORTHANDS`), unless it is given.
    """

    cores: Int[Array, " N"] = parameter(  # cores of a node
        POSITIVE_COUNT, per_size("max_cores", lambda game: game.max_cores), at_most="max_cores"
    )
    core_perf: Float[Array, " N"] = parameter(  # speed of a core: a task takes overhead + runtime / core_perf
        SPEED, per_size("linspace(0.5, 2, N)", _speeds)
    )
    io_cores: Int[Array, " N"] = parameter(  # I/O operations that a node can do at once
        POSITIVE_COUNT, per_size("max_io_cores", lambda game: game.max_io_cores), at_most="max_io_cores"
    )
    io_perf: Float[Array, " N"] = parameter(  # speed of I/O: it takes io_time / io_perf
        SPEED, per_size("linspace(0.5, 2, N)", _speeds)
    )
    overhead: Float[Array, " N"] = parameter(AMOUNT, 0.0)  # ms that a core needs for each task besides its work
    bandwidth: Float[Array, " N"] = parameter(POSITIVE_AMOUNT, 1e10)  # bit/s at which a node's interface sends
    packet_overhead: Float[Array, " N"] = parameter(AMOUNT, 64.0)  # bytes added to every packet
    latency: Float[Array, " N"] = parameter(AMOUNT, 0.002)  # ms from a packet's last bit sent to its arrival

    arrival_rate: Float[Array, ""] = parameter(RATE)  # tasks per ms in the whole rack, on average
    rate_variation: Distribution = law(DISTRIBUTIONS, Constant())  # factor on the rate, drawn anew for each slice
    arrival_modulation: arrivals.Modulation = law(arrivals.LAWS)  # how the rate varies over slices, as a factor
    tasks: Source = law(SOURCES)  # where tasks come from: drawn at random, or recorded
    runtime: Distribution = law(DISTRIBUTIONS, Exponential(0.01))  # ms of work of a task
    io_time: Distribution = law(DISTRIBUTIONS, Constant(0.0))  # ms of I/O of a task
    payload: Distribution = law(DISTRIBUTIONS, Constant(512.0))  # bytes of a task on the network
    dealing: Dealing = law(DEALINGS)  # how the central load balancer deals tasks to nodes

    dt: Float[Array, ""] = parameter(POSITIVE_AMOUNT, 0.001)  # ms that a slice lasts
    heartbeat_period: Float[Array, ""] = parameter(POSITIVE_AMOUNT, 0.05)  # ms from one heartbeat to the next
    heartbeat_phase: Int[Array, " N"] = parameter(  # φ: node i sends after slices r with (r − φ_i) mod period = 0
        COUNT, per_size("0 … N − 1", lambda game: np.arange(game.num_nodes))
    )
    heartbeat_loss: Float[Array, ""] = parameter(LOSS, 0.0)  # probability that a receiver misses a heartbeat
    failure_prob: Float[Array, " N"] = parameter(PROBABILITY, 0.0)  # probability that a node goes down in a slice
    repair_prob: Float[Array, " N"] = parameter(PROBABILITY, 0.0)  # probability that it comes up again in a slice

    migration_cost: Float[Array, ""] = parameter(COST, 0.01)  # c_m: cost of each task sent to another node
    steal_cost: Float[Array, ""] = parameter(COST, 0.01)  # c_s: cost of each steal request, granted or not
    imbalance_weight: Float[Array, ""] = parameter(COST, 0.03)  # w_I: weight of the imbalance in the utility
    holding_weight: Float[Array, ""] = parameter(COST, 1.0)  # w_H: weight of the response time in the utility
    drop_cost: Float[Array, ""] = parameter(COST, 10.0)  # c_d: cost of each task that found no free slot
    selfishness: Float[Array, ""] = parameter(PROBABILITY, 0.0)  # κ: weight of an agent's own utility in its reward
    horizon: Int[Array, ""] = parameter(POSITIVE_COUNT, 1000)  # slices in an episode


@struct.dataclass
class Lines:
    """Waiting lines of tasks, S at each of N stations, as lists of slots linked by `Tasks.following`; −1 for none."""

    head: Int[Array, "N S"]
    tail: Int[Array, "N S"]


@struct.dataclass
class Tasks:
    """The tasks in M slots. Times are in slices from the start of the coming one; what is past is negative."""

    runtime: Float[Array, " M"]  # ms of work
    io_time: Float[Array, " M"]  # ms of I/O
    payload: Float[Array, " M"]  # bytes
    born: Float[Array, " M"]  # when the task arrived in the rack
    lands: Float[Array, " M"]  # when it arrives at the node that it is bound for
    computed: Float[Array, " M"]  # when its work on a core is done; in the past before it has started
    bound_for: Int[Array, " M"]  # the node where the task is, or which it travels to
    following: Int[Array, " M"]  # the next in the same line, −1 for none
    free: Int[Array, " M"]  # a stack of free slots; the top is at num_free − 1
    num_free: Int[Array, ""]


@struct.dataclass
class Arrivals:
    """The tasks that arrive in the coming slice, in the order of their arrival; the first `num` of A entries count."""

    num: Int[Array, ""]
    instant: Float[Array, " A"]  # slices from the start of the coming one; below 0 for tasks held back before
    node: Int[Array, " A"]
    runtime: Float[Array, " A"]  # ms, as is io_time
    io_time: Float[Array, " A"]
    payload: Float[Array, " A"]  # bytes


@struct.dataclass
class Generator:
    """The task generator and the central load balancer between two slices."""

    arrivals: Arrivals
    until_next: Float[Array, ""]  # from the end of the coming slice to the next arrival, in mean gaps; < 0 if held back
    held_rate: Float[Array, ""]  # mean gaps in a slice, when tasks that are held back arrived
    position: Int[Array, ""]  # of the next task, in a record
    turn: Int[Array, ""]  # tasks dealt so far, modulo N
    modulation: Int[Array, ""]  # state of the law by which the rate varies


@struct.dataclass
class Requests:
    """What became of each node's last steal request, until it has its answer; times in slices from now, ∞ for never."""

    victim: Int[Array, " N"]  # whom it asked; the node itself: nobody
    heard: Float[Array, " N"]  # when the victim has the request
    answered: Float[Array, " N"]  # when the stolen task, or the refusal, arrives


@struct.dataclass
class State:
    """One rack between two slices. Times are in slices from now; C and J are `max_cores` and `max_io_cores`."""

    tasks: Tasks
    links: Lines  # [j, i]: tasks on their way from node i to j, and those waiting for a core of j that came that way
    outputs: Lines  # [i, c]: the task on core c of node i, and those from it that wait for I/O
    core_free: Float[Array, "N C"]  # when the core is free; ∞ for a core that the node does not have
    io_free: Float[Array, "N J"]
    io_response: Float[Array, "N J"]  # response time of the task in I/O, once it is done
    interface_free: Float[Array, " N"]  # when everything sent so far has left
    bound: Int[Array, " N"]  # tasks at the node or travelling to it
    landing: Int[Array, " N"]  # of these, tasks travelling
    cpu_queue: Int[Array, " N"]
    io_queue: Int[Array, " N"]
    completed: Int[Array, " N"]  # in the last slice
    generator: Generator
    requests: Requests
    heard_load: Int[Array, "*I N"]
    heard_age: Int[Array, "*I N"]
    heartbeats_in_flight: Int[Array, "D N"]  # [k, j]: load in j's heartbeat, heard k+1 slices from now; −1 for none
    ages_in_flight: Int[Array, "D N"]  # how old that news will be
    alive: Bool[Array, " N"]
    slice: Int[Array, ""]
