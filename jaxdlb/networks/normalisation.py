"""Scaling of raw observations (tasks, rounds, probabilities) and of returns to what networks take well."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, PyTree

_CLIP = 10.0


@struct.dataclass
class Moments:
    """Running mean and variance of a pytree of features, one number for each entry of their last axis.

    Leading axes (time, environments, agents, peers) are all averaged over, so that the statistics fit any N.
    """

    count: Float[Array, ""]
    mean: PyTree
    variance: PyTree


def symlog(x: PyTree) -> PyTree:
    """sign(x) · log(1 + |x|) of every leaf, as float32: loads and ages span decades."""
    return jax.tree.map(lambda leaf: jnp.sign(leaf) * jnp.log1p(jnp.abs(leaf.astype(jnp.float32))), x)


def initial_moments(example: PyTree) -> Moments:
    """Mean 0 and variance 1 for features shaped as `example` [..., F], with no observation counted."""
    widths = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape[-1:], jnp.float32), example)
    return Moments(count=jnp.float32(0), mean=widths, variance=jax.tree.map(jnp.ones_like, widths))


def update_moments(moments: Moments, batch: PyTree) -> Moments:
    """The moments with one more batch, merged by the parallel formula of Chan, Golub and LeVeque (1979).

    Each batch counts alike, whatever its size: leaves of one batch differ in size, but share one count.
    """
    count = moments.count + 1
    share = 1 / count

    def merge(mean: Array, variance: Array, leaf: Array) -> tuple[Array, Array]:
        axes = tuple(range(leaf.ndim - 1))
        shift = jnp.mean(leaf, axes) - mean
        new_variance = (1 - share) * variance + share * jnp.var(leaf, axes) + share * (1 - share) * shift**2
        return mean + share * shift, jnp.where(moments.count == 0, jnp.var(leaf, axes), new_variance)

    merged = jax.tree.map(merge, moments.mean, moments.variance, batch)
    mean, variance = jax.tree.transpose(jax.tree.structure(batch), jax.tree.structure((0, 0)), merged)
    return Moments(count=count, mean=mean, variance=variance)


def normalise(moments: Moments, x: PyTree) -> PyTree:
    """(x − mean) / deviation of every leaf, clipped to ±10."""

    def scale(leaf: Array, mean: Array, variance: Array) -> Array:
        return jnp.clip((leaf - mean) * jax.lax.rsqrt(variance + 1e-6), -_CLIP, _CLIP)

    return jax.tree.map(scale, x, moments.mean, moments.variance)


@struct.dataclass
class ReturnScale:
    """Exponentially weighted mean and mean square of returns; `weight` tells how far they have warmed up."""

    weight: Float[Array, ""]
    mean: Float[Array, ""]
    mean_square: Float[Array, ""]


def initial_return_scale() -> ReturnScale:
    """Nothing seen yet: returns pass as they are."""
    return ReturnScale(weight=jnp.float32(0), mean=jnp.float32(0), mean_square=jnp.float32(0))


def update_return_scale(scale: ReturnScale, returns: Float[Array, "*B"], decay: Any = 0.95) -> ReturnScale:
    """The scale after one more batch of returns; `decay` is the weight of the past."""
    mix = jax.tree.map(
        lambda past, now: decay * past + (1 - decay) * now,
        scale,
        ReturnScale(jnp.float32(1), jnp.mean(returns), jnp.mean(returns**2)),
    )
    return mix


def _mean_and_deviation(scale: ReturnScale) -> tuple[Array, Array]:
    weight = jnp.maximum(scale.weight, 1e-6)
    mean = scale.mean / weight
    variance = jnp.maximum(scale.mean_square / weight - mean**2, 1e-4)
    seen = scale.weight > 0
    return jnp.where(seen, mean, 0.0), jnp.where(seen, jnp.sqrt(variance), 1.0)


def scale_returns(scale: ReturnScale, returns: Float[Array, "*B"]) -> Float[Array, "*B"]:
    """Returns in the critic's units: mean about 0, deviation about 1."""
    mean, deviation = _mean_and_deviation(scale)
    return (returns - mean) / deviation


def unscale_values(scale: ReturnScale, values: Float[Array, "*B"]) -> Float[Array, "*B"]:
    """The critic's output in units of the reward."""
    mean, deviation = _mean_and_deviation(scale)
    return values * deviation + mean
