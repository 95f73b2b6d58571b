"""A time before which no schedule ends, where speeds are constant and nobody fails or joins."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdlb.games.farm.types import Params


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
