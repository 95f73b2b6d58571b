"""Sums over tasks, as products with vectors: the processor then works through several entries at a time.

XLA adds up what it computes on the way one by one, which takes four times as long on a CPU.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxdlb.games.cluster.types import CLASSES

_EXACT = jax.lax.Precision.HIGHEST  # accelerators would round numbers to a few digits first


def products(rows: Float[Array, "..."], columns: Float[Array, "..."]) -> Float[Array, "..."]:
    """Sums of products, each as exact as float32 is; the last axis of one with the first of the other."""
    return jnp.dot(rows, columns, precision=_EXACT)


def over_slots(each: Float[Array, "N Q"]) -> Float[Array, " N"]:
    """The sum over the slots of each node."""
    return products(each, jnp.ones(each.shape[1]))


def by_class(
    task_class: Int[Array, "*S"], **each: Float[Array, "*S"] | Bool[Array, "*S"]
) -> dict[str, Float[Array, " 3"]]:
    """The sums over the tasks of each class, by name."""
    is_of = (task_class.ravel() == jnp.arange(len(CLASSES))[:, None]).astype(jnp.float32)
    return {name: products(is_of, x.ravel().astype(jnp.float32)) for name, x in each.items()}
