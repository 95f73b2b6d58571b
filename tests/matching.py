"""A small game with any kind of action: every agent sees a target in its action space and must match it."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, PyTree

from jaxdlb import spaces
from jaxdlb.game import Column, TimeStep, mean_of, traced_observation_shapes


@struct.dataclass
class Alone:
    """What agents know where there are no peers."""

    own: Array
    legal: Array


@struct.dataclass
class AmongPeers:
    """Each row of peers holds the target's entry of its number, if there is one, and two random numbers."""

    own: Array
    peers: Array
    legal: Array


@struct.dataclass
class State:
    """Targets drawn anew each round; those of a Box lie inside, those of a Simplex among the legal entries."""

    target: Array
    legal: Array
    peers: Array
    round: Array


@dataclasses.dataclass(frozen=True)
class Matching:
    """Utility: − the squared distance to the target (of a Discrete 1 unless it is met), so the optimum is 0.

    An agent that may not act (a Box) has utility 0. The params are the horizon.
    """

    action_space: Any
    num_agents: int = 2
    num_rows: int | None = None  # of peers; without them an agent is alone
    elapsed: float = 1.0  # time that a step takes

    name = "matching"
    observation_shapes = property(traced_observation_shapes)

    @property
    def dims(self) -> dict[str, int]:
        return {"N": self.num_agents}

    @property
    def metrics(self) -> dict[str, str]:
        return {"utility": "mean over agents, ≤ 0"}

    @property
    def columns(self) -> dict[str, Column]:
        return {"utility": Column("utility", "mean over agents, ≤ 0", mean_of("utility"))}

    def default_params(self, **fields: Any) -> Array:
        return jnp.int32(20)

    def validate(self, params: PyTree) -> None:
        return None

    def reset(self, key: Array, params: Array) -> tuple[State, TimeStep]:
        state = self._draw(key, jnp.int32(0))
        return state, self._timestep(state, jnp.zeros(self.num_agents), params)

    def step(self, key: Array, state: State, action: Array, params: Array) -> tuple[State, TimeStep]:
        if isinstance(self.action_space, spaces.Discrete):
            utility = -(action != state.target).astype(jnp.float32)
        else:
            acts = state.legal if isinstance(self.action_space, spaces.Box) else jnp.any(state.legal, axis=-1)
            utility = -jnp.where(acts, jnp.sum((action - state.target) ** 2, axis=-1), 0.0)
        state = self._draw(key, state.round + 1)
        return state, self._timestep(state, utility, params)

    def global_state(self, state: State, params: Array) -> Float[Array, " G"]:
        return state.target.astype(jnp.float32).ravel()

    def true_observation(self, state: State, params: Array) -> Any:
        return self._observe(state)

    def _draw(self, key: Array, round: Array) -> State:
        target_key, legal_key, peers_key = jax.random.split(key, 3)
        space, agents = self.action_space, (self.num_agents,)
        if isinstance(space, spaces.Box):
            legal = jax.random.bernoulli(legal_key, 0.9, agents)
            middle = 0.5 * (space.low + space.high)
            target = middle + 0.6 * (space.sample(target_key, jnp.ones_like(legal)) - middle)
        else:
            size = space.num_choices if isinstance(space, spaces.Discrete) else space.size
            barred = jax.random.randint(legal_key, agents, 0, size)[:, None]
            legal = (jnp.arange(size) != barred) | (size < 2)
            target = space.sample(target_key, legal)
        peers = jax.random.normal(peers_key, (self.num_agents, self.num_rows or 0, 3))
        if not isinstance(space, spaces.Box):
            entries = jax.nn.one_hot(target, size) if isinstance(space, spaces.Discrete) else target
            hinted = min(size, peers.shape[1])
            peers = peers.at[:, :hinted, 0].set(entries[:, :hinted])
        return State(target, legal, peers, round)

    def _observe(self, state: State) -> Any:
        own = state.target.reshape(self.num_agents, -1).astype(jnp.float32)
        return Alone(own, state.legal) if self.num_rows is None else AmongPeers(own, state.peers, state.legal)

    def _timestep(self, state: State, utility: Array, params: Array) -> TimeStep:
        return TimeStep(
            observation=self._observe(state),
            reward=utility,
            discount=jnp.float32(1),
            last=state.round >= params,
            elapsed=jnp.float32(self.elapsed),
            metrics={"utility": jnp.mean(utility)},
        )
