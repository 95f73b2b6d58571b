"""Parameters of edge networks: the reference network, with any of its fields replaced; random graphs."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from jaxdlb import parameters, ranges
from jaxdlb.checks import LARGEST_INT, Interval, check_type
from jaxdlb.games.edge.node import TRUSTED_RATIO, check_times
from jaxdlb.games.edge.types import Params
from jaxdlb.parameters import Shorthand

_REFERENCE_LIMIT = 52  # the mean input for which the defaults of the input laws are made
_MOST_CYCLES = 4


def with_load(params: Params, load: Float[Array, ""]) -> Params:
    """The mean input limited to `load` of the mean capacity, and inputs that vary in proportion to it."""
    capacity = jnp.mean(params.instances / params.warm_time)
    most = _most_input(params.warm_time.shape[0])  # as loads and capacities may be drawn, where nothing can be refused
    limit = jnp.maximum(params.input_min, jnp.minimum(jnp.floor(load * capacity), most).astype(jnp.int32))
    factor = limit / _REFERENCE_LIMIT
    return dataclasses.replace(
        params,
        mean_input_limit=limit,
        input_max=jnp.minimum(jnp.ceil(params.input_max * factor), most).astype(jnp.int32),
        inputs=params.inputs.scaled(factor),
    )


def with_fresh_news(params: Params) -> Params:
    """The same network, where every node sends a heartbeat in every step, which its neighbours hear at once."""
    period, delay = jnp.ones_like(params.heartbeat_period), jnp.zeros_like(params.heartbeat_delay)
    return dataclasses.replace(params, heartbeat_period=period, heartbeat_delay=delay)


def with_cold_ratio(params: Params, ratio: Float[Array, "*N"]) -> Params:
    """T_c = ratio · T_w."""
    return dataclasses.replace(params, cold_time=(ratio * params.warm_time).astype(jnp.float32))


def _draw_cold_ratio(key: PRNGKeyArray, params: Params, low: float, high: float) -> Params:
    return with_cold_ratio(params, jax.random.uniform(key, params.warm_time.shape, minval=low, maxval=high))


def with_cycles(params: Params, cycles: Any, key: PRNGKeyArray | None = None) -> Params:
    """A random graph: the union of so many Hamiltonian cycles, each in a random order of the nodes.

    So the graph is connected, and no node has more than 2 · `cycles` neighbours. Without a key it is always the same.
    """
    num_nodes = params.warm_time.shape[0]
    keys = jax.random.split(jax.random.key(0) if key is None else key, _MOST_CYCLES)
    order = jax.vmap(lambda key: jax.random.permutation(key, num_nodes))(keys)
    first, second = order.ravel(), jnp.roll(order, -1, axis=1).ravel()
    counts = jnp.repeat(jnp.arange(_MOST_CYCLES) < cycles, num_nodes)
    edges = jnp.zeros((num_nodes, num_nodes), bool).at[first, second].max(counts)
    return dataclasses.replace(params, adjacency=(edges | edges.T) & ~jnp.eye(num_nodes, dtype=bool))


def _draw_cycles(key: PRNGKeyArray, params: Params, low: float, high: float) -> Params:
    count_key, graph_key = jax.random.split(key)
    return with_cycles(params, ranges.draw_numbers(count_key, (), low, high, jnp.int32), graph_key)


SHORTHANDS = {
    "cycles": Shorthand(
        allowed=Interval(1, _MOST_CYCLES, integer=True),
        default=2,
        sets=("adjacency",),
        apply=with_cycles,
        draw=_draw_cycles,
        optional=True,
        meaning="a random graph: the union of so many cycles, each through all nodes",
    ),
    "cold_ratio": Shorthand(
        allowed=Interval(1, 1e6),
        default=2.5,
        sets=("cold_time",),
        apply=with_cold_ratio,
        draw=_draw_cold_ratio,
        optional=True,
        meaning="T_c = ratio · T_w at every node",
    ),
    "load": Shorthand(
        allowed=Interval(0, 1e3, low_open=True),
        default=0.8,
        sets=("mean_input_limit",),
        apply=with_load,
        optional=True,
        meaning="limit of the mean input, as a share of the mean capacity; the input law and `input_max` scale with it",
    ),
}


def make_params(game: Any, **fields: Any) -> Params:
    """The reference network at the sizes of `game`, with `fields` replaced; see `parameters.make`.

    Raises:
        ValueError: an unknown field, an entry out of range or of the wrong length, or anything else that `validate`
            refuses.
    """
    params = parameters.make(Params, game, fields, SHORTHANDS)
    validate(params, game)
    return params


def validate(params: Params, game: Any) -> None:
    """Check every field of one network's `params`; raises ValueError with the field, the entry and the range.

    Warns where the service model is not trusted: instances that are removed soon let it start too many.
    """
    check_type("params", params, Params, "the Params of edge")
    parameters.check(params, game)
    _check_graph(np.asarray(params.adjacency))
    _check_inputs(params, game.num_nodes)
    with parameters.prefixed("inputs"):
        params.inputs.validate(game.num_nodes)
    with parameters.prefixed("bandwidth"):
        params.bandwidth.validate()
    _check_times(params)


def _most_input(num_nodes: int) -> int:
    """The largest `input_max` for which all products of whole requests fit into an int32."""
    return math.isqrt(LARGEST_INT // num_nodes)


def _check_graph(adjacency: np.ndarray) -> None:
    loops = np.flatnonzero(np.diagonal(adjacency))
    if loops.size:
        raise ValueError(f"adjacency[{loops[0]}, {loops[0]}] is True; it must be False, since a node keeps by itself")


def _check_inputs(params: Params, num_nodes: int) -> None:
    least, most, limit = (int(each) for each in (params.input_min, params.input_max, params.mean_input_limit))
    if num_nodes * most**2 > LARGEST_INT:
        allowed = _most_input(num_nodes)
        raise ValueError(f"input_max is {most}; it must be at most {allowed} with {num_nodes} nodes (N · max² < 2³¹)")
    if least > most:
        raise ValueError(f"input_min is {least}; it must be at most input_max, which is {most}")
    if 0 < limit < least:
        raise ValueError(
            f"mean_input_limit is {limit}; it must be 0, for none, or at least input_min, which is {least}"
        )


def _check_times(params: Params) -> None:
    warm, cold, idle = (np.asarray(each, np.float64) for each in (params.warm_time, params.cold_time, params.idle_time))
    suspects = *np.flatnonzero(cold < warm), *np.flatnonzero(idle < TRUSTED_RATIO * cold)
    for i in suspects[:1]:
        check_times(warm[i], cold[i], idle[i], f"[{i}]")
