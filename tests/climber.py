"""A learner that costs nothing: it climbs towards (1, 1, 1), at a pace that its hyper-parameters set."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxdlb.checks import NON_NEGATIVE, POSITIVE, PROBABILITY
from jaxdlb.parameters import parameter


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Pace:
    learning_rate: Float[Array, ""] | float = parameter(NON_NEGATIVE, 0.1)  # of the way that remains
    momentum: Float[Array, ""] | float = parameter(PROBABILITY, 0.5)  # of the last step
    noise: Float[Array, ""] | float = parameter(POSITIVE, 0.01)  # of a step

    explored: ClassVar = ("learning_rate", "momentum")


@struct.dataclass
class State:
    key: PRNGKeyArray
    num_updates: Int[Array, ""]
    hyperparameters: Pace
    params: Float[Array, " 3"]
    optimiser: Float[Array, " 3"]


@dataclasses.dataclass(frozen=True)
class Climber:
    """`poison(key) -> bool` says which updates are spoilt: everything learned is NaN from there on."""

    config: Pace = dataclasses.field(default_factory=Pace)
    poison: object = None

    agent_rounds_per_update = 10

    def init(self, key):
        start_key, key = jax.random.split(key)
        hyper = jax.tree.map(jnp.float32, self.config)
        return State(key, jnp.int32(0), hyper, jax.random.normal(start_key, (3,)), jnp.zeros(3))

    def update(self, state):
        key, noise_key = jax.random.split(state.key)
        hyper = state.hyperparameters
        noise = hyper.noise * jax.random.normal(noise_key, (3,))
        step = hyper.momentum * state.optimiser + hyper.learning_rate * (1 - state.params) + noise
        if self.poison is not None:
            step = jnp.where(self.poison(state.num_updates, hyper), jnp.nan, step)
        params = state.params + step
        utility = -jnp.sum(jnp.square(params - 1))
        state = dataclasses.replace(state, key=key, num_updates=state.num_updates + 1, params=params, optimiser=step)
        return state, {"utility": utility, "loss": jnp.sum(step)}

    def policy_variables(self, state):
        return {"weights": state.params}
