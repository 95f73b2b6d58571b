"""The eight stages of a round of the DLB game, in their order; each is a pure function on arrays."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxdlb.games.dlb.types import Params, State
from jaxdlb.mechanics import heartbeats, transit
from jaxdlb.mechanics.arrivals import Modulation
from jaxdlb.mechanics.indexing import add_at
from jaxdlb.mechanics.peer_view import Action
from jaxdlb.mechanics.stealing import serve_requests


def play_legal(state: State, action: Action, num_nodes: int) -> Action:
    """The action as it is played: an illegal choice, of whatever value, becomes the no-op (the own index)."""
    itself = jnp.arange(num_nodes, dtype=jnp.int32)

    def play(choice: Int[Array, " N"], may_choose: Bool[Array, " N"]) -> Int[Array, " N"]:
        is_legal = may_choose & state.alive & (choice >= 0) & (choice < num_nodes)
        return jnp.where(is_legal, choice, itself).astype(jnp.int32)

    return Action(dispatch=play(action.dispatch, state.arrived), steal=play(action.steal, state.completed))


def complete(load: Int[Array, " N"], completed: Bool[Array, " N"]) -> Int[Array, " N"]:
    """1. Loads after this round's completions."""
    return load - completed


def steal(
    load: Int[Array, " N"], action: Action, alive: Bool[Array, " N"], round: Int[Array, ""]
) -> tuple[Int[Array, " N"], Bool[Array, " N"], Bool[Array, " N"]]:
    """2. Loads without the stolen tasks, who asked, and whose request was granted.

    A live node gives all but the task in service; a down node gives none. Thief (round mod N) is served first.
    """
    num_nodes = load.shape[0]
    asked = action.steal != jnp.arange(num_nodes)
    available = jnp.where(alive, jnp.maximum(load - 1, 0), 0)
    granted = serve_requests(action.steal, asked, available, round % num_nodes)
    return add_at(load, action.steal, -granted.astype(load.dtype)), asked, granted


def dispatch(
    arrived: Bool[Array, " N"], action: Action, granted: Bool[Array, " N"]
) -> tuple[Bool[Array, " N"], Int[Array, " N"], Bool[Array, " N"]]:
    """3. Who keeps its arrived task, how many tasks are sent to each node (stolen ones included), and who migrated."""
    migrated = arrived & (action.dispatch != jnp.arange(arrived.shape[0]))
    sent_to = add_at(granted.astype(jnp.int32), action.dispatch, migrated)
    return arrived & ~migrated, sent_to, migrated


def land(load: Int[Array, " N"], landing: Int[Array, " N"], capacity: int) -> tuple[Int[Array, " N"], Int[Array, " N"]]:
    """4. Loads after landing, and how many tasks each full node dropped."""
    total = load + landing
    drops = jnp.maximum(total - capacity, 0)
    return total - drops, drops


def hear(
    key: PRNGKeyArray, state: State, load: Int[Array, " N"], alive: Bool[Array, " N"], params: Params
) -> tuple[Int[Array, "*I N"], Int[Array, "*I N"], Int[Array, "D N"]]:
    """6. Heard loads, their ages, and the heartbeats still in flight, after those of this round were sent."""
    sends = heartbeats.sends_now(state.round, params.heartbeat_phase, params.heartbeat_period, alive)
    launched = jnp.where(sends, load, heartbeats.NOTHING_SENT)
    arriving, in_flight = transit.advance(
        state.heartbeats_in_flight,
        launched,
        params.heartbeat_delay,
        nothing=heartbeats.NOTHING_SENT,
        combine=jnp.maximum,
    )
    heard, delay = (state.heard_load, state.heard_age), params.heartbeat_delay
    if state.heard_load.ndim == 1:
        return *heartbeats.hear_shared(*heard, arriving, delay), in_flight
    return *heartbeats.hear_per_link(key, *heard, arriving, delay, params.heartbeat_loss, load), in_flight


def next_events(
    numbers: list[Float[Array, " N"]],
    load: Int[Array, " N"],
    alive: Bool[Array, " N"],
    factor: Float[Array, ""],
    params: Params,
) -> tuple[Bool[Array, " N"], Bool[Array, " N"]]:
    """8. The next round's arrivals and completions, bool [N] each, for live nodes.

    One uniform number a node and event decides, whatever the loads: under the same key every policy meets the same
    arrivals and the same chances of completion.
    """
    arrived = numbers[0] < jnp.clip(params.arrival_prob * factor, 0, 1)
    completed = numbers[1] < params.completion_prob
    return arrived & alive, completed & alive & (load > 0)


def vary_arrivals(
    key: PRNGKeyArray, modulation: Modulation, state: Int[Array, ""], round: Int[Array, ""]
) -> tuple[Int[Array, ""], Float[Array, ""]]:
    """The state of the arrival modulation in `round`, and the factor on p that it gives."""
    state = modulation.advance(key, state)
    return state, modulation.factor(state, round)
