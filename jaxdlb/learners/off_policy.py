"""The loop that learners from a replay buffer share: play, store, descend.

What tells one such learner from another is its `Algorithm`: its networks, how it explores, and one step of its
optimisers on a batch of joint transitions.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from jaxdlb import parameters, spaces
from jaxdlb.checks import COUNT, POSITIVE, POSITIVE_COUNT, PROBABILITY, SWITCH, Interval
from jaxdlb.game import Game, TimeStep
from jaxdlb.learners import environments, exploration, own, replay, targets
from jaxdlb.learners.environments import Environments, SampleParams
from jaxdlb.learners.hyper import Scalar, clipped, sweepable
from jaxdlb.learners.replay import Replay
from jaxdlb.networks import Actor, NetworkConfig, Views, features, normalisation
from jaxdlb.networks.normalisation import Moments
from jaxdlb.parameters import parameter
from jaxdlb.policies.learned import PolicyVariables

LEARNING_RATE = Interval(0, 0.125)  # Adam moves each weight by about as much in a step: beyond, nothing is learned
_TRANSITIONS = 768  # of single agents in a batch, unless told otherwise


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class OffPolicyHyperparameters:
    """Numbers in which members of a population may differ; as arrays in the learner's state, they may be vmapped."""

    gamma: Scalar = parameter(PROBABILITY, 0.95)  # γ: discount for one unit of the game's time
    tau: Scalar = parameter(PROBABILITY, 0.005)  # τ: share of the way that slow copies go in a step
    max_grad_norm: Scalar = parameter(POSITIVE, 10.0)  # norm to which each network's gradient is clipped


@dataclasses.dataclass(frozen=True)
class OffPolicyConfig:
    """Static sizes and choices that learners from a replay buffer share.

    Raises:
        ValueError: names the setting, its value and what is allowed.
    """

    num_envs: int = parameter(POSITIVE_COUNT, 64)  # clusters played side by side
    rollout_length: int = parameter(POSITIVE_COUNT, 4)  # steps that each of them plays in an update
    stagger: int = parameter(COUNT, 500)  # steps; first episodes are cut at random below it, lest all end in one step
    gradient_steps: int = parameter(POSITIVE_COUNT, 4)  # steps of the optimisers in an update
    # joint transitions, each of all agents, in a step of the optimisers; null: 768 agents' worth
    batch_size: int | None = parameter(POSITIVE_COUNT, None)
    # L: steps of each environment that are kept, a multiple of rollout_length; null: 2000, or as many as fit
    replay_length: int | None = parameter(POSITIVE_COUNT, None)
    max_replay_gib: float = parameter(POSITIVE, 2.0)  # GiB that the kept steps may take
    # steps of each environment at the start that are played at random, before anything is learned
    warmup_steps: int = parameter(COUNT, 64)
    share_parameters: bool = parameter(SWITCH, True)  # one set of parameters for all agents, or one for each
    normalise_observations: bool = parameter(SWITCH, True)  # to mean 0 and variance 1, by running statistics

    def __post_init__(self) -> None:
        parameters.check(self)


@struct.dataclass
class Transitions:
    """Joint transitions with leading axes *B: what all agents saw and did, and what came of it.

    Views are stored after `symlog` and before normalisation, and then normalised by the moments of the moment. What
    follows is what the step led to, before any reset.
    """

    views: Views[PyTree]  # the global view is () unless a critic reads it
    legal: PyTree
    action: PyTree  # as a critic reads it
    reward: Float[Array, "*B N"]
    discount: Float[Array, "*B"]  # the game's own
    elapsed: Float[Array, "*B"]
    following: Views[PyTree]
    following_legal: PyTree


@struct.dataclass
class Batch:
    """Transitions to learn from: views are normalised, and γ is in the discount."""

    transitions: Transitions
    discount: Float[Array, " B"]  # γ^elapsed · the game's discount
    present: Bool[Array, "B N"]  # who had a choice
    following_present: Bool[Array, "B N"]


@struct.dataclass
class Rollout:
    """T steps in E environments."""

    transitions: Transitions  # [T, E]
    seen: Views[Moments]  # [T]
    metrics: dict[str, Float[Array, " T"]]


@struct.dataclass
class Learned:
    """What the optimisers change, by name: the parameters of networks, slow copies of some, optimisers' states."""

    params: dict[str, PyTree]  # those of `actor` are what acting needs
    slow: dict[str, PyTree]
    optimiser: dict[str, PyTree]


