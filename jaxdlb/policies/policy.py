"""The interface that heuristics and learned policies share, and families of heuristics."""

import dataclasses
import inspect
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
from jaxtyping import PRNGKeyArray

from jaxdlb.catalogue import Catalogue
from jaxdlb.checks import did_you_mean, shown
from jaxdlb.game import Game

KINDS = ("heuristic", "oracle", "learned", "fresh", "optimal")  # fresh: learned, and plays, where news is fresh


@runtime_checkable
class Policy(Protocol):
    """Acts for all agents of one cluster; pure, so that `jax.vmap` plays many clusters at once.

    If a policy is a pytree with its arrays as leaves (a `flax.struct.dataclass`), it is compiled once for all values of
    those arrays; any other object is treated as a constant.
    """

    @property
    def name(self) -> str:
        """The name in tables, including the options that distinguish it from others in its family."""
        ...

    @property
    def kind(self) -> str:
        """One of `KINDS`. The caller must pass an oracle `game.true_observation` instead of the observation."""
        ...

    def init(self, game: Game) -> Any:
        """The policy's memory at the start of an episode: a pytree, or () if it remembers nothing."""
        ...

    def act(self, key: PRNGKeyArray, carry: Any, observation: Any, params: Any) -> tuple[Any, Any]:
        """The memory after this round, and the action of every agent. Consumes `key`."""
        ...


class Span(NamedTuple):
    """The range in which an option is searched; `logarithmic` if its order of magnitude counts (then `low` > 0)."""

    low: float
    high: float
    logarithmic: bool = False


@dataclasses.dataclass(frozen=True)
class Family:
    """A heuristic with options: `make(**options)` gives a policy, and the keywords of `make` are the options.

    Tuning tries either every combination of `grid(game)`, the values of each option, or what a search finds within
    `box(game)`, the span of each option. Without either, there is nothing to tune.

    Raises:
        ValueError: both are given.
    """

    make: Callable[..., Policy]
    grid: Callable[[Game], Mapping[str, Sequence[Any]]] | None = None
    box: Callable[[Game], Mapping[str, Span]] | None = None

    def __post_init__(self) -> None:
        if self.grid is not None and self.box is not None:
            raise ValueError("grid and box are both given; a family is tuned over one of them")

    @property
    def options(self) -> tuple[str, ...]:
        """The names of the options."""
        return tuple(inspect.signature(self.make).parameters)

    def combinations(self, game: Game) -> list[dict[str, Any]]:
        """The options of every combination in the grid for `game`; without a grid, {} alone, the defaults."""
        grid = {} if self.grid is None else self.grid(game)
        return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]

    def members(self, game: Game) -> list[Policy]:
        """The policies of `combinations`."""
        return [self.make(**options) for options in self.combinations(game)]


def check_policy(name: str, policy: Any) -> None:
    """Raise ValueError unless `policy` can act."""
    if isinstance(policy, type) or not isinstance(policy, Policy):
        raise ValueError(f"{name} is {shown(policy)}; it must be a policy, such as jaxdlb.heuristic gives")


def is_opaque(policy: Policy) -> bool:
    """Whether `policy` is no pytree, so that a program holds it as a constant."""
    leaves = jax.tree.leaves(policy)
    return len(leaves) == 1 and leaves[0] is policy


def make_heuristic(families: Mapping[str, Family], name: str, **options: Any) -> Policy:
    """The policy that the family called `name` makes with `options`.

    Raises:
        ValueError: an unknown name, an option that the family does not have, or a value that it refuses.
    """
    family = find_family(families, name)
    known = family.options
    unknown = [option for option in options if option not in known]
    if unknown:
        allowed = f"its options are {', '.join(known)}" if known else "it has none"
        raise ValueError(f"{unknown[0]} is not an option of {name}; {allowed}{did_you_mean(unknown[0], known)}")
    return family.make(**options)


def find_family(families: Mapping[str, Family], name: str) -> Family:
    """The family called `name`, which may be one in a user's own package, as in `package.module:FAMILY`.

    Raises:
        ValueError: there is none, or the object of that name is not a `Family`.
    """
    return Catalogue("heuristic", families, group="jaxdlb.heuristics", of=Family).find(name)
