"""The best that can be done in one step: a flow of least cost, in which the costs of nodes are convex.

With rejections in the mean (`expected`) and no price on lateness, the utility of a step depends on where requests go
alone. As neither inputs nor service carry over, the best of each step is the best of an episode. It minimises

    Σ_j (1 + c_l) · R_j(Y_j) + c_f · Σ_{i≠j} f_ij + (1 + c_r) · Σ_i z_i

over whole f, z ≥ 0 with Σ_j f_ij + z_i = n_i and f_ij = 0 off the graph, where Y_j = Σ_i f_ij and R_j are the mean
rejections of node j. R_j is convex (this is checked), so no flow is better than one without a residual cycle of
negative cost (Ahuja, Magnanti and Orlin, Network Flows, 1993, section 14.3).

All requests start at home. Then, as long as that pays, requests are moved from a node a, whose load falls, to a node or
to refusal b, whose load rises, along the shortest path of the residual graph: each arc, from j to k, moves requests of
some node i from j to k, at c_f · ([i≠k] − [i≠j]). For its loads the flow is the cheapest at the start, and shortest
paths keep it so; hence no other cycles can be negative, and there are no negative ones when no path pays.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from jaxdlb.games.edge import service
from jaxdlb.games.edge.dynamics import legal_shares
from jaxdlb.games.edge.types import Action, Params
from jaxdlb.mechanics.loops import while_any

_TABLED = 512  # loads that a table knows; beyond, nodes are worked out one load at a time
_AT_ONCE = 2 ** np.arange(9)  # how many requests may be moved together
_LEAST_GAIN = 1e-6  # of a move, in requests and as a share of its relief; float32 could see smaller ones in a circle
_CONVEX = -1e-3  # second differences of rejections are above this, but for rounding, where they are convex
_NOBODY = -1
_NEVER = 2  # hops; an arc adds at most one


@struct.dataclass
class LossTable:
    """R_j(Y), the mean rejections of each node at loads 0 … 511, and the nodes that they are of."""

    nodes: Float[Array, "N 4"]  # T_w, T_c, T_I and M
    lost: Float[Array, "N L"]
    max_instances: int = struct.field(pytree_node=False)

    @classmethod
    def empty(cls, num_nodes: int, max_instances: int) -> "LossTable":
        """The table of no nodes yet."""
        return cls(jnp.full((num_nodes, 4), jnp.nan, jnp.float32), jnp.zeros((num_nodes, _TABLED)), max_instances)

    def fitted(self, params: Params) -> "LossTable":
        """The table of the nodes in `params`: this one, where it is of them already, at no cost."""
        return while_any(_is_of_others, _tabulate, params, self)

    def at(self, load: Int[Array, "N W"], params: Params) -> Float[Array, "N W"]:
        """R_j at any loads ≥ 0; `params` must be those that the table is fitted to."""
        known = jnp.take_along_axis(self.lost, jnp.minimum(load, _TABLED - 1), axis=1)
        work_out = partial(_work_out, self.max_instances)
        first = (jnp.any(load >= _TABLED), known)
        return while_any(lambda constants, now: now[0], work_out, (load, params), first)[1]


def _work_out(max_instances: int, constants: tuple[Any, Params], now: tuple[Any, Any]) -> tuple[Any, Any]:
    """Rejections at the loads that are in no table; see `_rejections` for what `now` has to do with them."""
    load, params = constants
    worked_out = _rejections(now[0], load, params, max_instances)
    return jnp.zeros_like(now[0]), jnp.where(load < _TABLED, now[1], worked_out)


def _is_of_others(params: Params, table: LossTable) -> Bool[Array, ""]:
    return jnp.any(table.nodes != _nodes(params))


def _nodes(params: Params) -> Float[Array, "N 4"]:
    columns = [params.warm_time, params.cold_time, params.idle_time, params.instances]
    return jnp.stack(columns, axis=1, dtype=jnp.float32)


def _tabulate(params: Params, table: LossTable) -> LossTable:
    load = jnp.broadcast_to(jnp.arange(_TABLED, dtype=jnp.int32), table.lost.shape)
    needed = _is_of_others(params, table)
    lost = jnp.where(needed, _rejections(needed, load, params, table.max_instances), table.lost)
    return LossTable(_nodes(params), lost, table.max_instances)


def _rejections(
    needed: Bool[Array, ""], load: Int[Array, "N W"], params: Params, max_instances: int
) -> Float[Array, "N W"]:
    """R_j at loads, where that is `needed`.

    In a loop this must follow from its carry: of constants alone, the compiler takes it out of the loop, which then
    costs as much where it never turns.
    """
    rate = jnp.where(needed, load, 0).astype(jnp.float32)
    warm_time, cold_time, idle_time, instances = (
        jnp.broadcast_to(each[:, None], rate.shape)
        for each in (params.warm_time, params.cold_time, params.idle_time, params.instances)
    )
    return rate * service.perform(rate, warm_time, cold_time, idle_time, instances, max_instances).reject_prob


@struct.dataclass
class Optimum:
    """The best flow of one step."""

    flow: Int[Array, "N N"]  # f: requests from i to j
    refused: Int[Array, " N"]  # z
    utility: Float[Array, ""]  # u: per request; 0 where there are none
    is_bound: Bool[Array, ""]  # whether no action has a higher utility: R_j are convex, and lateness has no price


class _Network(NamedTuple):
    """What stays the same while requests are moved."""

    table: LossTable
    params: Params
    legal: Bool[Array, "N A"]
    hops: Int[Array, "N A"]  # 1 where a request of node i at j is forwarded, which costs c_f; 0 if that is nothing


def optimum(inputs: Int[Array, " N"], table: LossTable, params: Params) -> Optimum:
    """The best flow of requests that come to N nodes; `table` must be fitted to `params`.

    Exact but for float32; a c_f below 10⁻⁶ of the other costs is nothing to it. It bounds the utility of games with
    rejections in the mean (`expected`) alone. Whether R_j are convex is checked at all loads in the table that can come
    about.
    """
    num_nodes = inputs.shape[0]
    elsewhere = jnp.ones((num_nodes, num_nodes), jnp.int32) - jnp.eye(num_nodes, dtype=jnp.int32)
    hops = jnp.concatenate([elsewhere, jnp.zeros((num_nodes, 1), jnp.int32)], axis=1)
    largest = 1 + jnp.maximum(params.loss_cost, params.refusal_cost)
    counts = params.forwarding_cost >= _LEAST_GAIN * largest  # else float32 would at times call unequal paths equal
    network = _Network(table, params, legal_shares(params.adjacency), jnp.where(counts, hops, 0))
    at_home = jnp.where(jnp.eye(num_nodes, num_nodes + 1, dtype=bool), inputs[:, None], 0)
    flow, _ = while_any(lambda network, now: now[1], _move, network, (at_home, jnp.bool_(True)))
    lost = table.at(jnp.sum(flow, axis=0)[:num_nodes, None], params)
    cost = (
        (1 + params.loss_cost) * jnp.sum(lost)
        + params.forwarding_cost * jnp.sum(hops * flow)
        + (1 + params.refusal_cost) * jnp.sum(flow[:, num_nodes])
    )
    total = jnp.sum(inputs)
    return Optimum(
        flow=flow[:, :num_nodes],
        refused=flow[:, num_nodes],
        utility=(total - cost) / jnp.maximum(total, 1),
        is_bound=_is_convex(table, total) & (params.lateness_cost == 0),
    )


def shares_of(best: Optimum) -> Action:
    """Shares float32 [N, N + 1] that the game splits inputs by into just this flow; all at home where nothing comes.

    Shares are weighed in steps of 2⁻¹⁵: this holds where n_i, times one more than the places it goes to, is below 2¹⁵.
    """
    amounts = jnp.concatenate([best.flow, best.refused[:, None]], axis=1)
    inputs = jnp.sum(amounts, axis=1, keepdims=True)
    at_home = jnp.eye(amounts.shape[0], amounts.shape[1])
    return jnp.where(inputs > 0, amounts / jnp.maximum(inputs, 1), at_home)


def _is_convex(table: LossTable, total: Int[Array, ""]) -> Bool[Array, ""]:
    """Whether rejections are convex in the load, up to all requests at one node."""
    bends = jnp.diff(table.lost, n=2, axis=1)
    return jnp.all((bends >= _CONVEX) | (jnp.arange(2, _TABLED) > total))


def _move(network: _Network, now: tuple[Int[Array, "N A"], Any]) -> tuple[Int[Array, "N A"], Bool[Array, ""]]:
    """Requests moved along the path that pays most for the first of them; and whether any path paid."""
    flow, _ = now
    relief, rise = _slopes(network, flow)
    paths = _shortest_paths(network, flow, relief[:, 0])
    end = jnp.argmin(paths.length(network) + rise[:, 0])
    trail = _trace(network, paths, flow, end)
    forwarding = network.params.forwarding_cost * jnp.sum(trail.moves * network.hops)
    gain = relief[trail.place] - rise[end] - forwarding * _AT_ONCE
    sure = gain - _LEAST_GAIN * (1 + jnp.abs(relief[trail.place]))
    sure = jnp.where((trail.room >= _AT_ONCE) & trail.is_path, sure, -jnp.inf)
    most = jnp.argmax(sure)
    pays = sure[most] > 0
    return flow + jnp.where(pays, jnp.asarray(_AT_ONCE)[most], 0) * trail.moves, pays


def _slopes(network: _Network, flow: Int[Array, "N A"]) -> tuple[Float[Array, "A W"], Float[Array, "A W"]]:
    """By how much the cost of each node, and of refusal, falls or rises with 1, 2, 4, … requests fewer or more.

    −∞ and ∞ where there are not so many, and where the load would leave the table, but for single requests.
    """
    table, params = network.table, network.params
    load = jnp.sum(flow, axis=0)[:, None]
    nodes, refused = load[:-1], load[-1:]
    single = _AT_ONCE == 1
    fewer = jnp.maximum(nodes - _AT_ONCE, 0)
    more = jnp.where(single, nodes + 1, jnp.minimum(nodes + _AT_ONCE, _TABLED - 1))
    lost = (1 + params.loss_cost) * table.at(jnp.concatenate([fewer, nodes, more], axis=1), params)
    less, same, greater = lost[:, : fewer.shape[1]], lost[:, fewer.shape[1]][:, None], lost[:, -more.shape[1] :]
    refusal = (1 + params.refusal_cost) * jnp.asarray(_AT_ONCE, jnp.float32)[None]
    relief = jnp.where(nodes >= _AT_ONCE, same - less, -jnp.inf)
    rise = jnp.where(single | (nodes + _AT_ONCE < _TABLED), greater - same, jnp.inf)
    return (
        jnp.concatenate([relief, jnp.where(refused >= _AT_ONCE, refusal, -jnp.inf)]),
        jnp.concatenate([rise, refusal]),
    )


class _Paths(NamedTuple):
    """The shortest path to each node, and to refusal, from whichever gains most by having a request fewer."""

    start: Float[Array, " A"]  # minus what the first place of the path gains
    hops: Int[Array, " A"]  # forwarded requests more; kept apart, so that a circle of them costs exactly nothing
    before: Int[Array, " A"]  # the place before it on the path, or nobody
    changed: Bool[Array, ""]
    rounds: Int[Array, ""]

    def length(self, network: _Network) -> Float[Array, " A"]:
        return self.start + network.params.forwarding_cost * self.hops


def _extra_hops(network: _Network, flow: Int[Array, "N A"], j: Int[Array, "..."], k: Int[Array, "..."]) -> Array:
    """By how many a move of a request of each node from j to k changes those forwarded: int32 [N, …].

    `_NEVER` where it has none there, or may not have it there.
    """
    possible = (flow[:, j] > 0) & network.legal[:, k]
    return jnp.where(possible, network.hops[:, k] - network.hops[:, j], _NEVER)


def _shortest_paths(network: _Network, flow: Int[Array, "N A"], relief: Float[Array, " A"]) -> _Paths:
    """Bellman–Ford; an arc moves requests of those for whom it is cheapest."""
    places = flow.shape[1]
    j, k = jnp.indices((places, places), sparse=True)
    arc = jnp.where(j == k, _NEVER, jnp.min(_extra_hops(network, flow, j, k), axis=0))
    nobody, no_hops = jnp.full(places, _NOBODY, jnp.int32), jnp.zeros(places, jnp.int32)
    first = _Paths(-relief, no_hops, nobody, jnp.bool_(True), jnp.int32(0))

    def goes_on(constants: tuple, paths: _Paths) -> Bool[Array, ""]:
        return paths.changed & (paths.rounds < places)

    def relax(constants: tuple, paths: _Paths) -> _Paths:
        network, arc = constants
        lengths = paths.start[:, None] + network.params.forwarding_cost * (paths.hops[:, None] + arc)
        lengths = jnp.where(arc < _NEVER, lengths, jnp.inf)
        before = jnp.argmin(lengths, axis=0).astype(jnp.int32)
        start, hops = paths.start[before], paths.hops[before] + arc[before, jnp.arange(places)]
        less = jnp.min(lengths, axis=0)
        fewer = (start != paths.start) | (hops < paths.hops)  # of one start, whatever rounding makes of lengths
        shorter = (less < paths.length(network)) & fewer
        return _Paths(
            start=jnp.where(shorter, start, paths.start),
            hops=jnp.where(shorter, hops, paths.hops),
            before=jnp.where(shorter, before, paths.before),
            changed=jnp.any(shorter),
            rounds=paths.rounds + 1,
        )

    return while_any(goes_on, relax, (network, arc), first)


class _Trail(NamedTuple):
    """A path walked back from its end."""

    place: Int[Array, ""]  # where the walk is; in the end, the start of the path
    moves: Int[Array, "N A"]  # for each request that takes the path: −1 where one leaves, 1 where one comes
    room: Int[Array, ""]  # how many requests can take it
    steps: Int[Array, ""]
    is_path: Bool[Array, ""]  # whether it leads from one place to another


def _trace(network: _Network, paths: _Paths, flow: Int[Array, "N A"], end: Int[Array, ""]) -> _Trail:
    """The path to `end`; of those for whom an arc is cheapest, whoever has most there moves."""
    places = flow.shape[1]
    nothing = jnp.zeros_like(flow)
    first = _Trail(end.astype(jnp.int32), nothing, jnp.max(flow), jnp.int32(0), jnp.bool_(False))

    def goes_on(constants: tuple, trail: _Trail) -> Bool[Array, ""]:
        _, paths, _ = constants
        return (paths.before[trail.place] != _NOBODY) & (trail.steps < places)

    def step_back(constants: tuple, trail: _Trail) -> _Trail:
        network, paths, flow = constants
        more = goes_on(constants, trail)
        place = jnp.where(more, paths.before[trail.place], trail.place)
        extra = _extra_hops(network, flow, place, trail.place)
        mover = jnp.argmax(jnp.where(extra == jnp.min(extra), flow[:, place], 0))
        moved = trail.moves.at[mover, place].add(-1).at[mover, trail.place].add(1)
        return _Trail(
            place=place,
            moves=jnp.where(more, moved, trail.moves),
            room=jnp.where(more, jnp.minimum(trail.room, flow[mover, place]), trail.room),
            steps=trail.steps + more,
            is_path=trail.is_path | more,
        )

    trail = while_any(goes_on, step_back, (network, paths, flow), first)
    return trail._replace(is_path=trail.is_path & (paths.before[trail.place] == _NOBODY))


def pooled_bound(inputs: Int[Array, " N"], params: Params, max_instances: int) -> Float[Array, ""]:
    """The best utility per request if all nodes were one, with all their instances; NaN where their times differ.

    Looser than the optimum, and blind to the graph.
    """
    total = jnp.sum(inputs)
    times = params.warm_time[0], params.cold_time[0], params.idle_time[0]
    instances, most = jnp.sum(params.instances), inputs.shape[0] * max_instances

    def cost(served: Int[Array, ""]) -> Float[Array, ""]:
        rate = served.astype(jnp.float32)
        lost = rate * service.perform(rate, *times, instances, most).reject_prob
        return (1 + params.loss_cost) * lost + (1 + params.refusal_cost) * (total - served)

    def halve(_: Any, ends: tuple[Any, Any]) -> tuple[Any, Any]:
        low, high = ends  # how many it pays to serve is at least `low` and at most `high`
        middle = (low + high + 1) // 2
        pays = cost(middle) <= cost(middle - 1)
        return jnp.where(pays, middle, low), jnp.where(pays, high, middle - 1)

    served, _ = jax.lax.fori_loop(0, 31, halve, (jnp.zeros_like(total), total))
    alike = jnp.all(_nodes(params)[:, :3] == jnp.stack(times, dtype=jnp.float32))
    return jnp.where(alike, (total - cost(served)) / jnp.maximum(total, 1), jnp.nan)
