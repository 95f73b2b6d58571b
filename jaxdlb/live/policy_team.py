"""Agents that act by a policy, learned or a rule."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxdlb.live.seats import Outcome, SeatedTeam, Seen
from jaxdlb.policies import check_policy
from jaxdlb.policies.learned import LearnedPolicy


class PolicyAlgorithm(SeatedTeam):
    """The agents of a game, who act by `policy`: `team.agent(name)` is one of them.

    What the policy remembers, such as the batch of a rule, is the team's, and is forgotten where an episode ends. One
    compiled call decides for all; it is compiled here, and not again as agents join and leave. `params` are those of
    the game that the running system is taken to be.

    Raises:
        ValueError: the policy is none or an oracle, it does not fit the game, or the game refuses the `params`.
    """

    is_learning = False

    def __init__(self, policy: Any, game: Any, params: Any, seed: int = 0) -> None:
        super().__init__(game)
        check_policy("policy", policy)
        if policy.kind == "oracle":
            raise ValueError(f"policy is {policy.name!r}, an oracle; it must act on what agents observe")
        game.validate(params)
        self.policy = policy
        self._fresh = self._memory = self._memory_before = policy.init(game)
        self._key, self._num_steps = jax.random.key(seed), 0
        self._params = params
        self._act, self._probable = jax.jit(self._decided), jax.jit(self._probabilities)
        own, legal = np.zeros_like(self._own), np.arange(self._legal.shape[1]) == np.zeros((game.num_agents, 1))
        jax.block_until_ready(self._act(self._memory, own, legal, 0))

    def choose(self, seen: Seen) -> Int[np.ndarray, " N"]:
        """The policy's choices; it remembers what it makes of this step."""
        self._memory_before = self._fresh if seen.first else self._memory
        self._memory, action = self._act(self._memory_before, seen.own, seen.legal, self._num_steps)
        self._num_steps += 1
        return np.asarray(action)

    def end_step(self, outcome: Outcome) -> None:
        """Nothing is learned."""

    def probabilities(self, seen: Seen, *, is_chosen: bool) -> Float[np.ndarray, "N A"]:
        """As the policy states them; of a rule that states none, 1 for the choice that it makes."""
        memory = self._memory_before if is_chosen else self._fresh if seen.first else self._memory
        return np.asarray(self._probable(memory, seen.own, seen.legal, self._num_steps - is_chosen))

    def _decided(
        self, memory: Any, own: Float[Array, "N F"], legal: Bool[Array, "N A"], step: int | Int[Array, ""]
    ) -> tuple[Any, Int[Array, " N"]]:
        key = jax.random.fold_in(self._key, step)
        return self.policy.act(key, memory, self._observation(own, legal), self._params)

    def _probabilities(
        self, memory: Any, own: Float[Array, "N F"], legal: Bool[Array, "N A"], step: int | Int[Array, ""]
    ) -> Float[Array, "N A"]:
        observation = self._observation(own, legal)
        if isinstance(self.policy, LearnedPolicy):
            return self.policy.probabilities(observation, self._params, memory)
        if hasattr(self.policy, "probabilities"):
            return self.policy.probabilities(observation, self._params)
        _, action = self._decided(memory, own, legal, step)
        return (action[:, None] == jnp.arange(legal.shape[1])).astype(jnp.float32)

    def _observation(self, own: Float[Array, "N F"], legal: Bool[Array, "N A"]) -> Any:
        return type(self.game.observation_shapes)(own=own, legal=legal)
