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


def imbalance(kind: str, load: Int[Array, " N"], params: Params) -> Float[Array, " N"]:
    """Each node's share of the imbalance of ℓ_j = x_j / q_j, the expected rounds to drain node j: float32 [N].

    `variance`: (ℓ_i − ℓ̄)², `mean_absolute`: |ℓ_i − ℓ̄|, `range`: max ℓ − min ℓ for every node.
    """
    return IMBALANCES[kind](load / params.completion_prob)


def utilities(
    imbalance: Float[Array, " N"],
    load: Int[Array, " N"],
    migrated: Bool[Array, " N"],
    asked: Bool[Array, " N"],
    drops: Int[Array, " N"],
    params: Params,
) -> Float[Array, " N"]:
    """u_i = −(w_I · imbalance_i + w_H · x_i + c_m · [i migrated] + c_s · [i asked] + c_d · drops_i): float32 [N]."""
    return -(
        params.imbalance_weight * imbalance
        + params.holding_weight * load
        + params.migration_cost * migrated
        + params.steal_cost * asked
        + params.drop_cost * drops
    )


def rewards(utility: Float[Array, " N"], params: Params) -> Float[Array, " N"]:
    """(1 − κ) · u + κ · u_i, where u is the mean utility: κ = 0 is the cooperative game, κ = 1 the general-sum one."""
    return (1 - params.selfishness) * jnp.mean(utility) + params.selfishness * utility
