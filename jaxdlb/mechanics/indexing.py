"""Adding at computed indices, in whichever way is faster in XLA for the number of entries."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

FEW = 32  # up to this many entries, comparing them with every index is faster than a scatter


def add_at(x: Int[Array, " N"], index: Int[Array, " M"], amount: Bool[Array, " M"] | Int[Array, " M"]) -> Array:
    """`x` with each amount added at its index, int32 [N]; every index must be within 0 … N − 1.

    With a scatter at every size, a whole round of `dlb` takes 1.0–1.1 times as long at N = 8 … 32
    (`benchmarks.forms`).
    """
    size = x.shape[0]
    if size > FEW:
        return x.at[index].add(amount.astype(x.dtype), mode="promise_in_bounds")
    return x + jnp.sum(jnp.where(index == jnp.arange(size)[:, None], amount, 0), axis=1, dtype=x.dtype)
