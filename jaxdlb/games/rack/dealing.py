"""How the central load balancer deals tasks to nodes; it knows nothing of their loads."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int

from jaxdlb.checks import AMOUNT
from jaxdlb.parameters import parameter
from jaxdlb.policies.choice import pick_weighted


@runtime_checkable
class Dealing(Protocol):
    """A rule by which tasks are dealt; every implementation is a frozen pytree of arrays."""

    def deal(self, numbers: Float[Array, " A"], turn: Int[Array, ""], num_nodes: int) -> Int[Array, " A"]:
        """The nodes of the next tasks, where `turn` tasks (modulo N) were dealt before; int32 [A]."""
        ...


@struct.dataclass
class RoundRobin:
    """Each node in turn."""

    def deal(self, numbers: Float[Array, " A"], turn: Int[Array, ""], num_nodes: int) -> Int[Array, " A"]:
        return (turn + jnp.arange(numbers.shape[0], dtype=jnp.int32)) % num_nodes


@struct.dataclass
class AtRandom:
    """Any node, with equal probability."""

    def deal(self, numbers: Float[Array, " A"], turn: Int[Array, ""], num_nodes: int) -> Int[Array, " A"]:
        return jnp.floor(numbers * num_nodes).astype(jnp.int32)


@struct.dataclass
class Weighted:
    """A node with probability ∝ its weight; at least one weight is above 0."""

    weights: Float[Array, " N"] = parameter(AMOUNT)  # weight of each node

    def deal(self, numbers: Float[Array, " A"], turn: Int[Array, ""], num_nodes: int) -> Int[Array, " A"]:
        return pick_weighted(numbers, jnp.broadcast_to(self.weights, (*numbers.shape, num_nodes)))


DEALINGS: Mapping[str, type[Dealing]] = {"round_robin": RoundRobin, "at_random": AtRandom, "weighted": Weighted}
