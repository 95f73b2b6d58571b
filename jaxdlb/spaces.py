"""Action spaces: what an agent may choose, in terms that networks and learners understand.

A game's `action_space` is a pytree with the structure of its action, whose leaves are the spaces below. A learner
builds one head per leaf and never asks for a game's name.
"""

import dataclasses
import math
from typing import Any

import jax


@dataclasses.dataclass(frozen=True)
class Discrete:
    """One of `num_choices` alternatives, an int32 in 0 … num_choices − 1.

    `over_agents` says that choice k names agent k, so that a network may score each agent with shared weights.
    """

    num_choices: int
    over_agents: bool = False

    def __post_init__(self) -> None:
        if self.num_choices < 1:
            raise ValueError(f"num_choices is {self.num_choices}; a Discrete space needs at least 1 choice")


@dataclasses.dataclass(frozen=True)
class Box:
    """A real vector of `size` entries, each within [low, high]."""

    low: float
    high: float
    size: int = 1

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"low is {self.low} and high {self.high}; a Box needs finite low < high")
        if self.size < 1:
            raise ValueError(f"size is {self.size}; a Box needs at least 1 entry")


@dataclasses.dataclass(frozen=True)
class Simplex:
    """Shares of one whole: `size` numbers ≥ 0 that sum to 1."""

    size: int

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"size is {self.size}; a Simplex needs at least 1 share")


Space = Discrete | Box | Simplex


def leaves(action_space: Any) -> list[Space]:
    """The spaces of an action space, in the order in which `jax.tree` visits the action's leaves."""
    return jax.tree.leaves(action_space, is_leaf=lambda node: isinstance(node, Space))
