"""What nodes hear of each other, and how old it is.

Heard loads and ages are [N] where all receivers hear the same (row `j` serves everyone) and [N, N] where each link
may lose a heartbeat of its own (entry [i, j]: what i heard of j).
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxdlb.mechanics import chance

NOTHING_SENT = -1


def sends_now(
    round: Int[Array, ""], phase: Int[Array, " N"], period: Int[Array, ""], alive: Bool[Array, " N"]
) -> Bool[Array, " N"]:
    """Who sends a heartbeat at the end of this round: up nodes with (round − phase) mod period = 0.

    Both sides have a remainder of their own, since that of the phase stays the same from round to round, so that
    compilers take it out of the loop: with a single one a whole round of `dlb` takes 1.04–1.13 times as long
    (`benchmarks.forms`).
    """
    return alive & (phase % period == round % period)


def hear_shared(
    heard_load: Int[Array, " N"], heard_age: Int[Array, " N"], arriving: Int[Array, " N"], delay: Int[Array, ""]
) -> tuple[Int[Array, " N"], Int[Array, " N"]]:
    """Heard load and age after this round's heartbeats `arriving` (a load, or NOTHING_SENT), sent `delay` rounds ago.

    What is not refreshed is one round older.
    """
    return _refresh(heard_load, heard_age, arriving, delay, arriving != NOTHING_SENT)


def hear_per_link(
    key: PRNGKeyArray,
    heard_load: Int[Array, "N N"],
    heard_age: Int[Array, "N N"],
    arriving: Int[Array, " N"],
    delay: Int[Array, ""],
    loss: Float[Array, ""],
    load: Int[Array, " N"],
) -> tuple[Int[Array, "N N"], Int[Array, "N N"]]:
    """As `hear_shared`, but each receiver loses each heartbeat with probability `loss`, independently.

    A node needs no news of itself: the diagonal is its true `load`, age 0.
    """
    num_links = heard_load.size
    numbers = jnp.concatenate(chance.uniforms(key, 2, (num_links + 1) // 2))[:num_links]
    kept = numbers.reshape(heard_load.shape) >= loss
    heard_load, heard_age = _refresh(heard_load, heard_age, arriving, delay, kept & (arriving != NOTHING_SENT))
    own = jnp.eye(load.shape[0], dtype=bool)
    return jnp.where(own, load, heard_load), jnp.where(own, 0, heard_age)


def _refresh(
    heard_load: Int[Array, "*I N"],
    heard_age: Int[Array, "*I N"],
    arriving: Int[Array, " N"],
    delay: Int[Array, ""],
    heard: Bool[Array, "*I N"],
) -> tuple[Int[Array, "*I N"], Int[Array, "*I N"]]:
    return jnp.where(heard, arriving, heard_load), jnp.where(heard, delay, heard_age + 1)
