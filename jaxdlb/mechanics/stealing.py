"""Who gets a task when several thieves ask the same victim."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int


def serve_requests(
    victim: Int[Array, " N"],
    asks: Bool[Array, " N"],
    available: Int[Array, " N"],
    first_thief: Int[Array, ""],
) -> Bool[Array, " N"]:
    """Which requests are granted: bool [N].

    Thief i (where `asks`) wants one task of node `victim[i]`, which has `available` to give. Requests are served in
    cyclic order of the thief's index from `first_thief` on, so a request is granted when fewer thieves than
    `available` ask the same victim before it.
    """
    num_nodes = victim.shape[0]
    turn = (jnp.arange(num_nodes) - first_thief) % num_nodes
    same_victim = (victim[:, None] == victim) & asks
    asked_before = jnp.sum(same_victim & (turn < turn[:, None]), axis=1)
    return asks & (asked_before < available[victim])
