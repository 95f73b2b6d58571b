"""What no policy can do better than: columns of easier games, in which nobody acts, played in the same episodes."""

import math
from typing import Any

import numpy as np
from jaxtyping import PRNGKeyArray

from jaxdlb.evaluation.results import BoundResult
from jaxdlb.evaluation.rollouts import Samples, evaluate
from jaxdlb.evaluation.side_by_side import SampleParams
from jaxdlb.evaluation.statistics import estimate
from jaxdlb.game import Game


class Nobody:
    """The policy of a game in which there is nothing to choose."""

    name, kind = "nobody", "optimal"

    def init(self, game: Game) -> tuple[()]:
        """Nothing to remember."""
        return ()

    def act(self, key: PRNGKeyArray, carry: tuple[()], observation: Any, params: Any) -> tuple[tuple[()], tuple[()]]:
        """Nothing to do."""
        return (), ()


NOBODY = Nobody()


def bounds(game: Game, sample_params: SampleParams, key: PRNGKeyArray, **sizes: Any) -> dict[str, BoundResult]:
    """The bound of each column that has one, by the column's name; without those that say nothing here (NaN).

    The easier game that gives a bound faces the same clusters, arrivals and chances as any policy that is evaluated
    with the same `key` and `sizes`, which are those of `evaluate_all`.
    """
    samples = bound_samples(game, sample_params, key, **sizes)
    found = {
        name: BoundResult(of=bound.of, binds=bound.binds, is_least=bound.is_least, value=estimate(samples[name]))
        for name, column in game.columns.items()
        if (bound := column.bound) is not None
    }
    return {name: each for name, each in found.items() if not math.isnan(each.value.mean)}


def bound_samples(game: Game, sample_params: SampleParams, key: PRNGKeyArray, **sizes: Any) -> dict[str, np.ndarray]:
    """The bound of each column that has one, in each episode: float64 [num_episodes]."""
    games = {name: column.bound.game for name, column in game.columns.items() if column.bound is not None}
    played: dict[Any, Samples] = {
        each: evaluate(each, NOBODY, sample_params, key, **sizes) for each in dict.fromkeys(games.values())
    }
    return {name: played[each][name] for name, each in games.items()}
