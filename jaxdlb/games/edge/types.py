"""The parameters, the state and the action of the edge."""

from typing import Any

import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from jaxdlb.checks import AMOUNT, COST, COUNT, POSITIVE_AMOUNT, POSITIVE_COUNT, PROBABILITY, SWITCH
from jaxdlb.games.edge.bandwidth import LAWS as BANDWIDTH_LAWS
from jaxdlb.games.edge.bandwidth import BandwidthLaw
from jaxdlb.games.edge.inputs import LAWS as INPUT_LAWS
from jaxdlb.games.edge.inputs import InputLaw
from jaxdlb.parameters import NEVER, ONCE, SYMMETRIC, law, parameter, per_size

Action = Float[Array, "N A"]  # shares: [i, j], j < N, goes to node j; [i, N] is refused


def _ring_of_four(game: Any) -> np.ndarray:
    """Each node beside the two next to it on either side, on a ring."""
    distance = np.subtract.outer(np.arange(game.num_nodes), np.arange(game.num_nodes)) % game.num_nodes
    return (distance > 0) & (np.minimum(distance, game.num_nodes - distance) <= 2)


def _small_beside_large(game: Any) -> np.ndarray:
    """Evenly spaced from 16 to 48; the smallest stand at even places, the largest, in falling order, at odd ones."""
    rising = np.round(np.linspace(16, 48, game.num_nodes))
    place = np.arange(game.num_nodes)
    return np.where(place % 2 == 0, rising[place // 2], rising[game.num_nodes - 1 - place // 2])


@struct.dataclass(kw_only=True)
class Params:
    """Everything a user may sweep or randomise; every leaf is an array. Times are in seconds, rates in requests/s.

    The defaults are the reference network, whose inputs are 0.81 of its capacity at 8 nodes.
    """

    adjacency: Bool[Array, "N N"] = parameter(  # [i, j]: node i may forward to node j
        SWITCH, per_size("i and j at most 2 apart on a ring", _ring_of_four), drawn=NEVER
    )
    warm_time: Float[Array, " N"] = parameter(POSITIVE_AMOUNT, 0.5)  # T_w: mean service time on a warm instance
    cold_time: Float[Array, " N"] = parameter(POSITIVE_AMOUNT, 1.25)  # T_c ≥ T_w: mean service time with a cold start
    idle_time: Float[Array, " N"] = parameter(POSITIVE_AMOUNT, 60.0, drawn=ONCE)  # T_I: so long idle, it is removed
    instances: Int[Array, " N"] = parameter(  # M: the most instances of a node
        COUNT, per_size("16 … 48, small nodes beside large ones", _small_beside_large), at_most="max_instances"
    )

    access_delay: Float[Array, "N N"] = parameter(  # fixed time of a message from i to j
        AMOUNT, 0.005, drawn=SYMMETRIC
    )
    link_bandwidth: Float[Array, "N N"] = parameter(  # mean bandwidth from i to j, Mbit/s
        POSITIVE_AMOUNT, 100.0, drawn=SYMMETRIC
    )
    bandwidth: BandwidthLaw = law(BANDWIDTH_LAWS)  # how the bandwidth of links varies, as a factor
    request_bytes: Float[Array, ""] = parameter(AMOUNT, 1024.0)  # size of a request
    response_bytes: Float[Array, ""] = parameter(AMOUNT, 1024.0)  # size of its answer
    link_sharing: Float[Array, ""] = parameter(  # σ: 0: each request has the link to itself; 1: all share it
        PROBABILITY, 0.0
    )

    inputs: InputLaw = law(INPUT_LAWS)  # how the rates at which requests come to nodes vary
    input_min: Int[Array, ""] = parameter(COUNT, 1)  # the least that comes to a node
    input_max: Int[Array, ""] = parameter(COUNT, 150)  # the most that comes to a node; N · max² must be below 2³¹
    mean_input_limit: Int[Array, ""] = parameter(COUNT, 52)  # inputs are scaled down to this mean over nodes; 0: never

    deadline: Float[Array, ""] = parameter(POSITIVE_AMOUNT, 1.0)  # a served request is late beyond this
    refusal_cost: Float[Array, ""] = parameter(COST, 1.0)  # c_r: for each request refused by its agent
    loss_cost: Float[Array, ""] = parameter(COST, 0.0)  # c_l: for each request rejected for want of an instance
    forwarding_cost: Float[Array, ""] = parameter(COST, 0.05)  # c_f: for each request forwarded
    lateness_cost: Float[Array, ""] = parameter(COST, 0.0)  # c_s: for each request served late
    selfishness: Float[Array, ""] = parameter(PROBABILITY, 0.0)  # κ: weight of an agent's own utility in its reward

    heartbeat_period: Int[Array, ""] = parameter(COUNT, 3)  # h: steps from one heartbeat to the next; 0: never any
    heartbeat_phase: Int[Array, " N"] = parameter(COUNT, 0)  # node i sends after steps t with (t − phase_i) mod h = 0
    heartbeat_delay: Int[Array, ""] = parameter(COUNT, 0, at_most="max_delay")  # δ: steps that a heartbeat travels
    horizon: Int[Array, ""] = parameter(POSITIVE_COUNT, 288)  # steps in an episode


@struct.dataclass
class State:
    """One network between two steps; requests are requests per second. D is the game's `max_delay`."""

    input_rate: Int[Array, " N"]  # n: of the step to come, which agents see before they act
    previous_input: Int[Array, " N"]  # of the last step, like all that follows down to `back`
    flow: Int[Array, "N N"]  # f: requests from i to j; the diagonal stayed at home
    refused: Int[Array, " N"]  # z: by their own agent
    rejected: Float[Array, "N N"]  # r: of `flow`, what found no instance
    expected: Float[Array, " N"]  # R: rejections of each node in the mean
    cold_share: Float[Array, " N"]  # c: of the requests that a node serves
    service_time: Float[Array, " N"]  # τ: mean over those requests
    warm_instances: Float[Array, " N"]
    late: Float[Array, " N"]  # of the requests that came to node i, those served beyond the deadline
    reward: Float[Array, " N"]
    there: Float[Array, "N N"]  # time of a request from i to j, and of its answer; 0 where i may not forward to j
    back: Float[Array, "N N"]
    bandwidth_now: Float[Array, "N N"]  # of the step to come, Mbit/s
    heard_input: Int[Array, " N"]  # what all neighbours have last heard of j, and its age in steps
    heard_load: Int[Array, " N"]
    heard_age: Int[Array, " N"]
    heartbeats_in_flight: Int[Array, "2 D N"]  # inputs and loads that are heard k + 1 steps from now; −1 for none
    inputs: Any  # states of the two laws
    bandwidth: Any
    step: Int[Array, ""]
