"""Nodes that go down and come up again."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def churn(
    number: Float[Array, " N"],
    alive: Bool[Array, " N"],
    failure_prob: Float[Array, " N"],
    repair_prob: Float[Array, " N"],
) -> Bool[Array, " N"]:
    """Who is up after this round, by a uniform `number` a node: an up node fails, a down one is repaired."""
    return alive ^ (number < jnp.where(alive, failure_prob, repair_prob))
