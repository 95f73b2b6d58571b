"""The modules of networks: what is seen becomes scores from which heads are made, or values."""

from typing import Any, TypeGuard

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxdlb import spaces
from jaxdlb.networks.head_sets import HEAD_SETS, STOCHASTIC
from jaxdlb.networks.torsos import MLP, Affine, Embedding, Features

_HEAD_SCALE = 0.01  # initial scores near 0, so that all legal choices are about equally likely

# Of a network that acts: scores and free parameters for each space, and by how much scores depend on the first choice
Outputs = tuple[list[Array], list[Array], Any]


class _Heads(nn.Module):
    """The scores and free parameters from which heads of a `kind` make the distribution of each space.

    If a space's entries stand for rows of `peers` and the torso embeds these rows, each is scored from its embedding,
    with weights shared by all rows; otherwise, scores are an affine map of the agent's embedding.
    """

    action_spaces: tuple[spaces.Space, ...]
    num_shifts: int
    kind: str = STOCHASTIC

    @nn.compact
    def __call__(self, embedding: Embedding, itself: Bool[Array, "*B N"]) -> Outputs:
        scores = self._scores(embedding, itself)
        free = [self._free(index, embedding.agent) for index in range(len(self.action_spaces))]
        if not self.num_shifts:
            return scores, free, ()
        return scores, free, Affine(self.num_shifts, scale=_HEAD_SCALE, name="shifts")(embedding.agent)

    def _scores(self, embedding: Embedding, itself: Bool[Array, "*B N"]) -> list[Float[Array, "..."]]:
        pointing = [space for space in self.action_spaces if embedding.pairs is not None and is_over_rows(space)]
        rows = iter(())
        if embedding.pairs is not None and pointing:
            scored = Affine(len(pointing), scale=_HEAD_SCALE)(embedding.pairs)
            rows = iter(jnp.moveaxis(scored, -1, 0))
        return [
            _entry_scores(self._head(space), space, next(rows), embedding.agent, itself)
            if pointing and is_over_rows(space)
            else Affine(self._head(space).num_scores(space), scale=_HEAD_SCALE)(embedding.agent)
            for space in self.action_spaces
        ]

    def _free(self, index: int, agent: Float[Array, "*B H"]) -> Float[Array, "*B F"]:
        """The free parameters of a head, which do not depend on what the agent sees; [*B, 0] if it has none."""
        space = self.action_spaces[index]
        head = self._head(space)
        shape = (head.num_free(space),)
        if not shape[0]:
            return jnp.zeros((*agent.shape[:-1], 0))
        values = self.param(f"free_{index}", nn.initializers.constant(head.free_start), shape)
        return jnp.broadcast_to(values, (*agent.shape[:-1], *shape))

    def _head(self, space: spaces.Space) -> Any:
        return HEAD_SETS[self.kind][type(space)]


def is_over_rows(space: spaces.Space) -> TypeGuard[spaces.Discrete | spaces.Simplex]:
    """Whether the entries of a space stand for rows of `peers`."""
    return not isinstance(space, spaces.Box) and (space.over_agents or space.over_candidates)


def _entry_scores(
    head: Any,  # a class of `heads`
    space: spaces.Discrete | spaces.Simplex,
    rows: Float[Array, "*B P"],
    agent: Float[Array, "*B H"],
    itself: Bool[Array, "*B N"],
) -> Float[Array, "*B A"]:
    """A score for each entry, given those of the rows; entries beyond the rows are scored from the agent's embedding.

    Where scores are odds of a choice among agents, those of oneself are made independent of the number of peers. For
    shares among agents, the share that an agent keeps gets a score from its own embedding as well. Call this only
    within a module.
    """
    num_further = head.num_scores(space) - rows.shape[-1]
    keeps_share = space.over_agents and isinstance(space, spaces.Simplex)
    if space.over_agents and head.scores_are_odds:
        rows = _corrected_for_number(rows, itself)
    if num_further + keeps_share == 0:
        return rows
    from_agent = Affine(num_further + keeps_share, scale=_HEAD_SCALE)(agent)
    if keeps_share:
        rows = jnp.where(itself, rows + from_agent[..., -1:], rows)
    return jnp.concatenate([rows, from_agent[..., :num_further]], axis=-1)


def _corrected_for_number(scores: Float[Array, "*B N"], itself: Bool[Array, "*B N"]) -> Float[Array, "*B N"]:
    """Scores with log(N − 1) subtracted for every peer: at equal scores, the odds of oneself are 1 : 1 at any N."""
    return jnp.where(itself, scores, scores - jnp.log(max(scores.shape[-1] - 1, 1)))


class ActorModule(nn.Module):
    """A torso with heads, which stand under the name of their class in the parameters."""

    torso: nn.Module
    action_spaces: tuple[spaces.Space, ...]
    num_shifts: int = 0
    heads: str = STOCHASTIC

    @nn.compact
    def __call__(self, carry: Any, features: Features, itself: Bool[Array, "*B N"]) -> tuple[Any, Outputs]:
        carry, embedding = self.torso(carry, features, itself)
        return carry, _Heads(self.action_spaces, self.num_shifts, self.heads)(embedding, itself)


class ValueModule(nn.Module):
    """A value for each agent, from what a torso makes of its observation."""

    torso: nn.Module

    @nn.compact
    def __call__(self, carry: Any, features: Features, itself: Bool[Array, "*B N"]) -> tuple[Any, Float[Array, "*B"]]:
        carry, embedding = self.torso(carry, features, itself)
        return carry, Affine(1, scale=1.0)(embedding.agent)[..., 0]


class GlobalValueModule(nn.Module):
    """A value for each agent, from the global state."""

    hidden: tuple[int, ...]
    num_agents: int

    @nn.compact
    def __call__(self, state: Float[Array, "*B G"]) -> Float[Array, "*B N"]:
        return Affine(self.num_agents, scale=1.0)(MLP(self.hidden)(state))
