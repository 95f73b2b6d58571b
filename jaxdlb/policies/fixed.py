"""Agents that a given policy plays while the others learn, as where one agent trains beside rules.

`find` gives a learner its fixed agents, `NOBODY` where all learn. The policy sees what agents see, and keeps its memory
from step to step of an episode. What was learned beside it is played beside it too: `beside` makes one policy of both.
"""

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree, Shaped

from jaxdlb.checks import Interval, check_whole
from jaxdlb.game import Game
from jaxdlb.mechanics import chance
from jaxdlb.policies.policy import Policy, check_policy

_FIXED = 0x66697864  # folded into a key of which learned agents draw: what they draw stays as it is without it
_PLAY = ("heuristic", "learned")  # kinds that act on what agents observe


@dataclasses.dataclass(frozen=True)
class Nobody:
    """No agent is fixed: everything stays as it is, at no cost."""

    def start(self, game: Game, num_envs: int) -> tuple[()]:
        """Nothing to remember."""
        return ()

    def play(
        self, game: Game, key: PRNGKeyArray, memory: Any, first: Bool[Array, " E"], seen: PyTree, action: PyTree
    ) -> tuple[Any, PyTree]:
        """The memory, and the action as it was drawn."""
        return memory, action

    def decides(self, decides: Bool[Array, "*B N"]) -> Bool[Array, "*B N"]:
        """Who had a choice to learn from."""
        return decides

    def silenced(self, log_ratios: Float[Array, "*B N K"]) -> Float[Array, "*B N K"]:
        """The logarithms of probability ratios, 0 for fixed agents."""
        return log_ratios

    def learning(self, x: Shaped[Array, "*B N"]) -> Shaped[Array, "*B L"]:
        """The entries of the agents that learn."""
        return x

    def beside(self, policy: Any) -> Any:
        """The policy as it is played."""
        return policy


NOBODY = Nobody()


@dataclasses.dataclass(frozen=True, eq=False)
class FixedAgents:
    """Of `num_agents` agents some that `policy` plays; it equals only itself, a constant in what is compiled."""

    agents: tuple[int, ...]
    policy: Policy
    num_agents: int

    def start(self, game: Game, num_envs: int) -> PyTree:
        """The policy's memory at the start of an episode in each of E environments, [E, …]."""
        return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (num_envs, *jnp.shape(leaf))), self.policy.init(game))

    def play(
        self, game: Game, key: PRNGKeyArray, memory: Any, first: Bool[Array, " E"], seen: PyTree, action: PyTree
    ) -> tuple[Any, PyTree]:
        """The memory [E, …] after a step, and the action [E, N, …] with that of the policy in its agents' places.

        `seen` are observations and parameters, `first` says where they are the first of an episode, before which the
        memory starts anew. What learned agents drew from `key` has nothing to do with what the policy draws from it.
        """
        fresh = self.policy.init(game)
        memory = jax.vmap(lambda new, old: jax.tree.map(partial(jnp.where, new), fresh, old))(first, memory)
        keys = jax.vmap(chance.fold_in, (None, 0))(jax.random.fold_in(key, _FIXED), jnp.arange(len(first)))
        memory, own = jax.vmap(self.policy.act)(keys, memory, *seen)
        return memory, jax.vmap(self.replaced)(action, own)

    def replaced(self, action: PyTree, own: PyTree) -> PyTree:
        """An action [N, …] with those of the policy, its `own`, in its agents' places."""
        return jax.tree.map(lambda one, other: jnp.where(_behind(self._is_fixed, one), other, one), action, own)

    def decides(self, decides: Bool[Array, "*B N"]) -> Bool[Array, "*B N"]:
        """Who had a choice to learn from: no fixed agent."""
        return decides & ~self._is_fixed

    def silenced(self, log_ratios: Float[Array, "*B N K"]) -> Float[Array, "*B N K"]:
        """The logarithms of probability ratios, 0 for fixed agents.

        Their actions need not be likely under the network, so that ratios might be infinite, and no mask heals those.
        """
        return jnp.where(self._is_fixed[:, None], 0.0, log_ratios)

    def learning(self, x: Shaped[Array, "*B N"]) -> Shaped[Array, "*B L"]:
        """The entries of the agents that learn."""
        return x[..., np.flatnonzero(~self._is_fixed)]

    def beside(self, policy: Any) -> "Accompanied":
        """The policy as it is played: in its agents' places by this one."""
        return Accompanied(policy, self, policy.name)

    @property
    def _is_fixed(self) -> Bool[np.ndarray, " N"]:
        return np.isin(np.arange(self.num_agents), self.agents)


