"""The eight stages of a round of the DLB game, in order; each is a pure function on arrays."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxdlb.games.dlb.types import Params, State
from jaxdlb.mechanics import chance, heartbeats, indexing, peer_view, stealing, transit, utility
from jaxdlb.mechanics.churn import churn
from jaxdlb.mechanics.peer_view import Action

# Folded into a round's key for every random draw except arrivals and completions, which use the key itself.
_HEARTBEATS, _MODULATION, _CHURN = range(3)

Events = tuple[Int[Array, ""], Bool[Array, " N"], Bool[Array, " N"]]  # state of the modulation, arrived, completed


def play_legal(state: State, action: Action) -> Action:
    """The action as it is played: an illegal choice becomes the no-op, as does any choice of a node that is down."""
    return peer_view.play_legal(action, state.arrived & state.alive, state.completed & state.alive)


def complete(load: Int[Array, " N"], completed: Bool[Array, " N"]) -> Int[Array, " N"]:
    """1. Loads after this round's completions."""
    return load - completed


def steal(
    load: Int[Array, " N"], action: Action, alive: Bool[Array, " N"], round: Int[Array, ""]
) -> tuple[Int[Array, " N"], Bool[Array, " N"], Bool[Array, " N"]]:
    """2. Loads without the stolen tasks, which nodes asked, and which requests were granted.

    A node that is up can give all tasks but the one in service; a node that is down gives none. Thief (round mod N) is
    served first.
    """
    num_nodes = load.shape[0]
    asked = action.steal != jnp.arange(num_nodes)
    available = jnp.where(alive, jnp.maximum(load - 1, 0), 0)
    granted = stealing.serve_requests(action.steal, asked, available, round % num_nodes)
    return indexing.add_at(load, action.steal, -granted.astype(load.dtype)), asked, granted


def dispatch(
    arrived: Bool[Array, " N"], action: Action, granted: Bool[Array, " N"]
) -> tuple[Bool[Array, " N"], Bool[Array, " N"], Int[Array, " N"]]:
    """3. Which nodes keep their arrived task, which migrate it, and how many tasks, stolen or not, go to each."""
    migrated = arrived & (action.dispatch != jnp.arange(arrived.shape[0]))
    sent_to = indexing.add_at(granted.astype(jnp.int32), action.dispatch, migrated)
    return arrived & ~migrated, migrated, sent_to


def land(
    load: Int[Array, " N"],
    kept: Bool[Array, " N"],
    sent_to: Int[Array, " N"],
    in_transit: Int[Array, "D N"],
    capacity: int,
    params: Params,
) -> tuple[Int[Array, " N"], Int[Array, " N"], Int[Array, "D N"]]:
    """4. Loads after landing, how many tasks each full node dropped, and the tasks still in transit."""
    landing, in_transit = transit.advance(in_transit, sent_to, params.transfer_delay)
    total = load + landing + kept
    drops = jnp.maximum(total - capacity, 0)
    return total - drops, drops, in_transit


def fail_and_repair(key: PRNGKeyArray, alive: Bool[Array, " N"], params: Params) -> Bool[Array, " N"]:
    """5. Which nodes are up after this round's churn."""
    (number,) = chance.uniforms(chance.fold_in(key, _CHURN), 1, alive.shape[0])
    return churn(number, alive, params.failure_prob, params.repair_prob)


def hear(
    key: PRNGKeyArray, state: State, load: Int[Array, " N"], alive: Bool[Array, " N"], params: Params
) -> tuple[Int[Array, "*I N"], Int[Array, "*I N"], Int[Array, "D N"]]:
    """6. Heard loads, their ages, and the heartbeats still in flight, once this round's have been sent."""
    sends = heartbeats.sends_now(state.round, params.heartbeat_phase, params.heartbeat_period, alive)
    launched = jnp.where(sends, load, heartbeats.NOTHING_SENT)
    delay = transit.within_rows(params.heartbeat_delay, state.heartbeats_in_flight)
    arriving, in_flight = heartbeats.launch(state.heartbeats_in_flight, launched, delay)
    key = chance.fold_in(key, _HEARTBEATS)
    heard = (state.heard_load, state.heard_age)
    return *heartbeats.hear(key, *heard, arriving, delay, params.heartbeat_loss, load), in_flight


def utilities(
    imbalance: str,
    load: Int[Array, " N"],
    in_transit: Int[Array, "D N"],
    migrated: Bool[Array, " N"],
    asked: Bool[Array, " N"],
    drops: Int[Array, " N"],
    params: Params,
) -> Float[Array, " N"]:
    """7. Each node's utility, from the tasks bound for it after landing; `imbalance` names the measure."""
    bound = bound_for(load, in_transit)
    uneven = utility.imbalance(imbalance, bound, params.completion_prob)
    return utility.utilities(uneven, bound, migrated, asked, drops, params)


def bound_for(load: Int[Array, " N"], in_transit: Int[Array, "D N"]) -> Int[Array, " N"]:
    """y_j = x_j + Σ_k in_transit[k, j]: the tasks at node j, and those in transit to it: int32 [N].

    If nobody were charged for tasks in transit, juggling them would lower the imbalance.
    """
    return load + jnp.sum(in_transit, axis=0)


def next_events(
    key: PRNGKeyArray,
    modulation: Int[Array, ""],
    round: Int[Array, ""],
    load: Int[Array, " N"],
    alive: Bool[Array, " N"],
    params: Params,
) -> Events:
    """8. The state of the arrival modulation in the coming `round`, and that round's events."""
    modulation = params.arrival_modulation.advance(chance.fold_in(key, _MODULATION), modulation)
    return modulation, *_draw_events(key, modulation, round, load, alive, params)


def first_events(key: PRNGKeyArray, load: Int[Array, " N"], alive: Bool[Array, " N"], params: Params) -> Events:
    """The initial state of the arrival modulation, and the events of an episode's first round."""
    modulation = params.arrival_modulation.start(chance.fold_in(key, _MODULATION))
    return modulation, *_draw_events(key, modulation, jnp.int32(0), load, alive, params)


def _draw_events(
    key: PRNGKeyArray,
    modulation: Int[Array, ""],
    round: Int[Array, ""],
    load: Int[Array, " N"],
    alive: Bool[Array, " N"],
    params: Params,
) -> tuple[Bool[Array, " N"], Bool[Array, " N"]]:
    """Arrivals at nodes that are up, and completions at nodes that are up and have work: bool [N] each.

    Each event at each node is decided by one uniform number that does not depend on the loads: with the same key, every
    policy faces the same arrivals and the same chances of completion.
    """
    arrival_number, completion_number = chance.uniforms(key, 2, load.shape[0])
    factor = params.arrival_modulation.factor(modulation, round)
    arrived = arrival_number < jnp.clip(params.arrival_prob * factor, 0, 1)
    completed = completion_number < params.completion_prob
    return arrived & alive, completed & alive & (load > 0)
