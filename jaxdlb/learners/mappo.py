"""Multi-agent proximal policy optimisation (Yu et al. 2022); IPPO is the same with other settings."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from jaxdlb.game import Game, TimeStep
from jaxdlb.learners import credit, environments, losses, minibatches, own, shaping
from jaxdlb.learners.advantage import generalised_advantages
from jaxdlb.learners.config import Hyperparameters, MAPPOConfig, hyperparameters
from jaxdlb.learners.credit import Credit
from jaxdlb.learners.environments import Environments, SampleParams
from jaxdlb.learners.hyper import anneal, clipped
from jaxdlb.learners.minibatches import Blocks
from jaxdlb.learners.rollout import Outlook, Rollout, Steps, draw_actions
from jaxdlb.networks import (
    ActorCritic,
    ActorCriticParams,
    Memories,
    NetworkConfig,
    Views,
    build,
    features,
    normalisation,
)
from jaxdlb.networks.actor_critic import forget, unroll
from jaxdlb.networks.normalisation import Moments, ReturnScale
from jaxdlb.policies.fixed import NOBODY, Fixed, find
from jaxdlb.policies.learned import PolicyVariables

_MOST_MINIBATCHES = 16  # unless told otherwise


@struct.dataclass
class LearnerState:
    """The complete state of a run: saved and restored, training continues bit for bit as if it had never stopped."""

    key: PRNGKeyArray
    num_updates: Int[Array, ""]
    hyperparameters: Hyperparameters
    params: ActorCriticParams
    optimiser: PyTree
    moments: Views[Moments]
    return_scale: ReturnScale
    environments: Environments
    memories: Memories
    fixed_memory: Any  # of the policy that plays the fixed agents, [E, …]; () without any


@struct.dataclass
class Minibatch:
    """The input of the loss: a batch of B sequences of length L; without memory, of L · B steps in any order."""

    views: Views[PyTree]
    first: Bool[Array, "L B"]
    legal: PyTree
    action: PyTree
    log_prob: Float[Array, "L B N K"]  # of that action, at the time it was chosen, in each term of the loss
    value: Float[Array, "L B N"]  # as estimated at that time
    advantage: Float[Array, "L B N"]
    target: Float[Array, "L B N"]
    selfishness: Float[Array, "L B"]
    decides: Bool[Array, "L B N"]
    memories: Memories  # [B, N, H], before each sequence


@dataclasses.dataclass(frozen=True)
class MAPPO:
    """The learner: `init(key)` and `update(state)` are pure functions of their arguments.

    `update` applies `learn` to what `collect` gathers; a rollout gathered elsewhere can be learned from as well.

    Raises:
        ValueError: the number of minibatches does not divide the number of steps (with memory: of environments).
    """

    game: Game
    network: ActorCritic
    config: MAPPOConfig
    sample_params: SampleParams
    credit: Credit
    fixed: Fixed = NOBODY

    def __post_init__(self) -> None:
        count, unit = self._to_divide
        if count % self.num_minibatches:
            raise ValueError(f"num_minibatches is {self.num_minibatches}; it must divide the {count} {unit}")

    @property
    def num_minibatches(self) -> int:
        """As the config says or, if it does not, as many as possible up to 16."""
        count, _ = self._to_divide
        most = next(number for number in range(_MOST_MINIBATCHES, 0, -1) if count % number == 0)
        return self.config.num_minibatches or most

    @property
    def _to_divide(self) -> tuple[int, str]:
        """What minibatches share: how many there are, and of what."""
        if self._has_memory:
            return self.config.num_envs, "environments"
        return self.config.num_envs * self.config.rollout_length, "steps of an update"

    @property
    def envs_together(self) -> int:
        """How many neighbouring environments minibatches are drawn from as one: no device plays a part of them."""
        return self._blocks.envs

    @property
    def _blocks(self) -> Blocks:
        num_items = 1 if self._has_memory else self.config.rollout_length
        return minibatches.blocks(self.num_minibatches, num_items, self.config.num_envs)

    @property
    def agent_rounds_per_update(self) -> int:
        """Rounds × environments × agents that one update plays."""
        return self.config.num_envs * self.config.rollout_length * self.game.num_agents

    @property
    def _has_memory(self) -> bool:
        return bool(jax.tree.leaves(self.network.initial_memories((1,))))

    def init(self, key: PRNGKeyArray, hyper: Hyperparameters | None = None) -> LearnerState:
        """The state before the first update; `hyper`, a pytree of scalars, defaults to the config's values.

        Mapped with `jax.vmap` over keys, or over keys and `hyper`, it starts a population that trains in one program.
        """
        actor_key, critic_key, env_key, run_key = jax.random.split(key, 4)
        started = environments.reset(self.game, self.sample_params, env_key, self.config.num_envs, self.config.stagger)
        views = jax.tree.map(lambda leaf: leaf[0], self._see(started.observation, started.state, started.params))
        params = self.network.init(actor_key, critic_key, views)
        hyper = hyperparameters(self.config) if hyper is None else hyper
        return LearnerState(
            key=run_key,
            num_updates=jnp.int32(0),
            hyperparameters=hyper,
            params=params,
            optimiser=_optimiser(hyper, jnp.int32(0)).init(params),
            moments=Views(*map(normalisation.initial_moments, (views.agent, views.state))),
            return_scale=normalisation.initial_return_scale(),
            environments=started,
            memories=self.network.initial_memories((self.config.num_envs,)),
            fixed_memory=self.fixed.start(self.game, self.config.num_envs),
        )

    def update(self, state: LearnerState) -> tuple[LearnerState, dict[str, Float[Array, ""]]]:
        """One rollout and its optimisation; the metrics are scalars, `utility` the mean over the rollout."""
        return self.learn(*self.collect(state))

    def policy_variables(self, state: LearnerState) -> PolicyVariables:
        """The part of a state that acting needs: the actor's parameters and the statistics of its features."""
        return PolicyVariables(actor=state.params.actor, moments=state.moments.agent)

    def collect(self, state: LearnerState, key: PRNGKeyArray | None = None) -> tuple[LearnerState, Rollout]:
        """Play `rollout_length` steps in every environment.

        Random draws use `key` or, by default, the state's key, which `collect` leaves as it is and `learn` replaces.
        """
        if key is None:
            _, key, _ = jax.random.split(state.key, 3)
        keys = jax.random.split(key, self.config.rollout_length)
        start = (state.environments, state.memories, state.fixed_memory)
        (played, memories, fixed_memory), steps = jax.lax.scan(functools.partial(self._play, state), start, keys)
        seen = self._see(played.observation, played.state, played.params)
        following_value = self._value_of(state, forget(memories.critic, played.first), seen)
        rollout = Rollout(steps=steps, memories=state.memories, following_value=following_value)
        return dataclasses.replace(state, environments=played, memories=memories, fixed_memory=fixed_memory), rollout

    def _play(
        self, state: LearnerState, now: tuple[Environments, Memories, Any], key: PRNGKeyArray
    ) -> tuple[tuple[Environments, Memories, Any], Steps]:
        """One step in every environment, using the networks of `state`."""
        at, memories, fixed_memory = now
        seen = self._see(at.observation, at.state, at.params)
        memories, outlook = self.look(state, memories, seen, at.observation.legal, at.first)
        drawn = draw_actions(outlook.distribution, key, self.config.num_envs)
        fixed_memory, action = self.fixed.play(
            self.game, key, fixed_memory, at.first, (at.observation, at.params), drawn
        )
        following, timestep, end = environments.step(self.game, self.sample_params, at, action)
        end_value = jax.lax.cond(
            jnp.any(timestep.last),
            lambda: self._value_of(state, memories.critic, self._see(timestep.observation, end, at.params)),
            lambda: jnp.zeros_like(outlook.value),
        )
        shaped: Float[Array, "E N"] | float = 0.0
        if self.config.shape_rewards:
            shaped = shaping.added(self.game, state.hyperparameters.gamma, at, timestep, end)
        return (following, memories, fixed_memory), self.steps(outlook, at.first, action, timestep, end_value, shaped)

    def look(
        self, state: LearnerState, memories: Memories, seen: Views[PyTree], legal: PyTree, first: Bool[Array, " E"]
    ) -> tuple[Memories, Outlook]:
        """What the networks of `state` remember, and make of what is `seen` (after `symlog`) in E environments."""
        memories, views = forget(memories, first), self._normalise(state, seen)
        actor_memory, distribution = self.network.actor.apply(state.params.actor, memories.actor, views.agent, legal)
        critic_memory, value = self._apply_critic(state, memories.critic, views)
        moments = Views(*map(jax.vmap(normalisation.moments_of), (seen.agent, seen.state)))
        return Memories(actor=actor_memory, critic=critic_memory), Outlook(views, moments, legal, distribution, value)

    def steps(
        self,
        outlook: Outlook,
        first: Bool[Array, " E"],
        action: PyTree,
        timestep: TimeStep,
        end_value: Float[Array, "E N"],
        shaped: Float[Array, "E N"] | float = 0.0,
    ) -> Steps:
        """What is recorded of one step in E environments, given what it looked like before, and what came of it.

        `shaped` is added to what agents earned in what they learn from, and in nothing that is reported.
        """
        return Steps(
            views=outlook.views,
            seen=outlook.seen,
            legal=outlook.legal,
            first=first,
            action=action,
            log_prob=self.credit.log_prob(outlook.distribution, action),
            decides=self.fixed.decides(outlook.distribution.decides),
            value=outlook.value,
            end_value=end_value,
            reward=timestep.reward,
            earned=self.credit.earned(timestep) + shaped,
            selfishness=jnp.zeros_like(timestep.discount) if timestep.selfishness is None else timestep.selfishness,
            discount=timestep.discount,
            last=timestep.last,
            elapsed=timestep.elapsed,
            metrics=timestep.metrics,
            own=own.metrics(timestep),
        )

    def learn(self, state: LearnerState, rollout: Rollout) -> tuple[LearnerState, dict[str, Float[Array, ""]]]:
        """Train for several epochs on a rollout played by the policy of `state`, and update the running statistics."""
        key, _, shuffle_key = jax.random.split(state.key, 3)
        steps = rollout.steps
        advantage, target = self.advantages(state, rollout)
        value, counted = self._valued(steps.value), self._valued(target)
        scale = normalisation.update_return_scale(state.return_scale, counted)
        state = dataclasses.replace(state, return_scale=scale)
        batch = self.sequences(rollout, advantage, target)
        params, optimiser, metrics = self.optimise(state, batch, shuffle_key)
        metrics |= {
            "utility": jnp.mean(steps.metrics["utility"]),
            "reward": jnp.mean(self.fixed.learning(steps.reward)),
            "explained_variance": 1 - jnp.var(counted - value) / jnp.maximum(jnp.var(counted), 1e-8),
            "learning_rate": anneal(state.hyperparameters, "learning_rate", state.num_updates),
            "entropy_coef": entropy_coef(state.hyperparameters, state.num_updates),
            **jax.tree.map(jnp.mean, steps.own),
        }
        state = dataclasses.replace(
            state,
            key=key,
            num_updates=state.num_updates + 1,
            params=params,
            optimiser=optimiser,
            moments=_merge(state.moments, steps.seen) if self.config.normalise_observations else state.moments,
        )
        return state, metrics

    def advantages(self, state: LearnerState, rollout: Rollout) -> tuple[Float[Array, "T E N"], Float[Array, "T E N"]]:
        """Advantages and value targets of what agents earn, in units of the reward."""
        hyper, steps = state.hyperparameters, rollout.steps
        discount = hyper.gamma**steps.elapsed * steps.discount
        advantage = generalised_advantages(
            steps.earned,
            steps.value,
            rollout.next_value,
            jnp.broadcast_to(discount[..., None], steps.earned.shape),
            jnp.broadcast_to(steps.last[..., None], steps.earned.shape),
            hyper.gae_lambda,
        )
        return advantage, advantage + steps.value

    def sequences(self, rollout: Rollout, advantage: Array, target: Array) -> Minibatch:
        """The rollout as one batch [T, E]."""
        names = ("views", "first", "legal", "action", "log_prob", "value", "decides", "selfishness")
        kept = {name: getattr(rollout.steps, name) for name in names}
        return Minibatch(**kept, advantage=advantage, target=target, memories=rollout.memories)

    def optimise(
        self, state: LearnerState, batch: Minibatch, key: PRNGKeyArray
    ) -> tuple[ActorCriticParams, PyTree, dict[str, Array]]:
        """Run several epochs over shuffled minibatches: new parameters and optimiser state, and mean loss metrics.

        `batch` is a whole rollout, as `sequences` gives it.
        """
        order = jnp.concatenate([*map(self._blocks.shuffled, jax.random.split(key, self.config.num_epochs))])
        descend = functools.partial(self._descend, state, batch)
        (params, optimiser), metrics = jax.lax.scan(descend, (state.params, state.optimiser), order)
        return params, optimiser, jax.tree.map(jnp.mean, metrics)

    def _descend(
        self, state: LearnerState, batch: Minibatch, now: tuple[ActorCriticParams, PyTree], chosen: Int[Array, "R S"]
    ) -> tuple[tuple[ActorCriticParams, PyTree], dict[str, Array]]:
        """One step of the optimiser on the items `chosen` of the blocks of `batch`."""
        params, optimiser = now
        gradient, metrics = jax.grad(self.loss, has_aux=True)(params, state, self._take(batch, chosen))
        change, optimiser = _optimiser(state.hyperparameters, state.num_updates).update(gradient, optimiser)
        return (optax.apply_updates(params, change), optimiser), metrics | {"grad_norm": optax.tree.norm(gradient)}

    def _take(self, batch: Minibatch, chosen: Int[Array, "R S"]) -> Minibatch:
        """The items `chosen`: of memories, which have no time, those before each sequence."""
        memories = jax.tree.map(lambda leaf: self._blocks.take(leaf[None], chosen)[0], batch.memories)
        timed = dataclasses.replace(batch, memories=Memories(actor=(), critic=()))
        return dataclasses.replace(self._blocks.take(timed, chosen), memories=memories)

    def loss(
        self, params: ActorCriticParams, state: LearnerState, batch: Minibatch
    ) -> tuple[Float[Array, ""], dict[str, Array]]:
        """The loss that PPO minimises, and its parts."""
        hyper, memories = state.hyperparameters, batch.memories
        seen = (batch.views.agent, batch.legal)
        distribution = unroll(self.network.actor, params.actor, memories.actor, seen, batch.first)
        entropy = losses.masked_mean(distribution.entropy(), batch.decides)
        log_ratios = self.fixed.silenced(self.credit.log_prob(distribution, batch.action) - batch.log_prob)
        log_ratios = losses.bounded_log_ratio(log_ratios)
        advantage = batch.advantage
        if self.config.normalise_advantages:
            advantage = losses.standardise(advantage, self.credit.counted(batch.decides))
        terms = self.credit.terms(advantage, batch.selfishness)
        policy_loss = losses.clipped_policy_loss(jnp.exp(log_ratios), terms, hyper.clip_epsilon, batch.decides)

        view = self.network.critic_view(batch.views)
        value = unroll(self.network.critic, params.critic, memories.critic, (view,), batch.first)
        old_value, target = (self._valued(self._scale(state, x)) for x in (batch.value, batch.target))
        value_loss = losses.value_loss(self._valued(value), old_value, target, hyper.value_clip)

        log_ratio = self.credit.of_action(log_ratios)
        ratio = jnp.exp(log_ratio)
        weight = entropy_coef(hyper, state.num_updates)
        loss = policy_loss + hyper.value_coef * value_loss - weight * entropy
        return loss, {
            "loss": loss,
            "policy_loss": policy_loss,
            "value_loss": value_loss,
            "entropy": entropy,
            "approx_kl": losses.masked_mean(ratio - 1 - log_ratio, batch.decides),
            "clip_fraction": losses.masked_mean(jnp.abs(ratio - 1) > hyper.clip_epsilon, batch.decides),
        }

    def _valued(self, x: Float[Array, "*B N"]) -> Float[Array, "*B L"]:
        """The entries of the agents whose values are learned."""
        return self.credit.without_value(self.fixed).learning(x)

    def _see(self, observation: PyTree, game_state: PyTree, params: PyTree) -> Views[PyTree]:
        """What actors and critics see of E environments, before normalisation."""
        global_state = jax.vmap(self.game.global_state)(game_state, params)
        return normalisation.symlog(Views(agent=features(observation), state=global_state))

    def _normalise(self, state: LearnerState, seen: Views[PyTree]) -> Views[PyTree]:
        moments = state.moments
        return Views(
            agent=normalisation.normalise(moments.agent, seen.agent),
            state=normalisation.normalise(moments.state, seen.state),
        )

    def _apply_critic(self, state: LearnerState, memory: Any, views: Views[PyTree]) -> tuple[Any, Array]:
        """The next memory, and the values in units of the reward."""
        memory, value = self.network.critic.apply(state.params.critic, memory, self.network.critic_view(views))
        return memory, self._unscale(state, value)

    def _value_of(self, state: LearnerState, memory: Any, seen: Views[PyTree]) -> Float[Array, "E N"]:
        """The values, in units of the reward, given raw views."""
        return self._apply_critic(state, memory, self._normalise(state, seen))[1]

    def _scale(self, state: LearnerState, returns: Array) -> Array:
        return normalisation.scale_returns(state.return_scale, returns) if self.config.normalise_values else returns

    def _unscale(self, state: LearnerState, values: Array) -> Array:
        return normalisation.unscale_values(state.return_scale, values) if self.config.normalise_values else values


