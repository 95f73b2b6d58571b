"""The eight stages of a step of the edge, in order; each is a pure function on arrays."""

from typing import Any

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxdlb.checks import LARGEST_INT
from jaxdlb.games.edge import service
from jaxdlb.games.edge.types import Action, Params, State
from jaxdlb.mechanics import chance, heartbeats, transit
from jaxdlb.mechanics.apportionment import split
from jaxdlb.mechanics.loops import while_any

_INPUTS, _BANDWIDTH, _INPUTS_START, _BANDWIDTH_START = range(4)  # folded into a step's key
_WHOLE = 2**15  # the weight of a share of 1
_LEAST_BANDWIDTH = 0.1  # Mbit/s
_LEAST_FREE = 0.01  # of a link's bandwidth, however many requests share it


def legal_shares(adjacency: Bool[Array, "N N"]) -> Bool[Array, "N A"]:
    """Where each agent may send requests: to itself and its neighbours; and it may refuse them."""
    num_nodes = adjacency.shape[0]
    return jnp.concatenate([adjacency | jnp.eye(num_nodes, dtype=bool), jnp.ones((num_nodes, 1), bool)], axis=1)


def weigh(share: Action, adjacency: Bool[Array, "N N"]) -> Int[Array, "N A"]:
    """1. Shares as whole weights, so that any action can be played: illegal mass, and all of nothing, stays at home."""
    legal = legal_shares(adjacency)
    itself = jnp.eye(share.shape[0], share.shape[1], dtype=bool)
    weight = jnp.round(_WHOLE * jnp.where(share > 0, jnp.minimum(share, 1.0), 0.0)).astype(jnp.int32)
    stray = jnp.sum(jnp.where(legal, 0, weight), axis=1, keepdims=True)
    weight = jnp.where(itself, jnp.minimum(weight + stray, _WHOLE), jnp.where(legal, weight, 0))
    nothing = jnp.sum(weight, axis=1, keepdims=True) == 0
    return jnp.where(itself & nothing, 1, weight)


def share_out(input_rate: Int[Array, " N"], weight: Int[Array, "N A"]) -> tuple[Int[Array, "N N"], Int[Array, " N"]]:
    """2. Whole requests from each node to each, and those refused; of equal claims the agent's own comes first."""
    num_nodes = input_rate.shape[0]
    amounts = split(input_rate, weight, first=jnp.arange(num_nodes))
    return amounts[:, :num_nodes], amounts[:, num_nodes]


@struct.dataclass
class Served:
    """What becomes of the requests at each node."""

    reject_prob: Float[Array, " N"]
    expected: Float[Array, " N"]  # rejections
    cold_share: Float[Array, " N"]
    service_time: Float[Array, " N"]
    pool_size: Float[Array, " N"]


def serve(load: Int[Array, " N"], max_instances: int, params: Params) -> Served:
    """3. How nodes fare at their loads; all that is said of served requests is 0 where there are none."""
    rate = load.astype(jnp.float32)
    times = params.warm_time, params.cold_time, params.idle_time
    fares = service.perform(rate, *times, params.instances, max_instances)
    cold, time = service.of_served(fares, params.warm_time, params.cold_time)
    cold, time, pool = (jnp.where(load > 0, each, 0.0) for each in (cold, time, fares.pool_size))
    return Served(fares.reject_prob, rate * fares.reject_prob, cold, time, pool)


def reject(flow: Int[Array, "N N"], served: Served, rejections: str) -> Float[Array, "N N"]:
    """4. Of the requests from i to j, those rejected: in the mean, or `rounded` to whole ones as at the source."""
    if rejections == "expected":
        return flow * served.reject_prob
    load = jnp.sum(flow, axis=0)
    whole = jnp.clip(jnp.round(served.expected).astype(jnp.int32), 0, load)
    return split(whole, flow.T, first=jnp.arange(load.shape[0])).T.astype(jnp.float32)


def carry(
    flow: Int[Array, "N N"], bandwidth: Float[Array, "N N"], params: Params
) -> tuple[Float[Array, "N N"], Float[Array, "N N"]]:
    """5. The time of a request from i to j, and of its answer, where i may forward to j; 0 elsewhere."""
    capacity = 1e6 * bandwidth
    carried = 8 * (flow * params.request_bytes + flow.T * params.response_bytes)
    free = jnp.maximum(capacity - params.link_sharing * carried, _LEAST_FREE * capacity)
    there = params.access_delay + 8 * params.request_bytes / free
    back = (params.access_delay + 8 * params.response_bytes / free).T
    return jnp.where(params.adjacency, there, 0.0), jnp.where(params.adjacency, back, 0.0)


def exceed(
    service_times: str,
    time: Float[Array, "..."],
    round_trip: Float[Array, "N N"],
    cold_share: Float[Array, " N"],
    params: Params,
) -> Float[Array, "..."]:
    """P(a served request from i to j takes longer than `time`, in s), [..., N, N]; `time` is [..., 1, 1]."""
    left, survival = time - round_trip, _SURVIVAL[service_times]
    return cold_share * survival(left, params.cold_time) + (1 - cold_share) * survival(left, params.warm_time)


def _exponential(time: Float[Array, "..."], mean: Float[Array, " N"]) -> Float[Array, "..."]:
    return jnp.exp(-jnp.maximum(time, 0.0) / mean)


def _deterministic(time: Float[Array, "..."], mean: Float[Array, " N"]) -> Float[Array, "..."]:
    return (time < mean).astype(jnp.float32)


