"""Soft actor-critic (Haarnoja et al. 2018, arXiv:1812.05905): a policy that draws, and is paid for its entropy.

Actions and log-probabilities are in units of [−1, 1] in every entry (`box_units`).
"""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from jaxdlb.checks import Interval
from jaxdlb.game import Game
from jaxdlb.learners import action_critics, box_units, exploration, off_policy, targets
from jaxdlb.learners.action_critics import CRITICS, ActionCritics
from jaxdlb.learners.environments import SampleParams
from jaxdlb.learners.hyper import Scalar
from jaxdlb.learners.losses import masked_mean
from jaxdlb.learners.off_policy import (
    LEARNING_RATE,
    Batch,
    Exploring,
    Learned,
    OffPolicy,
    OffPolicyConfig,
    OffPolicyHyperparameters,
)
from jaxdlb.mechanics import chance
from jaxdlb.networks import Actor, NetworkConfig, Views, build_actor
from jaxdlb.parameters import parameter

_LOG_BETA_RANGE = (-10.0, 5.0)  # so that no reward, however small or large, drives β out of float32


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SACHyperparameters(OffPolicyHyperparameters):
    """Numbers in which members of a population may differ; as arrays in the learner's state, they may be vmapped."""

    actor_learning_rate: Scalar = parameter(LEARNING_RATE, 1e-3)  # of Adam
    critic_learning_rate: Scalar = parameter(LEARNING_RATE, 1e-3)  # of Adam
    temperature_learning_rate: Scalar = parameter(LEARNING_RATE, 1e-3)  # of Adam, of log β
    temperature: Scalar = parameter(Interval(1e-4, 100), 0.1)  # β: weight of the entropy, at the start

    explored: ClassVar = (  # by a population, unless told otherwise
        *("actor_learning_rate", "critic_learning_rate", "temperature_learning_rate"),
    )


@dataclasses.dataclass(frozen=True)
class SACConfig(OffPolicyConfig, SACHyperparameters):
    """All settings: the hyper-parameters plus static sizes and choices.

    Raises:
        ValueError: names the setting, its value and what is allowed.
    """

    # what critics know besides an agent's own view and action: nothing, or the global state and what the others do, one
    # by one or in the mean
    critic: str = parameter(tuple(CRITICS), "observation")
    num_critics: int = parameter(Interval(1, 16, integer=True), 2)  # of which the least value counts

    heads = "state_dependent"  # no setting: the kind of the actor's heads


