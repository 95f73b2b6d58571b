"""Minibatches of a rollout, drawn so that each device can draw its share of every one from the environments it plays.

M minibatches are wanted. The rollout is cut into blocks of M items: a few consecutive steps of a few neighbouring
environments. Each block is shuffled by itself, and minibatch k takes the k-th item of every block. So every item is in
one minibatch, every minibatch has its share of all environments and of all stretches of time, and which item goes where
does not depend on how environments are spread over devices.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray, PyTree

from jaxdlb.mechanics import chance


@dataclasses.dataclass(frozen=True)
class Blocks:
    """The items of a rollout as `rows` × `columns` blocks, each of `steps` items of each of `envs` environments."""

    rows: int
    columns: int
    steps: int
    envs: int

    @property
    def num_minibatches(self) -> int:
        """M, as many as a block has items."""
        return self.steps * self.envs

    def shuffled(self, key: PRNGKeyArray) -> Int[Array, "M rows columns"]:
        """For each minibatch the number of the item that it takes from each block."""
        shape = (self.columns, self.rows, self.num_minibatches)
        (numbers,) = chance.uniforms(key, 1, math.prod(shape))
        return jnp.argsort(numbers.reshape(shape)).T

    def take(self, batch: PyTree, chosen: Int[Array, "rows columns"]) -> PyTree:
        """Of each leaf [T, E, …] the `chosen` items; where a whole sequence [T] is one item, all its steps."""

        def item(block: Array, number: Int[Array, ""]) -> Array:
            return block.at[number // self.envs, number % self.envs].get(mode="promise_in_bounds")

        def of(leaf: Array) -> Array:
            rows = leaf.shape[0] // self.steps
            blocks = leaf.reshape(rows, self.steps, self.columns, self.envs, *leaf.shape[2:])
            return jax.vmap(jax.vmap(item, (1, 0)))(blocks, jnp.broadcast_to(chosen, (rows, self.columns)))

        return jax.tree.map(of, batch)


def blocks(num_minibatches: int, num_items: int, num_envs: int) -> Blocks:
    """The blocks for M minibatches of `num_items` items of each environment, each of as few environments as can be.

    M must divide `num_items` · `num_envs`.
    """
    steps = math.gcd(num_minibatches, num_items)
    envs = num_minibatches // steps
    return Blocks(rows=num_items // steps, columns=num_envs // envs, steps=steps, envs=envs)
