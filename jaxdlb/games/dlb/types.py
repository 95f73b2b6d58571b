"""What travels through the DLB game: parameters and state."""

from typing import Any

import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from jaxdlb.checks import COUNT, NON_NEGATIVE, POSITIVE_COUNT, POSITIVE_PROBABILITY, PROBABILITY, Interval
from jaxdlb.mechanics.arrivals import LAWS, Modulation
from jaxdlb.parameters import law, parameter, per_size

LOSS = Interval(0, 1, high_open=True)


def _reference_speeds(game: Any) -> np.ndarray:
    return np.linspace(0.2, 0.9, game.num_nodes)


@struct.dataclass
class Params:
    """Whatever a user may sweep or randomise; every leaf is an array. Time is in rounds, load in tasks.

    The defaults are the reference cluster; `arrival_prob` follows from the offered load (`generator.SHORTHANDS`).
    """

    arrival_prob: Float[Array, " N"] = parameter(PROBABILITY)  # p: a task arrives at node i in a round
    completion_prob: Float[Array, " N"] = parameter(  # q: a node with work completes one task in a round
        POSITIVE_PROBABILITY, per_size("linspace(0.2, 0.9, N)", _reference_speeds)
    )
    migration_cost: Float[Array, ""] = parameter(NON_NEGATIVE, 0.1)  # c_m: charged for each task sent to another node
    steal_cost: Float[Array, ""] = parameter(NON_NEGATIVE, 0.1)  # c_s: charged for each steal request, granted or not
    imbalance_weight: Float[Array, ""] = parameter(NON_NEGATIVE, 1.0)  # w_I: weight of the imbalance in the utility
    holding_weight: Float[Array, ""] = parameter(NON_NEGATIVE, 0.0)  # w_H: weight of the tasks present in the utility
    drop_cost: Float[Array, ""] = parameter(NON_NEGATIVE, 10.0)  # c_d: charged for each task dropped at a full node
    transfer_delay: Int[Array, ""] = parameter(COUNT, 1, at_most="max_delay")  # d: rounds that a sent task travels
    heartbeat_period: Int[Array, ""] = parameter(POSITIVE_COUNT, 10)  # h: rounds between two heartbeats of a node
    heartbeat_phase: Int[Array, " N"] = parameter(COUNT, 0)  # φ: node i sends in rounds r with (r − φ_i) mod h = 0
    heartbeat_delay: Int[Array, ""] = parameter(COUNT, 0, at_most="max_delay")  # δ: rounds that a heartbeat travels
    heartbeat_loss: Float[Array, ""] = parameter(LOSS, 0.0)  # a heartbeat is lost, independently for each receiver
    failure_prob: Float[Array, " N"] = parameter(PROBABILITY, 0.0)  # a node that is up goes down
    repair_prob: Float[Array, " N"] = parameter(PROBABILITY, 0.0)  # a node that is down comes up
    arrival_modulation: Modulation = law(LAWS)  # how p varies with time; p times its factor is clipped to [0, 1]
    selfishness: Float[Array, ""] = parameter(PROBABILITY, 0.0)  # κ: how much of its reward is the agent's own utility
    horizon: Int[Array, ""] = parameter(POSITIVE_COUNT, 500)  # rounds in an episode
    initial_load: Int[Array, " N"] = parameter(COUNT, 0, at_most="capacity")  # tasks at each node at reset


@struct.dataclass
class State:
    """One cluster between two rounds. D is the game's `max_delay`; `heard_…` is [N] or [N, N] by its `heartbeats`."""

    load: Int[Array, " N"]  # x
    arrived: Bool[Array, " N"]  # this round's events, which the agents see before they act
    completed: Bool[Array, " N"]
    in_transit: Int[Array, "D N"]  # [k, j]: tasks that land at j in the (k+1)-th round from now
    heard_load: Int[Array, "*I N"]
    heard_age: Int[Array, "*I N"]
    heartbeats_in_flight: Int[Array, "D N"]  # [k, j]: the load in j's heartbeat that is heard k+1 rounds from now
    alive: Bool[Array, " N"]
    round: Int[Array, ""]
    modulation: Int[Array, ""]  # state of the law by which arrivals vary
