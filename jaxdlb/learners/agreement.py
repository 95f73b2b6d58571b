"""How agents agree: each takes a mean of its own parameters and those of some others.

The parameters of all agents are stacked along a leading axis. One agreement multiplies them by a doubly stochastic
matrix W (rows and columns sum to 1), so the mean over agents stays and the distances to it shrink.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

Stacked = Float[Array, "N ..."]  # one parameter of N agents


def with_all(stacked: Stacked, key: PRNGKeyArray) -> Stacked:
    """The mean of all: W = 1/N everywhere."""
    return jnp.broadcast_to(jnp.mean(stacked, axis=0), stacked.shape)


def with_ring(stacked: Stacked, key: PRNGKeyArray) -> Stacked:
    """The mean of oneself and the two neighbours on a ring: W = 1/3 three times in each row."""
    return (stacked + jnp.roll(stacked, 1, axis=0) + jnp.roll(stacked, -1, axis=0)) / 3


def with_partner(stacked: Stacked, key: PRNGKeyArray) -> Stacked:
    """The mean of oneself and a partner, in random pairs: W = 1/2 twice in each row; an odd agent stays as it is."""
    order = jax.random.permutation(key, stacked.shape[0])
    beside = jnp.minimum(jnp.arange(len(order)) ^ 1, len(order) - 1)
    partner = jnp.zeros_like(order).at[order].set(order[beside])
    return (stacked + stacked[partner]) / 2


def with_nobody(stacked: Stacked, key: PRNGKeyArray) -> Stacked:
    """No agreement: W is the identity."""
    return stacked


AGREEMENTS: Mapping[str, Callable[[Array, PRNGKeyArray], Array]] = {
    "all": with_all,
    "ring": with_ring,
    "pairs": with_partner,
    "none": with_nobody,
}


def agree(kind: str, stacked: PyTree, key: PRNGKeyArray) -> PyTree:
    """All parameters [N, …] after one agreement of a `kind` in `AGREEMENTS`; all are mixed by the same matrix."""
    return jax.tree.map(lambda leaf: AGREEMENTS[kind](leaf, key), stacked)


def disagreement(stacked: PyTree) -> Float[Array, ""]:
    """The root mean square of the agents' distances to their mean, relative to the norm of that mean."""
    mean = jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), stacked)
    apart = jax.tree.map(lambda leaf, middle: leaf - middle, stacked, mean)
    num_agents = jax.tree.leaves(stacked)[0].shape[0]
    return optax.tree.norm(apart) / (num_agents**0.5 * jnp.maximum(optax.tree.norm(mean), 1e-8))
