"""Things in transit: tasks and heartbeats that arrive some rounds after they are sent.

Both are kept in rows by remaining time: row k holds what arrives in the (k+1)-th round from now, counting this round as
the first. So D rows represent delays of up to D rounds.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Int


def advance(
    rows: Int[Array, "D N"],
    launched: Int[Array, " N"],
    delay: Int[Array, "*N"],
    *,
    nothing: int = 0,
    combine: Callable = jnp.add,
) -> tuple[Int[Array, " N"], Int[Array, "D N"]]:
    """One round of travel: what arrives now, int32 [N], and the rows after this round, int32 [D, N].

    `launched` sets out with `delay` rounds to go, one number for all or one for each (0: it arrives now), and is merged
    by `combine` with whatever is in its place already; `nothing` marks an empty place and is the neutral element of
    `combine`. Counts of tasks add up; each place holds at most one heartbeat. A delay that the rows cannot represent is
    clipped to the nearest that they can, so nothing is ever lost.
    """
    delay = within_rows(delay, rows)
    empty = jnp.full_like(launched, nothing)
    max_delay = rows.shape[0]
    arriving = combine(rows[0] if max_delay else empty, jnp.where(delay == 0, launched, nothing))
    sets_out = jnp.arange(1, max_delay + 1)[:, None] == delay
    later = jnp.concatenate([rows[1:], empty[None]])[:max_delay]
    return arriving, combine(later, jnp.where(sets_out, launched, nothing))


def within_rows(delay: Int[Array, "*N"], rows: Int[Array, "D N"]) -> Int[Array, "*N"]:
    """`delay`, clipped to the range 0 … D that `rows` can represent."""
    return jnp.clip(delay, 0, rows.shape[0])
