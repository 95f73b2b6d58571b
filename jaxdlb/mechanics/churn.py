"""Nodes that go down and come up again."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray


def churn(
    key: PRNGKeyArray,
    alive: Bool[Array, " N"],
    failure_prob: Float[Array, " N"],
    repair_prob: Float[Array, " N"],
) -> Bool[Array, " N"]:
    """Who is up after this round: an up node fails with `failure_prob`, a down one is repaired with `repair_prob`."""
    changes = jax.random.uniform(key, alive.shape) < jnp.where(alive, failure_prob, repair_prob)
    return alive ^ changes
