"""What travels through the DLB game: parameters and state."""

from flax import struct
from jaxtyping import Array, Bool, Float, Int

from jaxdlb.mechanics.arrivals import Modulation


@struct.dataclass
class Params:
    """Whatever a user may sweep or randomise; every leaf is an array. Time is in rounds, load in tasks."""

    arrival_prob: Float[Array, " N"]  # p: a task arrives at node i in a round
    completion_prob: Float[Array, " N"]  # q: a node with work completes one task in a round
    migration_cost: Float[Array, ""]  # c_m, per migrated task
    steal_cost: Float[Array, ""]  # c_s, per steal request
    imbalance_weight: Float[Array, ""]  # w_I
    holding_weight: Float[Array, ""]  # w_H
    drop_cost: Float[Array, ""]  # c_d, per task dropped at a full node
    transfer_delay: Int[Array, ""]  # d: rounds a migrated or stolen task travels
    heartbeat_period: Int[Array, ""]  # h: rounds between two heartbeats of a node
    heartbeat_phase: Int[Array, " N"]  # round, modulo h, in which node i sends
    heartbeat_delay: Int[Array, ""]  # δ: rounds a heartbeat travels
    heartbeat_loss: Float[Array, ""]  # a heartbeat is lost, independently for each receiver
    failure_prob: Float[Array, " N"]  # an up node goes down
    repair_prob: Float[Array, " N"]  # a down node comes up
    arrival_modulation: Modulation  # how p varies with time; p · factor is clipped to [0, 1]
    selfishness: Float[Array, ""]  # κ: reward of agent i is (1 − κ) · u + κ · u_i
    horizon: Int[Array, ""]  # rounds in an episode
    initial_load: Int[Array, " N"]


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
