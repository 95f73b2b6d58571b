"""A check of everything that a game must satisfy; it needs no test framework and works for users' own games too."""

import warnings
from typing import Any

import jax

from jaxdlb.game import Entry, Game
from jaxdlb.testing.declared import check_fresh, check_ranges, check_refusals, check_shorthands, check_sizes, variants
from jaxdlb.testing.players import check_heuristics
from jaxdlb.testing.rounds import (
    check_columns,
    check_facts,
    check_laws,
    check_potential,
    check_transformations,
    check_types,
    play,
)

__all__ = ["check_game"]


def check_game(game: Game, entry: Entry | None = None, *, seed: int = 0) -> None:
    """Check that `game` implements the interface of games; given its `entry`, check its heuristics and shorthands too.

        from jaxdlb.testing import check_game

        def test_my_game():
            check_game(MyGame(num_agents=3), ENTRY)

    Choose small sizes: about ten programs are compiled, and one step is played without compilation. The check covers:

    - names, sizes, spaces, metrics and columns exist and are consistent;
    - `reset` and `step` give the promised shapes and types, and `step` keeps those of `reset`, under every law;
    - where a game states the agents' own utilities, rewards are mixed from them;
    - `jit` changes nothing, `vmap` over parameters equals a loop, and one trace serves all parameters;
    - after any action, legal or not, the state, rewards, metrics and observations hold no NaN, and every agent has a
      legal choice;
    - `validate` and `default_params` refuse what each declaration forbids and accept the rest, and the game does the
      same for its sizes;
    - every declared field can be drawn from a range;
    - the cluster with fresh news, where the entry says what that is, is one of the game's;
    - every heuristic plays legal actions.

    Raises:
        AssertionError: something does not hold; the message says what.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # parameters that are allowed may be unwise
        _check(game, entry, seed)


def _check(game: Game, entry: Entry | None, seed: int) -> None:
    check_facts(game)
    params = game.default_params()
    check_types(game, params)
    check_laws(game, params)
    several = variants(game, params)
    rollouts = play(game, several, jax.random.key(seed))
    check_transformations(game, several, rollouts)
    check_columns(game, rollouts)
    check_potential(game, rollouts)
    check_sizes(game)
    check_refusals(game, params)
    shorthands: Any = entry.shorthands if entry is not None else {}
    check_shorthands(game, params, shorthands)
    check_ranges(game, params, shorthands)
    if entry is not None:
        check_fresh(game, entry, params)
        check_heuristics(game, entry, rollouts)
