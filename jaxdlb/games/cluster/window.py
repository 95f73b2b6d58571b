"""The next tasks to arrive: when, what they need, and among which nodes their dispatchers choose."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxdlb.games.cluster import workload
from jaxdlb.games.cluster.types import Params, State, Window
from jaxdlb.mechanics import chance

_MODULATION = 3  # folded into the key of the reset; `workload` has the smaller numbers
_LEAST_FACTOR = 1e-3  # of the law of arrivals: what comes into the window while nothing arrives is to arrive yet


def at_hand(window: Window) -> Bool[Array, " M"]:
    """Which tasks have arrived; they are the first ones."""
    return window.arrives <= 0


def start_modulation(key: PRNGKeyArray, params: Params) -> Int[Array, ""]:
    """The state of the law of arrivals at reset."""
    return params.arrival_modulation.start(chance.fold_in(key, _MODULATION))


def advance_modulation(state: State, params: Params) -> Int[Array, ""]:
    """Its state a slot later; each slot has a key that follows from that of the reset."""
    key = chance.fold_in(chance.fold_in(state.key, _MODULATION), state.clock)
    return params.arrival_modulation.advance(key, state.modulation)


def tasks(
    game: Any, key: PRNGKeyArray, first: Int[Array, ""], after: Float[Array, ""], rate: Float[Array, ""], params: Params
) -> Window:
    """The M tasks from number `first` on, which arrive at `rate` from the time `after` on; `key` is that of the reset.

    `game` has the sizes.
    """
    number = first + jnp.arange(game.num_dispatchers, dtype=jnp.int32)
    drawn = params.workload.tasks(key, number, params)
    arrives = after + jnp.cumsum(drawn.gap / rate)
    if game.episode_tasks is not None:
        arrives = jnp.where(number < game.episode_tasks, arrives, jnp.inf)
    return Window(
        arrives=arrives,
        run_time=drawn.run_time,
        cores=drawn.cores,
        memory=drawn.memory,
        task_class=drawn.task_class,
        candidates=workload.candidates(key, number, game.num_candidates, game.num_nodes),
    )


def rate(clock: Int[Array, ""], modulation: Int[Array, ""], params: Params) -> Float[Array, ""]:
    """λ times the factor of this slot, tasks a second."""
    return params.arrival_rate * jnp.maximum(params.arrival_modulation.factor(modulation, clock), _LEAST_FACTOR)


def moved_on(game: Any, state: State, params: Params) -> State:
    """The state with the tasks at hand gone from the window, and as many new ones at its end."""
    window, size = state.window, game.num_dispatchers
    gone = jnp.sum(at_hand(window), dtype=jnp.int32)
    now = rate(state.clock, state.modulation, params)
    following = tasks(game, state.key, state.index + size, window.arrives[-1], now, params)
    joined = jax.tree.map(lambda old, new: jnp.concatenate([old, new]), window, following)
    kept = jax.tree.map(lambda each: jax.lax.dynamic_slice_in_dim(each, gone, size), joined)
    return dataclasses.replace(state, window=kept, index=state.index + gone)
