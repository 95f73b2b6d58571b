"""Two games whose best policy and values are known in closed form: one of choices, one of numbers in a Box."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array

from jaxdlb import spaces
from jaxdlb.game import Column, TimeStep, mean_of, traced_observation_shapes


@struct.dataclass
class Observation:
    own: Array
    legal: Array


class Small:
    """What both games have in common; `num_agents` is a field, params are the horizon."""

    observation_shapes = property(traced_observation_shapes)
    metrics: ClassVar = {"utility": "mean reward"}
    columns: ClassVar = {"utility": Column("utility", "mean reward", mean_of("utility"))}

    @property
    def dims(self):
        return {"N": self.num_agents}

    def validate(self, params):
        return None

    def true_observation(self, state, params):
        return self.observe(state)


@struct.dataclass
class TwoStatesState:
    at: Array  # [N], 0 or 1
    step: Array


STAY, SWITCH, IDLE = range(3)
GAMMA = 0.8


@dataclasses.dataclass(frozen=True)
class TwoStates(Small):
    """Each agent by itself is in state 0 or 1. To switch from 0 costs 0.2, and to stay there earns 0.4.

    In 1 it earns 1 to stay, 0 to switch, and 0.3 to idle, which stays too and is illegal in 0, where it would earn 9.
    A time limit ends episodes, and cuts nothing: the values below are those of a game without end.
    """

    num_agents: int = 2

    name = "two_states"
    action_space = spaces.Discrete(3)

    def default_params(self, **fields):
        return jnp.int32(fields.get("horizon", 5))

    def reset(self, key, params):
        at = jax.random.bernoulli(key, 0.5, (self.num_agents,)).astype(jnp.int32)
        state = TwoStatesState(at, jnp.int32(0))
        return state, self._timestep(state, jnp.zeros(self.num_agents), params)

    def step(self, key, state, action, params):
        reward = jnp.array([[0.4, -0.2, 9.0], [1.0, 0.0, 0.3]])[state.at, action]
        state = TwoStatesState(jnp.where(action == SWITCH, 1 - state.at, state.at), state.step + 1)
        return state, self._timestep(state, reward, params)

    def observe(self, state):
        legal = jnp.stack([jnp.ones(self.num_agents, bool)] * 2 + [state.at == 1], axis=-1)
        return Observation(jax.nn.one_hot(state.at, 2), legal)

    def global_state(self, state, params):
        return state.at.astype(jnp.float32)

    def _timestep(self, state, reward, params):
        return TimeStep(
            observation=self.observe(state),
            reward=reward,
            discount=jnp.float32(1),
            last=state.step >= params,
            elapsed=jnp.float32(1),
            metrics={"utility": jnp.mean(reward)},
        )

    @property
    def optimum(self):
        """Q(state, choice) at γ = 0.8, NaN where illegal: V(1) = 1/(1 − γ) = 5, V(0) = −0.2 + γ · 5 = 3.8."""
        return jnp.array([[0.4 + GAMMA * 3.8, 3.8, jnp.nan], [5.0, GAMMA * 3.8, 0.3 + GAMMA * 5.0]])


@struct.dataclass
class BanditState:
    wanted: Array  # [N, S], in units of [−1, 1]
    legal: Array  # [N]
    step: Array


@dataclasses.dataclass(frozen=True)
class Bandit(Small):
    """Each agent is told what is wanted of it, and loses the squared distance to it in units of half the Box.

    The best action is what is wanted: utility 0. An agent that is absent in a step must act 0, and its reward is 0.
    With the default horizon of one step every episode is a single one, at whose end nothing follows.
    """

    num_agents: int = 2
    low: float = -1.0
    high: float = 1.0
    size: int = 1
    presence: float = 1.0  # chance that an agent is there

    name = "bandit"

    @property
    def action_space(self):
        return spaces.Box(self.low, self.high, self.size)

    def default_params(self, **fields):
        return jnp.int32(fields.get("horizon", 1))

    def reset(self, key, params):
        state = self._draw(key, jnp.int32(0))
        return state, self._timestep(state, jnp.zeros(self.num_agents), params)

    def step(self, key, state, action, params):
        units = 2 * (action - self.low) / (self.high - self.low) - 1
        lost = jnp.sum(jnp.square(units - state.wanted), axis=-1)
        state, reward = self._draw(key, state.step + 1), jnp.where(state.legal, -lost, 0.0)
        return state, self._timestep(state, reward, params)

    def observe(self, state):
        shown = jnp.concatenate([state.wanted, jnp.ones((self.num_agents, 1))], axis=-1)
        return Observation(jnp.where(state.legal[:, None], shown, 0.0), state.legal)

    def global_state(self, state, params):
        return state.wanted.ravel()

    def _draw(self, key, step):
        wanted_key, legal_key = jax.random.split(key)
        wanted = jax.random.uniform(wanted_key, (self.num_agents, self.size), minval=-0.8, maxval=0.8)
        return BanditState(wanted, jax.random.bernoulli(legal_key, self.presence, (self.num_agents,)), step)

    def _timestep(self, state, reward, params):
        over = state.step >= params
        return TimeStep(
            observation=self.observe(state),
            reward=reward,
            discount=1 - over.astype(jnp.float32),
            last=over,
            elapsed=jnp.float32(1),
            metrics={"utility": jnp.mean(reward)},
        )
