"""Actions in Boxes as learners of continuous control read them: each box stretched to [−1, 1], side by side.

An agent that may not act has zeros there, whatever the box. An actor whose boxes are `stretched` has the same
parameters and speaks in these units, so that log-probabilities are those of them, too.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PyTree

from jaxdlb.networks import Actor
from jaxdlb.spaces import Box

Boxes = Sequence[Any]  # each a `Box`, in the order of the action's leaves


def stretched(actor: Actor) -> Actor:
    """The actor, with every box stretched to [−1, 1]."""
    boxes: Boxes = actor.action_spaces
    units = tuple(Box(-1.0, 1.0, box.size) for box in boxes)
    return dataclasses.replace(actor, action_spaces=units)


def size(boxes: Boxes) -> int:
    """S, the entries of all boxes."""
    return sum(box.size for box in boxes)


def beside(parts: PyTree) -> Float[Array, "*B N S"]:
    """The entries of an action whose leaves are [*B, N, size]."""
    return jnp.concatenate(jax.tree.leaves(parts), axis=-1)


def told(boxes: Boxes, action: PyTree, legal: PyTree) -> Float[Array, "*B N S"]:
    """An action of the game in units of [−1, 1]."""
    leaves, masks = jax.tree.leaves(action), jax.tree.leaves(legal)
    return beside([_told(box, leaf, mask) for box, leaf, mask in zip(boxes, leaves, masks, strict=True)])


def played(boxes: Boxes, units: Float[Array, "*B N S"], legal: PyTree) -> Any:
    """The action of the game that units of [−1, 1] stand for."""
    masks, treedef = jax.tree.flatten(legal)
    parts = jnp.split(units, np.cumsum([box.size for box in boxes])[:-1], axis=-1)
    return jax.tree.unflatten(
        treedef, [_played(box, part, mask) for box, part, mask in zip(boxes, parts, masks, strict=True)]
    )


def masked(boxes: Boxes, units: Float[Array, "*B N S"], legal: PyTree) -> Float[Array, "*B N S"]:
    """The units, with zeros for whoever may not act."""
    masks = jax.tree.leaves(legal)
    each = [jnp.repeat(mask[..., None], box.size, axis=-1) for box, mask in zip(boxes, masks, strict=True)]
    return jnp.where(jnp.concatenate(each, axis=-1), units, 0.0)


def _told(box: Any, action: Float[Array, "*B N S"], legal: Bool[Array, "*B N"]) -> Float[Array, "*B N S"]:
    return jnp.where(legal[..., None], 2 * (action - box.low) / (box.high - box.low) - 1, 0.0)


def _played(box: Any, units: Float[Array, "*B N S"], legal: Bool[Array, "*B N"]) -> Float[Array, "*B N S"]:
    action = jnp.clip(box.low + (box.high - box.low) * (units + 1) / 2, box.low, box.high)  # despite rounding
    return jnp.where(legal[..., None], action, 0.0)
