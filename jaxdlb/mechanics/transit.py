"""Things under way: tasks and heartbeats that arrive some rounds after they were sent.

Both are kept as rows by remaining time: row k holds what arrives in the (k+1)-th round from now, this one counted as
first, so a world that represents delays of up to D rounds keeps D rows.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Int


def advance(
    rows: Int[Array, "D N"],
    launched: Int[Array, " N"],
    delay: Int[Array, ""],
    *,
    nothing: int = 0,
    combine: Callable = jnp.add,
) -> tuple[Int[Array, " N"], Int[Array, "D N"]]:
    """One round of travel: what arrives now, int32 [N], and the rows after this round, int32 [D, N].

    `launched` sets out with `delay` rounds to go (0: it arrives now) and is `combine`d with what shares its place;
    `nothing` marks an empty place and is neutral in `combine`. Counts of tasks add up; of heartbeats there is at most
    one a place. A delay that the rows cannot represent is played as the nearest that they can: nothing is ever lost.
    """
    delay = within_rows(delay, rows)
    empty = jnp.full_like(launched, nothing)
    max_delay = rows.shape[0]
    arriving = combine(rows[0] if max_delay else empty, jnp.where(delay == 0, launched, nothing))
    sets_out = (jnp.arange(1, max_delay + 1) == delay)[:, None]
    later = jnp.concatenate([rows[1:], empty[None]])[:max_delay]
    return arriving, combine(later, jnp.where(sets_out, launched, nothing))


def within_rows(delay: Int[Array, ""], rows: Int[Array, "D N"]) -> Int[Array, ""]:
    """The delay, 0 … D, with which things travel through `rows` when told to travel `delay` rounds."""
    return jnp.clip(delay, 0, rows.shape[0])