class Exploring(NamedTuple):
    """How much is tried out now."""

    hyper: Any
    level: Float[Array, ""]  # as the algorithm's `level` says
    warm: Bool[Array, ""]  # until then actions are uniform among legal ones


@runtime_checkable
class Algorithm(Protocol):
    """What tells one learner from a replay buffer from another: pure functions of their arguments."""

    @property
    def hyperparameters(self) -> type:
        """The declared numbers that may be swept, of which the settings hold the values."""
        ...

    @property
    def reads_state(self) -> bool:
        """Whether a critic reads the global view."""
        ...

    @property
    def actor(self) -> Actor:
        """Whose parameters are those of the policy; of Boxes, it may speak in units of its own."""
        ...

    def init(self, key: PRNGKeyArray, views: Views, hyper: Any) -> Learned:
        """What is learned, before the first step; `views` are those of one cluster."""
        ...

    def initial_noise(self, num_envs: int) -> Any:
        """What exploration remembers at first: a pytree with leading axes E and N, or ()."""
        ...

    def level(self, hyper: Any, params: dict[str, PyTree], steps: Int[Array, ""]) -> Float[Array, ""]:
        """How much is explored after so many steps in each environment."""
        ...

    def explore(
        self, key: PRNGKeyArray, distribution: Any, legal: PyTree, noise: Any, now: "Exploring"
    ) -> tuple[Any, PyTree]:
        """What exploration remembers, and the actions [E, N] of the game."""
        ...

    def told(self, action: PyTree, legal: PyTree) -> PyTree:
        """The actions of the game as a critic reads them."""
        ...

    def descend(
        self, learned: Learned, hyper: Any, batch: Batch, key: PRNGKeyArray, number: Int[Array, ""]
    ) -> tuple[Learned, dict[str, Float[Array, ""]]]:
        """One step of the optimisers, the `number`-th."""
        ...


@struct.dataclass
class OffPolicyState:
    """The complete state of a run: saved and restored, training continues bit for bit as if it had never stopped."""

    key: PRNGKeyArray
    num_updates: Int[Array, ""]
    hyperparameters: Any
    learned: Learned
    moments: Views[Moments]
    environments: Environments
    noise: Any  # what exploration remembers, [E, N, …]
    replay: Replay


Descent = Callable[[OffPolicyState, PRNGKeyArray], tuple[Learned, dict[str, Array]]]  # on what is in the buffer


