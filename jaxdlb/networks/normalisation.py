"""Scales raw observations (tasks, rounds, probabilities) and returns to ranges that suit networks.

Of a mapping of features by name, entries that are masks are left as they are, and have no moments.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, PyTree

_CLIP = 10.0


@struct.dataclass
class Moments:
    """Running mean and variance of a pytree of features, for each entry of the last axis.

    All leading axes (time, environments, agents, peers) are averaged over, so that the statistics fit any N.
    """

    count: Float[Array, ""]
    mean: PyTree
    variance: PyTree


def symlog(x: PyTree) -> PyTree:
    """sign(x) · log(1 + |x|) of every leaf but masks, as float32, since loads and ages span decades."""

    def compressed(leaf: Array) -> Array:
        return leaf if leaf.dtype == bool else jnp.sign(leaf) * jnp.log1p(jnp.abs(leaf.astype(jnp.float32)))

    return jax.tree.map(compressed, x)


def _numbers(x: PyTree) -> PyTree:
    """A mapping of features by name without those that are masks; anything else as it is."""
    return {name: leaf for name, leaf in x.items() if leaf.dtype != bool} if isinstance(x, Mapping) else x


def initial_moments(example: PyTree) -> Moments:
    """Mean 0 and variance 1 for features shaped like `example` [..., F], with no batch counted yet."""
    widths = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape[-1:], jnp.float32), _numbers(example))
    return Moments(count=jnp.float32(0), mean=widths, variance=jax.tree.map(jnp.ones_like, widths))


def moments_of(batch: PyTree) -> Moments:
    """The moments of one batch; its leaves may differ in size but share the count 1."""

    def over_all_but_last(statistic: Callable[..., Array]) -> PyTree:
        return jax.tree.map(lambda leaf: statistic(leaf, tuple(range(leaf.ndim - 1))), _numbers(batch))

    return Moments(count=jnp.float32(1), mean=over_all_but_last(jnp.mean), variance=over_all_but_last(jnp.var))


def pool(parts: Moments) -> Moments:
    """The moments of one batch, from those of its equally large parts, which are stacked along a leading axis."""
    mean = jax.tree.map(lambda leaf: jnp.mean(leaf, 0), parts.mean)
    variance = jax.tree.map(lambda mean, variance: jnp.var(mean, 0) + jnp.mean(variance, 0), parts.mean, parts.variance)
    return Moments(count=jnp.float32(1), mean=mean, variance=variance)


def merge(past: Moments, batch: Moments) -> Moments:
    """The moments after one more batch, by the formula of Chan, Golub and LeVeque (1979).

    Every batch has the same weight, whatever its size.
    """
    count = past.count + batch.count
    share = batch.count / count
    mean = jax.tree.map(lambda old, new: old + share * (new - old), past.mean, batch.mean)
    variance = jax.tree.map(
        lambda old, new, shift: (1 - share) * old + share * new + share * (1 - share) * shift**2,
        past.variance,
        batch.variance,
        jax.tree.map(jnp.subtract, batch.mean, past.mean),
    )
    return Moments(count=count, mean=mean, variance=variance)


def normalise(moments: Moments, x: PyTree) -> PyTree:
    """(x − mean) / standard deviation of every leaf, clipped to ±10."""

    def scale(leaf: Array, mean: Array, variance: Array) -> Array:
        return jnp.clip((leaf - mean) * jax.lax.rsqrt(variance + 1e-6), -_CLIP, _CLIP)

    scaled = jax.tree.map(scale, _numbers(x), moments.mean, moments.variance)
    return {**x, **scaled} if isinstance(x, Mapping) else scaled


@struct.dataclass
class ReturnScale:
    """Exponentially weighted mean and mean square of returns; `weight` says how far they have warmed up."""

    weight: Float[Array, ""]
    mean: Float[Array, ""]
    mean_square: Float[Array, ""]


def initial_return_scale() -> ReturnScale:
    """Nothing seen yet: returns are left as they are."""
    return ReturnScale(weight=jnp.float32(0), mean=jnp.float32(0), mean_square=jnp.float32(0))


def update_return_scale(scale: ReturnScale, returns: Float[Array, "*B"], decay: float = 0.95) -> ReturnScale:
    """The scale after one more batch of returns; `decay` is the weight of the past."""
    return jax.tree.map(
        lambda past, now: decay * past + (1 - decay) * now,
        scale,
        ReturnScale(jnp.float32(1), jnp.mean(returns), jnp.mean(returns**2)),
    )


def _mean_and_deviation(scale: ReturnScale) -> tuple[Array, Array]:
    weight = jnp.maximum(scale.weight, 1e-6)
    mean = scale.mean / weight
    variance = jnp.maximum(scale.mean_square / weight - mean**2, 1e-4)
    seen = scale.weight > 0
    return jnp.where(seen, mean, 0.0), jnp.where(seen, jnp.sqrt(variance), 1.0)


def scale_returns(scale: ReturnScale, returns: Float[Array, "*B"]) -> Float[Array, "*B"]:
    """Returns in the critic's units: mean about 0, standard deviation about 1."""
    mean, deviation = _mean_and_deviation(scale)
    return (returns - mean) / deviation


def unscale_values(scale: ReturnScale, values: Float[Array, "*B"]) -> Float[Array, "*B"]:
    """The critic's outputs in units of the reward."""
    mean, deviation = _mean_and_deviation(scale)
    return values * deviation + mean
