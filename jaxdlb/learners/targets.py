"""What learners of values learn towards, as plain functions of arrays, and the slow copies that it is computed from.

`discount` is γ^elapsed times the game's own discount. It alone cuts: at a time limit, which leaves it as it is, targets
bootstrap from the state that the step led to.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

from jaxdlb.learners.hyper import Scalar


def discounts(gamma: Scalar, elapsed: Float[Array, "*B"], discount: Float[Array, "*B"]) -> Float[Array, "*B"]:
    """γ^elapsed · discount, of steps of unequal length."""
    return gamma**elapsed * discount


def bellman(
    reward: Float[Array, "*B N"], discount: Float[Array, "*B"], following: Float[Array, "*B N"]
) -> Float[Array, "*B N"]:
    """r + discount · the value of what follows, for each agent."""
    return reward + discount[..., None] * following


def team_bellman(
    reward: Float[Array, "*B N"],
    discount: Float[Array, "*B"],
    following: Float[Array, "*B N"],
    present: Bool[Array, "*B N"],
    following_present: Bool[Array, "*B N"],
) -> Float[Array, "*B"]:
    """The mean reward of the agents present + discount · the sum of the values of those present in what follows."""
    mean = jnp.sum(reward * present, axis=-1) / jnp.maximum(jnp.sum(present, axis=-1), 1)
    return mean + discount * jnp.sum(following * following_present, axis=-1)


def soft_value(
    value: Float[Array, "*B N"], log_prob: Float[Array, "*B N"], temperature: Float[Array, "..."]
) -> Float[Array, "*B N"]:
    """Q − β · log π: what an action is worth with the entropy that it is drawn with."""
    return value - temperature * log_prob


def huber(error: Float[Array, "*B"]) -> Float[Array, "*B"]:
    """Half the square of an error up to 1, beyond that its size less a half: no gradient is larger than 1."""
    size = jnp.abs(error)
    return jnp.where(size <= 1, 0.5 * jnp.square(error), size - 0.5)


def follow(slow: PyTree, fast: PyTree, tau: Scalar) -> PyTree:
    """The slow copies a step later: θ̄ + τ (θ − θ̄)."""
    return jax.tree.map(lambda old, new: old + tau * (new - old), slow, fast)
