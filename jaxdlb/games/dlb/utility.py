"""Malcolm's utility: load imbalance plus linear costs of migrations, steal requests and drops."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxdlb.games.dlb.types import Params


def _variance(drain_time: Float[Array, " N"]) -> Float[Array, " N"]:
    return jnp.square(drain_time - jnp.mean(drain_time))


def _mean_absolute(drain_time: Float[Array, " N"]) -> Float[Array, " N"]:
    return jnp.abs(drain_time - jnp.mean(drain_time))


def _range(drain_time: Float[Array, " N"]) -> Float[Array, " N"]:
    return jnp.broadcast_to(jnp.max(drain_time) - jnp.min(drain_time), drain_time.shape)


IMBALANCES = {"variance": _variance, "mean_absolute": _mean_absolute, "range": _range}


def bound_for(load: Int[Array, " N"], in_transit: Int[Array, "D N"]) -> Int[Array, " N"]:
    """y_j = x_j + Σ_k in_transit[k, j]: the tasks at node j, and those in transit to it: int32 [N].

    If nobody were charged for tasks in transit, juggling them would lower the imbalance.
    """
    return load + jnp.sum(in_transit, axis=0)


def imbalance(kind: str, bound: Int[Array, " N"], params: Params) -> Float[Array, " N"]:
    """Each node's share of the imbalance of ℓ_j = y_j / q_j, the expected rounds to drain node j: float32 [N].

    `bound` is y, as `bound_for` gives it.

    `variance`: (ℓ_i − ℓ̄)², `mean_absolute`: |ℓ_i − ℓ̄|, `range`: max ℓ − min ℓ for every node.
    """
    return IMBALANCES[kind](bound / params.completion_prob)


def utilities(
    imbalance: Float[Array, " N"],
    bound: Int[Array, " N"],
    migrated: Bool[Array, " N"],
    asked: Bool[Array, " N"],
    drops: Int[Array, " N"],
    params: Params,
) -> Float[Array, " N"]:
    """u_i = −(w_I · imbalance_i + w_H · y_i + c_m · [i migrated] + c_s · [i asked] + c_d · drops_i): float32 [N]."""
    return -(
        params.imbalance_weight * imbalance
        + params.holding_weight * bound
        + params.migration_cost * migrated
        + params.steal_cost * asked
        + params.drop_cost * drops
    )
