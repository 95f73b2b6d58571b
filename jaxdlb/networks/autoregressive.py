"""How agents choose where one choice depends on another: first whether to turn to another agent, then the rest.

An action may hold several choices among agents, such as where to send a task and from whom to ask for one. Drawn
independently, they can lock each other in: where it is best to do neither, but doing one of both is worst, an agent
that does both gains nothing by changing either alone, and no gradient leads out. So the later choices see whether the
first was the agent itself: it moves the score of oneself in each of them by a number that the network learns.

The distribution is that of all choices together, p(a₁) · Π p(a_k | a₁ = itself), and all it states is exact.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from jaxdlb import spaces
from jaxdlb.mechanics import chance
from jaxdlb.networks.distributions import ActionDistribution, outer
from jaxdlb.networks.heads import LEAST, NEVER, Categorical


def num_shifts(action_spaces: Sequence[spaces.Space]) -> int:
    """How many scores the choices need that depend on the first; 0 unless there are several, all among agents."""
    among_agents = [isinstance(space, spaces.Discrete) and space.over_agents for space in action_spaces]
    return len(among_agents) - 1 if all(among_agents) else 0


@struct.dataclass
class Autoregressive:
    """The distribution of actions that are choices among agents; acts like an `ActionDistribution`."""

    first: Categorical
    kept: ActionDistribution  # of the other choices, as a list, where the first was the agent itself
    away: ActionDistribution  # and where it was another
    itself: Bool[Array, "*B N"]  # which of the alternatives the agent is
    treedef: Any = struct.field(pytree_node=False)  # of the action

    @classmethod
    def of(
        cls,
        action_spaces: Sequence[Any],
        scores: Sequence[Array],
        shifts: Float[Array, "*B K"],
        legal: PyTree,
        itself: Bool[Array, "*B N"],
    ) -> "Autoregressive":
        """From a network's scores of each choice, and by how much each later one's score of oneself moves."""
        (first_mask, *masks), treedef = jax.tree.flatten(legal)
        nothing = jnp.zeros((*itself.shape[:-1], 0))

        def later(sign: float) -> ActionDistribution:
            moved = [each + sign * jnp.where(itself, shifts[..., k, None], 0.0) for k, each in enumerate(scores[1:])]
            return ActionDistribution.of(action_spaces[1:], moved, [nothing] * len(masks), masks)

        first = Categorical.of(action_spaces[0], scores[0], nothing, first_mask)
        return cls(first, later(0.5), later(-0.5), itself, treedef)

    @property
    def decides(self) -> Bool[Array, "*B"]:
        """Which agents have a choice at all."""
        return self.first.decides | self.kept.decides

    @property
    def num_uniforms(self) -> int:
        """How many uniform numbers a sample for one agent takes."""
        return self.first.num_uniforms + self.kept.num_uniforms

    def sample(self, key: PRNGKeyArray) -> PyTree:
        """An action of the N agents of one cluster, as `ActionDistribution.sample`."""
        return self.sample_from(chance.uniform_rows(key, self.num_uniforms, self.itself.shape[-1]))

    def sample_from(self, numbers: Float[Array, " K *B"]) -> PyTree:
        """The action drawn from `num_uniforms` rows of uniform numbers; the choices take their rows in order."""
        own, rest = jnp.split(numbers, [self.first.num_uniforms])
        first = self.first.sample(own)
        later = (each.sample_from(rest) for each in (self.kept, self.away))
        return self._action(first, _where(self._is_itself(first), *later))

    def mode(self) -> PyTree:
        """The likeliest action of each agent, of all choices together."""
        kept, away = self.kept.mode(), self.away.mode()
        others = jnp.where(self.itself, -jnp.inf, self.first.log_probs)
        if_kept = self._log_kept + self.kept.log_prob(kept)
        if_away = jnp.max(others, axis=-1) + self.away.log_prob(away)
        keeps = if_kept >= if_away
        first = jnp.where(keeps, jnp.argmax(self.itself, axis=-1), jnp.argmax(others, axis=-1)).astype(jnp.int32)
        return self._action(first, _where(keeps, kept, away))

    def probabilities(self, greedy: bool = False) -> Float[Array, "..."]:
        """Of each action: an axis for each choice, in the order of the action's leaves."""
        if greedy:
            return outer([jax.nn.one_hot(each, self.itself.shape[-1]) for each in jax.tree.leaves(self.mode())])
        first = jnp.exp(self.first.log_probs)
        cases = ((self.itself, self.kept), (~self.itself, self.away))
        kept, away = (outer([jnp.where(case, first, 0.0), rest.probabilities()]) for case, rest in cases)
        return kept + away

    def log_prob(self, action: PyTree) -> Float[Array, "*B"]:
        """The log-probability of each agent's action."""
        first, *later = jax.tree.leaves(action)
        given = jnp.where(self._is_itself(first), self.kept.log_prob(later), self.away.log_prob(later))
        return self.first.log_prob(first) + given

    def log_prob_of_chosen(self, action: PyTree) -> Float[Array, "*B N"]:
        """[i, j] is the log-probability that i treats j as in `action`, see `ActionDistribution.log_prob_of_chosen`.

        For j ≠ i it is the sum over both cases of the first choice, whichever of them happened.
        """
        first, *later = jax.tree.leaves(action)
        chosen = first[..., None] == jnp.arange(self.itself.shape[-1])
        log_kept = self._log_kept[..., None]
        others = 1 - jnp.exp(log_kept) - jnp.exp(self.first.log_probs)  # to turn to another, but not to j
        log_others = jnp.where(others > LEAST, jnp.log(jnp.maximum(others, LEAST)), NEVER)
        if_kept = jnp.where(chosen, NEVER, log_kept) + self.kept.log_prob_of_treatment(later)
        if_away = jnp.where(chosen, self.first.log_probs, log_others) + self.away.log_prob_of_treatment(later)
        return jnp.where(self.itself, self.log_prob(action)[..., None], jnp.logaddexp(if_kept, if_away))

    def entropy(self) -> Float[Array, "*B"]:
        """H(a₁) + Σ over both cases of the first choice of their probability times the entropy of the rest."""
        kept = jnp.exp(self._log_kept)
        return self.first.entropy() + kept * self.kept.entropy() + (1 - kept) * self.away.entropy()

    @property
    def _log_kept(self) -> Float[Array, "*B"]:
        """log P(a₁ = itself)."""
        return jnp.sum(jnp.where(self.itself, self.first.log_probs, 0.0), axis=-1)

    def _is_itself(self, choice: Int[Array, "*B"]) -> Bool[Array, "*B"]:
        return jnp.take_along_axis(self.itself, choice[..., None], axis=-1)[..., 0]

    def _action(self, first: Int[Array, "*B"], later: list[Int[Array, "*B"]]) -> PyTree:
        return jax.tree.unflatten(self.treedef, [first, *later])


Distribution = ActionDistribution | Autoregressive


def _where(condition: Bool[Array, "*B"], yes: PyTree, no: PyTree) -> PyTree:
    return jax.tree.map(lambda one, other: jnp.where(condition, one, other), yes, no)
