"""The losses of proximal policy optimisation (Schulman et al. 2017), as plain functions of arrays."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

_MOST_LOG_RATIO = 20.0


def masked_mean(x: Float[Array, "*B"] | Bool[Array, "*B"], mask: Bool[Array, "*B"]) -> Float[Array, ""]:
    """The mean of `x` where `mask` is true; 0 if it is true nowhere."""
    return jnp.sum(x * mask) / jnp.maximum(jnp.sum(mask), 1)


def bounded_log_ratio(log_ratio: Float[Array, "*B"]) -> Float[Array, "*B"]:
    """Logarithms of probability ratios within ±20, far beyond where a loss clips, so that ratios stay finite.

    The density of a narrow normal falls by more than float32 holds where its mean moves by a few deviations.
    """
    return jnp.clip(log_ratio, -_MOST_LOG_RATIO, _MOST_LOG_RATIO)


def clipped_policy_loss(
    ratio: Float[Array, "*B N K"],
    advantage: Float[Array, "*B N K"],
    clip_epsilon: Float[Array, ""] | float,
    decides: Bool[Array, "*B N"],
) -> Float[Array, ""]:
    """−mean of Σ_k min(ratio · A, clip(ratio, 1 ± ε) · A), over the agents that had a choice (`decides`)."""
    clipped = jnp.clip(ratio, 1 - clip_epsilon, 1 + clip_epsilon)
    return -masked_mean(jnp.sum(jnp.minimum(ratio * advantage, clipped * advantage), axis=-1), decides)


def value_loss(
    value: Float[Array, "*B"],
    old_value: Float[Array, "*B"],
    target: Float[Array, "*B"],
    value_clip: Float[Array, ""] | float,
) -> Float[Array, ""]:
    """Half the mean of the larger squared error: that of the value, or of the value clipped near the old one.

    The clipped value is within ± `value_clip` of the old value.
    """
    clipped = old_value + jnp.clip(value - old_value, -value_clip, value_clip)
    return 0.5 * jnp.mean(jnp.maximum(jnp.square(value - target), jnp.square(clipped - target)))


def standardise(advantage: Float[Array, "*B"], counted: Bool[Array, "*B"]) -> Float[Array, "*B"]:
    """Advantages with mean 0 and standard deviation 1 over the agents that are `counted`."""
    mean = masked_mean(advantage, counted)
    variance = masked_mean(jnp.square(advantage - mean), counted)
    return (advantage - mean) / jnp.sqrt(variance + 1e-8)
