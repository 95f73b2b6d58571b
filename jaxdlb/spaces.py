"""Action spaces: what an agent may choose, in terms that networks and learners understand.

A game's `action_space` is a pytree with the structure of its action, whose leaves are the spaces below. A learner
builds one head per leaf and never asks for the game's name.

`legal` says what each of N agents may do now. It is a mask [N, choices] for a Discrete space, [N, size] for a Simplex
(which shares may be positive), and [N] for a Box (whether the agent may act at all). Every space can `sample` a uniform
legal action for all agents and tell which agents' actions it `contains`; this module's `sample` and `contains` do so
for a whole action space. All of them accept NumPy arrays as well as traced ones.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree, Shaped

from jaxdlb.checks import FINITE, check_array, check_size, check_switch

_SUM_TOLERANCE = 1e-4  # for shares summed in float32


@dataclasses.dataclass(frozen=True)
class Discrete:
    """One of `num_choices` alternatives, an int32 in 0 … num_choices − 1.

    `over_agents` means that choice k is agent k; `over_candidates` means that it is row k of an observation's `peers`,
    where the rows are not agents. In both cases a network may score each row with shared weights.

    `has_codes` means that the game gives a meaning to larger numbers too, which rules may play that are written for it,
    for whoever has a legal choice besides 0. They are never sampled, and no network plays them.
    """

    num_choices: int
    over_agents: bool = False
    over_candidates: bool = False
    has_codes: bool = False

    def __post_init__(self) -> None:
        check_size("num_choices", self.num_choices, 1)
        _check_one_meaning(self)

    def sample(self, key: PRNGKeyArray, legal: Bool[Array, "N A"]) -> Int[Array, " N"]:
        """For each agent, one of its legal choices with equal probability: int32 [N]. Each agent must have one."""
        return jax.random.categorical(key, jnp.where(legal, 0.0, -jnp.inf)).astype(jnp.int32)

    def decides(self, legal: Bool[Array, "*B A"]) -> Bool[Array, "*B"]:
        """Which agents have a choice."""
        return jnp.sum(legal, axis=-1) > 1

    def contains(self, action: Shaped[Any, "..."], legal: Shaped[Any, "N A"]) -> Bool[Array, " N"]:
        """Which agents' choices are whole numbers that stand for a legal choice, or codes.

        Raises:
            ValueError: the action does not have the shape [N].
        """
        action, legal = jnp.asarray(action), jnp.asarray(legal)
        _check_shape(action, legal.shape[:-1], self)
        chosen = jnp.any((action[..., None] == jnp.arange(self.num_choices)) & legal, axis=-1)
        if not self.has_codes:
            return chosen
        is_code = (action >= self.num_choices) & (action == jnp.floor(action))
        return chosen | (is_code & jnp.any(legal[..., 1:], axis=-1))


@dataclasses.dataclass(frozen=True)
class Box:
    """A real vector of `size` entries, each within [low, high]; all are 0 for an agent that may not act."""

    low: float
    high: float
    size: int = 1

    def __post_init__(self) -> None:
        check_array("low", self.low, (), FINITE)
        check_array("high", self.high, (), FINITE)
        if not self.low < self.high:
            raise ValueError(f"low is {self.low} and high {self.high}; a Box needs finite low < high")
        check_size("size", self.size, 1)

    def sample(self, key: PRNGKeyArray, legal: Bool[Array, " N"]) -> Float[Array, "N size"]:
        """Uniform entries for agents that may act, 0 for the others: float32 [N, size]."""
        uniform = jax.random.uniform(key, (*legal.shape, self.size), minval=self.low, maxval=self.high)
        return jnp.where(legal[..., None], uniform, 0.0)

    def decides(self, legal: Bool[Array, "*B"]) -> Bool[Array, "*B"]:
        """Which agents have a choice: those that may act."""
        return legal

    def contains(self, action: Shaped[Any, "..."], legal: Shaped[Any, " N"]) -> Bool[Array, " N"]:
        """Which agents' entries are all within the bounds or, if the agent may not act, all 0.

        Raises:
            ValueError: the action does not have the shape [N, size].
        """
        action, legal = jnp.asarray(action), jnp.asarray(legal)
        _check_shape(action, (*legal.shape, self.size), self)
        within = jnp.all((action >= self.low) & (action <= self.high), axis=-1)
        return jnp.where(legal, within, jnp.all(action == 0, axis=-1))


@dataclasses.dataclass(frozen=True)
class Simplex:
    """Shares of a whole: `size` numbers ≥ 0 that sum to 1.

    `over_agents` means that share k goes to agent k (shares beyond the number of agents go elsewhere);
    `over_candidates` means that it goes to row k of an observation's `peers`, where the rows are not agents.
    """

    size: int
    over_agents: bool = False
    over_candidates: bool = False

    def __post_init__(self) -> None:
        check_size("size", self.size, 1)
        _check_one_meaning(self)

    def sample(self, key: PRNGKeyArray, legal: Bool[Array, "N A"]) -> Float[Array, "N A"]:
        """Shares uniform over the simplex of each agent's legal entries, with the others 0: float32 [N, size].

        They are independent exponential numbers divided by their sum; −Gumbel is the logarithm of such a number.
        """
        logarithms = jnp.where(legal, -jax.random.gumbel(key, legal.shape), -jnp.inf)
        return jnp.where(legal, jax.nn.softmax(logarithms), 0.0)

    def decides(self, legal: Bool[Array, "*B A"]) -> Bool[Array, "*B"]:
        """Which agents have a choice."""
        return jnp.sum(legal, axis=-1) > 1

    def contains(self, action: Shaped[Any, "..."], legal: Shaped[Any, "N A"]) -> Bool[Array, " N"]:
        """Which agents' shares are ≥ 0, 0 if not legal, and sum to 1 within 10⁻⁴ (to 0 if nothing is legal).

        Raises:
            ValueError: the action does not have the shape [N, size].
        """
        action, legal = jnp.asarray(action), jnp.asarray(legal)
        _check_shape(action, legal.shape, self)
        shares = jnp.all((action >= 0) & (legal | (action == 0)), axis=-1)
        whole = jnp.any(legal, axis=-1).astype(jnp.float32)
        return shares & (jnp.abs(jnp.sum(action, axis=-1) - whole) <= _SUM_TOLERANCE)


Space = Discrete | Box | Simplex


def leaves(action_space: Any) -> list[Any]:
    """The spaces of an action space, in the order in which `jax.tree` visits the action's leaves."""
    return jax.tree.leaves(action_space, is_leaf=_is_space)