_SURVIVAL = {"exponential": _exponential, "deterministic": _deterministic}  # P(a service takes longer than a time)


def utilities(
    input_rate: Int[Array, " N"],
    flow: Int[Array, "N N"],
    refused: Int[Array, " N"],
    rejected: Float[Array, "N N"],
    late: Float[Array, " N"],
    params: Params,
) -> tuple[Float[Array, " N"], Float[Array, ""]]:
    """6. The utility of each node and of all, per request that came to it and to all."""
    forwarded = jnp.sum(flow, axis=1) - jnp.diagonal(flow)
    lost = jnp.sum(rejected, axis=1)
    worth = jnp.sum(flow, axis=1) - (1 + params.loss_cost) * lost
    costs = params.refusal_cost * refused + params.forwarding_cost * forwarded + params.lateness_cost * late
    earned, total = worth - costs, jnp.sum(input_rate)
    return earned / jnp.maximum(input_rate, 1), jnp.sum(earned) / jnp.maximum(total, 1)


Conditions = tuple[Any, Int[Array, " N"], Any, Float[Array, "N N"]]  # both laws' states, each before what it gave


def first_conditions(key: PRNGKeyArray, params: Params) -> Conditions:
    """The states of both laws at reset, with the inputs and bandwidths of the first step."""
    num_nodes = params.warm_time.shape[0]
    inputs = params.inputs.start(chance.fold_in(key, _INPUTS_START), num_nodes)
    bandwidth = params.bandwidth.start(chance.fold_in(key, _BANDWIDTH_START), num_nodes)
    return _conditions(key, inputs, bandwidth, jnp.int32(0), params)


def next_conditions(key: PRNGKeyArray, state: State, step: Int[Array, ""], params: Params) -> Conditions:
    """7. The same of the coming `step`: they follow from the key, and from nothing that anybody did."""
    return _conditions(key, state.inputs, state.bandwidth, step, params)


def _conditions(key: PRNGKeyArray, inputs: Any, bandwidth: Any, step: Int[Array, ""], params: Params) -> Conditions:
    rates = params.inputs.rates(chance.fold_in(key, _INPUTS), inputs, step)
    factors = params.bandwidth.factors(chance.fold_in(key, _BANDWIDTH), bandwidth, step)
    now = jnp.maximum(params.link_bandwidth * factors, _LEAST_BANDWIDTH)
    return inputs, whole_inputs(rates, params), bandwidth, now


def whole_inputs(rates: Float[Array, " N"], params: Params) -> Int[Array, " N"]:
    """Rates in whole requests, within their bounds, and scaled down where their mean is above its limit."""
    most = params.input_max
    rate = jnp.clip(
        jnp.round(jnp.clip(rates, -1.0, most.astype(jnp.float32))).astype(jnp.int32), params.input_min, most
    )
    # a mean above the most limits nothing; one below the least, as both may be drawn, is as if it were the least
    mean = jnp.maximum(jnp.minimum(params.mean_input_limit, most), params.input_min)
    limit = jnp.where(params.mean_input_limit > 0, rate.shape[0] * mean, LARGEST_INT)
    return while_any(_exceeds, _scaled_down, (limit, params.input_min), rate)


def _exceeds(limits: tuple[Int[Array, ""], Int[Array, ""]], rate: Int[Array, " N"]) -> Bool[Array, ""]:
    return jnp.sum(rate) > limits[0]


def _scaled_down(limits: tuple[Int[Array, ""], Int[Array, ""]], rate: Int[Array, " N"]) -> Int[Array, " N"]:
    """Rates whose sum is the limit, if it was above; each keeps its part of what is above the least."""
    limit, least = limits
    scaled = least + split(limit - rate.shape[0] * least, rate - least)
    return jnp.where(_exceeds(limits, rate), scaled, rate)


def hear(
    state: State, input_rate: Int[Array, " N"], load: Int[Array, " N"], params: Params
) -> tuple[Int[Array, " N"], Int[Array, " N"], Int[Array, " N"], Int[Array, "2 D N"]]:
    """8. Inputs and loads as heard, their age, and the heartbeats still under way; all is 0 where nobody ever sends."""
    anybody = params.heartbeat_period > 0
    period = jnp.maximum(params.heartbeat_period, 1)
    sends = heartbeats.sends_now(state.step, params.heartbeat_phase, period, jnp.broadcast_to(anybody, load.shape))
    rows = state.heartbeats_in_flight
    delay = transit.within_rows(params.heartbeat_delay, rows[0])
    heard_input, age, inputs_in_flight = _hear(sends, input_rate, state.heard_input, state.heard_age, rows[0], delay)
    heard_load, _, loads_in_flight = _hear(sends, load, state.heard_load, state.heard_age, rows[1], delay)
    return heard_input, heard_load, jnp.where(anybody, age, 0), jnp.stack([inputs_in_flight, loads_in_flight])


def _hear(
    sends: Bool[Array, " N"],
    what: Int[Array, " N"],
    heard: Int[Array, " N"],
    age: Int[Array, " N"],
    in_flight: Int[Array, "D N"],
    delay: Int[Array, ""],
) -> tuple[Int[Array, " N"], Int[Array, " N"], Int[Array, "D N"]]:
    """One of the two numbers of a heartbeat."""
    launched = jnp.where(sends, what, heartbeats.NOTHING_SENT)
    arriving, in_flight = heartbeats.launch(in_flight, launched, delay)
    return *heartbeats.hear_shared(heard, age, arriving, delay), in_flight
