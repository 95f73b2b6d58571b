"""Logarithms of gamma variates, from uniform numbers and without a loop."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

NUM_CANDIDATES = 6
NUM_UNIFORMS = 2 * NUM_CANDIDATES + 1  # per variate: a normal and a uniform number per candidate, and one more
_OFFSET = 2.0**-25  # half the grid spacing of `chance.uniforms`: makes numbers in [0, 1) symmetric in (0, 1)


def standard_normal(number: Float[Array, "*B"]) -> Float[Array, "*B"]:
    """Φ⁻¹(U + 2⁻²⁵) for uniform numbers U on the multiples of 2⁻²⁴ in [0, 1); always finite.

    It is written as √2 · erf⁻¹(2U − 1 + 2⁻²⁴), where all sums are exact in float32 at both ends.
    """
    return 2**0.5 * jax.lax.erf_inv(2 * number - 1 + 2 * _OFFSET)


def log_gamma(alpha: Float[Array, "*B"], numbers: Float[Array, " 13 *B"]) -> Float[Array, "*B"]:
    """ln g for g ~ Gamma(α, 1), each from 13 uniform numbers; pathwise differentiable in α.

    ln g(α) = ln g(α + 1) + ln(V)/α: for small α, the variate itself would underflow, but its logarithm does not.
    """
    normals = standard_normal(numbers[:NUM_CANDIDATES])
    above_one = _log_gamma_above_one(alpha + 1, normals, numbers[NUM_CANDIDATES:-1])
    return above_one + jnp.log(numbers[-1] + _OFFSET) / alpha


@jax.custom_jvp
def _log_gamma_above_one(
    alpha: Float[Array, "*B"], normals: Float[Array, " C *B"], uniforms: Float[Array, " C *B"]
) -> Float[Array, "*B"]:
    """The method of Marsaglia and Tsang (2000) for α ≥ 1.05: the first of C candidates to be accepted.

    Each is accepted with probability ≥ 0.955, so all 6 fail with probability 10⁻⁸; then the last one is taken.
    """
    d = alpha - 1 / 3
    root = 1 + normals * jax.lax.rsqrt(9 * d)
    log_v = 3 * jnp.log(jnp.maximum(root, 1e-6))
    accepted = (root > 0) & (jnp.log(uniforms) < 0.5 * normals**2 + d * (1 - root**3 + log_v))
    chosen = log_v[-1]
    for k in reversed(range(len(normals) - 1)):
        chosen = jnp.where(accepted[k], log_v[k], chosen)
    return jnp.log(d) + chosen


@_log_gamma_above_one.defjvp
def _along_the_path(primals: tuple[Array, ...], tangents: tuple[Any, ...]) -> tuple[Array, Array]:
    """The implicit gradient (Figurnov et al. 2018): g moves with α so that its distribution function is constant."""
    alpha, *_ = primals
    log_g = _log_gamma_above_one(*primals)
    g = jnp.exp(log_g)
    return log_g, jax.lax.random_gamma_grad(alpha, g) / g * tangents[0]
