"""Who sees what at the edge: the agents, a centralised critic, and an oracle."""

import dataclasses
import enum

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float

from jaxdlb.games.edge.dynamics import legal_shares
from jaxdlb.games.edge.types import Params, State


class Own(enum.IntEnum):
    """Columns of `Observation.own`; all but the first and the constants are of the last step."""

    INPUT = 0  # requests that come in the step to come
    PREVIOUS_INPUT = 1
    LOCAL = 2  # requests that stayed at home
    LOCAL_REJECTED = 3
    REFUSED = 4
    RECEIVED = 5  # from neighbours
    RECEIVED_REJECTED = 6
    CAPACITY = 7  # M / T_w, requests per second
    INSTANCES = 8
    WARM_TIME = 9
    COLD_SHARE = 10


class Peer(enum.IntEnum):
    """Columns of `Observation.peers`; all are 0 of nodes that are neither the agent nor a neighbour."""

    IS_SELF = 0
    IS_NEIGHBOUR = 1
    SENT = 2  # requests forwarded to it in the last step
    REJECTED = 3
    ROUND_TRIP = 4  # seconds, in the last step
    HEARD_INPUT = 5
    HEARD_LOAD = 6
    HEARD_AGE = 7  # steps
    CAPACITY = 8


@struct.dataclass
class Observation:
    """What each of N agents knows; the leading axis is the agent. Values are raw: requests per second, seconds."""

    own: Float[Array, "N 11"]  # columns: Own
    peers: Float[Array, "N N 9"]  # [i, j]: what i knows of j; columns: Peer
    legal: Bool[Array, "N A"]  # [i, k]: agent i may give a share to k; A = N + 1, the last is refusal
    visible: Bool[Array, "N N"]  # [i, j]: i knows of j; itself and its neighbours


def capacity(params: Params) -> Float[Array, " N"]:
    """q = M / T_w, the requests per second that a node with all its instances warm can serve."""
    return params.instances / params.warm_time


def observe(state: State, params: Params) -> Observation:
    """What each agent knows: what became of its own requests and of those it was sent, and its neighbours as heard."""
    itself = jnp.eye(state.flow.shape[0], dtype=bool)
    visible = itself | params.adjacency
    own = [
        state.input_rate,
        state.previous_input,
        jnp.diagonal(state.flow),
        jnp.diagonal(state.rejected),
        state.refused,
        jnp.sum(state.flow * ~itself, axis=0),
        jnp.sum(state.rejected * ~itself, axis=0),
        capacity(params),
        params.instances,
        params.warm_time,
        state.cold_share,
    ]
    return Observation(
        own=jnp.stack(own, axis=-1, dtype=jnp.float32),
        peers=jnp.where(visible[..., None], _peers(state, params), 0.0),
        legal=legal_shares(params.adjacency),
        visible=visible,
    )


def _peers(state: State, params: Params) -> Float[Array, "N N 9"]:
    """What each agent would know of itself, now, and of neighbours, as last heard, if all were neighbours."""
    itself = jnp.eye(state.flow.shape[0], dtype=bool)
    columns = [
        itself,
        params.adjacency,
        state.flow,
        state.rejected,
        state.there + state.back,
        jnp.where(itself, state.input_rate, state.heard_input),
        jnp.where(itself, jnp.sum(state.flow, axis=0), state.heard_load),
        jnp.where(itself, 0, state.heard_age),
        capacity(params),
    ]
    return jnp.stack([jnp.broadcast_to(column, itself.shape) for column in columns], axis=-1, dtype=jnp.float32)


def true_observation(state: State, params: Params) -> Observation:
    """The observation as if every node heard its neighbours' inputs and loads of this moment."""
    load, now = jnp.sum(state.flow, axis=0), jnp.zeros_like(state.heard_age)
    fresh = dataclasses.replace(state, heard_input=state.input_rate, heard_load=load, heard_age=now)
    return observe(fresh, params)


def global_state(state: State, params: Params) -> Float[Array, " G"]:
    """The whole network as a centralised critic sees it in training, float32 [G] with G = 14 N + 2 N² + 7.

    Per node: inputs of this and the last step, load, rejections and their mean, cold share, warm instances, capacity,
    instances, times, input as heard and its age. Then the graph, the bandwidths, the costs and what else is shared.
    """
    per_node = [
        state.input_rate,
        state.previous_input,
        jnp.sum(state.flow, axis=0),
        jnp.sum(state.rejected, axis=0),
        state.expected,
        state.cold_share,
        state.warm_instances,
        capacity(params),
        params.instances,
        params.warm_time,
        params.cold_time,
        params.idle_time,
        state.heard_input,
        state.heard_age,
    ]
    shared = [
        params.refusal_cost,
        params.loss_cost,
        params.forwarding_cost,
        params.lateness_cost,
        params.deadline,
        params.link_sharing,
        params.heartbeat_period,
    ]
    parts = [*per_node, params.adjacency.ravel(), state.bandwidth_now.ravel(), jnp.stack(shared, dtype=jnp.float32)]
    return jnp.concatenate([part.astype(jnp.float32) for part in parts])
