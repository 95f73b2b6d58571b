"""Malcolm's utility: load imbalance plus linear costs of migrations, steal requests and drops."""

from typing import Protocol, runtime_checkable

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


@runtime_checkable
class Costs(Protocol):
    """What a game's parameters say of costs and weights; every field is a float32 ()."""

    imbalance_weight: Float[Array, ""]
    holding_weight: Float[Array, ""]
    migration_cost: Float[Array, ""]
    steal_cost: Float[Array, ""]
    drop_cost: Float[Array, ""]


def _variance(drain_time: Float[Array, " N"]) -> Float[Array, " N"]:
    return jnp.square(drain_time - jnp.mean(drain_time))


def _mean_absolute(drain_time: Float[Array, " N"]) -> Float[Array, " N"]:
    return jnp.abs(drain_time - jnp.mean(drain_time))


def _range(drain_time: Float[Array, " N"]) -> Float[Array, " N"]:
    return jnp.broadcast_to(jnp.max(drain_time) - jnp.min(drain_time), drain_time.shape)


IMBALANCES = {"variance": _variance, "mean_absolute": _mean_absolute, "range": _range}


def imbalance(kind: str, bound: Int[Array, " N"], rate: Float[Array, " N"]) -> Float[Array, " N"]:
    """Each node's share of the imbalance of ℓ_j = y_j / q_j, the expected rounds to drain node j: float32 [N].

    `bound` is y, the tasks at a node and those in transit to it; `rate` is q, the tasks that it completes in a round.

    `variance`: (ℓ_i − ℓ̄)², `mean_absolute`: |ℓ_i − ℓ̄|, `range`: max ℓ − min ℓ for every node.
    """
    return IMBALANCES[kind](bound / rate)


def utilities(
    imbalance: Float[Array, " N"],
    bound: Int[Array, " N"] | Float[Array, " N"],
    migrated: Bool[Array, " N"] | Int[Array, " N"],
    asked: Bool[Array, " N"],
    drops: Int[Array, " N"],
    costs: Costs,
) -> Float[Array, " N"]:
    """u_i = −(w_I · imbalance_i + w_H · y_i + c_m · migrated_i + c_s · [i asked] + c_d · drops_i): float32 [N]."""
    return -(
        costs.imbalance_weight * imbalance
        + costs.holding_weight * bound
        + costs.migration_cost * migrated
        + costs.steal_cost * asked
        + costs.drop_cost * drops
    )
