"""Playing many clusters at once: environments that start a new episode automatically when one ends."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Int, Key, PRNGKeyArray, PyTree

from jaxdlb.game import Game, TimeStep
from jaxdlb.mechanics import chance

SampleParams = Callable[[PRNGKeyArray], Any]


@struct.dataclass
class Environments:
    """E clusters being played; every leaf has the leading axis E."""

    key: Key[Array, " E"]  # each environment has its own key, so its random numbers do not depend on E
    params: PyTree
    state: PyTree
    observation: PyTree
    first: Bool[Array, " E"]  # whether the observation is the first of an episode
    steps: Int[Array, " E"]  # taken so far, in all episodes
    cut: Int[Array, " E"]  # the step at which the first episode is cut if it is still going on; 0: it is not cut


def reset(game: Game, sample_params: SampleParams, key: PRNGKeyArray, num_envs: int, stagger: int = 0) -> Environments:
    """`num_envs` clusters, each at the start of an episode, with parameters drawn by `sample_params`.

    The first episode of each is cut at a step drawn below `stagger`, as by a time limit: episodes of equal length would
    otherwise all end in the same step for ever, and metrics would rise and fall with them.
    """
    keys = jax.vmap(chance.fold_in, (None, 0))(key, jnp.arange(num_envs))
    params, state, timestep = _fresh(game, sample_params, _key_of(keys, jnp.zeros(num_envs, jnp.int32)))
    return Environments(
        key=keys,
        params=params,
        state=state,
        observation=timestep.observation,
        first=jnp.ones(num_envs, bool),
        steps=jnp.zeros(num_envs, jnp.int32),
        cut=jax.vmap(lambda key: chance.uniforms(key, 1, 1)[0][0] * stagger)(keys).astype(jnp.int32),
    )


def step(
    game: Game, sample_params: SampleParams, environments: Environments, action: PyTree
) -> tuple[Environments, TimeStep, PyTree]:
    """Play `action` in every cluster: the environments afterwards, the time steps, and the states that they led to.

    Clusters whose episode is over start a new one with newly drawn parameters; the returned time steps and states are
    those from before this reset.
    """
    keys = _key_of(environments.key, 2 * environments.steps + 1)
    state, timestep = jax.vmap(game.step)(keys, environments.state, action, environments.params)
    is_cut = environments.steps + 1 == environments.cut
    timestep = dataclasses.replace(timestep, last=timestep.last | is_cut)
    following = dataclasses.replace(
        environments,
        state=state,
        observation=timestep.observation,
        first=jnp.zeros_like(timestep.last),
        steps=environments.steps + 1,
    )
    # Episodes rarely end, so most steps avoid the cost of a reset.
    following = jax.lax.cond(
        jnp.any(timestep.last),
        lambda: _restart(game, sample_params, following, timestep.last),
        lambda: following,
    )
    return following, timestep, state


_key_of = jax.vmap(chance.fold_in)  # per environment: 0 starts it, odd numbers play, even ones restart it


def _restart(
    game: Game, sample_params: SampleParams, environments: Environments, finished: Bool[Array, " E"]
) -> Environments:
    """The environments, with a new episode started in those that have `finished`."""
    keys = _key_of(environments.key, 2 * environments.steps)
    params, state, timestep = _fresh(game, sample_params, keys)
    fresh = dataclasses.replace(
        environments, params=params, state=state, observation=timestep.observation, first=jnp.ones_like(finished)
    )
    return jax.tree.map(lambda new, old: _select(finished, new, old), fresh, environments)


def _fresh(game: Game, sample_params: SampleParams, keys: Key[Array, " E"]) -> tuple[Any, Any, TimeStep]:
    """Parameters, states and first time steps of new episodes."""
    params_keys, reset_keys = (jax.vmap(chance.fold_in, (0, None))(keys, k) for k in range(2))
    params = jax.vmap(sample_params)(params_keys)
    return params, *jax.vmap(game.reset)(reset_keys, params)


def _select(condition: Bool[Array, " E"], new: Array, old: Array) -> Array:
    return jnp.where(condition.reshape(condition.shape + (1,) * (new.ndim - 1)), new, old)
