"""How a learner's agents act, and what it records of the steps that they or others have played."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree

from jaxdlb.mechanics import chance
from jaxdlb.networks import Distribution, Memories, Views
from jaxdlb.networks.normalisation import Moments


@struct.dataclass
class Outlook:
    """What networks make of E environments before a step; leading axis E."""

    views: Views[PyTree]  # normalised as the networks received them
    seen: Views[Moments]  # the moments of both before normalisation
    legal: PyTree
    distribution: Any  # of the agents' actions
    value: Float[Array, "E N"]  # in units of the reward


@struct.dataclass
class Steps:
    """T steps in E environments; leading axes [T, E], then N for whatever belongs to an agent."""

    views: Views[PyTree]  # what agents saw and what a critic may see, normalised as the networks received it
    seen: Views[Moments]  # the moments [T, E] of both before normalisation
    legal: PyTree
    first: Bool[Array, "T E"]
    action: PyTree
    log_prob: Float[Array, "T E N K"]  # of that action, at the time it was chosen, in each term of the loss (`credit`)
    decides: Bool[Array, "T E N"]  # which agents had a choice
    value: Float[Array, "T E N"]  # of the state before the step, in units of the reward
    end_value: Float[Array, "T E N"]  # of the state that the step led to if an episode ended there, else arbitrary
    reward: Float[Array, "T E N"]
    earned: Float[Array, "T E N"]  # the reward, or the own utility: what advantages are estimated from (`credit`)
    selfishness: Float[Array, "T E"]  # κ, by which rewards are mixed from own utilities; 0 in games without it
    discount: Float[Array, "T E"]
    last: Bool[Array, "T E"]
    elapsed: Float[Array, "T E"]
    metrics: dict[str, Array]
    own: dict[str, Float[Array, " T"]]  # of each agent, means over environments (`own`)


@struct.dataclass
class Rollout:
    """The steps, and what comes before and after them."""

    steps: Steps
    memories: Memories  # [E, N, H], of both networks before the first step
    following_value: Float[Array, "E N"]  # of the states after the last step

    @property
    def next_value(self) -> Float[Array, "T E N"]:
        """The value of the state that each step led to; where an episode ended, of the state before its reset."""
        following = jnp.concatenate([self.steps.value[1:], self.following_value[None]])
        return jnp.where(self.steps.last[..., None], self.steps.end_value, following)


def draw_actions(distribution: Distribution, key: PRNGKeyArray, num_envs: int) -> PyTree:
    """An action of all agents in each of E environments; those of an environment do not depend on E."""
    keys = jax.vmap(chance.fold_in, (None, 0))(key, jnp.arange(num_envs))
    return jax.vmap(lambda distribution, key: distribution.sample(key))(distribution, keys)
