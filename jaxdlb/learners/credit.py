"""What an agent's action answers for: its whole reward, or its own utility and those of the agents that it chose.

A policy gradient weighs the log-probability of an action by the advantage that followed. If N agents share one reward,
nearly all of what follows is the luck of others, and the noise of the gradient grows with N. Often more is known: what
is shared is the mean of the agents' own utilities, and a choice among agents acts on the agent that was chosen. If the
future of agent j depends on a choice of agent i ≠ j only through c, whether the choice was j, then

    E[A_j · ∇ log π_i(choice)] = E[A_j · ∇ log P_i(c)],

where A_j is the advantage in j's own utility and P_i(c) is π_i(j) or 1 − π_i(j). The right side is the mean of the left
side given c (Rao–Blackwell): no bias, and less noise in each term, since ∇ log(1 − π_i(j)) is small where j was not
chosen; so there is less in their sum, unless the advantages of different agents cancel. Spooner, Vadori and Ganesh
(*Factored Policy Gradients*, NeurIPS 2021) leave out the advantages that no action of an agent can influence; here the
action says which of them it influences.

Either way the policy's loss is a sum of K terms for each agent, every one with a probability and an advantage.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

from jaxdlb import spaces
from jaxdlb.checks import check_choice
from jaxdlb.game import Game, TimeStep
from jaxdlb.networks import Distribution
from jaxdlb.policies.fixed import NOBODY, Fixed


@dataclasses.dataclass(frozen=True)
class Whole:
    """An action answers for the agent's reward, whoever brought it about: K = 1."""

    name = "whole"

    def earned(self, timestep: TimeStep) -> Float[Array, "*B N"]:
        """What each agent earned in a step; its advantages are estimated from this."""
        return timestep.reward

    def counted(self, decides: Bool[Array, "*B N"]) -> Bool[Array, "*B N"]:
        """Whose advantages enter the loss: those of the agents that had a choice."""
        return decides

    def without_value(self, fixed: Fixed) -> Fixed:
        """Of the fixed agents those whose values nothing rests on: all."""
        return fixed

    def log_prob(self, distribution: Distribution, action: PyTree) -> Float[Array, "*B N 1"]:
        """The log-probability in each term."""
        return distribution.log_prob(action)[..., None]

    def of_action(self, log_prob: Float[Array, "*B N 1"]) -> Float[Array, "*B N"]:
        """Of the log-probabilities in each term, that of the whole action."""
        return log_prob[..., 0]

    def terms(self, advantage: Float[Array, "*B N"], selfishness: Float[Array, "*B"]) -> Float[Array, "*B N 1"]:
        """The advantage in each term, given those of the agents and κ."""
        return advantage[..., None]


@dataclasses.dataclass(frozen=True)
class Chosen:
    """An action answers for the agent's own utility, and for those of others by whether it chose them: K = N.

    Rewards are (1 − κ) · mean of u_j + κ · u_i. So the own utility weighs (1 − κ)/N + κ, that of another agent
    (1 − κ)/N; all are divided by the mean of the former over the batch.
    """

    name = "chosen"

    def earned(self, timestep: TimeStep) -> Float[Array, "*B N"]:
        """The agents' own utilities."""
        return timestep.utilities  # type: ignore[return-value]  # `find` has seen that the game states them

    def counted(self, decides: Bool[Array, "*B N"]) -> Bool[Array, "*B N"]:
        """Whose advantages enter the loss: everybody's, since whoever has no choice may be chosen."""
        return jnp.ones_like(decides)

    def without_value(self, fixed: Fixed) -> Fixed:
        """Of the fixed agents those whose values nothing rests on: none, since whoever is fixed may be chosen."""
        return NOBODY

    def log_prob(self, distribution: Distribution, action: PyTree) -> Float[Array, "*B N N"]:
        """[i, j]: of choosing j or not, as the action of i does; [i, i] of the whole action."""
        return distribution.log_prob_of_chosen(action)

    def of_action(self, log_prob: Float[Array, "*B N N"]) -> Float[Array, "*B N"]:
        """Of the log-probabilities in each term, that of the whole action."""
        return jnp.diagonal(log_prob, axis1=-2, axis2=-1)

    def terms(self, advantage: Float[Array, "*B N"], selfishness: Float[Array, "*B"]) -> Float[Array, "*B N N"]:
        """[i, j]: the advantage of j, weighed as in the reward of i."""
        others = 1 - selfishness[..., None, None]
        own = others + selfishness[..., None, None] * advantage.shape[-1]
        weight = jnp.where(jnp.eye(advantage.shape[-1], dtype=bool), own, others) / jnp.mean(own)
        return weight * advantage[..., None, :]


Credit = Whole | Chosen


def find(game: Game, kind: str) -> Credit:
    """`Whole` or `Chosen`, by its name; "auto" is `Chosen` in games that state own utilities and have such actions.

    Raises:
        ValueError: an unknown name, or "chosen" in a game that does not state the agents' own utilities, or has other
            actions than choices among agents.
    """
    check_choice("credit", kind, ("auto", *(each.name for each in (Whole, Chosen))))
    known = _is_known(game)  # type: ignore[arg-type]  # games are frozen, and so hashable
    if kind == Chosen.name and not known:
        why = "which states no own utilities or has other actions than choices among agents"
        raise ValueError(f"credit is chosen; it must be auto or whole in {game.name}, {why}")
    return Whole() if kind == Whole.name or not known else Chosen()


@functools.cache
def _is_known(game: Game) -> bool:
    """Whether a game states own utilities, and its actions are all choices among agents."""
    found = spaces.leaves(game.action_space)
    if not all(isinstance(space, spaces.Discrete) and space.over_agents for space in found):
        return False
    params = game.default_params()
    timestep: TimeStep = jax.eval_shape(lambda: game.reset(jax.random.key(0), params)[1])
    return timestep.utilities is not None
