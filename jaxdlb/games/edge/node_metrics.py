"""What each node and each link did in the last step, by name."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from jaxdlb.games.edge.types import Params, State


def node_metrics(state: State, params: Params) -> dict[str, Shaped[Array, "N ..."]]:
    """Of the last step, per node [N] and per link [N, N], from the row's node to the column's; all 0 at reset.

    Of the requests that came to node i (per second): `input_rate`; `local`, `forwarded` and `refused`, which add up to
    it; `local_rejected` and `forward_rejected`, those that found no instance at home and elsewhere; `late`. Its
    `reward`. Means in seconds, 0 where nothing is meant: `local_response`, of service at home; and over the requests
    forwarded, served or not, `forwarded_response`, of service, `network_there` and `network_back`, of their way.

    Of those that reached node i: its `load`, of which `local` stayed and `received` came from neighbours;
    `rejected_here`, of which `local_rejected` and `received_rejected`; `expected`, rejections in the mean; `cold_share`
    of the served. Its `warm_instances`, and `utilisation`, the share of the instances it can hold that serve.

    Per link: `flow` and `rejected`, with what stays at home on the diagonal; and, where anything is forwarded, in
    seconds, `response`, the mean service time at its end, `there` and `back`.
    """
    at_home = jnp.eye(state.flow.shape[0], dtype=bool)
    away = jnp.where(at_home, 0, state.flow)
    rejected_away = jnp.where(at_home, 0.0, state.rejected)
    local, forwarded = jnp.diagonal(state.flow), jnp.sum(away, axis=1)
    response = jnp.broadcast_to(state.service_time, away.shape)
    served = jnp.sum(state.flow - state.rejected, axis=0)

    def over_forwarded(seconds: Float[Array, "N N"]) -> Float[Array, " N"]:
        return jnp.sum(away * seconds, axis=1) / jnp.maximum(forwarded, 1)

    def where_used(seconds: Float[Array, "N N"]) -> Float[Array, "N N"]:
        return jnp.where(away > 0, seconds, 0.0)

    return {
        "input_rate": state.previous_input,
        "local": local,
        "forwarded": forwarded,
        "refused": state.refused,
        "load": jnp.sum(state.flow, axis=0),
        "received": jnp.sum(away, axis=0),
        "rejected_here": jnp.sum(state.rejected, axis=0),
        "local_rejected": jnp.diagonal(state.rejected),
        "received_rejected": jnp.sum(rejected_away, axis=0),
        "forward_rejected": jnp.sum(rejected_away, axis=1),
        "reward": state.reward,
        "local_response": jnp.where(local > 0, state.service_time, 0.0),
        "forwarded_response": over_forwarded(response),
        "network_there": over_forwarded(state.there),
        "network_back": over_forwarded(state.back),
        "expected": state.expected,
        "cold_share": state.cold_share,
        "warm_instances": state.warm_instances,
        "late": state.late,
        "utilisation": served * state.service_time / jnp.maximum(params.instances, 1),
        "flow": state.flow,
        "rejected": state.rejected,
        "response": where_used(response),
        "there": where_used(state.there),
        "back": where_used(state.back),
    }
