"""Heuristics tuned as carefully as a learner is, so that it is not compared with straw men."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from jaxdlb.evaluation.rollouts import evaluate_all
from jaxdlb.evaluation.side_by_side import SampleParams
from jaxdlb.game import Game
from jaxdlb.policies import HEURISTICS, Heuristic, heuristic, options_of
from jaxdlb.policies.rules import LeastOfSample

Grid = Mapping[str, Sequence[Any]]

MARGINS = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 12.0, 14.0, 16.0, 20.0, 24.0, 32.0, 48.0, 64.0, 96.0)
GRIDS: Mapping[tuple[str, ...], Grid] = {
    ("d", "weighted"): {"d": (1, 2, 3, 4, 6), "weighted": (False, True)},
    ("margin",): {"margin": MARGINS},
}

_TUNING = 0x74756E65  # folded into the key: tuning never sees the episodes of an evaluation by the same key


def tune(
    game: Game,
    sample_params: SampleParams,
    key: PRNGKeyArray,
    *,
    num_episodes: int = 32,
    num_rounds: int = 600,
    warmup: int = 150,
) -> list[Heuristic]:
    """For every heuristic family that has options, the member of its grid with the best mean utility.

    All members of all grids are played under common random numbers, on other episodes than an evaluation by the same
    `key` plays.

    Raises:
        ValueError: see `evaluate_all`.
    """
    families = {name: members(name, game.num_agents) for name in HEURISTICS if options_of(name)}
    everyone = list(itertools.chain.from_iterable(families.values()))
    tuning_key = jax.random.fold_in(key, _TUNING)
    sizes = {"num_episodes": num_episodes, "num_rounds": num_rounds, "warmup": warmup}
    results = evaluate_all(game, [_widened(member) for member in everyone], sample_params, tuning_key, **sizes)
    utility = {member.name: np.mean(result["utility"]) for member, result in zip(everyone, results, strict=True)}
    return [max(family, key=lambda member: utility[member.name]) for family in families.values()]


def contenders(game: Game, sample_params: SampleParams, key: PRNGKeyArray, **sizes: int) -> list[Heuristic]:
    """Every heuristic, those with options as `tune` (which takes the `sizes`) finds them best."""
    tuned = {policy.family: policy for policy in tune(game, sample_params, key, **sizes)}
    return [tuned[name] if name in tuned else heuristic(name) for name in HEURISTICS]


def members(name: str, num_nodes: int) -> list[Heuristic]:
    """The members of a family's grid, without those that would sample more peers than there are."""
    grid = GRIDS[options_of(name)]
    combinations = (dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values()))
    useful = max(num_nodes - 1, 1)
    return [heuristic(name, **options) for options in combinations if options.get("d", 1) <= useful]


def _widened(policy: Heuristic) -> Heuristic:
    """The same policy in the shapes of the widest of its grid, so that one program plays the grid."""
    if not isinstance(policy.dispatch, LeastOfSample):
        return policy
    width = max(GRIDS["d", "weighted"]["d"])
    return dataclasses.replace(policy, dispatch=dataclasses.replace(policy.dispatch, width=width))
