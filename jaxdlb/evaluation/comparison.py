"""Compares policies that play the same episodes."""

import dataclasses
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import PRNGKeyArray

from jaxdlb.evaluation import seeds as training_seeds
from jaxdlb.evaluation.bounds import bounds
from jaxdlb.evaluation.gap import gap
from jaxdlb.evaluation.results import Evaluation, PolicyResult, Staleness
from jaxdlb.evaluation.rollouts import Samples, columns_of, sums
from jaxdlb.evaluation.seeds import Seeds, over_seeds
from jaxdlb.evaluation.side_by_side import SampleParams
from jaxdlb.evaluation.statistics import Estimate, estimate, paired_difference
from jaxdlb.game import Game
from jaxdlb.policies import Policy


@dataclasses.dataclass(frozen=True)
class Fresh:
    """What the same learner found where news is fresh, for a row that tells what stale news costs it."""

    of: str  # the row of the learner in the table
    policies: Sequence[Policy]  # as many training seeds as that row is over, in the same order
    sample_params: SampleParams  # the cluster of each key, with fresh news
    row: str | None = None  # over the training seeds, where there are several

    @property
    def name(self) -> str:
        """That of the row that speaks for them."""
        return self.policies[0].name if self.row is None else self.row

    @property
    def seeds(self) -> Seeds:
        """The row over training seeds, if there is one."""
        return {} if self.row is None else {self.row: [each.name for each in self.policies]}


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
    fresh: Fresh | None = None,
    baseline: str | None = None,
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

    Where a policy of the kind `optimal` plays, and one named `baseline`, each row has the share that it closes of the
    gap in utility between them.

    What is `fresh` plays in clusters of its own, which differ from the others in nothing but their news: it meets the
    same arrivals and chances of completion. Its rows are of the kind `fresh`, which nobody is judged by; what stale
    news costs is the difference between the row that it is `of` and its own.

    Raises:
        ValueError: no heuristic among the policies, two policies with one name, `seeds`, `variants` or `fresh` that
            are about no rows, not as many fresh policies as training seeds, or sizes that `evaluate_all` refuses.
    """
    seeds, variants = dict(seeds or {}), variants or {}
    _check([*policies, *(fresh.policies if fresh else ())], judged)
    training_seeds.check([policy.name for policy in policies], seeds, variants)
    sizes: Any = {"num_episodes": num_episodes, "num_rounds": num_rounds, "warmup": warmup, "by_time": by_time}
    samples, ended = _played(game, policies, sample_params, key, sizes)
    kinds = {policy.name: policy.kind for policy in policies}
    if fresh is not None:
        _check_fresh(fresh, samples, seeds)
        of_fresh, fresh_ended = _played(game, fresh.policies, fresh.sample_params, key, sizes)
        samples, ended = samples | of_fresh, ended and fresh_ended
        kinds |= {policy.name: "fresh" for policy in fresh.policies}
        seeds |= fresh.seeds
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
        warnings={name: column.warning for name, column in game.columns.items() if column.warning},
        samples=samples,
        bounds=bounds(game, sample_params, key, **sizes),
        gap=gap(samples, kinds, seeds, baseline),
        staleness=None if fresh is None else _staleness(fresh, samples, seeds, ("utility", *verdicts)),
        ended=ended,
        **sizes,
    )


def _played(
    game: Game, policies: Sequence[Policy], sample_params: SampleParams, key: PRNGKeyArray, sizes: dict[str, Any]
) -> tuple[dict[str, Samples], bool]:
    """The samples of each policy, by its name; and whether every episode came to an end of its own in its rounds."""
    played = sums(game, policies, sample_params, key, **sizes)
    samples = {policy.name: columns_of(game, each) for policy, each in zip(policies, played, strict=True)}
    fewer = [each["steps"] < sizes["num_rounds"] - sizes["warmup"] for each in played]
    return samples, not sizes["by_time"] and bool(np.all(fewer))


def _staleness(fresh: Fresh, samples: Mapping[str, Samples], seeds: Seeds, columns: Iterable[str]) -> Staleness:
    """The differences between a learner's row and that of the same learner with fresh news."""
    ours, theirs = ([samples[each] for each in seeds.get(row, [row])] for row in (fresh.of, fresh.name))
    differences = {column: training_seeds.difference(ours, theirs, column) for column in columns}
    return Staleness(of=fresh.of, fresh=fresh.name, differences=differences)


def _check_fresh(fresh: Fresh, samples: Mapping[str, Samples], seeds: Seeds) -> None:
    """Raise ValueError unless a row has the name that `fresh` is of, and is over as many training seeds."""
    if fresh.of not in samples and fresh.of not in seeds:
        raise ValueError(f"fresh.of is {fresh.of!r}; it must be the name of a row: {', '.join([*samples, *seeds])}")
    wanted = len(seeds.get(fresh.of, [fresh.of]))
    if len(fresh.policies) != wanted or (wanted > 1) is (fresh.row is None):
        raise ValueError(
            f"fresh.policies holds {len(fresh.policies)}; it must hold {wanted}, as many as {fresh.of} has training "
            "seeds, and several must have a row"
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
