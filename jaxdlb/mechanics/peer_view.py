"""The action and the observation of a node that knows itself and has heard of its peers.

Games in which nodes dispatch and steal by stale news share them, so that heuristics and learned policies run in any
of those games unchanged.
"""

import enum
from typing import Any, Generic, TypeVar

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from jaxdlb.spaces import Discrete


class Own(enum.IntEnum):
    """Columns of `Observation.own`."""

    LOAD = 0  # tasks
    ARRIVED = 1  # 1 where a task arrived and waits for its dispatch
    COMPLETED = 2  # 1 where a task completes, which allows a steal request
    RATE = 3  # the node's speed: probability of completing a task in a round
    ALIVE = 4


class Peer(enum.IntEnum):
    """Columns of `Observation.peers`."""

    LOAD = 0  # tasks, as last heard; the own entry is true
    AGE = 1  # rounds since that was so
    RATE = 2
    IS_SELF = 3


Leaf = TypeVar("Leaf")


@struct.dataclass
class Action(Generic[Leaf]):
    """What each node does: node indices, int32 [N]; or what is told of each head: its space, its mask bool [N, N]."""

    dispatch: Leaf  # where the arrived task goes; own index: keep it
    steal: Leaf  # whom to ask for a task; own index: nobody


@struct.dataclass
class Observation:
    """What each of N agents knows; the leading axis is the agent. Values are raw: tasks, rounds, probabilities."""

    own: Float[Array, "N 5"]  # columns: Own
    peers: Float[Array, "N N 4"]  # [i, j]: what i knows of j; columns: Peer
    legal: Action  # masks, bool [N, N]: [i, k] says that agent i may choose k


def action_space(num_nodes: int) -> Action:
    """Two choices among the nodes for each agent."""
    over_nodes = Discrete(num_nodes, over_agents=True)
    return Action(dispatch=over_nodes, steal=over_nodes)


def observation_shapes(num_nodes: int) -> Observation:
    """The shape and type of each array of an observation, as `jax.ShapeDtypeStruct`s."""
    pairs = (num_nodes, num_nodes)
    mask: Any = jax.ShapeDtypeStruct(pairs, jnp.bool_)
    own: Any = jax.ShapeDtypeStruct((num_nodes, len(Own)), jnp.float32)
    peers: Any = jax.ShapeDtypeStruct((*pairs, len(Peer)), jnp.float32)
    return Observation(own=own, peers=peers, legal=Action(dispatch=mask, steal=mask))


def legal_actions(may_dispatch: Bool[Array, " N"], may_steal: Bool[Array, " N"]) -> Action:
    """Masks bool [N, N]: every node where the agent may act, only itself (the no-op) where it may not."""
    itself = jnp.eye(may_dispatch.shape[0], dtype=bool)
    return Action(dispatch=may_dispatch[:, None] | itself, steal=may_steal[:, None] | itself)


def observe(
    load: Int[Array, " N"],
    arrived: Bool[Array, " N"],
    completed: Bool[Array, " N"],
    rate: Float[Array, " N"],
    alive: Bool[Array, " N"],
    heard_load: Int[Array, "*I N"],
    heard_age: Int[Array, "*I N"],
) -> Observation:
    """Every agent's observation; `heard_…` is one row for all ([N]) or one a receiver ([N, N])."""
    num_nodes = load.shape[0]
    itself = jnp.eye(num_nodes, dtype=bool)
    own = jnp.stack([load, arrived, completed, rate, alive], axis=-1, dtype=jnp.float32)
    columns = [jnp.where(itself, load, heard_load), jnp.where(itself, 0, heard_age), rate, itself]
    peers = jnp.stack([jnp.broadcast_to(column, itself.shape) for column in columns], axis=-1, dtype=jnp.float32)
    return Observation(own=own, peers=peers, legal=legal_actions(arrived, completed))
