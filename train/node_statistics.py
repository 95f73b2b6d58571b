"""What every agent did in every step of the episodes that a table is about, as files beside it."""

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jax

from jaxdlb.evaluation import Fresh, node_tables
from jaxdlb.policies import Policy
from jaxdlb.writing import write_whole

from . import build
from .build import Scenario

FOLDER = "statistics"  # beside the table
_PLAIN = "()=, "  # in file names; other signs of a policy's name are written as %2F and so on


def check(scenario: Scenario) -> None:
    """Raise ValueError unless the game tells what each of its agents did."""
    with build.renamed("game", "game.name"):
        node_tables.check(scenario.game)


def write(
    folder: Path,
    scenario: Scenario,
    settings: Any,
    policies: Sequence[Policy],
    num_rounds: int,
    fresh: Fresh | None = None,
) -> None:
    """Write `statistics/<policy>_<episode>.csv.gz` for each episode of an evaluation by its `settings`."""
    (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    sizes: Any = {"num_episodes": settings.num_episodes, "num_rounds": num_rounds}
    where_they_play = [(policies, scenario.test), *([(fresh.policies, fresh.sample_params)] if fresh else [])]
    for those, clusters in where_they_play:
        for name, episode, table in node_tables.tables(
            scenario.game, those, clusters, jax.random.key(settings.seed), **sizes
        ):
            file = folder / FOLDER / f"{quote(name, safe=_PLAIN)}_{episode}.csv.gz"
            write_whole(file, gzip.compress(table.encode("utf-8"), mtime=0))
