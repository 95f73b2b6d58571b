"""The obvious forms of what the library writes otherwise because it is quicker so.

Each takes the same arguments and gives the same result, but for the random numbers, which are others of the same law.
The tests hold the two against each other, and `benchmarks.forms` times them.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxdlb.networks import torsos


def add_at(x: Int[Array, " N"], index: Int[Array, " M"], amount: Bool[Array, " M"] | Int[Array, " M"]) -> Array:
    """As `jaxdlb.mechanics.indexing.add_at`, by XLA's scatter at every size."""
    return x.at[index].add(amount.astype(x.dtype))


def sends_now(
    round: Int[Array, ""], phase: Int[Array, " N"], period: Int[Array, ""], alive: Bool[Array, " N"]
) -> Bool[Array, " N"]:
    """As `jaxdlb.mechanics.heartbeats.sends_now`, by its definition."""
    return alive & ((round - phase) % period == 0)


def serve_all_pairs(
    victim: Int[Array, " N"], asks: Bool[Array, " N"], available: Int[Array, " N"], first_thief: Int[Array, ""]
) -> Bool[Array, " N"]:
    """As `jaxdlb.mechanics.stealing.serve_requests`, by comparing every thief with every other: O(N²)."""
    num_nodes = victim.shape[0]
    turn = (jnp.arange(num_nodes) - first_thief) % num_nodes
    is_before = asks & (victim == victim[:, None]) & (turn < turn[:, None])
    return asks & (jnp.sum(is_before, axis=1) < available[victim])


def serve_sorted(
    victim: Int[Array, " N"], asks: Bool[Array, " N"], available: Int[Array, " N"], first_thief: Int[Array, ""]
) -> Bool[Array, " N"]:
    """As `jaxdlb.mechanics.stealing.serve_requests`, by sorting thieves by victim and turn: O(N log N)."""
    node = jnp.arange(victim.shape[0])
    wanted = jnp.where(asks, victim, victim.shape[0])
    order = jnp.lexsort(((node - first_thief) % victim.shape[0], wanted))
    in_order = wanted[order]
    num_before = node - jnp.searchsorted(in_order, in_order)
    return asks & jnp.zeros_like(asks).at[order].set(num_before < available[victim[order]])


def uniforms(key: PRNGKeyArray, num: int, size: int) -> list[Float[Array, " size"]]:
    """As `jaxdlb.mechanics.chance.uniforms`, by `jax.random`."""
    return list(jax.random.uniform(key, (num, size)))


def fold_in(key: PRNGKeyArray, data: int | Int[Array, ""]) -> PRNGKeyArray:
    """As `jaxdlb.mechanics.chance.fold_in`, by `jax.random`."""
    return jax.random.fold_in(key, data)


class Affine(torsos.Affine):
    """As `jaxdlb.networks.torsos.Affine`, with the kernel of `nn.Dense`: [F, size]."""

    @nn.compact
    def __call__(self, x: Float[Array, "*B F"]) -> Float[Array, "*B H"]:
        kernel = self.param("kernel", nn.initializers.orthogonal(self.scale), (x.shape[-1], self.size))
        y = x @ kernel
        if not self.use_bias:
            return y
        return y + self.param("bias", nn.initializers.zeros, (self.size,))
