"""Distributions of non-negative numbers (times, sizes, rates): one pytree class for each, drawn by inversion.

Each has `quantile(u)`, the number below which a share u of all draws lies, and `mean()`. Numbers u uniform in [0, 1)
become draws, of any shape. `DISTRIBUTIONS` names them.
"""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import jax.numpy as jnp
from flax import struct
from jax.scipy.stats import norm
from jaxtyping import Array, Float

from jaxdlb.checks import AMOUNT, PROBABILITY, SIGNED_AMOUNT, Interval
from jaxdlb.parameters import parameter

Scalar = Float[Array, ""] | float
ABOVE_ONE = Interval(1, low_open=True)
_LEAST = 2.0**-25  # stands for 0 among uniform numbers, which are multiples of 2⁻²⁴, where 0 has no quantile


@runtime_checkable
class Distribution(Protocol):
    """A law of non-negative numbers; every implementation is a frozen pytree of arrays."""

    def quantile(self, u: Float[Array, "*S"]) -> Float[Array, "*S"]: ...

    def mean(self) -> Float[Array, ""]: ...


@struct.dataclass
class Constant:
    """Always the same."""

    value: Scalar = parameter(AMOUNT, 1.0)  # the number

    def quantile(self, u: Float[Array, "*S"]) -> Float[Array, "*S"]:
        return jnp.full(jnp.shape(u), self.value, jnp.float32)

    def mean(self) -> Float[Array, ""]:
        return jnp.asarray(self.value, jnp.float32)


@struct.dataclass
class Exponential:
    """The times between events without memory."""

    average: Scalar = parameter(AMOUNT, 1.0)  # mean

    def quantile(self, u: Float[Array, "*S"]) -> Float[Array, "*S"]:
        return -self.average * jnp.log1p(-u)

    def mean(self) -> Float[Array, ""]:
        return jnp.asarray(self.average, jnp.float32)


@struct.dataclass
class Normal:
    """max(0, X) for a normal X: what falls below 0 counts as 0, which raises the mean a little."""

    center: Scalar = parameter(SIGNED_AMOUNT, 1.0)  # mean before clamping
    std: Scalar = parameter(AMOUNT, 0.25)  # standard deviation before clamping

    def quantile(self, u: Float[Array, "*S"]) -> Float[Array, "*S"]:
        return jnp.maximum(self.center + self.std * norm.ppf(jnp.maximum(u, _LEAST)), 0.0)

    def mean(self) -> Float[Array, ""]:
        """m Φ(m/s) + s φ(m/s); max(m, 0) if s = 0."""
        ratio = self.center / jnp.maximum(self.std, 1e-30)
        return self.center * norm.cdf(ratio) + self.std * norm.pdf(ratio)


@struct.dataclass
class Uniform:
    """Anything between two ends alike."""

    low: Scalar = parameter(AMOUNT, 0.5)  # the least
    high: Scalar = parameter(AMOUNT, 1.5)  # the most

    def quantile(self, u: Float[Array, "*S"]) -> Float[Array, "*S"]:
        return self.low + (self.high - self.low) * u

    def mean(self) -> Float[Array, ""]:
        return jnp.asarray((self.low + self.high) / 2, jnp.float32)


@struct.dataclass
class Lognormal:
    """A number whose logarithm is normal: many small ones and a heavy tail."""

    average: Scalar = parameter(AMOUNT, 1.0)  # mean
    sigma: Scalar = parameter(AMOUNT, 1.0)  # standard deviation of the logarithm

    def quantile(self, u: Float[Array, "*S"]) -> Float[Array, "*S"]:
        return self.average * jnp.exp(self.sigma * norm.ppf(jnp.maximum(u, _LEAST)) - jnp.square(self.sigma) / 2)

    def mean(self) -> Float[Array, ""]:
        return jnp.asarray(self.average, jnp.float32)


@struct.dataclass
class Pareto:
    """P(X > x) = (least / x)^shape: a tail so heavy that the variance is infinite up to shape 2."""

    least: Scalar = parameter(AMOUNT, 0.5)  # the least
    shape: Scalar = parameter(ABOVE_ONE, 2.0)  # exponent of the tail; the mean is finite above 1

    def quantile(self, u: Float[Array, "*S"]) -> Float[Array, "*S"]:
        return self.least * jnp.exp(-jnp.log1p(-u) / self.shape)

    def mean(self) -> Float[Array, ""]:
        return jnp.asarray(self.least * self.shape / (self.shape - 1), jnp.float32)


@struct.dataclass
class Bimodal:
    """One of two numbers: many short ones and a few long ones, as of lookups beside scans."""

    short: Scalar = parameter(AMOUNT, 0.5)  # the usual number
    long: Scalar = parameter(AMOUNT, 5.5)  # the rare number
    long_share: Scalar = parameter(PROBABILITY, 0.1)  # probability of the rare one

    def quantile(self, u: Float[Array, "*S"]) -> Float[Array, "*S"]:
        return jnp.where(u < 1 - self.long_share, self.short, self.long).astype(jnp.float32)

    def mean(self) -> Float[Array, ""]:
        return jnp.asarray((1 - self.long_share) * self.short + self.long_share * self.long, jnp.float32)


DISTRIBUTIONS: Mapping[str, type[Distribution]] = {
    "constant": Constant,
    "exponential": Exponential,
    "normal": Normal,
    "uniform": Uniform,
    "lognormal": Lognormal,
    "pareto": Pareto,
    "bimodal": Bimodal,
}
