"""Who sees what in the rack: the agents, a centralised critic, and an oracle."""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxdlb.games.rack.dynamics import num_busy
from jaxdlb.games.rack.generator import expected_performance
from jaxdlb.games.rack.types import Params, State
from jaxdlb.mechanics import peer_view
from jaxdlb.mechanics.peer_view import Observation


def load(state: State) -> Int[Array, " N"]:
    """Tasks present at each node: int32 [N]."""
    return state.bound - state.landing


def num_arriving(state: State) -> Int[Array, " N"]:
    """Tasks that the central load balancer deals to each node in the coming slice: int32 [N]."""
    arrivals = state.generator.arrivals
    counts = jnp.arange(arrivals.node.shape[0]) < arrivals.num
    return jnp.sum((arrivals.node == jnp.arange(state.bound.shape[0])[:, None]) & counts, axis=1, dtype=jnp.int32)


def may_dispatch(state: State) -> Bool[Array, " N"]:
    """Nodes that are up and get a task in the coming slice."""
    return state.alive & (num_arriving(state) > 0)


def may_steal(state: State, params: Params) -> Bool[Array, " N"]:
    """Nodes that are up, wait for no answer, and have completed a task in the last slice or have an idle core."""
    waits = (state.requests.victim != jnp.arange(state.bound.shape[0])) & ~(state.requests.answered <= 0)
    idle = num_busy(state.core_free) < params.cores
    return state.alive & ~waits & (idle | (state.completed > 0))


def observe(state: State, params: Params) -> Observation:
    """What each agent knows: the truth about itself, and its peers as last heard."""
    return peer_view.observe(
        load=load(state),
        arrived=may_dispatch(state),
        completed=may_steal(state, params),
        rate=expected_performance(params),
        alive=state.alive,
        heard_load=state.heard_load,
        heard_age=state.heard_age,
    )


def true_observation(state: State, params: Params) -> Observation:
    """The observation as it would be if everybody heard every node's load instantly."""
    present = load(state)
    return observe(dataclasses.replace(state, heard_load=present, heard_age=jnp.zeros_like(present)), params)


def global_state(state: State, params: Params) -> Float[Array, " G"]:
    """The whole rack, float32 [G] with G = 13 N + 10.

    Per node: tasks present, travelling to it, waiting for a core and for I/O, busy cores, completed in the last slice,
    arriving in the coming one, alive, expected performance, drain time in slices, slices until its interface is free,
    its load as heard (averaged over receivers) and the age of that. Then the costs and weights, the rate of arrivals,
    the latency and the heartbeat period in slices, the current factor on arrivals, and the free slots.
    """
    num_nodes, present, rate = state.bound.shape[0], load(state), expected_performance(params)
    heard = [jnp.mean(jnp.atleast_2d(row), axis=0) for row in (state.heard_load, state.heard_age)]
    node_columns = [
        present,
        state.landing,
        state.cpu_queue,
        state.io_queue,
        num_busy(state.core_free),
        state.completed,
        num_arriving(state),
        state.alive,
        rate,
        present / rate,
        jnp.maximum(state.interface_free, 0.0),
        *heard,
    ]
    shared = [
        params.migration_cost,
        params.steal_cost,
        params.imbalance_weight,
        params.holding_weight,
        params.arrival_rate * params.dt,
        jnp.mean(params.latency) / params.dt,
        params.heartbeat_period / params.dt,
        params.heartbeat_loss,
        params.arrival_modulation.factor(state.generator.modulation, state.slice),
        state.tasks.num_free,
    ]
    per_node = jnp.stack([jnp.broadcast_to(column, (num_nodes,)) for column in node_columns], dtype=jnp.float32)
    return jnp.concatenate([per_node.ravel(), jnp.stack(shared, dtype=jnp.float32)])
