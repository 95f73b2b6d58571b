"""Dividing whole things by the largest-remainder rule, in integers, so that every machine divides alike."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

FEW = 6  # up to this many entries, passing by each of them is faster than bisecting between them


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
    with_largest = _with_largest_by_one if weights.shape[-1] <= FEW else _with_largest_by_bisection
    return with_largest(base, rest, left, is_first)


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


def _with_largest_by_one(
    base: Int[Array, "*B A"], rest: Int[Array, "*B A"], left: Int[Array, "*B 1"], is_first: Bool[Array, "*B A"]
) -> Int[Array, "*B A"]:
    """`base`, and one more for the `left` largest entries of `rest`.

    Each entry has a unit until as many others as there are units have come before it. What the loop carries lies in
    memory: XLA would work out anew, for everything that reads the amounts, whatever they are made of.
    """
    num_entries = rest.shape[-1]
    place = jnp.broadcast_to(jnp.where(is_first, -1, jnp.arange(num_entries)), rest.shape)

    def pass_by(amounts: tuple[Array, Array], one: Int[Array, ""]) -> tuple[tuple[Array, Array], None]:
        amount, open_units = amounts
        other, its_place = (jax.lax.dynamic_index_in_dim(each, one, -1) for each in (rest, place))
        before = (other > rest) | ((other == rest) & (its_place < place))
        still_open = open_units - before.astype(jnp.int32)
        lost = (open_units > 0) & (still_open <= 0)
        return (amount - lost.astype(jnp.int32), still_open), None

    start = base + (left > 0).astype(jnp.int32), jnp.broadcast_to(left, rest.shape)
    (amounts, _), _ = jax.lax.scan(pass_by, start, jnp.arange(num_entries))
    return amounts


def _with_largest_by_bisection(
    base: Int[Array, "*B A"], rest: Int[Array, "*B A"], left: Int[Array, "*B 1"], is_first: Bool[Array, "*B A"]
) -> Int[Array, "*B A"]:
    """The same, by halving the range of the smallest remainder that is among the largest."""

    def narrow(ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends  # at least `left` entries are ≥ low, and fewer are ≥ high
        middle = low + (high - low) // 2
        enough = jnp.sum(rest >= middle, axis=-1, keepdims=True) >= left
        return jnp.where(enough, middle, low), jnp.where(enough, high, middle)

    ends = jnp.zeros_like(left), jnp.max(rest, axis=-1, keepdims=True) + 1
    least, _ = jax.lax.while_loop(lambda ends: jnp.any(ends[1] - ends[0] > 1), narrow, ends)
    place = jnp.where(is_first, -1, jnp.arange(rest.shape[-1]))

    def hand_out(now: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        amount, equal, among_equal = now
        its_place = jnp.where(equal, place, rest.shape[-1])
        foremost = (its_place == jnp.min(its_place, axis=-1, keepdims=True)) & (among_equal > 0)
        return amount + foremost.astype(jnp.int32), equal & ~foremost, among_equal - 1

    above = (rest > least).astype(jnp.int32)
    start = base + above, rest == least, left - jnp.sum(above, axis=-1, keepdims=True)
    return jax.lax.while_loop(lambda now: jnp.any(now[2] > 0), hand_out, start)[0]
