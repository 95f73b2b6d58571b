"""One row for a learner that was trained with several seeds: how well it learns, rather than one of its policies."""

from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np

from jaxdlb.evaluation.aggregates import interquartile
from jaxdlb.evaluation.results import PolicyResult
from jaxdlb.evaluation.rollouts import Samples
from jaxdlb.evaluation.statistics import Estimate, crossed, paired_difference

Seeds = Mapping[str, Sequence[str]]  # by the name of a row over training seeds: the names of their policies


def over_seeds(
    name: str, kind: str, samples: Sequence[Samples], best: Samples, compared: Iterable[str], part_of: str | None = None
) -> PolicyResult:
    """The row over k training seeds, given the `samples` of each seed's policy: by column, float64 [num_episodes].

    Intervals cover both which seeds and which episodes were drawn, by `statistics.crossed`. `best` are the best
    heuristic's samples, which the columns of `compared` are compared with, in the same episodes. Interquartile means
    have intervals by a bootstrap of both.

    Raises:
        ValueError: fewer than 2 seeds or 2 episodes.
    """
    return PolicyResult(
        name=name,
        kind=kind,
        columns={column: crossed(_table(samples, column)) for column in samples[0]},
        differences={column: crossed(_table(samples, column) - best[column]) for column in compared},
        num_seeds=len(samples),
        part_of=part_of,
        interquartile={column: interquartile(_table(samples, column)) for column in samples[0]},
    )


def difference(ours: Sequence[Samples], theirs: Sequence[Samples], column: str) -> Estimate:
    """The mean of ours − theirs in a column, of the policies of k training seeds each, paired by seed and by episode.

    The interval is that of `statistics.paired_difference` for one seed, and of `statistics.crossed` for several.

    Raises:
        ValueError: fewer than 2 episodes.
    """
    if len(ours) == 1:
        return paired_difference(ours[0][column], theirs[0][column])
    return crossed(_table(ours, column) - _table(theirs, column))


def _table(samples: Sequence[Samples], column: str) -> np.ndarray:
    """float64 [k, num_episodes]."""
    return np.stack([each[column] for each in samples])


def parts(seeds: Seeds, variants: Mapping[str, str]) -> dict[str, str]:
    """For each row that another speaks for in the conclusion, that other: seeds have their row, variants their own."""
    return {member: row for row, members in seeds.items() for member in members} | dict(variants)


def check(policies: Collection[str], seeds: Seeds, variants: Mapping[str, str]) -> None:
    """Raise ValueError unless `seeds` groups the named `policies` into new rows, and `variants` are rows of rows."""
    for row, members in seeds.items():
        if row in policies:
            raise ValueError(f"seeds holds {row!r}; it must be a name that no policy has")
        if len(set(members)) < 2:
            raise ValueError(f"seeds[{row!r}] is {list(members)}; it must hold at least 2 policies, one for each seed")
        _check_known(f"seeds[{row!r}]", members, policies)
    _check_known("variants", [*variants, *variants.values()], [*policies, *seeds])


def _check_known(key: str, names: Iterable[str], known: Collection[str]) -> None:
    for name in names:
        if name not in known:
            raise ValueError(f"{key} holds {name!r}; it must hold names of rows: {', '.join(known)}")
