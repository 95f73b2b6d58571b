"""The action and the observation of a node that knows itself and has heard of its peers.

Games in which nodes dispatch and steal on stale news share them, so that heuristics and learned policies work unchanged
in any of those games.
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
    ARRIVED = 1  # 1 if a task has arrived and awaits dispatch
    COMPLETED = 2  # 1 if a task completes, which allows a steal request
    RATE = 3  # the node's speed: its probability of completing a task in a round
    ALIVE = 4  # 1 while the node is up


class Peer(enum.IntEnum):
    """Columns of `Observation.peers`."""

    LOAD = 0  # tasks, as last heard; the true number for the agent itself
    AGE = 1  # the age of that news, in rounds
    RATE = 2
    IS_SELF = 3


Leaf = TypeVar("Leaf")


@struct.dataclass
class Action(Generic[Leaf]):
    """What each node does, as node indices int32 [N]; or what belongs to each head: its space, or its mask [N, N]."""

    dispatch: Leaf  # where the arrived task goes; the node's own index keeps it
    steal: Leaf  # whom to ask for a task; the node's own index asks nobody


@struct.dataclass
class Observation:
    """What each of N agents knows; the leading axis is the agent. Values are raw: tasks, rounds, probabilities."""

    own: Float[Array, "N 5"]  # columns: Own
    peers: Float[Array, "N N 4"]  # [i, j]: what i knows about j; columns: Peer
    legal: Action  # masks, bool [N, N]: [i, k] says that agent i may choose k


def action_space(num_nodes: int) -> Action:
    """For each agent, two choices among the nodes."""
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
    """bool [N, N] masks: every node if the agent may act, otherwise only itself (the no-op)."""
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
    """Every agent's observation; `heard_…` is one row for all receivers ([N]) or one for each ([N, N])."""
    num_nodes = load.shape[0]
    itself = jnp.eye(num_nodes, dtype=bool)
    own = jnp.stack([load, arrived, completed, rate, alive], axis=-1, dtype=jnp.float32)
    columns = [jnp.where(itself, load, heard_load), jnp.where(itself, 0, heard_age), rate, itself]
    peers = jnp.stack([jnp.broadcast_to(column, itself.shape) for column in columns], axis=-1, dtype=jnp.float32)
    return Observation(own=own, peers=peers, legal=legal_actions(arrived, completed))


def play_legal(action: Action, may_dispatch: Bool[Array, " N"], may_steal: Bool[Array, " N"]) -> Action:
    """The action as it is played: an illegal choice, whatever its value, becomes the no-op (the node's own index)."""
    num_nodes = may_dispatch.shape[0]
    itself = jnp.arange(num_nodes, dtype=jnp.int32)

    def play(choice: Int[Array, " N"], may_choose: Bool[Array, " N"]) -> Int[Array, " N"]:
        is_legal = may_choose & (choice >= 0) & (choice < num_nodes)
        return jnp.where(is_legal, choice, itself).astype(jnp.int32)

    return Action(dispatch=play(action.dispatch, may_dispatch), steal=play(action.steal, may_steal))
