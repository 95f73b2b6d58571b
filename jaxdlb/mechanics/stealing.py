"""Who gets a task when several thieves ask the same victim."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from jaxdlb.mechanics.indexing import add_at, rotate, take

_NOBODY = -1
_AT_ONCE = 32  # thieves compared with each other; more of them take turns, so that N nodes cost O(N), not O(N²)


def serve_requests(
    victim: Int[Array, " N"],
    asks: Bool[Array, " N"],
    available: Int[Array, " N"],
    first_thief: Int[Array, ""],
) -> Bool[Array, " N"]:
    """Which requests are granted: bool [N].

    Thief i (where `asks`) wants one task of node `victim[i]` (0 … N − 1), which has `available` to give. Requests are
    served in cyclic order of the thief's index from `first_thief` (0 … N − 1) on, until the victim's tasks run out.
    """
    num_nodes = victim.shape[0]
    wanted = jnp.where(asks, victim, _NOBODY)
    if num_nodes <= _AT_ONCE:
        node = jnp.arange(num_nodes)
        turn = jnp.where(node < first_thief, node + num_nodes, node) - first_thief
        return _serve(available, wanted, turn)
    num_groups = -(-num_nodes // _AT_ONCE)
    in_turn = jnp.full(num_groups * _AT_ONCE, _NOBODY).at[:num_nodes].set(rotate(wanted, first_thief))

    def serve_group(left: Int[Array, " N"], wanted: Int[Array, " G"]) -> tuple[Int[Array, " N"], Bool[Array, " G"]]:
        granted = _serve(left, wanted, jnp.arange(_AT_ONCE))
        return add_at(left, jnp.maximum(wanted, 0), -granted.astype(left.dtype)), granted

    granted = jax.lax.scan(serve_group, available, in_turn.reshape(num_groups, _AT_ONCE))[1]
    return rotate(granted.ravel()[:num_nodes], num_nodes - first_thief)


def _serve(available: Int[Array, " N"], wanted: Int[Array, " G"], turn: Int[Array, " G"]) -> Bool[Array, " G"]:
    """Which of G requests are granted: those before which fewer thieves than `available` want the same victim.

    Each pair of requests is compared once: by numbers in which the victim counts first and the `turn`, below G, second.
    """
    first_of_victim = wanted * turn.shape[0]
    number = first_of_victim + turn
    is_before = (number >= first_of_victim[:, None]) & (number < number[:, None])
    rank = jnp.sum(is_before, axis=1, dtype=jnp.int32)
    return (wanted != _NOBODY) & (rank < take(available, jnp.maximum(wanted, 0)))
