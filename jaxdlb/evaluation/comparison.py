"""Compares policies that play the same episodes."""

import dataclasses
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from jaxtyping import PRNGKeyArray

from jaxdlb.evaluation import seeds as training_seeds
from jaxdlb.evaluation.bounds import bounds
from jaxdlb.evaluation.results import Evaluation, PolicyResult
from jaxdlb.evaluation.rollouts import Samples, evaluate_all
from jaxdlb.evaluation.seeds import Seeds, over_seeds
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
    num_rounds: float,
    warmup: float,
    by_time: bool = False,
    judged: bool = True,
    seeds: Seeds | None = None,
    variants: Mapping[str, str] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Evaluation:
    """Play all policies in the same episodes (see `evaluate_all`) and compare each with the best heuristic.

    They are compared by their utility, and by each column of the game that has a verdict. Only policies of the kind
    `heuristic` can be the best heuristic, which is the one with the best utility. Unless `judged`, nobody is compared
    with anybody: there need be no heuristic, and there is no conclusion.

    `seeds` maps the names of further rows to the names of policies that one learner found from several training seeds:
    such a row is over the seeds (see `seeds.over_seeds`), and it speaks for them in the conclusion. `variants` maps the
    names of rows that are another way to act to the rows that speak for them. `settings` are kept with the result,
    along with the game's name and sizes, and so are the bounds that the game gives.

    Raises:
        ValueError: no heuristic among the policies, two policies with one name, `seeds` or `variants` that are no
            names of policies, or sizes that `evaluate_all` refuses.
    """
    seeds, variants = seeds or {}, variants or {}
    _check(policies, judged)
    training_seeds.check([policy.name for policy in policies], seeds, variants)
    sizes: Any = {"num_episodes": num_episodes, "num_rounds": num_rounds, "warmup": warmup, "by_time": by_time}
    played = evaluate_all(game, policies, sample_params, key, **sizes)
    samples = {policy.name: each for policy, each in zip(policies, played, strict=True)}
    kinds = {policy.name: policy.kind for policy in policies}
    best = _best([name for name, kind in kinds.items() if kind == "heuristic"], samples) if judged else None
    verdicts = {name: column.verdict for name, column in game.columns.items() if column.verdict is not None}
    compared = () if best is None else ("utility", *verdicts)
    yardstick: Samples = {} if best is None else samples[best]
    spoken_for = training_seeds.parts(seeds, variants)
    results = [
        PolicyResult(
            name=name,
            kind=kinds[name],
            columns={column: estimate(values) for column, values in each.items()},
            differences={column: paired_difference(each[column], yardstick[column]) for column in compared},
            part_of=spoken_for.get(name),
        )
        for name, each in samples.items()
    ]
    results += [
        over_seeds(
            row, kinds[members[0]], [samples[each] for each in members], yardstick, compared, spoken_for.get(row)
        )
        for row, members in seeds.items()
    ]
    return Evaluation(
        results=tuple(sorted(results, key=lambda result: -_rank(result.columns["utility"]))),
        best_heuristic=best,
        columns={name: (column.header, column.meaning) for name, column in game.columns.items()},
        settings={"game": game.name, **_sizes_of(game), **(settings or {})},
        verdicts=verdicts,
        samples=samples,
        bounds=bounds(game, sample_params, key, **sizes),
        **sizes,
    )


def _check(policies: Sequence[Policy], judged: bool) -> None:
    """Raise ValueError unless names differ and there is a heuristic to compare with, if there must be one."""
    names = [policy.name for policy in policies]
    repeated = [name for name in names if names.count(name) > 1]
    if repeated:
        raise ValueError(f"policies holds {repeated[0]!r} twice; every policy must have a name of its own")
    if judged and all(policy.kind != "heuristic" for policy in policies):
        raise ValueError("policies holds no heuristic; there must be one to compare the others with")


def _best(candidates: Collection[str], samples: Mapping[str, Samples]) -> str:
    """The candidate with the best mean utility."""
    return max(candidates, key=lambda name: _rank(estimate(samples[name]["utility"])))


def _rank(utility: Estimate) -> float:
    """The mean; a policy whose episodes all ended during the warm-up has none, and comes last."""
    return -math.inf if math.isnan(utility.mean) else utility.mean


def _sizes_of(game: Game) -> dict[str, Any]:
    return dataclasses.asdict(game) if dataclasses.is_dataclass(game) and not isinstance(game, type) else {}
