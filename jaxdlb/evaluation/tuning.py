"""Tunes heuristics as carefully as a learner is tuned, so that learners are not compared with straw men."""

from collections.abc import Mapping

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from jaxdlb.evaluation.rollouts import evaluate_all
from jaxdlb.evaluation.side_by_side import SampleParams
from jaxdlb.game import Game
from jaxdlb.policies import Family, Policy

_TUNING = 0x74756E65  # folded into the key, so that tuning never sees the episodes of an evaluation with the same key


def tune(
    game: Game,
    families: Mapping[str, Family],
    sample_params: SampleParams,
    key: PRNGKeyArray,
    *,
    num_episodes: int = 32,
    num_rounds: int = 600,
    warmup: int = 150,
) -> dict[str, Policy]:
    """For every family, by name, the member of its grid with the best mean utility.

    All members of all grids are played under common random numbers, on episodes other than those of an evaluation with
    the same `key`. A family without a grid has only one member, which is not played.

    Raises:
        ValueError: see `evaluate_all`.
    """
    members = {name: family.members(game) for name, family in families.items()}
    grids = {name: each for name, each in members.items() if len(each) > 1}
    tried = [policy for each in grids.values() for policy in each]
    sizes = {"num_episodes": num_episodes, "num_rounds": num_rounds, "warmup": warmup}
    tuning_key = jax.random.fold_in(key, _TUNING)
    results = iter(evaluate_all(game, tried, sample_params, tuning_key, **sizes) if tried else ())
    best = {name: _best(each, [next(results) for _ in each]) for name, each in grids.items()}
    return {name: best.get(name, each[0]) for name, each in members.items()}


def _best(policies: list[Policy], results: list[dict[str, np.ndarray]]) -> Policy:
    utilities = np.array([np.mean(result["utility"]) for result in results])
    return policies[int(np.argmax(np.where(np.isnan(utilities), -np.inf, utilities)))]  # NaN: no step counted