def make(game: Game, network: NetworkConfig, config: MAPPOConfig, sample_params: SampleParams) -> MAPPO:
    """The learner, with networks for `game`; its config says what null and auto came to.

    Raises:
        ValueError: the network, the credit, the shaping of rewards or the fixed agents do not fit the game, or the
            number of minibatches does not divide the rollout.
    """
    if config.shape_rewards:
        shaping.check(game, config.critic)
    networks = build(game, network, critic=config.critic, share_parameters=config.share_parameters)
    given = credit.find(game, config.credit)
    fixed = find(game, config.fixed_agents, config.fixed_policy)
    learner = MAPPO(game, networks, config, sample_params, given, fixed)
    resolved = dataclasses.replace(config, num_minibatches=learner.num_minibatches, credit=given.name)
    return dataclasses.replace(learner, config=resolved)


def entropy_coef(hyper: Hyperparameters, num_updates: Int[Array, ""]) -> Float[Array, ""]:
    """The weight of the entropy in an update."""
    return anneal(hyper, "entropy_coef", num_updates, hyper.entropy_decay)


def _optimiser(hyper: Hyperparameters, num_updates: Int[Array, ""]) -> optax.GradientTransformation:
    return clipped("adam", anneal(hyper, "learning_rate", num_updates), hyper.max_grad_norm)


def _merge(past: Views[Moments], seen: Views[Moments]) -> Views[Moments]:
    """The statistics of the past with those of T equally large steps in E environments."""
    agent, state = (normalisation.pool(jax.vmap(normalisation.pool)(each)) for each in (seen.agent, seen.state))
    return Views(agent=normalisation.merge(past.agent, agent), state=normalisation.merge(past.state, state))
