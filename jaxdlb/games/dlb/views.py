"""Who sees what in the DLB game: the agents, a centralised critic, and an oracle."""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdlb.games.dlb.types import Params, State
from jaxdlb.mechanics import peer_view
from jaxdlb.mechanics.peer_view import Observation


def observe(state: State, params: Params) -> Observation:
    """What each agent knows: the truth about itself, and its peers as last heard."""
    return peer_view.observe(
        load=state.load,
        arrived=state.arrived,
        completed=state.completed,
        rate=params.completion_prob,
        alive=state.alive,
        heard_load=state.heard_load,
        heard_age=state.heard_age,
    )


def true_observation(state: State, params: Params) -> Observation:
    """The observation as it would be if everybody heard every node's load instantly."""
    fresh = dataclasses.replace(state, heard_load=state.load, heard_age=jnp.zeros_like(state.load))
    return observe(fresh, params)


def global_state(state: State, params: Params) -> Float[Array, " G"]:
    """The whole cluster, float32 [G] with G = N · (9 + D) + 9.

    Per node: true load, arrived, completed, alive, rates p and q, drain time, its load as heard (averaged over
    receivers) and the age of that, and the tasks in transit to it by landing time. Then the costs, the delays and the
    current factor on p.
    """
    num_nodes = state.load.shape[0]
    heard = [jnp.mean(jnp.atleast_2d(row), axis=0) for row in (state.heard_load, state.heard_age)]
    node_columns = [
        state.load,
        state.arrived,
        state.completed,
        state.alive,
        params.arrival_prob,
        params.completion_prob,
        state.load / params.completion_prob,
        *heard,
        *state.in_transit,
    ]
    shared = [
        params.migration_cost,
        params.steal_cost,
        params.imbalance_weight,
        params.holding_weight,
        params.transfer_delay,
        params.heartbeat_period,
        params.heartbeat_delay,
        params.heartbeat_loss,
        params.arrival_modulation.factor(state.modulation, state.round),
    ]
    per_node = jnp.stack([jnp.broadcast_to(column, (num_nodes,)) for column in node_columns], dtype=jnp.float32)
    return jnp.concatenate([per_node.ravel(), jnp.stack(shared, dtype=jnp.float32)])
