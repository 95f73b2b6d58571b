"""Reading and adding at computed indices, and counting: the ways that XLA is quick at, by the number of entries."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, Shaped

FEW = 32  # so many entries are quicker compared with each other, pair by pair, than looked up


def take(x: Int[Array, " N"], index: Int[Array, " M"]) -> Int[Array, " M"]:
    """`x[index]`; every index must be within 0 … N − 1."""
    size = x.shape[0]
    if size > FEW:
        return x.at[index].get(mode="promise_in_bounds")
    return jnp.sum(jnp.where(index[:, None] == jnp.arange(size), x, 0), axis=1, dtype=x.dtype)


def add_at(x: Int[Array, " N"], index: Int[Array, " M"], amount: Bool[Array, " M"] | Int[Array, " M"]) -> Array:
    """`x` with each amount added at its index, int32 [N]; every index must be within 0 … N − 1."""
    size = x.shape[0]
    if size > FEW:
        return x.at[index].add(amount.astype(x.dtype), mode="promise_in_bounds")
    return x + jnp.sum(jnp.where(index == jnp.arange(size)[:, None], amount, 0), axis=1, dtype=x.dtype)


def rotate(x: Shaped[Array, " N"], by: Int[Array, ""]) -> Shaped[Array, " N"]:
    """`x` from its entry `by` (0 … N) on, and the entries before that at the end."""
    return jax.lax.dynamic_slice_in_dim(jnp.concatenate([x, x]), by, x.shape[0])


def count_each(flags: Sequence[Bool[Array, " N"]]) -> list[Int[Array, ""]]:
    """How many entries of each array are true: as many arrays as fit are added up in the bit fields of one integer."""
    width = flags[0].shape[0].bit_length()
    at_once = max(31 // width, 1)
    counts = []
    for start in range(0, len(flags), at_once):
        group = flags[start : start + at_once]
        fields = sum(flag.astype(jnp.int32) << (width * place) for place, flag in enumerate(group))
        total = jnp.sum(fields)
        counts += [(total >> (width * place)) & ((1 << width) - 1) for place in range(len(group))]
    return counts
