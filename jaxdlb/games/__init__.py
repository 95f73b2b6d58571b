"""The games, and the registry that finds them by name.

`GAMES` is the only list of games. A game in a user's own package is found as `package.module:ENTRY`, or under the name
that the package registers in the entry-point group `jaxdlb.games`.
"""

import dataclasses
from typing import Any

import numpy as np

from jaxdlb.catalogue import Catalogue
from jaxdlb.checks import check_type, did_you_mean
from jaxdlb.game import Entry, Game, check_is_game
from jaxdlb.games import cluster, dlb, edge, farm, pods, rack
from jaxdlb.policies import Policy, make_heuristic
from jaxdlb.ranges import sampler

GAMES: Catalogue[Entry] = Catalogue(
    "game",
    {each.ENTRY.name: each.ENTRY for each in (dlb, rack, edge, pods, farm, cluster)},
    group="jaxdlb.games",
    of=Entry,
)


def make(name: str, **sizes: Any) -> Game:
    """The game called `name`, with these static `sizes`.

    Raises:
        ValueError: an unknown name (the message lists the known ones and suggests the nearest), an unknown size, or a
            size out of range.
    """
    game: Any = GAMES.find(name).game
    known = [field.name for field in dataclasses.fields(game)]
    unknown = [size for size in sizes if size not in known]
    if unknown:
        hint = did_you_mean(unknown[0], known)
        raise ValueError(f"{unknown[0]} is not a size of {name}; its sizes are {', '.join(known)}{hint}")
    return game(**{size: each.item() if isinstance(each, np.integer) else each for size, each in sizes.items()})


def heuristic(name: str, *, game: str | None = None, **options: Any) -> Policy:
    """The heuristic called `name`, with these `options`.

    `game` says which game's heuristic is meant; where several games have different ones of that name, it is by default
    that of the first in `GAMES`. A heuristic in a user's own package is found as `package.module:FAMILY`.

    Raises:
        ValueError: an unknown name (the message lists the known ones and suggests the nearest), an option that the
            heuristic does not have, or a value out of range.
    """
    check_type("heuristic", name, str, "a name")
    entries = GAMES.values() if game is None else [GAMES.find(game)]
    families = [entry.heuristics for entry in entries if name in entry.heuristics]
    known = families[0] if families else {k: family for entry in entries for k, family in entry.heuristics.items()}
    return make_heuristic(known, name, **options)


def randomised(game: Game, base: Any = None, **ranges: Any) -> Any:
    """A pure function from a key to random `params`: `base`, with each field in `ranges` drawn from its (low, high).

    Any declared field of the parameters may be drawn, and so may the game's shorthands (such as `load` in `dlb`); see
    `ranges.sampler`, which also takes the shorthands of a game that is not registered. By default, `base` is the game's
    reference instance.

    Raises:
        ValueError: an unknown field, a range out of order, or one that contains a value `game.validate` would refuse.
    """
    check_is_game(game)
    base = game.default_params() if base is None else base
    shorthands = next((entry.shorthands for entry in GAMES.values() if entry.game is type(game)), {})
    return sampler(base, ranges, shorthands, validate=game.validate)
