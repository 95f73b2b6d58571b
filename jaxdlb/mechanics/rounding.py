"""Numbers that are the same wherever a compiled program computes them."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def settled(product: Float[Array, "*B"], count: Int[Array, "*B"]) -> Float[Array, "*B"]:
    """A product that is to be added to something, rounded to float32 before it is; `count` is any number ≥ 0.

    XLA computes a number again wherever it is used, and a processor may add a product without rounding it first. So one
    place may find that two times are equal where another does not. The detour over integers is free, and since the
    compiler does not know that it leads nowhere, it keeps the product apart.
    """
    nothing = jnp.minimum(count, 0)
    return jax.lax.bitcast_convert_type(jax.lax.bitcast_convert_type(product, jnp.int32) + nothing, jnp.float32)