def sample(action_space: Any, key: PRNGKeyArray, legal: PyTree) -> Any:
    """A uniform legal action for all N agents; it has the structure of `action_space`, as does `legal`.

    Each space draws from its own key.
    """
    treedef = jax.tree.structure(action_space, is_leaf=_is_space)
    keys = jax.tree.unflatten(treedef, list(jax.random.split(key, len(leaves(action_space)))))
    return jax.tree.map(
        lambda space, key, mask: space.sample(key, jnp.asarray(mask)), action_space, keys, legal, is_leaf=_is_space
    )


def decides(action_space: Any, legal: PyTree) -> Bool[Array, "*B N"]:
    """Which agents have a choice in at least one space of `action_space`; any leading batch axes are allowed."""
    each = jax.tree.map(lambda space, mask: space.decides(mask), action_space, legal, is_leaf=_is_space)
    return functools.reduce(jnp.logical_or, jax.tree.leaves(each))


def contains(action_space: Any, action: Any, legal: PyTree) -> Bool[Array, " N"]:
    """Which agents' actions are legal in every space of `action_space`.

    Raises:
        ValueError: the action has the wrong structure or shape.
    """
    inside = jax.tree.map(
        lambda space, each, mask: space.contains(each, mask), action_space, action, legal, is_leaf=_is_space
    )
    return functools.reduce(jnp.logical_and, jax.tree.leaves(inside))


def _is_space(node: Any) -> bool:
    return isinstance(node, Space)


def _check_one_meaning(space: Discrete | Simplex) -> None:
    check_switch("over_agents", space.over_agents)
    check_switch("over_candidates", space.over_candidates)
    if space.over_agents and space.over_candidates:
        raise ValueError("over_candidates is True; it must be False where over_agents is True")


def _check_shape(action: Array, shape: tuple[int, ...], space: Space) -> None:
    if action.shape != shape:
        raise ValueError(f"action has shape {action.shape}; it must have shape {shape} in {space}")
