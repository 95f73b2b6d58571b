"""A time before which no schedule ends, where speeds are constant; and a game that takes just so long."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jaxdlb.game import Column, TimeStep
from jaxdlb.games.farm.types import Params
from jaxdlb.games.farm.utility import ideal_makespan


def makespan_bound(params: Params, cost: Float[Array, ""]) -> Float[Array, ""]:
    """T_b for tasks of that `cost` in total: the root of Σ_k s_(k) · max(T − 2ℓ − (k + 1) c, 0) = t₁ · cost.

    Speeds are sorted downwards, ℓ is the least latency: the k-th worker served begins no earlier, and the fastest are
    served first. No schedule ends before c + c₁ J + 2 ℓ either. The left side is the greatest of its sums over the
    first m workers with no maximum in them, so the root is the least of theirs.
    """
    speed = jnp.sort(params.speed)[::-1]
    away = 2 * jnp.min(params.latency)
    begins = away + params.comm_time * (1 + jnp.arange(speed.shape[0]))
    roots = (params.task_time * cost + jnp.cumsum(speed * begins)) / jnp.cumsum(speed)
    return jnp.maximum(jnp.min(roots), params.comm_time + params.comm_per_task * params.job + away)


@struct.dataclass
class UnhinderedState:
    """A job before it begins, or when it is done."""

    makespan: Float[Array, ""]
    over: Bool[Array, ""]


@dataclasses.dataclass(frozen=True)
class Unhindered:
    """An easier game than the farm, in which nobody chooses: workers are served once and compute to the end.

    Its only step takes `makespan_bound`, which says nothing (NaN) where speeds drift: a schedule may then hand out the
    most when a worker happens to be fast.
    """

    played: Any  # the farm whose jobs it does

    name = "unhindered farm"

    @property
    def num_agents(self) -> int:
        return int(self.played.num_agents)

    @property
    def dims(self) -> Mapping[str, int]:
        return dict(self.played.dims)

    @property
    def action_space(self) -> tuple[()]:
        return ()

    @property
    def observation_shapes(self) -> tuple[()]:
        return ()

    @property
    def metrics(self) -> Mapping[str, str]:
        return {"time": "time before which the job is not done", "utility": "minus that, in ideal makespans"}

    @property
    def columns(self) -> Mapping[str, Column]:
        return {
            "utility": Column("utility", "the most that it can be", lambda sums: sums["utility"]),
            "makespan": Column("makespan", "the least that it can be", lambda sums: sums["time"]),
        }

    def default_params(self, **fields: Any) -> Params:
        """As of the farm."""
        return self.played.default_params(**fields)

    def validate(self, params: Params) -> None:
        """As the farm does."""
        self.played.validate(params)

    def reset(self, key: PRNGKeyArray, params: Params) -> tuple[UnhinderedState, TimeStep[tuple[()]]]:
        """The job that the farm has by this key."""
        start = self.played.reset(key, params)[0].start
        bound = makespan_bound(params, self.played.costs.of_chunk(start, params.job, params.noise))
        state = UnhinderedState(jnp.where(params.drift == 0, bound, jnp.nan), jnp.bool_(False))
        return state, self._timestep(state, jnp.float32(0), params)

    def step(
        self, key: PRNGKeyArray, state: UnhinderedState, action: tuple[()], params: Params
    ) -> tuple[UnhinderedState, TimeStep[tuple[()]]]:
        """The whole job."""
        after = dataclasses.replace(state, over=jnp.bool_(True))
        return after, self._timestep(after, jnp.where(state.over, 0.0, state.makespan), params)

    def global_state(self, state: UnhinderedState, params: Params) -> Float[Array, " G"]:
        """The bound, float32 [1]."""
        return state.makespan[None]

    def true_observation(self, state: UnhinderedState, params: Params) -> tuple[()]:
        """Nobody acts, and nobody sees."""
        return ()

    def _timestep(self, state: UnhinderedState, elapsed: Float[Array, ""], params: Params) -> TimeStep[tuple[()]]:
        lost = elapsed / ideal_makespan(params) if self.played.objective == "makespan" else jnp.nan * elapsed
        return TimeStep(
            observation=(),
            reward=jnp.broadcast_to(-lost, (self.num_agents,)),
            discount=jnp.where(state.over, 0.0, 1.0),
            last=state.over,
            elapsed=elapsed / params.task_time,
            metrics={"time": elapsed, "utility": -lost},
        )