@dataclasses.dataclass(frozen=True)
class SAC:
    """The algorithm, an `off_policy.Algorithm`; its actor acts in units of [−1, 1]."""

    actor: Actor
    critics: ActionCritics
    boxes: tuple[Any, ...]  # of the game

    hyperparameters = SACHyperparameters

    @property
    def reads_state(self) -> bool:
        return self.critics.reads_state

    @property
    def target_entropy(self) -> float:
        """Of an agent's action, in nats: −1 for each entry."""
        return -float(box_units.size(self.boxes))

    def init(self, key: PRNGKeyArray, views: Views, hyper: SACHyperparameters) -> Learned:
        """With parameters of their own, agents have temperatures of their own, [N]."""
        actor_key, critic_key = jax.random.split(key)
        network = self.actor.network
        log_beta = jnp.broadcast_to(jnp.log(hyper.temperature), () if network.shared else (network.num_agents,))
        params = {
            "actor": self.actor.init(actor_key, views.agent),
            "critic": self.critics.init(critic_key, views),
            "log_temperature": log_beta,
        }
        optimiser = {name: off_policy.initial_optimiser(each) for name, each in params.items()}
        return Learned(params, {"critic": off_policy.copied(params["critic"])}, optimiser)

    def initial_noise(self, num_envs: int) -> tuple[()]:
        return ()

    def level(self, hyper: SACHyperparameters, params: dict[str, PyTree], steps: Int[Array, ""]) -> Float[Array, ""]:
        """β, of several the mean."""
        return jnp.mean(jnp.exp(params["log_temperature"]))

    def explore(
        self, key: PRNGKeyArray, distribution: Any, legal: PyTree, noise: Any, now: Exploring
    ) -> tuple[Any, PyTree]:
        num_envs, num_agents = distribution.decides.shape
        rows = exploration.uniform_rows(key, num_envs, 2 * box_units.size(self.boxes), num_agents)
        uniform, numbers = jnp.split(rows, 2)
        drawn = box_units.beside(distribution.sample_from(numbers))
        units = jnp.where(now.warm, drawn, 2 * jnp.moveaxis(uniform, 0, -1) - 1)
        return noise, box_units.played(self.boxes, units, legal)

    def told(self, action: PyTree, legal: PyTree) -> Float[Array, "*B N S"]:
        return box_units.told(self.boxes, action, legal)

    def descend(
        self, learned: Learned, hyper: SACHyperparameters, batch: Batch, key: PRNGKeyArray, number: Int[Array, ""]
    ) -> tuple[Learned, dict[str, Float[Array, ""]]]:
        """One step of the critics, then of the actor, then of the temperature; slow copies follow."""
        target_key, actor_key = jax.random.split(key)
        target = self.target(learned, batch, target_key)
        learned, metrics = action_critics.descend(self.critics, learned, hyper, batch, target)
        params, optimiser = learned.params, learned.optimiser
        gradients, of_policy = jax.grad(self.policy_loss, has_aux=True)(
            {name: params[name] for name in ("actor", "log_temperature")}, params["critic"], batch, actor_key
        )
        rates = {"actor": hyper.actor_learning_rate, "log_temperature": hyper.temperature_learning_rate}
        for name, rate in rates.items():
            moved, of_moved, norm = off_policy.stepped(
                gradients[name], optimiser[name], params[name], rate, hyper.max_grad_norm
            )
            params, optimiser = params | {name: moved}, optimiser | {name: of_moved}
            metrics |= {f"{name}_grad_norm": norm}
        params |= {"log_temperature": jnp.clip(params["log_temperature"], *_LOG_BETA_RANGE)}
        slow = targets.follow(learned.slow, {"critic": params["critic"]}, hyper.tau)
        return Learned(params, slow, optimiser), metrics | of_policy

    def target(self, learned: Learned, batch: Batch, key: PRNGKeyArray) -> Float[Array, "B N"]:
        """r + discount · (the least slow critic − β · log π) of an action that the policy draws."""
        following = batch.transitions.following
        action, log_prob = self._draw(learned.params["actor"], following, batch.transitions.following_legal, key)
        values = self.critics.values(learned.slow["critic"], following, action, action, batch.following_present)
        beta = jnp.exp(learned.params["log_temperature"])
        soft = targets.soft_value(jnp.min(values, axis=0), log_prob, beta)
        return targets.bellman(batch.transitions.reward, batch.discount, soft)

    def policy_loss(
        self, params: dict[str, PyTree], critic: PyTree, batch: Batch, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], dict[str, Array]]:
        """The actor's loss plus that of the temperature, neither of which moves what the other is about.

        They are means over agents that decide: of β · log π − Q, and of −log β · (log π + target entropy).
        """
        taken, log_beta = batch.transitions, params["log_temperature"]
        own, log_prob = self._draw(params["actor"], taken.views, taken.legal, key)
        values = self.critics.values(critic, taken.views, own, taken.action, batch.present)
        beta = jnp.exp(jax.lax.stop_gradient(log_beta))
        actor_loss = -masked_mean(targets.soft_value(jnp.min(values, axis=0), log_prob, beta), batch.present)
        short_of = jax.lax.stop_gradient(log_prob) + self.target_entropy
        temperature_loss = masked_mean(-log_beta * short_of, batch.present)
        entropy = -masked_mean(log_prob, batch.present)
        return actor_loss + temperature_loss, {"actor_loss": actor_loss, "entropy": entropy}

    def _draw(
        self, params: PyTree, views: Views, legal: PyTree, key: PRNGKeyArray
    ) -> tuple[Float[Array, "B N S"], Float[Array, "B N"]]:
        """Actions, differentiable in the parameters, and their log-probabilities."""
        distribution: Any = self.actor.apply(params, (), views.agent, legal)[1]
        shape = distribution.decides.shape
        rows = chance.uniform_rows(key, distribution.num_uniforms, shape[0] * shape[1])
        drawn, log_prob = distribution.sample_and_log_prob_from(rows.reshape(-1, *shape))
        return box_units.beside(drawn), log_prob


def make(game: Game, network: NetworkConfig, config: SACConfig, sample_params: SampleParams) -> OffPolicy:
    """The learner, with networks for `game`; its config says what null came to.

    Raises:
        ValueError: the network does not fit the game or has a memory, a joint critic of too many agents, or a buffer
            that does not fit.
    """
    actor = build_actor(game, network, config.share_parameters, config.heads)
    critics = action_critics.build(game, network, config, box_units.size(actor.action_spaces))
    algorithm = SAC(box_units.stretched(actor), critics, actor.action_spaces)
    return off_policy.make(game, network, config, sample_params, algorithm)
