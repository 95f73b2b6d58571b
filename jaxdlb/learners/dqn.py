"""Deep Q-networks (Mnih et al. 2015, doi 10.1038/nature14236), one for each agent or one that all share.

An agent's action may hold several choices, one in each head. Its value is the sum of theirs, Q(o, a) = Σ_h Q_h(o, a_h),
so that the greatest value takes the greatest of each head.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from jaxdlb.checks import POSITIVE, PROBABILITY, SWITCH
from jaxdlb.game import Game
from jaxdlb.learners import exploration, off_policy, targets
from jaxdlb.learners.environments import SampleParams
from jaxdlb.learners.hyper import Scalar
from jaxdlb.learners.off_policy import (
    LEARNING_RATE,
    Batch,
    Exploring,
    Learned,
    OffPolicy,
    OffPolicyConfig,
    OffPolicyHyperparameters,
)
from jaxdlb.networks import Actor, NetworkConfig, Views, build_actor
from jaxdlb.parameters import parameter

Values = Float[Array, "B N"]


def each_alone(value: Values, following: Values, batch: Batch) -> Values:
    """Q_i − (r_i + discount · what follows for i), [B, N], of agents without a choice too.

    Others are led to where an agent has no choice, and what that is worth must be known.
    """
    return value - targets.bellman(batch.transitions.reward, batch.discount, following)


def in_sum(value: Values, following: Values, batch: Batch) -> Float[Array, " B"]:
    """Σ Q_i − (mean r_i + discount · Σ what follows for i), both over the agents that have a choice.

    This is value decomposition (Sunehag et al. 2018, arXiv:1706.05296).
    """
    present, present_next = batch.present, batch.following_present
    target = targets.team_bellman(batch.transitions.reward, batch.discount, following, present, present_next)
    return jnp.sum(value * present, axis=-1) - target


MIXERS: Mapping[str, Callable[[Array, Array, Batch], Array]] = {"none": each_alone, "sum": in_sum}


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class DQNHyperparameters(OffPolicyHyperparameters):
    """Numbers in which members of a population may differ; as arrays in the learner's state, they may be vmapped."""

    learning_rate: Scalar = parameter(LEARNING_RATE, 1e-3)  # of Adam
    epsilon: Scalar = parameter(PROBABILITY, 0.9)  # ε: chance that an agent draws its action, at the start
    final_epsilon: Scalar = parameter(PROBABILITY, 0.05)  # which it falls towards
    epsilon_steps: Scalar = parameter(POSITIVE, 1000.0)  # steps of each environment in which e⁻¹ of the way is left

    explored: ClassVar = ("learning_rate", "epsilon_steps")  # by a population, unless told otherwise


@dataclasses.dataclass(frozen=True)
class DQNConfig(OffPolicyConfig, DQNHyperparameters):
    """All settings: the hyper-parameters plus static sizes and choices.

    Raises:
        ValueError: names the setting, its value and what is allowed.
    """

    double: bool = parameter(SWITCH, False)  # the network, not its slow copy, says which action is best in a target
    dueling: bool = parameter(SWITCH, False)  # values are made of that of the state and of advantages of choices
    # what is held against a reward: each agent's value, or the sum of all agents' values
    mixer: str = parameter(tuple(MIXERS), "none")

    @property
    def heads(self) -> str:
        """The kind of the actor's heads."""
        return "dueling" if self.dueling else "values"


@dataclasses.dataclass(frozen=True)
class DQN:
    """The algorithm, an `off_policy.Algorithm`."""

    actor: Actor
    double: bool
    mixer: str

    hyperparameters = DQNHyperparameters
    reads_state = False

    def init(self, key: PRNGKeyArray, views: Views, hyper: DQNHyperparameters) -> Learned:
        params = {"actor": self.actor.init(key, views.agent)}
        optimiser = {"actor": off_policy.initial_optimiser(params["actor"])}
        return Learned(params=params, slow=off_policy.copied(params), optimiser=optimiser)

    def initial_noise(self, num_envs: int) -> tuple[()]:
        return ()

    def level(self, hyper: DQNHyperparameters, params: dict[str, PyTree], steps: Int[Array, ""]) -> Float[Array, ""]:
        """ε."""
        return exploration.falling(hyper.epsilon, hyper.final_epsilon, hyper.epsilon_steps, steps)

    def explore(
        self, key: PRNGKeyArray, distribution: Any, legal: PyTree, noise: Any, now: Exploring
    ) -> tuple[Any, PyTree]:
        epsilon = jnp.where(now.warm, now.level, 1.0)
        return noise, exploration.epsilon_greedy(key, epsilon, distribution.mode(), legal)

    def told(self, action: PyTree, legal: PyTree) -> PyTree:
        return action

    def descend(
        self, learned: Learned, hyper: DQNHyperparameters, batch: Batch, key: PRNGKeyArray, number: Int[Array, ""]
    ) -> tuple[Learned, dict[str, Float[Array, ""]]]:
        """One step of the optimiser; nothing is drawn."""
        following = self.following(learned, batch)
        gradient, metrics = jax.grad(self.loss, has_aux=True)(learned.params["actor"], following, batch)
        optimiser, rate = learned.optimiser["actor"], hyper.learning_rate
        actor, optimiser, norm = off_policy.stepped(
            gradient, optimiser, learned.params["actor"], rate, hyper.max_grad_norm
        )
        slow = targets.follow(learned.slow["actor"], actor, hyper.tau)
        learned = Learned(params={"actor": actor}, slow={"actor": slow}, optimiser={"actor": optimiser})
        return learned, metrics | {"grad_norm": norm}

    def following(self, learned: Learned, batch: Batch) -> Values:
        """Q̄(o′, a′) of the legal a′ that is best by Q̄ or, if `double`, by Q (van Hasselt et al. 2016)."""
        seen = (batch.transitions.following.agent, batch.transitions.following_legal)
        slow = self._values(learned.slow["actor"], *seen)
        best = self._values(learned.params["actor"], *seen) if self.double else slow
        return slow.value_of(best.mode())

    def loss(self, params: PyTree, following: Values, batch: Batch) -> tuple[Float[Array, ""], dict[str, Array]]:
        """The mean Huber loss of the temporal-difference errors, and its parts."""
        value = self._values(params, batch.transitions.views.agent, batch.transitions.legal).value_of(
            batch.transitions.action
        )
        loss = jnp.mean(targets.huber(MIXERS[self.mixer](value, following, batch)))
        return loss, {"loss": loss, "value": jnp.mean(value)}

    def _values(self, params: PyTree, view: PyTree, legal: PyTree) -> Any:
        return self.actor.apply(params, (), view, legal)[1]


def make(game: Game, network: NetworkConfig, config: DQNConfig, sample_params: SampleParams) -> OffPolicy:
    """The learner, with networks for `game`; its config says what null came to.

    Raises:
        ValueError: the network does not fit the game or has a memory, or the buffer does not fit.
    """
    actor = build_actor(game, network, config.share_parameters, config.heads)
    return off_policy.make(game, network, config, sample_params, DQN(actor, config.double, config.mixer))