@dataclasses.dataclass(frozen=True)
class OffPolicy:
    """The learner: `init(key)` and `update(state)` are pure functions of their arguments.

    `update` applies `learn` to what `collect` gathers; a rollout gathered elsewhere can be learned from as well.
    """

    game: Game
    algorithm: Any  # an `Algorithm`
    config: Any  # an `OffPolicyConfig` with the algorithm's own settings and hyper-parameters
    sample_params: SampleParams

    @property
    def agent_rounds_per_update(self) -> int:
        """Rounds × environments × agents that one update plays."""
        return self.config.num_envs * self.config.rollout_length * self.game.num_agents

    def init(self, key: PRNGKeyArray, hyper: Any = None) -> OffPolicyState:
        """The state before the first update; `hyper`, a pytree of scalars, defaults to the config's values.

        Mapped with `jax.vmap` over keys, or over keys and `hyper`, it starts a population that trains in one program.
        """
        network_key, env_key, run_key = jax.random.split(key, 3)
        started = environments.reset(self.game, self.sample_params, env_key, self.config.num_envs, self.config.stagger)
        seen = self._see(started.observation, started.state, started.params)
        views = jax.tree.map(lambda leaf: leaf[0], seen)
        hyper = sweepable(self.config, self.algorithm.hyperparameters) if hyper is None else hyper
        return OffPolicyState(
            key=run_key,
            num_updates=jnp.int32(0),
            hyperparameters=hyper,
            learned=self.algorithm.init(network_key, views, hyper),
            moments=Views(*map(normalisation.initial_moments, (views.agent, views.state))),
            environments=started,
            noise=self.algorithm.initial_noise(self.config.num_envs),
            replay=replay.empty(self.example, self.config.replay_length, self.config.num_envs),
        )

    def update(self, state: OffPolicyState) -> tuple[OffPolicyState, dict[str, Float[Array, ""]]]:
        """One rollout and `gradient_steps` steps; the metrics are scalars, `utility` the mean over the rollout."""
        return self.learn(*self.collect(state))

    def policy_variables(self, state: OffPolicyState) -> PolicyVariables:
        """The part of a state that acting needs: the actor's parameters and the statistics of its features."""
        return PolicyVariables(actor=state.learned.params["actor"], moments=state.moments.agent)

    @property
    def example(self) -> Transitions:
        """The shapes of one joint transition."""
        return jax.eval_shape(self._first_transition, jax.random.key(0))

    def collect(self, state: OffPolicyState) -> tuple[OffPolicyState, Rollout]:
        """Play `rollout_length` steps in every environment.

        Random draws use the state's key, which `collect` leaves as it is and `learn` replaces.
        """
        _, key, _ = jax.random.split(state.key, 3)
        keys, index = jax.random.split(key, self.config.rollout_length), jnp.arange(self.config.rollout_length)
        steps = state.num_updates * self.config.rollout_length + index
        start = (state.environments, state.noise)
        (played, noise), rollout = jax.lax.scan(functools.partial(self._play, state), start, (keys, steps))
        return dataclasses.replace(state, environments=played, noise=noise), rollout

    def learn(self, state: OffPolicyState, rollout: Rollout) -> tuple[OffPolicyState, dict[str, Float[Array, ""]]]:
        """Store a rollout, update the running statistics, and descend unless everything is still drawn at random."""
        key, _, learn_key = jax.random.split(state.key, 3)
        moments = _merge(state.moments, rollout.seen) if self.config.normalise_observations else state.moments
        kept = replay.store(state.replay, rollout.transitions)
        steps = state.num_updates * self.config.rollout_length
        state = dataclasses.replace(state, key=key, num_updates=state.num_updates + 1, moments=moments, replay=kept)
        descend = jax.jit(self._descend)  # traced once, for the program and for the shapes of its metrics
        stay = functools.partial(_stay, descend)
        learned, metrics = jax.lax.cond(steps >= self.config.warmup_steps, descend, stay, state, learn_key)
        metrics |= {"filled": kept.filled / kept.length, **jax.tree.map(jnp.mean, rollout.metrics)}
        return dataclasses.replace(state, learned=learned), metrics

    def batch(self, state: OffPolicyState, key: PRNGKeyArray) -> Batch:
        """Transitions drawn from the buffer."""
        drawn: Transitions = replay.sample(state.replay, key, self.config.batch_size)
        space = self.game.action_space
        return Batch(
            transitions=dataclasses.replace(
                drawn, views=_normalised(state, drawn.views), following=_normalised(state, drawn.following)
            ),
            discount=targets.discounts(state.hyperparameters.gamma, drawn.elapsed, drawn.discount),
            present=spaces.decides(space, drawn.legal),
            following_present=spaces.decides(space, drawn.following_legal),
        )

    def _play(
        self, state: OffPolicyState, now: tuple[Environments, Any], at: tuple[PRNGKeyArray, Int[Array, ""]]
    ) -> tuple[tuple[Environments, Any], Rollout]:
        """One step in every environment, using the networks of `state`."""
        (here, noise), (key, steps) = now, at
        seen, legal = self._see(here.observation, here.state, here.params), here.observation.legal
        noise = jax.tree.map(lambda leaf: exploration.emptied(leaf, here.first), noise)
        view = normalisation.normalise(state.moments.agent, seen.agent)
        _, distribution = self.algorithm.actor.apply(state.learned.params["actor"], (), view, legal)
        level = self.algorithm.level(state.hyperparameters, state.learned.params, steps)
        exploring = Exploring(state.hyperparameters, level, steps >= self.config.warmup_steps)
        noise, action = self.algorithm.explore(key, distribution, legal, noise, exploring)
        following, timestep, end = environments.step(self.game, self.sample_params, here, action)
        transitions = Transitions(
            views=seen,
            legal=legal,
            action=self.algorithm.told(action, legal),
            reward=timestep.reward,
            discount=timestep.discount,
            elapsed=timestep.elapsed,
            following=self._see(timestep.observation, end, here.params),
            following_legal=timestep.observation.legal,
        )
        moments = Views(*map(normalisation.moments_of, (seen.agent, seen.state)))
        return (following, noise), Rollout(transitions, moments, _metrics(timestep) | {"exploration": level})

    def _descend(self, state: OffPolicyState, key: PRNGKeyArray) -> tuple[Learned, dict[str, Array]]:
        """`gradient_steps` steps, and the means of their metrics."""
        count = self.config.gradient_steps

        def one(learned: Learned, at: tuple[PRNGKeyArray, Int[Array, ""]]) -> tuple[Learned, dict[str, Array]]:
            sample_key, step_key = jax.random.split(at[0])
            batch = self.batch(state, sample_key)
            return self.algorithm.descend(learned, state.hyperparameters, batch, step_key, at[1])

        numbers = (state.num_updates - 1) * count + jnp.arange(count)
        learned, metrics = jax.lax.scan(one, state.learned, (jax.random.split(key, count), numbers))
        return learned, jax.tree.map(jnp.mean, metrics)

    def _see(self, observation: PyTree, game_state: PyTree, params: PyTree) -> Views[PyTree]:
        """What actors and critics see of E environments, before normalisation."""
        whole = jax.vmap(self.game.global_state)(game_state, params) if self.algorithm.reads_state else ()
        return normalisation.symlog(Views(agent=features(observation), state=whole))

    def _first_transition(self, key: PRNGKeyArray) -> Transitions:
        """Of one environment, from its reset to itself."""
        params = self.sample_params(key)
        started, timestep = self.game.reset(key, params)
        one = jax.tree.map(lambda leaf: leaf[None], (timestep.observation, started, params))
        seen = jax.tree.map(lambda leaf: leaf[0], self._see(*one))
        legal = timestep.observation.legal
        return Transitions(
            views=seen,
            legal=legal,
            action=self.algorithm.told(spaces.sample(self.game.action_space, key, legal), legal),
            reward=timestep.reward,
            discount=timestep.discount,
            elapsed=timestep.elapsed,
            following=seen,
            following_legal=legal,
        )


