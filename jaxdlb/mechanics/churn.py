"""Nodes that go down and come up again."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def churn(
    number: Float[Array, " N"],
    alive: Bool[Array, " N"],
    failure_prob: Float[Array, " N"],
    repair_prob: Float[Array, " N"],
) -> tuple[Bool[Array, " N"], Float[Array, " N"]]:
    """Who is up after this round, by a uniform `number` a node: an up node fails, a down one is repaired.

    Also what is left of the numbers: where a number fell says nothing of its place within that part of [0, 1), which,
    stretched, is uniform again and independent of who is up. Where nothing can fail it is the number itself.
    """
    change_prob = jnp.where(alive, failure_prob, repair_prob)
    changes = number < change_prob
    left = jnp.where(changes, number, number - change_prob) / jnp.where(changes, change_prob, 1 - change_prob)
    return alive ^ changes, left
