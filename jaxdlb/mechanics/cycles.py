"""Where in a cycle a round is, as exactly as numbers can say it, however many rounds have passed."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt32

from jaxdlb.checks import Interval

PERIOD = Interval(2)  # rounds: what turns faster cannot be told, round by round, from what turns slower

_MANTISSA_BITS, _EXPONENT_BIAS = 23, 127  # of float32
_HALF = 2.0**31  # turns are counted in 2⁻³¹: a rate of at most half a turn a round then fits into an int32


def counted(rounds: Int[Array, ""] | int) -> UInt32[Array, ""]:
    """A number of rounds as uint32, which counts on to 2³² − 1 where an int32 has wrapped around."""
    return jnp.asarray(rounds).astype(jnp.uint32)


def turns(round: Int[Array, ""], period: Float[Array, ""] | float) -> Float[Array, ""]:
    """The turns since round 0, up to whole ones, of what turns once in `period` rounds, within `PERIOD`.

    The error is below 2⁻²² turns in every round up to 2³². Round / period in float32 would be off by more than a whole
    turn in the long run, and an exact remainder of floats takes several times as long. So whole units of 2⁻³¹ turns are
    added up in integers, which wrap around as turns do, and only the part of a unit that is left over is a float.
    """
    units, rest = _rate(jnp.asarray(period, jnp.float32))
    passed = counted(round)
    whole = (passed * units.astype(jnp.uint32)).astype(jnp.int32) & np.int32(2**31 - 1)
    return (whole.astype(jnp.float32) + passed.astype(jnp.float32) * rest) / _HALF


def place(
    start: Int[Array, "*S"] | int, round: Int[Array, ""], length: int, rounds_per_sample: Int[Array, ""] | int = 1
) -> Int[Array, "*S"]:
    """Where a record of `length` samples that repeats is read: (start + ⌊round / rounds_per_sample⌋) mod length.

    It was read at `start` in round 0, with 0 ≤ start < length.
    """
    passed = counted(round) // counted(rounds_per_sample)
    sample = start + (passed % length).astype(jnp.int32)
    return jnp.where(sample < length, sample, sample - length)


def _rate(period: Float[Array, ""]) -> tuple[Int[Array, ""], Float[Array, ""]]:
    """2³¹ / period as an integer and what is left over, at most about half.

    The period is mantissa · 2^−scale. A float quotient q is right to 24 bits; what it lacks, which is
    2^(31 + scale) − q · mantissa, is below 2³¹, so that int32 holds it even where both terms wrap around.
    """
    bits = jax.lax.bitcast_convert_type(period, jnp.int32)
    mantissa = (bits & np.int32(2**_MANTISSA_BITS - 1)) | np.int32(2**_MANTISSA_BITS)
    scale = _MANTISSA_BITS + _EXPONENT_BIAS - (bits >> _MANTISSA_BITS)
    divisor = mantissa.astype(jnp.float32)
    quotient = (_HALF / period).astype(jnp.int32)
    lacking = jax.lax.shift_left(jnp.ones_like(scale), 31 + scale) - quotient * mantissa
    more = jnp.round(lacking.astype(jnp.float32) / divisor).astype(jnp.int32)
    return quotient + more, (lacking - more * mantissa).astype(jnp.float32) / divisor
