"""Compares policies that play the same episodes."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from jaxtyping import PRNGKeyArray

from jaxdlb.evaluation.bounds import bounds
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

    They are compared by their utility, and by each column of the game that has a verdict. Only policies of the kind
    `heuristic` can be the best heuristic, which is the one with the best utility. `settings` are kept with the result,
    along with the game's name and sizes, and so are the bounds that the game gives.

    Raises:
        ValueError: no heuristic among the policies, two policies with one name, or sizes that `evaluate_all` refuses.
    """
    names = [policy.name for policy in policies]
    repeated = [name for name in names if names.count(name) > 1]
    if repeated:
        raise ValueError(f"policies holds {repeated[0]!r} twice; every policy must have a name of its own")
    kinds = [policy.kind for policy in policies]
    if "heuristic" not in kinds:
        raise ValueError("policies holds no heuristic; there must be one to compare the others with")
    sizes = {"num_episodes": num_episodes, "num_rounds": num_rounds, "warmup": warmup}
    samples = evaluate_all(game, policies, sample_params, key, **sizes)
    columns = [{name: estimate(values) for name, values in each.items()} for each in samples]
    candidates = [index for index, kind in enumerate(kinds) if kind == "heuristic"]
    best = max(candidates, key=lambda index: _rank(columns[index]["utility"]))
    verdicts = {name: column.verdict for name, column in game.columns.items() if column.verdict is not None}
    compared = ("utility", *verdicts)
    results = [
        PolicyResult(
            name=names[index],
            kind=kinds[index],
            columns=columns[index],
            differences={name: paired_difference(samples[index][name], samples[best][name]) for name in compared},
        )
        for index in range(len(policies))
    ]
    return Evaluation(
        results=tuple(sorted(results, key=lambda result: -_rank(result.columns["utility"]))),
        best_heuristic=names[best],
        columns={name: (column.header, column.meaning) for name, column in game.columns.items()},
        settings={"game": game.name, **_sizes_of(game), **(settings or {})},
        verdicts=verdicts,
        bounds=bounds(game, sample_params, key, **sizes),
        **sizes,
    )


def _rank(utility: Estimate) -> float:
    """The mean; a policy whose episodes all ended during the warm-up has none, and comes last."""
    return -math.inf if math.isnan(utility.mean) else utility.mean


def _sizes_of(game: Game) -> dict[str, Any]:
    return dataclasses.asdict(game) if dataclasses.is_dataclass(game) and not isinstance(game, type) else {}
