"""Multi-agent proximal policy optimisation (Yu et al. 2022); IPPO is the same with a critic on the own observation."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from jaxdlb import spaces
from jaxdlb.game import Game
from jaxdlb.learners import losses, rollout
from jaxdlb.learners.advantage import generalised_advantages
from jaxdlb.learners.config import Hyperparameters, MAPPOConfig, hyperparameters
from jaxdlb.learners.rollout import Environments, Rollout, SampleParams
from jaxdlb.mechanics import chance
from jaxdlb.networks import NetworkConfig, build, distributions, normalisation
from jaxdlb.networks.actor_critic import ActorCritic, features, forget, unroll
from jaxdlb.networks.normalisation import Moments, ReturnScale


@struct.dataclass
class LearnerState:
    """The whole truth of a run: saved and restored, training goes on bit for bit as if never stopped."""

    key: PRNGKeyArray
    num_updates: Int[Array, ""]
    hyperparameters: Hyperparameters
    params: dict[str, PyTree]  # of the actor and the critic
    optimiser: PyTree
    moments: dict[str, Moments]  # of the agents' features and of the global state
    return_scale: ReturnScale
    environments: Environments
    carry: dict[str, Any]  # the networks' memories; () without


@struct.dataclass
class Minibatch:
    """What the loss is of: sequences of length L in a batch of B; without memory L is 1 and B counts single steps."""

    views: dict[str, PyTree]
    first: Bool[Array, "L B"]
    legal: PyTree
    action: list[Int[Array, "L B N"]]
    log_prob: Float[Array, "L B N"]  # of that action, when it was chosen
    value: Float[Array, "L B N"]  # as estimated then
    advantage: Float[Array, "L B N"]
    target: Float[Array, "L B N"]
    decides: Bool[Array, "L B N"]
    carry: dict[str, Any]  # [B, N, H]: the memories before each sequence


@dataclasses.dataclass(frozen=True)
class MAPPO:
    """The learner: `init(key)` and `update(state)` are pure functions of what they are given.

    Raises:
        ValueError: a minibatch count that does not divide the number of steps (of environments, with memory).
    """

    game: Game
    network: ActorCritic
    config: MAPPOConfig
    sample_params: SampleParams

    def __post_init__(self) -> None:
        count, unit = self.config.num_envs, "environments"
        if not self._has_memory:
            count, unit = count * self.config.rollout_length, "steps of an update"
        if count % self.config.num_minibatches:
            raise ValueError(f"num_minibatches is {self.config.num_minibatches}; it must divide the {count} {unit}")

    @property
    def _has_memory(self) -> bool:
        networks = (self.network.actor, self.network.critic)
        return any(jax.tree.leaves(network.initial_carry((1,))) for network in networks)

    def init(self, key: PRNGKeyArray, hyper: Hyperparameters | None = None) -> LearnerState:
        """A learner before its first update; `hyper`, a pytree of scalars, defaults to the config's.

        Vmapped over keys, or over keys and `hyper`, it starts a population that trains in one program.
        """
        actor_key, critic_key, env_key, run_key = jax.random.split(key, 4)
        environments = rollout.start(self.game, self.sample_params, env_key, self.config.num_envs)
        one = jax.tree.map(lambda leaf: leaf[0], environments)
        agent_view = normalisation.symlog(features(one.observation))
        global_view = normalisation.symlog(self.game.global_state(one.state, one.params))
        params = {
            "actor": self.network.actor.init(actor_key, agent_view),
            "critic": self.network.critic.init(critic_key, self.network.critic_input(agent_view, global_view)),
        }
        batch = (self.config.num_envs,)
        return LearnerState(
            key=run_key,
            num_updates=jnp.int32(0),
            hyperparameters=hyperparameters(self.config) if hyper is None else hyper,
            params=params,
            optimiser=_ADAM.init(params),
            moments={
                "agent": normalisation.initial_moments(agent_view),
                "global": normalisation.initial_moments(global_view),
            },
            return_scale=normalisation.initial_return_scale(),
            environments=environments,
            carry={
                "actor": self.network.actor.initial_carry(batch),
                "critic": self.network.critic.initial_carry(batch),
            },
        )

    def update(self, state: LearnerState) -> tuple[LearnerState, dict[str, Float[Array, ""]]]:
        """One rollout and its optimisation; the metrics are scalars, `utility` the mean over the rollout."""
        key, act_key, shuffle_key = jax.random.split(state.key, 3)
        memory = state.carry
        state, steps = self.collect(state, act_key)
        advantage, target = self.advantages(state, steps)
        scale = normalisation.update_return_scale(state.return_scale, target)
        state = dataclasses.replace(state, return_scale=scale)
        batch = self.sequences(steps, memory, advantage, target)
        params, optimiser, metrics = self.optimise(state, batch, shuffle_key)
        moments = {
            name: normalisation.merge(past, normalisation.pool(steps.seen[name]))
            for name, past in state.moments.items()
        }
        metrics |= {
            "utility": jnp.mean(steps.metrics["utility"]),
            "reward": jnp.mean(steps.reward),
            "explained_variance": 1 - jnp.var(target - steps.value) / jnp.maximum(jnp.var(target), 1e-8),
            "learning_rate": _anneal(state.hyperparameters, "learning_rate", state.num_updates),
            "entropy_coef": _anneal(state.hyperparameters, "entropy_coef", state.num_updates),
        }
        state = dataclasses.replace(
            state,
            key=key,
            num_updates=state.num_updates + 1,
            params=params,
            optimiser=optimiser,
            moments=moments if self.config.normalise_observations else state.moments,
        )
        return state, metrics

    def policy_variables(self, state: LearnerState) -> dict[str, PyTree]:
        """What acting needs of a state: the actor's parameters and the statistics of its features."""
        return {"actor": state.params["actor"], "moments": state.moments["agent"]}

    def collect(self, state: LearnerState, key: PRNGKeyArray) -> tuple[LearnerState, Rollout]:
        """Play `rollout_length` steps in every environment."""
        env_ids = jnp.arange(self.config.num_envs)
        num_heads = len(spaces.leaves(self.game.action_space))

        def play(carry: tuple, step_key: PRNGKeyArray) -> tuple[tuple, Rollout]:
            environments, memory = carry
            memory = {name: forget(leaf, environments.first) for name, leaf in memory.items()}
            seen = self._see(environments.observation, environments.state, environments.params)
            views = self._normalise(state, seen)
            memory["actor"], logits = self.network.actor.apply(state.params["actor"], memory["actor"], views["agent"])
            memory["critic"], value = self._apply_critic(state, memory["critic"], views)
            legal = jax.tree.leaves(environments.observation.legal)
            log_probs = [distributions.masked_log_probs(*pair) for pair in zip(logits, legal, strict=True)]
            keys = jax.vmap(chance.fold_in, (None, 0))(step_key, env_ids)
            numbers = jax.vmap(lambda key: chance.uniforms(key, num_heads, self.game.num_agents))(keys)
            action = [distributions.sample(*pair) for pair in zip(numbers, log_probs, strict=True)]
            treedef = jax.tree.structure(environments.observation.legal)
            following, timestep, final_state = rollout.step(
                self.game, self.sample_params, environments, jax.tree.unflatten(treedef, action)
            )

            def value_at_end() -> Float[Array, "E N"]:
                """Of the states in which episodes ended, before their reset."""
                end = self._see(timestep.observation, final_state, environments.params)
                return self._apply_critic(state, memory["critic"], self._normalise(state, end))[1]

            end_value = jax.lax.cond(jnp.any(timestep.last), value_at_end, lambda: jnp.zeros_like(value))
            kept = Rollout(
                views=views,
                seen={name: normalisation.moments_of(leaf) for name, leaf in seen.items()},
                legal=environments.observation.legal,
                first=environments.first,
                action=action,
                log_prob=_joint_log_prob(log_probs, action),
                value=value,
                next_value=end_value,
                reward=timestep.reward,
                discount=timestep.discount,
                last=timestep.last,
                metrics=timestep.metrics,
            )
            return (following, memory), kept

        step_keys = jax.random.split(key, self.config.rollout_length)
        (environments, memory), steps = jax.lax.scan(play, (state.environments, state.carry), step_keys)
        state = dataclasses.replace(state, environments=environments, carry=memory)
        return state, dataclasses.replace(steps, next_value=self._next_values(state, steps))

    def advantages(self, state: LearnerState, steps: Rollout) -> tuple[Float[Array, "T E N"], Float[Array, "T E N"]]:
        """Advantages and value targets, in units of the reward."""
        hyper = state.hyperparameters
        shape = steps.reward.shape
        advantage = generalised_advantages(
            steps.reward,
            steps.value,
            steps.next_value,
            jnp.broadcast_to(hyper.gamma * steps.discount[..., None], shape),
            jnp.broadcast_to(steps.last[..., None], shape),
            hyper.gae_lambda,
        )
        return advantage, advantage + steps.value

    def sequences(self, steps: Rollout, memory: dict[str, Any], advantage: Array, target: Array) -> Minibatch:
        """The rollout as one batch: [T, E] sequences with memory, [1, T · E] single steps without."""
        choices = [jnp.sum(mask, axis=-1) for mask in jax.tree.leaves(steps.legal)]
        decides = jnp.any(jnp.stack(choices) > 1, axis=0)
        kept = {name: getattr(steps, name) for name in ("views", "first", "legal", "action", "log_prob", "value")}
        batch = Minibatch(**kept, advantage=advantage, target=target, decides=decides, carry=memory)
        if self._has_memory:
            return batch
        return jax.tree.map(lambda leaf: leaf.reshape(1, -1, *leaf.shape[2:]), batch)

    def optimise(
        self, state: LearnerState, batch: Minibatch, key: PRNGKeyArray
    ) -> tuple[dict[str, PyTree], PyTree, dict[str, Array]]:
        """Several epochs over shuffled minibatches: parameters, optimiser state, and the mean of each loss metric."""
        size = batch.decides.shape[1]
        keys = jax.random.split(key, self.config.num_epochs)
        order = jax.vmap(jax.random.permutation, (0, None))(keys, size)
        order = order.reshape(self.config.num_epochs * self.config.num_minibatches, -1)

        def descend(carry: tuple, chosen: Int[Array, " B"]) -> tuple[tuple, dict[str, Array]]:
            params, optimiser = carry
            minibatch = _take(batch, chosen)
            (_, metrics), gradient = jax.value_and_grad(self.loss, has_aux=True)(params, state, minibatch)
            norm = optax.tree.norm(gradient)
            hyper = state.hyperparameters
            shrink = jnp.minimum(1.0, hyper.max_grad_norm / jnp.maximum(norm, 1e-8))
            direction, optimiser = _ADAM.update(jax.tree.map(lambda leaf: leaf * shrink, gradient), optimiser)
            rate = _anneal(hyper, "learning_rate", state.num_updates)
            params = jax.tree.map(lambda leaf, change: leaf - rate * change, params, direction)
            return (params, optimiser), metrics | {"grad_norm": norm}

        (params, optimiser), metrics = jax.lax.scan(descend, (state.params, state.optimiser), order)
        return params, optimiser, jax.tree.map(jnp.mean, metrics)

    def loss(
        self, params: dict[str, PyTree], state: LearnerState, batch: Minibatch
    ) -> tuple[Float[Array, ""], dict[str, Array]]:
        """The loss that PPO descends, and its parts."""
        hyper = state.hyperparameters
        logits = unroll(self.network.actor, params["actor"], batch.carry["actor"], batch.views["agent"], batch.first)
        legal = jax.tree.leaves(batch.legal)
        log_probs = [distributions.masked_log_probs(*pair) for pair in zip(logits, legal, strict=True)]
        entropy = jnp.sum(jnp.stack([distributions.entropy(head) for head in log_probs]), axis=0)
        entropy = losses.masked_mean(entropy, batch.decides)
        log_ratio = _joint_log_prob(log_probs, batch.action) - batch.log_prob
        ratio = jnp.exp(log_ratio)
        advantage = batch.advantage
        if self.config.normalise_advantages:
            advantage = losses.standardise(advantage, batch.decides)
        policy_loss = losses.clipped_policy_loss(ratio, advantage, hyper.clip_epsilon, batch.decides)

        critic_view = self.network.critic_input(batch.views["agent"], batch.views["global"])
        value = unroll(self.network.critic, params["critic"], batch.carry["critic"], critic_view, batch.first)
        old_value, target = (self._scale(state, x) for x in (batch.value, batch.target))
        value_loss = losses.value_loss(value, old_value, target, hyper.value_clip)

        entropy_coef = _anneal(hyper, "entropy_coef", state.num_updates)
        loss = policy_loss + hyper.value_coef * value_loss - entropy_coef * entropy
        return loss, {
            "loss": loss,
            "policy_loss": policy_loss,
            "value_loss": value_loss,
            "entropy": entropy,
            "approx_kl": losses.masked_mean(ratio - 1 - log_ratio, batch.decides),
            "clip_fraction": losses.masked_mean(jnp.abs(ratio - 1) > hyper.clip_epsilon, batch.decides),
        }

    def _see(self, observation: PyTree, game_state: PyTree, params: PyTree) -> dict[str, PyTree]:
        """What actors and critics see of E environments, before normalisation."""
        global_state = jax.vmap(self.game.global_state)(game_state, params)
        return normalisation.symlog({"agent": features(observation), "global": global_state})

    def _normalise(self, state: LearnerState, seen: dict[str, PyTree]) -> dict[str, PyTree]:
        return {name: normalisation.normalise(state.moments[name], x) for name, x in seen.items()}

    def _apply_critic(self, state: LearnerState, memory: Any, views: dict[str, PyTree]) -> tuple[Any, Array]:
        """The next memory, and the values in units of the reward."""
        view = self.network.critic_input(views["agent"], views["global"])
        memory, value = self.network.critic.apply(state.params["critic"], memory, view)
        return memory, self._unscale(state, value)

    def _scale(self, state: LearnerState, returns: Array) -> Array:
        return normalisation.scale_returns(state.return_scale, returns) if self.config.normalise_values else returns

    def _unscale(self, state: LearnerState, values: Array) -> Array:
        return normalisation.unscale_values(state.return_scale, values) if self.config.normalise_values else values

    def _next_values(self, state: LearnerState, steps: Rollout) -> Float[Array, "T E N"]:
        """The value of the state that each step led to: of the state before its reset where an episode ended."""
        now = state.environments
        memory = forget(state.carry["critic"], now.first)
        seen = self._see(now.observation, now.state, now.params)
        after = self._apply_critic(state, memory, self._normalise(state, seen))[1]
        following = jnp.concatenate([steps.value[1:], after[None]])
        return jnp.where(steps.last[..., None], steps.next_value, following)


