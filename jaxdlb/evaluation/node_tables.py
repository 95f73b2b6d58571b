"""What every agent of a game did in every step of the episodes of an evaluation, as tables."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, PRNGKeyArray, Shaped

from jaxdlb.checks import check_size, shown
from jaxdlb.evaluation.side_by_side import Clusters, SampleParams, draw_clusters, replay, teams_of
from jaxdlb.game import Game, Tabulating
from jaxdlb.policies import Policy


def check(game: Game) -> None:
    """Raise ValueError unless the game tells what each of its agents did."""
    if not isinstance(game, Tabulating):
        raise ValueError(f"game is {shown(game.name)}; it must be a game that tells what each agent did (node_metrics)")


def tables(
    game: Any,
    policies: Sequence[Policy],
    sample_params: SampleParams,
    key: PRNGKeyArray,
    *,
    num_episodes: int,
    num_rounds: int,
) -> Iterator[tuple[str, int, str]]:
    """For each policy and episode its name, its number and a table as CSV: of those that `evaluate_all` plays.

    A table has a row for each step and agent, the warm-up's included, up to a true end. Its fields are `step`, `agent`
    and what `game.node_metrics` gives: a number an agent by its name, one a link from i to j in row i as `…_to_<j>`,
    which is empty where there is no link.

    Raises:
        ValueError: a game without `node_metrics`, or sizes below 1.
    """
    check(game)
    check_size("num_episodes", num_episodes, 1)
    check_size("num_rounds", num_rounds, 1)
    clusters = draw_clusters(sample_params, key, num_episodes)
    teams, places = teams_of(policies)
    names = iter([policies[place].name for place in places])
    for team in teams:
        members = [next(names) for _ in range(team.size)]
        for number in range(num_episodes):
            told, discount = jax.device_get(replay(team, clusters, key, number, game=game, num_rounds=num_rounds))
            links = np.asarray(game.links(_cluster(clusters, number)))
            for k, name in enumerate(members):
                steps = _played(discount[k])
                yield name, number, to_csv({metric: each[k, :steps] for metric, each in told.items()}, links)


def _cluster(clusters: Clusters, number: int) -> Any:
    return clusters.params if clusters.all_alike else jax.tree.map(lambda leaf: leaf[number], clusters.params)


def _played(discount: Shaped[np.ndarray, " T"]) -> int:
    """The steps up to and including a true end."""
    ends = np.flatnonzero(discount == 0)
    return int(ends[0]) + 1 if ends.size else len(discount)


def to_csv(metrics: Mapping[str, Shaped[np.ndarray, "T N ..."]], links: Bool[np.ndarray, "N N"]) -> str:
    """The table of an episode, from metrics [T, N] and [T, N, N]."""
    num_steps, num_agents = next(iter(metrics.values())).shape[:2]
    columns: dict[str, np.ndarray] = {
        "step": np.repeat(np.arange(num_steps), num_agents),
        "agent": np.tile(np.arange(num_agents), num_steps),
    }
    for name, values in metrics.items():
        columns |= {name: values} if values.ndim == 2 else _by_link(name, values, links)
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*(np.ravel(each).astype(str).tolist() for each in columns.values()), strict=True))
    return file.getvalue()


def _by_link(name: str, values: Any, links: Bool[np.ndarray, "N N"]) -> dict[str, np.ndarray]:
    """The columns of a metric of links, one for each agent that they lead to."""
    return {f"{name}_to_{j}": np.where(links[:, j], values[:, :, j].astype(str), "") for j in range(len(links))}
