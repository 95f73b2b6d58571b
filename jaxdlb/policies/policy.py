"""What plays a game: one interface for heuristics and learned policies, and families of heuristics."""

import dataclasses
import inspect
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

from jaxtyping import PRNGKeyArray

from jaxdlb.catalogue import Catalogue, did_you_mean
from jaxdlb.game import Game

KINDS = ("heuristic", "oracle", "learned", "optimal")


@runtime_checkable
class Policy(Protocol):
    """Acts for all agents of one cluster; pure, so that `jax.vmap` plays many clusters at once.

    A policy that is a pytree whose arrays are leaves (a `flax.struct.dataclass`) is compiled once for all values of
    those arrays; any other object is taken as a constant.
    """

    @property
    def name(self) -> str:
        """The name in tables, with the options that tell it from its relatives."""
        ...

    @property
    def kind(self) -> str:
        """One of `KINDS`. Whoever plays an oracle hands it `game.true_observation` in place of the observation."""
        ...

    def init(self, game: Game) -> Any:
        """What the policy remembers at the start of an episode: a pytree, () where it remembers nothing."""
        ...

    def act(self, key: PRNGKeyArray, carry: Any, observation: Any, params: Any) -> tuple[Any, Any]:
        """The memory after this round, and the action of every agent. Consumes `key`."""
        ...


Options = Mapping[str, Any]


class Span(NamedTuple):
    """From where to where an option is searched; `logarithmic` where its order of magnitude counts (`low` > 0)."""

    low: float
    high: float
    logarithmic: bool = False


@dataclasses.dataclass(frozen=True)
class Family:
    """A heuristic with its options: `make(**options)` gives a policy, and `make`'s keywords are the options.

    What is tried when the family is tuned is either every combination of `grid(game)`, the values of each option, or
    what a search finds within `box(game)`, the span of each option. Without either there is nothing to tune.

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
        """The options of every combination of its grid for `game`; the defaults alone, {}, where it has no grid."""
        grid = {} if self.grid is None else self.grid(game)
        return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]

    def members(self, game: Game) -> list[Policy]:
        """The policies of `combinations`."""
        return [self.make(**options) for options in self.combinations(game)]


def make_heuristic(families: Mapping[str, Family], name: str, **options: Any) -> Policy:
    """The policy that the family `name` makes with `options`.

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
    """The family called `name`, or that of a user's own package called `package.module:FAMILY`.

    Raises:
        ValueError: there is none, or the object of that name is no `Family`.
    """
    return Catalogue("heuristic", families, group="jaxdlb.heuristics", of=Family).find(name)
