"""Loops that end when nothing is left to do, at no cost for those in a batch that end early."""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap
from jaxtyping import Array, Bool

Carry = TypeVar("Carry")
Condition = Callable[[Any, Any], Bool[Array, ""]]
Body = Callable[[Any, Carry], Carry]


def while_any(condition: Condition, body: Body, constants: Any, carry: Carry) -> Carry:
    """`carry` after `carry = body(constants, carry)` for as long as `condition(constants, carry)`.

    Where there is nothing left to do, `body` must leave whatever of the carry is used afterwards as it is. Then a batch
    (`vmap`) goes on until the last of its members is done, and nothing has to be chosen between old and new:
    `jax.lax.while_loop` would copy every array of the carry in every turn. Neither function may close over traced
    arrays; those go into `constants`.
    """

    @custom_vmap
    def run(constants: Any, carry: Carry) -> Carry:
        return jax.lax.while_loop(lambda now: condition(constants, now), lambda now: body(constants, now), carry)

    @run.def_vmap
    def run_batch(axis_size: int, in_batched: list, constants: Any, carry: Carry) -> tuple[Carry, Any]:
        axes = jax.tree.map(lambda batched: 0 if batched else None, in_batched[0])
        carry = jax.tree.map(
            lambda leaf, batched: leaf if batched else jnp.broadcast_to(leaf, (axis_size, *jnp.shape(leaf))),
            carry,
            in_batched[1],
        )
        each = (axes, 0)
        after = while_any(
            lambda constants, now: jnp.any(jax.vmap(condition, each)(constants, now)),
            jax.vmap(body, each),
            constants,
            carry,
        )
        return after, jax.tree.map(lambda leaf: True, carry)

    return run(constants, carry)
