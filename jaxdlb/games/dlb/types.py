"""The parameters and the state of the DLB game."""

from typing import Any

import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from jaxdlb.checks import COMPLETION_PROBABILITY, COST, COUNT, POSITIVE_COUNT, PROBABILITY, Interval
from jaxdlb.mechanics.arrivals import LAWS, Modulation
from jaxdlb.parameters import law, parameter, per_size

LOSS = Interval(0, 1, high_open=True)


def _reference_speeds(game: Any) -> np.ndarray:
    return np.linspace(0.2, 0.9, game.num_nodes)


@struct.dataclass
class Params:
    """Everything a user may sweep or randomise; every leaf is an array. Time is in rounds, load in tasks.

    The defaults are the reference cluster; `arrival_prob` follows from the offered load (`generator.SHORTHANDS`).
    """

    arrival_prob: Float[Array, " N"] = parameter(PROBABILITY)  # p: probability that a task arrives at node i in a round
    completion_prob: Float[Array, " N"] = parameter(  # q: probability that a node with work completes a task in a round
        COMPLETION_PROBABILITY, per_size("linspace(0.2, 0.9, N)", _reference_speeds)
    )
    migration_cost: Float[Array, ""] = parameter(COST, 0.1)  # c_m: cost of each task sent to another node
    steal_cost: Float[Array, ""] = parameter(COST, 0.1)  # c_s: cost of each steal request, granted or not
    imbalance_weight: Float[Array, ""] = parameter(COST, 1.0)  # w_I: weight of the imbalance in the utility
    holding_weight: Float[Array, ""] = parameter(COST, 0.0)  # w_H: weight of the tasks present in the utility
    drop_cost: Float[Array, ""] = parameter(COST, 10.0)  # c_d: cost of each task dropped at a full node
    transfer_delay: Int[Array, ""] = parameter(COUNT, 1, at_most="max_delay")  # d: rounds that a sent task travels
    heartbeat_period: Int[Array, ""] = parameter(POSITIVE_COUNT, 10)  # h: rounds from one heartbeat to the next
    heartbeat_phase: Int[Array, " N"] = parameter(COUNT, 0)  # φ: node i sends in rounds r with (r − φ_i) mod h = 0
    heartbeat_delay: Int[Array, ""] = parameter(COUNT, 0, at_most="max_delay")  # δ: rounds that a heartbeat travels
    heartbeat_loss: Float[Array, ""] = parameter(LOSS, 0.0)  # probability that a receiver misses a heartbeat
    failure_prob: Float[Array, " N"] = parameter(PROBABILITY, 0.0)  # probability that a node goes down in a round
    repair_prob: Float[Array, " N"] = parameter(PROBABILITY, 0.0)  # probability that it comes up again in a round
    arrival_modulation: Modulation = law(LAWS)  # how p varies with time; p times its factor is clipped to [0, 1]
    selfishness: Float[Array, ""] = parameter(PROBABILITY, 0.0)  # κ: weight of an agent's own utility in its reward
    horizon: Int[Array, ""] = parameter(POSITIVE_COUNT, 500)  # rounds in an episode
    initial_load: Int[Array, " N"] = parameter(COUNT, 0, at_most="capacity")  # tasks at each node after reset


@struct.dataclass
class State:
    """One cluster between two rounds. D is the game's `max_delay`; its `heartbeats` make `heard_…` [N] or [N, N]."""

    load: Int[Array, " N"]  # x
    arrived: Bool[Array, " N"]  # this round's events, which the agents see before they act
    completed: Bool[Array, " N"]
    in_transit: Int[Array, "D N"]  # [k, j]: tasks that land at j in the (k+1)-th round from now
    heard_load: Int[Array, "*I N"]
    heard_age: Int[Array, "*I N"]
    heartbeats_in_flight: Int[Array, "D N"]  # [k, j]: load in j's heartbeat, heard k+1 rounds from now; −1 for none
    alive: Bool[Array, " N"]
    round: Int[Array, ""]
    modulation: Int[Array, ""]  # state of the law by which arrivals vary