def make(game: Game, network: NetworkConfig, config: MAPPOConfig, sample_params: SampleParams) -> MAPPO:
    """The learner, with an actor and a critic of the kind that `network` asks for.

    Raises:
        ValueError: sizes that do not fit together, or a network that the game cannot feed.
    """
    actor_critic = build(game, network, critic=config.critic, share_parameters=config.share_parameters)
    return MAPPO(game=game, network=actor_critic, config=config, sample_params=sample_params)


_ADAM = optax.scale_by_adam(eps=1e-5)


def _anneal(hyper: Hyperparameters, name: str, num_updates: Int[Array, ""]) -> Float[Array, ""]:
    """A linear schedule from the hyper-parameter to its `final_…`, over `schedule_updates` updates."""
    progress = jnp.clip(num_updates / hyper.schedule_updates, 0, 1)
    start, end = getattr(hyper, name), getattr(hyper, f"final_{name}")
    return start + progress * (end - start)


def _joint_log_prob(log_probs: list[Float[Array, "*B A"]], action: list[Int[Array, "*B"]]) -> Float[Array, "*B"]:
    """The log-probability of an action with several heads, each chosen independently."""
    heads = [distributions.log_prob(*pair) for pair in zip(log_probs, action, strict=True)]
    return jnp.sum(jnp.stack(heads), axis=0)


def _take(batch: Minibatch, chosen: Int[Array, " B"]) -> Minibatch:
    """The sequences numbered `chosen`: axis 1 of what has time, axis 0 of the memories before them."""
    timed = jax.tree.map(lambda leaf: jnp.take(leaf, chosen, axis=1), dataclasses.replace(batch, carry={}))
    return dataclasses.replace(timed, carry=jax.tree.map(lambda leaf: jnp.take(leaf, chosen, axis=0), batch.carry))
