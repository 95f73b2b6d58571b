"""Compares policies that play the same episodes."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from jaxtyping import PRNGKeyArray

from jaxdlb.evaluation.results import Evaluation, PolicyResult
from jaxdlb.evaluation.rollouts import evaluate_all
from jaxdlb.evaluation.side_by_side import SampleParams
from jaxdlb.evaluation.statistics import Estimate, estimate, paired_difference
from jaxdlb.game import Game
from jaxdlb.policies import Policy


def compare(
    game: Game,
    policies: Sequence[Policy],
    sample_params: SampleParams,
    key: PRNGKeyArray,
    *,
    num_episodes: int,
    num_rounds: int,
    warmup: int,
    settings: Mapping[str, Any] | None = None,
) -> Evaluation:
    """Play all policies in the same episodes (see `evaluate_all`) and compare each with the best heuristic.

    They are compared by their utility and by each column of the game that has a verdict; the best is so by its utility.
    The contest is among policies of the kind `heuristic`. `settings` are kept with the result, beside the game's name
    and sizes.

    Raises:
        ValueError: no heuristic among the policies, two of one name, or sizes that `evaluate_all` refuses.
    """
    names = [policy.name for policy in policies]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(f"policies holds {twice[0]!r} twice; every policy must have a name of its own")
    kinds = [policy.kind for policy in policies]
    if "heuristic" not in kinds:
        raise ValueError("policies holds no heuristic; there must be one to compare the others with")
    sizes = {"num_episodes": num_episodes, "num_rounds": num_rounds, "warmup": warmup}
    samples = evaluate_all(game, policies, sample_params, key, **sizes)
    columns = [{name: estimate(values) for name, values in each.items()} for each in samples]
    contest = [place for place, kind in enumerate(kinds) if kind == "heuristic"]
    best = max(contest, key=lambda place: _rank(columns[place]["utility"]))
    verdicts = {name: column.verdict for name, column in game.columns.items() if column.verdict is not None}
    results = [
        PolicyResult(
            name=names[place],
            kind=kinds[place],
            columns=columns[place],
            differences={
                name: paired_difference(samples[place][name], samples[best][name]) for name in ("utility", *verdicts)
            },
        )
        for place in range(len(policies))
    ]
    return Evaluation(
        results=tuple(sorted(results, key=lambda result: -_rank(result.columns["utility"]))),
        best_heuristic=names[best],
        columns={name: (column.header, column.meaning) for name, column in game.columns.items()},
        settings={"game": game.name, **_sizes_of(game), **(settings or {})},
        verdicts=verdicts,
        **sizes,
    )


def _rank(utility: Estimate) -> float:
    """The mean; whose episodes ended before the warm-up did, and so have none, comes last."""
    return -math.inf if math.isnan(utility.mean) else utility.mean


def _sizes_of(game: Game) -> dict[str, Any]:
    return dataclasses.asdict(game) if dataclasses.is_dataclass(game) and not isinstance(game, type) else {}
