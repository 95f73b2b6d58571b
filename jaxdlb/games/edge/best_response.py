"""The strongest rule for the edge: every node answers what others send, as it last heard, by its own cheapest split."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax.scipy.special import logit
from jaxtyping import Array, Bool, Float

from jaxdlb.games.edge.views import Observation, Own, Peer

_HALVINGS = 24  # of the interval in which the marginal cost lies: to a millionth of a request
_LEAST = 1e-6  # marginal costs are kept so far from 0 and 1 where their odds are taken


@struct.dataclass
class Memory:
    """What each node knows of the nodes around it, and what it did."""

    from_others: Float[Array, "N N"]  # [i, j]: what nodes other than i sent to j, when i last heard
    age: Float[Array, "N N"]  # of that news, in the last step
    share: Float[Array, "N N"]  # [i, j]: the share of its input that i sends to j

    @classmethod
    def empty(cls, num_nodes: int) -> "Memory":
        """Nothing heard, and everything kept."""
        nothing = jnp.zeros((num_nodes, num_nodes))
        return cls(from_others=nothing, age=nothing, share=jnp.eye(num_nodes))


def best_response(
    memory: Memory, observation: Observation, headroom: Any, width: Any, price: Any, step: Any
) -> tuple[Memory, tuple[Float[Array, " N"], Float[Array, "N N"]]]:
    """Move a `step` of the way to the split whose last request costs the same everywhere.

    A request more at a node with load Y and capacity q is taken to cost 1 / (1 + exp(−(Y / q − φ) / w)), with the
    headroom φ and the width w, and at a neighbour the price besides. Y is the own requests and those of others as last
    heard. Nodes that all answer at once overshoot, hence the step (damped best-response dynamics).
    """
    peers, inputs = observation.peers, observation.own[:, Own.INPUT]
    itself, is_known = peers[..., Peer.IS_SELF] > 0, observation.visible
    is_new = peers[..., Peer.HEARD_AGE] <= memory.age
    heard = jnp.maximum(peers[..., Peer.HEARD_LOAD] - peers[..., Peer.SENT], 0.0)
    from_others = jnp.where(is_new, heard, memory.from_others)

    def amounts(marginal: Float[Array, " N"]) -> Float[Array, "N N"]:
        at_node = marginal[:, None] - jnp.where(itself, 0.0, price)
        fill = headroom + width * logit(jnp.clip(at_node, _LEAST, 1 - _LEAST))
        amount = jnp.maximum(peers[..., Peer.CAPACITY] * fill - from_others, 0.0)
        return jnp.where(is_known & (itself | (at_node > 0)), amount, 0.0)

    best = _shares(amounts(_marginal(amounts, inputs, 1.0 + price)), itself)
    share = memory.share + step * (best - memory.share)
    return Memory(from_others, peers[..., Peer.HEARD_AGE], share), (inputs, share)


def _marginal(amounts: Callable[[Array], Array], inputs: Float[Array, " N"], most: Any) -> Float[Array, " N"]:
    """The marginal cost, at most so much, at which a node's `amounts` come to its input, by bisection."""

    def halve(_: Any, between: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = between
        middle = (low + high) / 2
        is_too_low = jnp.sum(amounts(middle), axis=1) < inputs
        return jnp.where(is_too_low, middle, low), jnp.where(is_too_low, high, middle)

    ends = (jnp.zeros_like(inputs), jnp.full_like(inputs, most))
    return jax.lax.fori_loop(0, _HALVINGS, halve, ends)[1]


def _shares(amounts: Float[Array, "N N"], itself: Bool[Array, "N N"]) -> Float[Array, "N N"]:
    """Amounts as shares of their sum; everything at home where there are none."""
    whole = jnp.sum(amounts, axis=1, keepdims=True)
    return jnp.where(whole > 0, amounts / jnp.where(whole > 0, whole, 1.0), itself)
