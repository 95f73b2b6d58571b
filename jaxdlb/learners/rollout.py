"""Playing many clusters at once: environments with automatic reset, and what a learner keeps of each step."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int, Key, PRNGKeyArray, PyTree

from jaxdlb.game import Game, TimeStep
from jaxdlb.mechanics import chance
from jaxdlb.networks.normalisation import Moments

SampleParams = Callable[[PRNGKeyArray], Any]


@struct.dataclass
class Environments:
    """E clusters under way; every leaf has the leading axis E."""

    key: Key[Array, " E"]  # the environment's own key: its random numbers do not depend on E
    params: PyTree
    state: PyTree
    observation: PyTree
    first: Bool[Array, " E"]  # the observation is the first of an episode
    steps: Int[Array, " E"]  # taken so far, over all episodes


def start(game: Game, sample_params: SampleParams, key: PRNGKeyArray, num_envs: int) -> Environments:
    """`num_envs` clusters at the start of an episode each, their parameters drawn by `sample_params`."""
    keys = jax.vmap(chance.fold_in, (None, 0))(key, jnp.arange(num_envs))

    def begin(key: PRNGKeyArray) -> Environments:
        params, state, timestep = _fresh(game, sample_params, chance.fold_in(key, 0))
        return Environments(key, params, state, timestep.observation, jnp.bool_(True), jnp.int32(0))

    return jax.vmap(begin)(keys)


def step(
    game: Game, sample_params: SampleParams, environments: Environments, action: PyTree
) -> tuple[Environments, TimeStep, PyTree]:
    """Play `action` in every cluster: the environments afterwards, the time steps, and the states that they ended in.

    Clusters whose episode is over begin a new one, with parameters drawn anew; time steps and states are those
    before that.
    """
    key_of = jax.vmap(chance.fold_in)  # of an environment: 0 begins it, odd numbers play, even ones reset
    keys = key_of(environments.key, 2 * environments.steps + 1)
    state, timestep = jax.vmap(game.step)(keys, environments.state, action, environments.params)
    played = dataclasses.replace(
        environments,
        state=state,
        observation=timestep.observation,
        first=jnp.zeros_like(timestep.last),
        steps=environments.steps + 1,
    )

    def restart_finished(played: Environments) -> Environments:
        reset_keys = key_of(environments.key, 2 * environments.steps + 2)
        params, fresh_state, fresh = jax.vmap(lambda key: _fresh(game, sample_params, key))(reset_keys)
        fresh_environments = dataclasses.replace(
            played, params=params, state=fresh_state, observation=fresh.observation, first=jnp.ones_like(played.first)
        )
        return jax.tree.map(lambda new, old: _where(timestep.last, new, old), fresh_environments, played)

    # Episodes seldom end: most steps do without the cost of a reset.
    following = jax.lax.cond(jnp.any(timestep.last), restart_finished, lambda played: played, played)
    return following, timestep, state


def _fresh(game: Game, sample_params: SampleParams, key: PRNGKeyArray) -> tuple[Any, Any, TimeStep]:
    params_key, reset_key = jax.random.split(key)
    params = sample_params(params_key)
    return params, *game.reset(reset_key, params)


def _where(condition: Bool[Array, " E"], new: Array, old: Array) -> Array:
    return jnp.where(condition.reshape(condition.shape + (1,) * (new.ndim - 1)), new, old)


@struct.dataclass
class Rollout:
    """What a learner keeps of T steps in E environments; leading axes [T, E], then the agent N where there is one."""

    views: dict[str, PyTree]  # what agents saw and what a critic may see, normalised as the networks took it
    seen: dict[str, Moments]  # the moments [T] of both before that
    legal: PyTree
    first: Bool[Array, "T E"]
    action: list[Int[Array, "T E N"]]
    log_prob: Float[Array, "T E N"]
    value: Float[Array, "T E N"]
    next_value: Float[Array, "T E N"]
    reward: Float[Array, "T E N"]
    discount: Float[Array, "T E"]
    last: Bool[Array, "T E"]
    metrics: dict[str, Array]
