"""How learners try what they do not hold best: a coin for choices, noise for numbers.

Whatever an environment draws depends on the key and its index, not on how many environments there are.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from jaxdlb.learners.hyper import Scalar
from jaxdlb.mechanics import chance


def falling(start: Scalar, end: Scalar, scale: Scalar, steps: Int[Array, ""]) -> Float[Array, ""]:
    """ε = end + (start − end) · exp(−k / scale), after k steps in each environment."""
    return end + (start - end) * jnp.exp(-steps.astype(jnp.float32) / scale)


def uniform_rows(key: PRNGKeyArray, num_envs: int, num: int, num_agents: int) -> Float[Array, "K E N"]:
    """Uniform numbers in [0, 1), `num` for each agent in each environment."""
    keys = jax.vmap(chance.fold_in, (None, 0))(key, jnp.arange(num_envs))
    return jnp.moveaxis(jax.vmap(lambda each: chance.uniform_rows(each, num, num_agents))(keys), 0, 1)


def epsilon_greedy(key: PRNGKeyArray, epsilon: Float[Array, ""], greedy: PyTree, legal: PyTree) -> Any:
    """The `greedy` choices [E, N]; each agent that throws below ε takes legal ones at random, in all its heads."""
    choices, treedef = jax.tree.flatten(greedy)
    num_envs, num_agents = choices[0].shape
    coin, *numbers = uniform_rows(key, num_envs, 1 + len(choices), num_agents)
    explores = coin < epsilon
    masks = jax.tree.leaves(legal)
    drawn = [uniform_choice(number, mask) for number, mask in zip(numbers, masks, strict=True)]
    mixed = [jnp.where(explores, other, choice) for other, choice in zip(drawn, choices, strict=True)]
    return jax.tree.unflatten(treedef, mixed)


def uniform_choice(number: Float[Array, "*B"], legal: Bool[Array, "*B A"]) -> Int[Array, "*B"]:
    """The legal choice that a number in [0, 1) stands for, all alike; each agent must have one."""
    rank = jnp.cumsum(legal, axis=-1)  # of each legal choice, from 1
    wanted = jnp.minimum(jnp.floor(number * rank[..., -1]), rank[..., -1] - 1)
    return jnp.argmax(rank > wanted[..., None], axis=-1).astype(jnp.int32)


def normals(key: PRNGKeyArray, shape: tuple[int, ...]) -> Float[Array, "..."]:
    """Standard normal numbers."""
    return chance.normals(key, 1, math.prod(shape))[0].reshape(shape)


Noise = Float[Array, "E N S"]


def gaussian(noise: Noise, normals: Noise, sigma: Scalar, theta: Scalar) -> Noise:
    """Noise that remembers nothing: σ times standard normal numbers."""
    return sigma * normals


def ornstein_uhlenbeck(noise: Noise, normals: Noise, sigma: Scalar, theta: Scalar) -> Noise:
    """The noise a step later: x − θ x + σ times standard normal numbers (Uhlenbeck and Ornstein 1930)."""
    return noise - theta * noise + sigma * normals


NOISES: Mapping[str, Callable[[Array, Array, Scalar, Scalar], Array]] = {
    "gaussian": gaussian,
    "ou": ornstein_uhlenbeck,
}


def emptied(noise: Noise, first: Bool[Array, " E"]) -> Noise:
    """The noise, with zeros wherever an episode begins."""
    return jnp.where(first[:, None, None], 0.0, noise)
