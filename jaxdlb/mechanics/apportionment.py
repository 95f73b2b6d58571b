"""Dividing whole things by the largest-remainder rule, in integers, so that every machine divides alike."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

FEW = 24  # up to this many entries, comparing all remainders in pairs is faster than bisecting between them


def split(
    total: Int[Array, "*B"], weights: Int[Array, "*B A"], first: Int[Array, "*B"] | int = 0
) -> Int[Array, "*B A"]:
    """`total` ≥ 0 divided in proportion to `weights` ≥ 0: int32, with the sum `total`; all 0 where all weights are.

    With W = Σw each entry gets ⌊total · w / W⌋, and the units left go, one each, to the entries with the largest
    remainders total · w mod W; of equal ones to the entry `first`, then by index. W and every product total · w must be
    below 2³¹.
    """
    whole = jnp.sum(weights, axis=-1, keepdims=True)
    base, rest = _divided(total[..., None] * weights, jnp.maximum(whole, 1))
    left = jnp.where(whole > 0, total[..., None] - jnp.sum(base, axis=-1, keepdims=True), 0)
    is_first = jnp.arange(weights.shape[-1]) == jnp.asarray(first)[..., None]
    largest = _largest_in_pairs if weights.shape[-1] <= FEW else _largest_by_bisection
    return base + largest(rest, left, is_first)


def _divided(
    dividend: Int[Array, "*B A"], divisor: Int[Array, "*B 1"]
) -> tuple[Int[Array, "*B A"], Int[Array, "*B A"]]:
    """Quotient and remainder of numbers ≥ 0 with quotients below 2²²; processors divide floats several at a time.

    The quotient of the floats is off by less than one, which the remainder shows.
    """
    guess = (dividend.astype(jnp.float32) / divisor.astype(jnp.float32)).astype(jnp.int32)
    rest = dividend - guess * divisor
    off = (rest >= divisor).astype(jnp.int32) - (rest < 0).astype(jnp.int32)
    return guess + off, rest - off * divisor


def _largest_in_pairs(rest: Int[Array, "*B A"], left: Int[Array, "*B 1"], is_first: Bool[Array, "*B A"]) -> Array:
    """1 for the `left` largest entries of `rest`, and 0 for the others, by how many come before each."""
    index = jnp.arange(rest.shape[-1])
    place = jnp.where(is_first, -1, index)
    before = place[..., None, :] < place[..., :, None]
    this, other = rest[..., :, None], rest[..., None, :]
    num_before = jnp.sum((other > this) | ((other == this) & before), axis=-1, dtype=jnp.int32)
    return (num_before < left).astype(jnp.int32)


def _largest_by_bisection(rest: Int[Array, "*B A"], left: Int[Array, "*B 1"], is_first: Bool[Array, "*B A"]) -> Array:
    """The same, by halving the range of the smallest remainder that is among the largest."""

    def narrow(ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends  # at least `left` entries are ≥ low, and fewer are ≥ high
        middle = low + (high - low) // 2
        enough = jnp.sum(rest >= middle, axis=-1, keepdims=True) >= left
        return jnp.where(enough, middle, low), jnp.where(enough, high, middle)

    ends = jnp.zeros_like(left), jnp.max(rest, axis=-1, keepdims=True) + 1
    least, _ = jax.lax.while_loop(lambda ends: jnp.any(ends[1] - ends[0] > 1), narrow, ends)
    above, equal = rest > least, rest == least
    among_equal = left - jnp.sum(above, axis=-1, keepdims=True)
    first_is_equal = jnp.any(is_first & equal, axis=-1, keepdims=True)
    others = jnp.cumsum(equal & ~is_first, axis=-1)
    chosen = equal & jnp.where(is_first, among_equal > 0, others + first_is_equal <= among_equal)
    return (above | chosen).astype(jnp.int32)
