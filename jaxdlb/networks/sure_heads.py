"""Heads of policies that draw nothing: they act by the greatest value of a choice, or by the network's own output.

They follow the protocol of `heads`. A sample takes no random number and is the mode, whose log-probability is 0.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from jaxdlb import spaces
from jaxdlb.networks.heads import NEVER, OfBox, OfEntries


class Sure:
    """Draws nothing."""

    num_uniforms = 0
    decides: Any

    def mode(self) -> Any:
        raise NotImplementedError

    def sample(self, numbers: Float[Array, " K *B"]) -> Any:
        return self.mode()

    def entropy(self) -> Float[Array, "*B"]:
        return jnp.zeros(self.decides.shape)


@struct.dataclass
class Values(Sure, OfEntries):
    """The value of each alternative; the agent takes the legal one with the greatest, of equals the first."""

    values: Float[Array, "*B N A"]  # of illegal alternatives too
    legal: Bool[Array, "*B N A"]

    @classmethod
    def of(
        cls,
        space: spaces.Discrete,
        scores: Float[Array, "*B S"],
        free: Float[Array, "*B 0"],
        legal: Bool[Array, "*B A"],
    ) -> "Values":
        """Scores are values; at least one alternative must be legal."""
        return cls(scores.astype(jnp.float32), legal)

    def mode(self) -> Int[Array, "*B"]:
        """The legal choice with the greatest value."""
        return jnp.argmax(jnp.where(self.legal, self.values, -jnp.inf), axis=-1).astype(jnp.int32)

    def value_of(self, action: Int[Array, "*B"]) -> Float[Array, "*B"]:
        """The value of a choice."""
        return jnp.take_along_axis(self.values, action[..., None], axis=-1)[..., 0]

    def probabilities(self, greedy: bool = False) -> Float[Array, "*B A"]:
        """1 for the mode, 0 for the others."""
        return jax.nn.one_hot(self.mode(), self.values.shape[-1])

    def log_prob(self, action: Int[Array, "*B"]) -> Float[Array, "*B"]:
        return jnp.where(action == self.mode(), 0.0, NEVER)


@struct.dataclass
class DuelingValues(Values):
    """Values made of that of the state and of advantages: V + A − mean of A over the legal choices of that state."""

    @staticmethod
    def num_scores(space: spaces.Discrete) -> int:
        return space.num_choices + 1

    @classmethod
    def of(
        cls,
        space: spaces.Discrete,
        scores: Float[Array, "*B S"],
        free: Float[Array, "*B 0"],
        legal: Bool[Array, "*B A"],
    ) -> "DuelingValues":
        """Scores are the advantages, then the value of the state (Wang et al. 2016, arXiv:1511.06581, equation 9)."""
        advantages, state = jnp.split(scores.astype(jnp.float32), [space.num_choices], axis=-1)
        mean = jnp.mean(advantages, axis=-1, keepdims=True, where=legal)
        return cls(state + advantages - mean, legal)


@struct.dataclass
class Deterministic(Sure, OfBox):
    """A score for each entry, squashed into a Box: its middle plus tanh(score) times half its width."""

    score: Float[Array, "*B N S"]
    legal: Bool[Array, "*B N"]
    low: float = struct.field(pytree_node=False)
    high: float = struct.field(pytree_node=False)

    @classmethod
    def of(
        cls, space: spaces.Box, scores: Float[Array, "*B S"], free: Float[Array, "*B 0"], legal: Bool[Array, "*B"]
    ) -> "Deterministic":
        return cls(scores.astype(jnp.float32), legal, space.low, space.high)

    def mode(self) -> Float[Array, "*B S"]:
        return self.squash(self.score)

    def log_prob(self, action: Float[Array, "*B S"]) -> Float[Array, "*B"]:
        return jnp.where(jnp.all(action == self.mode(), axis=-1), 0.0, NEVER)
