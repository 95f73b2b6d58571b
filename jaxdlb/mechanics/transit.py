"""Things under way: tasks and heartbeats that arrive some rounds after they were sent.

Both are kept as rows by remaining time: row k holds what arrives in the (k+1)-th round from now, this one counted as
first, so a world that represents delays of up to D rounds keeps D rows.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int


def count_by_destination(destination: Int[Array, " N"], sent: Bool[Array, " N"]) -> Int[Array, " N"]:
    """How many of the N senders with `sent` true named each node as their `destination`: int32 [N]."""
    named = destination[:, None] == jnp.arange(destination.shape[0])
    return jnp.sum(named & sent[:, None], axis=0, dtype=jnp.int32)


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
    one a place.
    """
    places = jnp.concatenate([rows, jnp.full_like(launched, nothing)[None]])
    sets_out = (jnp.arange(places.shape[0]) == delay)[:, None]
    places = combine(places, jnp.where(sets_out, launched, nothing))
    return places[0], places[1:]