Fixed = Nobody | FixedAgents


@struct.dataclass
class Accompanied:
    """A learned policy, with the agents beside which it was trained played as they were then."""

    learned: Any  # a `LearnedPolicy`, which acts for single agents too
    fixed: FixedAgents = struct.field(pytree_node=False)
    name: str = struct.field(pytree_node=False)

    kind = "learned"

    def init(self, game: Game) -> tuple[Any, Any]:
        """The memories of both policies at the start of an episode."""
        return self.learned.init(game), self.fixed.policy.init(game)

    def act(self, key: PRNGKeyArray, carry: tuple[Any, Any], observation: Any, params: Any) -> tuple[Any, Any]:
        """The next memories, and an action for every agent of one cluster."""
        of_learned, of_fixed = carry
        of_learned, action = self.learned.act(key, of_learned, observation, params)
        of_fixed, own = self.fixed.policy.act(jax.random.fold_in(key, _FIXED), of_fixed, observation, params)
        return (of_learned, of_fixed), self.fixed.replaced(action, own)

    def probabilities(self, observation: Any, params: Any) -> Float[Array, "N ..."]:
        """The probability of each action of each agent; see `LearnedPolicy.probabilities`.

        Raises:
            ValueError: one of the two policies remembers, or does not state the probabilities of its actions.
        """
        other: Any = self.fixed.policy
        if not hasattr(other, "probabilities"):
            raise ValueError(f"fixed_policy is {other.name!r}; it must state the probabilities of its actions")
        own = other.probabilities(observation, params)
        return self.fixed.replaced(self.learned.probabilities(observation, params), own)


def find(game: Game, agents: Sequence[int], policy: Any) -> Fixed:
    """The agents of `game` that `policy` plays; `NOBODY` where neither is given.

    Raises:
        ValueError: only one of the two is given, an index out of range or listed twice, no agent left to learn, or a
            policy that is none or does not act on what agents observe.
    """
    if policy is None and not agents:
        return NOBODY
    if policy is None:
        raise ValueError(f"fixed_policy is null; it must be given where fixed_agents is {list(agents)}")
    check_policy("fixed_policy", policy)
    if not agents:
        raise ValueError(f"fixed_agents is empty; it must name agents where fixed_policy is {policy.name}")
    for index, agent in enumerate(agents):
        check_whole(f"fixed_agents[{index}]", agent, Interval(0, game.num_agents - 1, integer=True))
        if agent in agents[:index]:
            raise ValueError(f"fixed_agents holds {agent} twice; it must hold each agent once")
    if len(agents) == game.num_agents:
        raise ValueError(f"fixed_agents holds all {len(agents)} agents; it must leave at least one to learn")
    if policy.kind not in _PLAY:
        raise ValueError(
            f"fixed_policy is {policy.name!r}, of the kind {policy.kind}; it must act on what agents observe, as the "
            f"kinds {' and '.join(_PLAY)} do"
        )
    return FixedAgents(tuple(sorted(agents)), policy, game.num_agents)


def _behind(mask: Bool[np.ndarray, " N"], leaf: Shaped[Array, "N ..."]) -> Bool[np.ndarray, "N ..."]:
    """A mask of agents with further axes of length 1, as many as a leaf has."""
    return mask.reshape(mask.shape + (1,) * (leaf.ndim - 1))