def make(
    game: Game, network: NetworkConfig, config: Any, sample_params: SampleParams, algorithm: Algorithm
) -> OffPolicy:
    """The learner of an algorithm; its config says what null came to.

    Raises:
        ValueError: a network with memory, or a buffer that does not fit.
    """
    if network.recurrent:
        raise ValueError("recurrent is true; it must be false here, since steps drawn one by one teach no memory")
    learner = OffPolicy(game, algorithm, config, sample_params)
    sizes = (config.num_envs, config.rollout_length, config.max_replay_gib)
    resolved = dataclasses.replace(
        config,
        replay_length=replay.length(config.replay_length, learner.example, *sizes),
        batch_size=config.batch_size or -(-_TRANSITIONS // game.num_agents),
    )
    return dataclasses.replace(learner, config=resolved)


def initial_optimiser(params: PyTree) -> PyTree:
    """The state of Adam before the first step of a network."""
    return clipped("adam", 0.0, 1.0).init(params)


def stepped(
    gradient: PyTree, optimiser: PyTree, params: PyTree, rate: Scalar, max_grad_norm: Scalar
) -> tuple[PyTree, PyTree, Float[Array, ""]]:
    """A network's parameters and optimiser after a step of Adam on its clipped gradient, and the norm before that."""
    change, optimiser = clipped("adam", rate, max_grad_norm).update(gradient, optimiser)
    return optax.apply_updates(params, change), optimiser, optax.tree.norm(gradient)


def copied(params: PyTree) -> PyTree:
    """The same numbers in arrays of their own, so that a state may be donated."""
    return jax.tree.map(jnp.copy, params)


def _stay(descend: Descent, state: OffPolicyState, key: PRNGKeyArray) -> tuple[Learned, dict[str, Array]]:
    """No step: everything as it is, and zeros for the metrics that `descend` would give."""
    shapes = jax.eval_shape(descend, state, key)[1]
    return state.learned, jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)


def _normalised(state: OffPolicyState, seen: Views[PyTree]) -> Views[PyTree]:
    moments = state.moments
    return Views(
        agent=normalisation.normalise(moments.agent, seen.agent),
        state=normalisation.normalise(moments.state, seen.state),
    )


def _merge(past: Views[Moments], seen: Views[Moments]) -> Views[Moments]:
    """The statistics of the past with those of T equally large steps."""
    agent, state = (normalisation.pool(each) for each in (seen.agent, seen.state))
    return Views(agent=normalisation.merge(past.agent, agent), state=normalisation.merge(past.state, state))


def _metrics(timestep: TimeStep) -> dict[str, Float[Array, ""]]:
    """Of a step in all environments."""
    means = {"utility": jnp.mean(timestep.metrics["utility"]), "reward": jnp.mean(timestep.reward)}
    return means | own.metrics(timestep)
