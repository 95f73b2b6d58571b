"""Decentralised actor-critics that agree on their critics, as in Malcolm (doi 10.1145/3570611).

Every agent has an actor w_i and a critic θ_i of its own, on what it alone observes. After each round, with u the mean
utility of all agents,

    δ_i = u + γ^elapsed · discount · V_θi(x′_i) − V_θi(x_i)
    θ_i ← θ_i + α δ_i ∇V_θi(x_i)
    w_i ← w_i + β δ_i ∇log π_wi(a_i | x_i)

and every `consensus_period` rounds each critic becomes a mean of critics. This is the second algorithm of Zhang, Yang,
Liu, Zhang and Başar (*Fully Decentralized Multi-Agent Reinforcement Learning with Networked Agents*, ICML 2018) with
discounted values in place of average ones.
"""

import dataclasses
import functools
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from jaxdlb import parameters
from jaxdlb.checks import COUNT, NON_NEGATIVE, POSITIVE, POSITIVE_COUNT, PROBABILITY, SWITCH
from jaxdlb.game import Game, TimeStep
from jaxdlb.learners import agreement, environments, own
from jaxdlb.learners.environments import Environments, SampleParams
from jaxdlb.learners.hyper import OPTIMISERS, Scalar, anneal, clipped, sweepable
from jaxdlb.learners.rollout import draw_actions
from jaxdlb.networks import ActorCritic, ActorCriticParams, NetworkConfig, build, features, normalisation
from jaxdlb.networks.normalisation import Moments, ReturnScale
from jaxdlb.parameters import parameter
from jaxdlb.policies.learned import PolicyVariables


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ConsensusHyperparameters:
    """Numbers in which members of a population may differ; as arrays in the learner's state, they may be vmapped."""

    critic_learning_rate: Scalar = parameter(NON_NEGATIVE, 3e-3)  # α: at the first update
    final_critic_learning_rate: Scalar = parameter(NON_NEGATIVE, 3e-4)  # at the end of the schedule
    actor_learning_rate: Scalar = parameter(NON_NEGATIVE, 2e-3)  # β: at the first update
    final_actor_learning_rate: Scalar = parameter(NON_NEGATIVE, 1e-4)  # at the end of the schedule
    entropy_coef: Scalar = parameter(NON_NEGATIVE, 0.01)  # weight of the entropy, at the first update
    final_entropy_coef: Scalar = parameter(NON_NEGATIVE, 0.0)  # at the end of the schedule
    schedule_updates: Scalar = parameter(POSITIVE, 500)  # updates over which all change linearly from first to last
    gamma: Scalar = parameter(PROBABILITY, 0.6)  # γ: discount for one unit of the game's time
    max_grad_norm: Scalar = parameter(POSITIVE, 0.5)  # norm to which each network's gradient is clipped

    explored: ClassVar = (  # by a population, unless told otherwise
        *("critic_learning_rate", "final_critic_learning_rate", "actor_learning_rate", "final_actor_learning_rate"),
        "entropy_coef",
    )


@dataclasses.dataclass(frozen=True)
class ConsensusConfig(ConsensusHyperparameters):
    """All settings: the hyper-parameters plus static sizes and choices.

    Raises:
        ValueError: names the setting, its value and what is allowed.
    """

    num_envs: int = parameter(POSITIVE_COUNT, 64)  # clusters played side by side, over which gradients are averaged
    rollout_length: int = parameter(POSITIVE_COUNT, 32)  # rounds, and steps of the optimiser, in an update
    stagger: int = parameter(COUNT, 500)  # rounds; first episodes are cut at random below it, lest all end in one round
    # with whom agents average their critics: all, the two neighbours on a ring, a partner drawn each time, none
    consensus: str = parameter(tuple(agreement.AGREEMENTS), "all")
    consensus_period: int = parameter(POSITIVE_COUNT, 10)  # P: rounds from one agreement to the next
    optimiser: str = parameter(tuple(OPTIMISERS), "adam")  # of every actor and every critic
    normalise_observations: bool = parameter(SWITCH, True)  # to mean 0 and variance 1, by running statistics
    normalise_values: bool = parameter(SWITCH, True)  # the critics' returns, by running statistics

    share_parameters = False  # no setting: here every agent has its own, which checkpoints note

    def __post_init__(self) -> None:
        parameters.check(self)


@struct.dataclass
class ConsensusState:
    """The complete state of a run: saved and restored, training continues bit for bit as if it had never stopped."""

    key: PRNGKeyArray
    num_updates: Int[Array, ""]
    hyperparameters: ConsensusHyperparameters
    params: ActorCriticParams  # [N, …]
    optimiser: ActorCriticParams  # [N, …], the state of each network's optimiser
    moments: Moments
    return_scale: ReturnScale  # leaves returns as they are until it has seen some
    environments: Environments
    since_agreement: Int[Array, ""]  # rounds


