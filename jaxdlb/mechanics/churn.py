"""Nodes that go down and come back up."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def churn(
    number: Float[Array, " N"],
    alive: Bool[Array, " N"],
    failure_prob: Float[Array, " N"],
    repair_prob: Float[Array, " N"],
) -> Bool[Array, " N"]:
    """Which nodes are up after this round: those that are up may fail and those that are down may be repaired.

    One uniform `number` per node decides.
    """
    return alive ^ (number < jnp.where(alive, failure_prob, repair_prob))
