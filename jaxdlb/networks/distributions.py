"""Categorical choices under legal masks: a masked-out choice carries no probability, no log-probability, no entropy."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

_NEVER = -1e9  # finite, so that gradients of a softmax over it stay finite too


def masked_log_probs(logits: Float[Array, "*B A"], legal: Bool[Array, "*B A"]) -> Float[Array, "*B A"]:
    """Log-probabilities of the legal choices; illegal ones hold a large negative number. At least one must be legal."""
    return jax.nn.log_softmax(jnp.where(legal, logits.astype(jnp.float32), _NEVER))


def sample(number: Float[Array, "*B"], log_probs: Float[Array, "*B A"]) -> Int[Array, "*B"]:
    """The choice that a uniform `number` draws, by inversion: one number, however many alternatives. Never illegal."""
    cumulative = jnp.cumsum(jnp.exp(log_probs), axis=-1)
    # The factor keeps the target below the total after rounding, so that some entry always exceeds it.
    target = number * (1 - 2**-20) * cumulative[..., -1]
    return jnp.argmax(cumulative > target[..., None], axis=-1).astype(jnp.int32)


def mode(log_probs: Float[Array, "*B A"]) -> Int[Array, "*B"]:
    """The likeliest choice."""
    return jnp.argmax(log_probs, axis=-1).astype(jnp.int32)


def log_prob(log_probs: Float[Array, "*B A"], choice: Int[Array, "*B"]) -> Float[Array, "*B"]:
    """The log-probability of `choice`."""
    return jnp.take_along_axis(log_probs, choice[..., None], axis=-1)[..., 0]


def entropy(log_probs: Float[Array, "*B A"]) -> Float[Array, "*B"]:
    """−Σ p log p in nats; illegal choices add nothing, since p is exactly 0 there."""
    probs = jnp.exp(log_probs)
    return -jnp.sum(jnp.where(probs > 0, probs * log_probs, 0.0), axis=-1)
