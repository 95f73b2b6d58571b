"""Which thieves get a task when several ask the same victim."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from jaxdlb.mechanics import indexing

_NOBODY = -1
_AT_ONCE = 32  # the most thieves compared with each other; larger numbers take turns, so the cost is O(N), not O(N²)


def serve_requests(
    victim: Int[Array, " N"],
    asks: Bool[Array, " N"],
    available: Int[Array, " N"],
    first_thief: Int[Array, ""],
) -> Bool[Array, " N"]:
    """Which requests are granted: bool [N].

    If `asks[i]`, thief i wants one task from node `victim[i]` (0 … N − 1). Node j has `available[j]` tasks to give.
    Requests are served in cyclic order of the thief's index, starting at `first_thief` (0 … N − 1), until the victim's
    tasks run out.

    Up to 32 thieves are compared with each other; more take turns in groups of 32. Comparing all at once makes a whole
    round of `dlb` take 1.4 times as long at N = 64; sorting them makes it take 3 (N = 8) to 6 times (N = 64) as long
    (`benchmarks.forms`).
    """
    num_nodes = victim.shape[0]
    wanted = jnp.where(asks, victim, _NOBODY)
    if num_nodes <= _AT_ONCE:
        return _serve(available, wanted, turn=(jnp.arange(num_nodes) - first_thief) % num_nodes)
    num_groups = -(-num_nodes // _AT_ONCE)
    in_turn = jnp.full(num_groups * _AT_ONCE, _NOBODY).at[:num_nodes].set(jnp.roll(wanted, -first_thief))

    def serve_group(left: Int[Array, " N"], wanted: Int[Array, " G"]) -> tuple[Int[Array, " N"], Bool[Array, " G"]]:
        granted = _serve(left, wanted, turn=jnp.arange(_AT_ONCE))
        return indexing.add_at(left, jnp.maximum(wanted, 0), -granted.astype(left.dtype)), granted

    granted = jax.lax.scan(serve_group, available, in_turn.reshape(num_groups, _AT_ONCE))[1]
    return jnp.roll(granted.ravel()[:num_nodes], first_thief)


def _serve(available: Int[Array, " N"], wanted: Int[Array, " G"], turn: Int[Array, " G"]) -> Bool[Array, " G"]:
    """Which of G requests are granted: those preceded by fewer requests to the same victim than it has `available`."""
    is_before = (wanted == wanted[:, None]) & (turn < turn[:, None])
    num_before = jnp.sum(is_before, axis=1, dtype=jnp.int32)
    return (wanted != _NOBODY) & (num_before < available[wanted])  # for _NOBODY, any entry will do
