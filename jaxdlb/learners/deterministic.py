"""Deterministic policy gradients in Boxes: an actor that ascends critics of actions, with noise to explore.

With one critic, and actor and slow copies moved in every step, this is DDPG (Lillicrap et al. 2016, arXiv:1509.02971);
with the lesser of two critics, smoothed target actions and delayed actors it is TD3 (Fujimoto, van Hoof and Meger 2018,
arXiv:1802.09477). The two are settings of the same class.
"""

import dataclasses
import functools
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from jaxdlb.checks import NON_NEGATIVE, POSITIVE, POSITIVE_COUNT, PROBABILITY, Interval
from jaxdlb.game import Game
from jaxdlb.learners import action_critics, box_units, exploration, off_policy, targets
from jaxdlb.learners.action_critics import CRITICS, ActionCritics
from jaxdlb.learners.environments import SampleParams
from jaxdlb.learners.hyper import Scalar, anneal
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

Noise = Float[Array, "E N S"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class DeterministicHyperparameters(OffPolicyHyperparameters):
    """Numbers in which members of a population may differ; as arrays in the learner's state, they may be vmapped.

    Noise is in units of half the width of a Box.
    """

    actor_learning_rate: Scalar = parameter(LEARNING_RATE, 1e-3)  # of Adam
    critic_learning_rate: Scalar = parameter(LEARNING_RATE, 1e-3)  # of Adam
    noise_scale: Scalar = parameter(NON_NEGATIVE, 0.2)  # σ: of the noise that explores, at the first update
    final_noise_scale: Scalar = parameter(NON_NEGATIVE, 0.05)  # at the end of the schedule
    schedule_updates: Scalar = parameter(POSITIVE, 500)  # updates over which σ falls linearly
    noise_pull: Scalar = parameter(PROBABILITY, 0.15)  # θ: share of Ornstein–Uhlenbeck noise that is lost in a step
    target_noise: Scalar = parameter(NON_NEGATIVE, 0.2)  # standard deviation of the noise on actions in targets
    target_noise_clip: Scalar = parameter(NON_NEGATIVE, 0.5)  # the most that it may be

    explored: ClassVar = ("actor_learning_rate", "critic_learning_rate", "noise_scale")  # by a population


@dataclasses.dataclass(frozen=True)
class DeterministicConfig(OffPolicyConfig, DeterministicHyperparameters):
    """All settings: the hyper-parameters plus static sizes and choices.

    Raises:
        ValueError: names the setting, its value and what is allowed.
    """

    # what critics know besides an agent's own view and action: nothing, or the global state and what the others do, one
    # by one or in the mean
    critic: str = parameter(tuple(CRITICS), "observation")
    num_critics: int = parameter(Interval(1, 16, integer=True), 2)  # of which the least value counts in targets
    actor_delay: int = parameter(POSITIVE_COUNT, 2)  # steps of the critics for each of the actor and of slow copies
    noise: str = parameter(
        tuple(exploration.NOISES), "gaussian"
    )  # that explores; ou: Ornstein–Uhlenbeck, which is correlated

    heads = "deterministic"  # no setting: the kind of the actor's heads


@dataclasses.dataclass(frozen=True)
class Deterministic:
    """The algorithm, an `off_policy.Algorithm`; its actor acts in units of [−1, 1]."""

    actor: Actor
    critics: ActionCritics
    boxes: tuple[Any, ...]  # of the game
    rollout_length: int
    actor_delay: int
    noise: str

    hyperparameters = DeterministicHyperparameters

    @property
    def reads_state(self) -> bool:
        return self.critics.reads_state

    def init(self, key: PRNGKeyArray, views: Views, hyper: DeterministicHyperparameters) -> Learned:
        actor_key, critic_key = jax.random.split(key)
        params = {"actor": self.actor.init(actor_key, views.agent), "critic": self.critics.init(critic_key, views)}
        optimiser = {name: off_policy.initial_optimiser(each) for name, each in params.items()}
        return Learned(params=params, slow=off_policy.copied(params), optimiser=optimiser)

    def initial_noise(self, num_envs: int) -> Noise:
        return jnp.zeros((num_envs, self.actor.num_agents, box_units.size(self.boxes)))

    def level(
        self, hyper: DeterministicHyperparameters, params: dict[str, PyTree], steps: Int[Array, ""]
    ) -> Float[Array, ""]:
        """σ."""
        return anneal(hyper, "noise_scale", steps // self.rollout_length)

    def explore(
        self, key: PRNGKeyArray, distribution: Any, legal: PyTree, noise: Noise, now: Exploring
    ) -> tuple[Noise, PyTree]:
        num_envs, num_agents, size = noise.shape
        rows = exploration.uniform_rows(key, num_envs, 2 * size, num_agents)
        uniform, numbers = (jnp.moveaxis(each, 0, -1) for each in jnp.split(rows, 2))
        noise = exploration.NOISES[self.noise](noise, chance.standard_normal(numbers), now.level, now.hyper.noise_pull)
        noisy = jnp.clip(box_units.beside(distribution.mode()) + noise, -1.0, 1.0)
        units = jnp.where(now.warm, noisy, 2 * uniform - 1)
        return noise, box_units.played(self.boxes, units, legal)

    def told(self, action: PyTree, legal: PyTree) -> Float[Array, "*B N S"]:
        return box_units.told(self.boxes, action, legal)

    def descend(
        self,
        learned: Learned,
        hyper: DeterministicHyperparameters,
        batch: Batch,
        key: PRNGKeyArray,
        number: Int[Array, ""],
    ) -> tuple[Learned, dict[str, Float[Array, ""]]]:
        """One step of the critics and, every `actor_delay`-th time, of the actor and the slow copies.

        Metrics of the actor are 0 in between and so many times as large when it moves, so that means are right.
        """
        target = self.target(learned, hyper, batch, key)
        learned, metrics = action_critics.descend(self.critics, learned, hyper, batch, target)
        improve = functools.partial(self._improve, learned, hyper, batch)
        if self.actor_delay == 1:
            learned, of_actor = improve()
        else:
            nothing = jax.tree.map(jnp.zeros_like, jax.eval_shape(improve)[1])
            due = number % self.actor_delay == 0
            learned, of_actor = jax.lax.cond(due, improve, lambda: (learned, nothing))
        return learned, metrics | {name: self.actor_delay * each for name, each in of_actor.items()}

    def target(
        self, learned: Learned, hyper: DeterministicHyperparameters, batch: Batch, key: PRNGKeyArray
    ) -> Float[Array, "B N"]:
        """r + discount · the least slow critic of the slow actor's action, smoothed by clipped noise."""
        following, legal = batch.transitions.following, batch.transitions.following_legal
        greedy = self._act(learned.slow["actor"], following, legal)
        blur = hyper.target_noise * exploration.normals(key, greedy.shape)
        blurred = jnp.clip(greedy + jnp.clip(blur, -hyper.target_noise_clip, hyper.target_noise_clip), -1.0, 1.0)
        action = box_units.masked(self.boxes, blurred, legal)
        values = self.critics.values(learned.slow["critic"], following, action, action, batch.following_present)
        return targets.bellman(batch.transitions.reward, batch.discount, jnp.min(values, axis=0))

    def actor_loss(self, params: PyTree, critic: PyTree, batch: Batch) -> Float[Array, ""]:
        """−mean of Q(s, μ(o)) by the first critic, over agents that decide; the others act as they did."""
        taken = batch.transitions
        own = self._act(params, taken.views, taken.legal)
        first = dataclasses.replace(self.critics, count=1)
        values = first.values(critic, taken.views, own, taken.action, batch.present)
        return -masked_mean(values[0], batch.present)

    def _improve(
        self, learned: Learned, hyper: DeterministicHyperparameters, batch: Batch
    ) -> tuple[Learned, dict[str, Float[Array, ""]]]:
        """A step of the actor and of all slow copies."""
        params, optimiser = learned.params, learned.optimiser
        loss, gradient = jax.value_and_grad(self.actor_loss)(params["actor"], params["critic"], batch)
        rate = hyper.actor_learning_rate
        actor, of_actor, norm = off_policy.stepped(
            gradient, optimiser["actor"], params["actor"], rate, hyper.max_grad_norm
        )
        params = params | {"actor": actor}
        slow = targets.follow(learned.slow, params, hyper.tau)
        moved = Learned(params=params, slow=slow, optimiser=optimiser | {"actor": of_actor})
        return moved, {"actor_loss": loss, "actor_grad_norm": norm}

    def _act(self, params: PyTree, views: Views, legal: PyTree) -> Float[Array, "*B N S"]:
        return box_units.beside(self.actor.apply(params, (), views.agent, legal)[1].mode())


def make(game: Game, network: NetworkConfig, config: DeterministicConfig, sample_params: SampleParams) -> OffPolicy:
    """The learner, with networks for `game`; its config says what null came to.

    Raises:
        ValueError: the network does not fit the game or has a memory, a joint critic of too many agents, or a buffer
            that does not fit.
    """
    actor = build_actor(game, network, config.share_parameters, config.heads)
    algorithm = Deterministic(
        actor=box_units.stretched(actor),
        critics=action_critics.build(game, network, config, box_units.size(actor.action_spaces)),
        boxes=actor.action_spaces,
        rollout_length=config.rollout_length,
        actor_delay=config.actor_delay,
        noise=config.noise,
    )
    return off_policy.make(game, network, config, sample_params, algorithm)