@struct.dataclass
class Experience:
    """One round in E environments, as N agents experience it."""

    view: PyTree  # what agents saw, [E, N, …], normalised
    legal: PyTree
    action: PyTree
    following: PyTree  # what they saw next, [E, N, …]; where an episode ended, before its reset
    utility: Float[Array, " E"]  # the global utility u
    discount: Float[Array, " E"]  # γ^elapsed · discount


def global_utility(timestep: TimeStep) -> Float[Array, " *B"]:
    """The mean over agents of their own utilities where the game states these, otherwise of their rewards."""
    return jnp.mean(timestep.reward if timestep.utilities is None else timestep.utilities, axis=-1)


@dataclasses.dataclass(frozen=True)
class Consensus:
    """The learner: `init(key)` and `update(state)` are pure functions of their arguments.

    Raises:
        ValueError: a network with memory.
    """

    game: Game
    network: ActorCritic
    config: ConsensusConfig
    sample_params: SampleParams

    def __post_init__(self) -> None:
        if jax.tree.leaves(self.network.initial_memories((1,))):
            raise ValueError("recurrent is true; it must be false here, since steps from single rounds teach no memory")

    @property
    def agent_rounds_per_update(self) -> int:
        """Rounds × environments × agents that one update plays."""
        return self.config.num_envs * self.config.rollout_length * self.game.num_agents

    def init(self, key: PRNGKeyArray, hyper: ConsensusHyperparameters | None = None) -> ConsensusState:
        """The state before the first update; `hyper`, a pytree of scalars, defaults to the config's values.

        All critics start alike: the mean of networks with different starts computes nothing that they compute.
        """
        actor_key, critic_key, env_key, run_key = jax.random.split(key, 4)
        started = environments.reset(self.game, self.sample_params, env_key, self.config.num_envs, self.config.stagger)
        view = jax.tree.map(lambda leaf: leaf[0], _see(started.observation))
        critics = self.network.critic.init(critic_key, view)
        params = ActorCriticParams(
            actor=self.network.actor.init(actor_key, view),
            critic=jax.tree.map(lambda leaf: jnp.broadcast_to(leaf[0], leaf.shape), critics),
        )
        hyper = sweepable(self.config, ConsensusHyperparameters) if hyper is None else hyper
        return ConsensusState(
            key=run_key,
            num_updates=jnp.int32(0),
            hyperparameters=hyper,
            params=params,
            optimiser=self.initial_optimiser(params, hyper),
            moments=normalisation.initial_moments(view),
            return_scale=normalisation.initial_return_scale(),
            environments=started,
            since_agreement=jnp.int32(0),
        )

    def update(self, state: ConsensusState) -> tuple[ConsensusState, dict[str, Float[Array, ""]]]:
        """`rollout_length` rounds, with a step of all networks after each; the metrics are means over them.

        The running statistics stay as they are within an update.
        """
        key, run_key = jax.random.split(state.key)
        keys = jax.random.split(run_key, self.config.rollout_length)
        state, (seen, targets, metrics) = jax.lax.scan(self.one_round, state, keys)
        moments, scale = state.moments, state.return_scale
        if self.config.normalise_observations:
            moments = normalisation.merge(moments, normalisation.pool(seen))
        if self.config.normalise_values:
            scale = normalisation.update_return_scale(scale, targets)
        state = dataclasses.replace(
            state, key=key, num_updates=state.num_updates + 1, moments=moments, return_scale=scale
        )
        return state, jax.tree.map(jnp.mean, metrics)

    def policy_variables(self, state: ConsensusState) -> PolicyVariables:
        """The part of a state that acting needs: the actors' parameters and the statistics of their features."""
        return PolicyVariables(actor=state.params.actor, moments=state.moments)

    def one_round(
        self, state: ConsensusState, key: PRNGKeyArray
    ) -> tuple[ConsensusState, tuple[Moments, Float[Array, "E N"], dict[str, Array]]]:
        """Play, learn, agree."""
        play_key, agree_key = jax.random.split(key)
        state, experience, seen, played = self.play(state, play_key)
        state, targets, learned = self.learn(state, experience)
        state, apart = self.agree(state, agree_key)
        return state, (seen, targets, played | learned | {"disagreement": apart})

    def play(
        self, state: ConsensusState, key: PRNGKeyArray
    ) -> tuple[ConsensusState, Experience, Moments, dict[str, Array]]:
        """One round in every environment: what agents experience, the moments of what they saw, and metrics."""
        at = state.environments
        seen, legal = _see(at.observation), at.observation.legal
        view = normalisation.normalise(state.moments, seen)
        _, distribution = self.network.actor.apply(state.params.actor, (), view, legal)
        action = draw_actions(distribution, key, self.config.num_envs)
        played, timestep, _ = environments.step(self.game, self.sample_params, at, action)
        experience = Experience(
            view=view,
            legal=legal,
            action=action,
            following=normalisation.normalise(state.moments, _see(timestep.observation)),
            utility=global_utility(timestep),
            discount=state.hyperparameters.gamma**timestep.elapsed * timestep.discount,
        )
        metrics = {"utility": jnp.mean(timestep.metrics["utility"]), "reward": jnp.mean(timestep.reward)}
        metrics |= own.metrics(timestep)
        return dataclasses.replace(state, environments=played), experience, normalisation.moments_of(seen), metrics

    def learn(
        self, state: ConsensusState, experience: Experience
    ) -> tuple[ConsensusState, Float[Array, "E N"], dict[str, Array]]:
        """One step of every actor and every critic; also the targets u + γ V(x′), in units of the utility."""
        hyper, num_updates = state.hyperparameters, state.num_updates
        gradients, (targets, metrics) = jax.grad(self.loss, has_aux=True)(state.params, state, experience)
        rates = ActorCriticParams(
            actor=anneal(hyper, "actor_learning_rate", num_updates),
            critic=anneal(hyper, "critic_learning_rate", num_updates),
        )
        step = functools.partial(self._step, hyper)
        actor, of_actor = step(rates.actor, gradients.actor, state.optimiser.actor, state.params.actor)
        critic, of_critic = step(rates.critic, gradients.critic, state.optimiser.critic, state.params.critic)
        metrics |= {"actor_learning_rate": rates.actor, "critic_learning_rate": rates.critic}
        state = dataclasses.replace(
            state,
            params=ActorCriticParams(actor=actor, critic=critic),
            optimiser=ActorCriticParams(actor=of_actor, critic=of_critic),
        )
        return state, targets, metrics

    def loss(
        self, params: ActorCriticParams, state: ConsensusState, experience: Experience
    ) -> tuple[Float[Array, ""], tuple[Float[Array, "E N"], dict[str, Array]]]:
        """The sum over agents of a loss whose gradient is −δ ∇V for critics and −δ ∇log π for actors.

        Both are means over environments. δ is in the units of the critics, those of normalised returns.
        """
        value = self._value(params, experience.view)
        following = normalisation.unscale_values(state.return_scale, self._value(params, experience.following))
        target = jax.lax.stop_gradient(experience.utility[:, None] + experience.discount[:, None] * following)
        td_error = jax.lax.stop_gradient(normalisation.scale_returns(state.return_scale, target) - value)
        _, distribution = self.network.actor.apply(params.actor, (), experience.view, experience.legal)
        entropy = distribution.entropy()
        entropy_coef = anneal(state.hyperparameters, "entropy_coef", state.num_updates)
        gain = td_error * (value + distribution.log_prob(experience.action)) + entropy_coef * entropy
        metrics = {
            "value_loss": 0.5 * jnp.mean(jnp.square(td_error)),
            "td_error": jnp.mean(td_error),
            "entropy": jnp.mean(entropy),
        }
        return -jnp.sum(jnp.mean(gain, axis=0)), (target, metrics)

    def agree(self, state: ConsensusState, key: PRNGKeyArray) -> tuple[ConsensusState, Float[Array, ""]]:
        """The state after an agreement, if one is due, and how far the critics were apart before."""
        critics, since = state.params.critic, state.since_agreement + 1
        due = since >= self.config.consensus_period
        agreed = jax.lax.cond(due, lambda: agreement.agree(self.config.consensus, critics, key), lambda: critics)
        params = dataclasses.replace(state.params, critic=agreed)
        state = dataclasses.replace(state, params=params, since_agreement=jnp.where(due, 0, since))
        return state, agreement.disagreement(critics)

    def initial_optimiser(self, params: ActorCriticParams, hyper: ConsensusHyperparameters) -> ActorCriticParams:
        """The state of the optimiser of each actor and each critic before the first step."""
        start = jax.vmap(self._optimiser(hyper, jnp.float32(0)).init)
        return ActorCriticParams(actor=start(params.actor), critic=start(params.critic))

    def _step(
        self, hyper: ConsensusHyperparameters, rate: Array, gradient: PyTree, optimiser: PyTree, params: PyTree
    ) -> tuple[PyTree, PyTree]:
        """Parameters and optimisers [N, …] of one kind of network after a step of each agent on its own."""
        change, optimiser = jax.vmap(self._optimiser(hyper, rate).update)(gradient, optimiser)
        return optax.apply_updates(params, change), optimiser

    def _optimiser(self, hyper: ConsensusHyperparameters, rate: Array) -> optax.GradientTransformation:
        """Of one network of one agent."""
        return clipped(self.config.optimiser, rate, hyper.max_grad_norm)

    def _value(self, params: ActorCriticParams, view: PyTree) -> Float[Array, "E N"]:
        """The values, in the units of the critics."""
        return self.network.critic.apply(params.critic, (), view)[1]


def make(game: Game, network: NetworkConfig, config: ConsensusConfig, sample_params: SampleParams) -> Consensus:
    """The learner, with networks for `game`, whose parameters every agent has of its own.

    Raises:
        ValueError: the network does not fit the game, or has a memory.
    """
    networks = build(game, network, critic="observation", share_parameters=False)
    return Consensus(game=game, network=networks, config=config, sample_params=sample_params)


def _see(observation: Any) -> PyTree:
    """What agents see, [E, N, …], before normalisation."""
    return normalisation.symlog(features(observation))
