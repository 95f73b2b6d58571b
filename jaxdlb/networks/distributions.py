"""How agents choose a whole action: a head for each of its leaves, which draw independently.

Learners and policies use only `ActionDistribution`; `heads` has what it is made of.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree

from jaxdlb import spaces
from jaxdlb.mechanics import chance
from jaxdlb.networks.head_sets import HEAD_SETS, KINDS, STOCHASTIC


@struct.dataclass
class ActionDistribution:
    """The distribution of the actions of all N agents; its heads draw independently (but see `autoregressive`).

    `heads` has the structure of the action, with a distribution in place of each leaf.
    """

    heads: PyTree

    @classmethod
    def of(
        cls,
        action_spaces: Sequence[spaces.Space],
        scores: Sequence[Array],
        free: Sequence[Array],
        legal: PyTree,
        kind: str = STOCHASTIC,
    ) -> "ActionDistribution":
        """From a network's outputs for each space, in the order of the action's leaves, and the legal masks.

        `kind` is one of `HEAD_SETS`.
        """
        masks, treedef = jax.tree.flatten(legal)
        inputs = zip(action_spaces, scores, free, masks, strict=True)
        heads = [HEAD_SETS[kind][type(space)].of(space, *rest) for space, *rest in inputs]
        return cls(jax.tree.unflatten(treedef, heads))

    @property
    def decides(self) -> Bool[Array, "*B"]:
        """Which agents have a choice in at least one head."""
        return functools.reduce(jnp.logical_or, [head.decides for head in self._leaves])

    @property
    def num_uniforms(self) -> int:
        """How many uniform numbers a sample for one agent takes."""
        return sum(head.num_uniforms for head in self._leaves)

    def sample(self, key: PRNGKeyArray) -> PyTree:
        """An action of the N agents of one cluster; `jax.vmap` it over clusters, with a key for each.

        An agent's draw depends on `key` and the agent's index, but not on N.
        """
        num_agents = self._leaves[0].decides.shape[-1]
        return self.sample_from(chance.uniform_rows(key, self.num_uniforms, num_agents))

    def sample_from(self, numbers: Float[Array, " K *B"]) -> PyTree:
        """The action drawn from `num_uniforms` rows of uniform numbers; the heads take their rows in order."""
        heads, treedef = jax.tree.flatten(self.heads, is_leaf=_is_head)
        counts = [head.num_uniforms for head in heads]
        per_head = jnp.split(numbers, np.cumsum(counts)[:-1])
        return jax.tree.unflatten(treedef, [head.sample(rows) for head, rows in zip(heads, per_head, strict=True)])

    def sample_and_log_prob_from(self, numbers: Float[Array, " K *B"]) -> tuple[PyTree, Float[Array, "*B"]]:
        """The action drawn from uniform numbers, and its log-probability; all heads must be normal ones.

        Both are differentiable in what the network gave.
        """
        heads, treedef = jax.tree.flatten(self.heads, is_leaf=_is_head)
        counts = [head.num_uniforms for head in heads]
        per_head = jnp.split(numbers, np.cumsum(counts)[:-1])
        drawn = [head.sample_and_log_prob(rows) for head, rows in zip(heads, per_head, strict=True)]
        actions, log_probs = zip(*drawn, strict=True)
        return jax.tree.unflatten(treedef, actions), _sum(list(log_probs))

    def mode(self) -> PyTree:
        """The action of greedy agents."""
        return self._map(lambda head: head.mode())

    def probabilities(self, greedy: bool = False) -> Float[Array, "..."]:
        """Of each action, by sample or by mode: an axis for each head, all of which must be choices."""
        return outer([head.probabilities(greedy) for head in self._leaves])

    def value_of(self, action: PyTree) -> Float[Array, "*B"]:
        """The value of each agent's action, summed over heads, all of which must be values."""
        actions = jax.tree.leaves(action)
        return _sum([head.value_of(each) for head, each in zip(self._leaves, actions, strict=True)])

    def log_prob(self, action: PyTree) -> Float[Array, "*B"]:
        """The log-probability of each agent's action, summed over heads."""
        actions = jax.tree.leaves(action)
        return _sum([head.log_prob(each) for head, each in zip(self._leaves, actions, strict=True)])

    def log_prob_of_chosen(self, action: PyTree) -> Float[Array, "*B N"]:
        """For an action of choices among agents only: [i, j] is the log-probability that i treats j as in `action`.

        That is to choose j in the heads that choose j, and not to choose it in the others; [i, i] is `log_prob`, of the
        whole action.
        """
        itself = jnp.eye(self._leaves[0].decides.shape[-1], dtype=bool)
        return jnp.where(itself, self.log_prob(action)[..., None], self.log_prob_of_treatment(action))

    def log_prob_of_treatment(self, action: PyTree) -> Float[Array, "*B N"]:
        """[i, j] is the log-probability that i chooses j in the heads where `action` does, and not in the others."""
        actions = jax.tree.leaves(action)
        return _sum([head.log_prob_of_chosen(each) for head, each in zip(self._leaves, actions, strict=True)])

    def entropy(self) -> Float[Array, "*B"]:
        """The entropy of each agent's action, summed over heads."""
        return _sum([head.entropy() for head in self._leaves])

    @property
    def _leaves(self) -> list[Any]:
        return jax.tree.leaves(self.heads, is_leaf=_is_head)

    def _map(self, function: Callable[[Any], Any]) -> PyTree:
        return jax.tree.map(function, self.heads, is_leaf=_is_head)


def _is_head(node: Any) -> bool:
    return isinstance(node, KINDS)


def _sum(terms: list[Array]) -> Array:
    return functools.reduce(jnp.add, terms)


def outer(factors: Sequence[Float[Array, "..."]]) -> Float[Array, "..."]:
    """Products of probabilities with leading axes [*B] in common: those of later factors have further axes.

    Each factor but the last has one axis beyond *B.
    """
    *earlier, product = factors
    for factor in reversed(earlier):
        axis = factor.ndim - 1
        product = jnp.expand_dims(factor, range(axis + 1, product.ndim + 1)) * jnp.expand_dims(product, axis)
    return product
