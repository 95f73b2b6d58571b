"""How a population came by its best member: whose copy it is, and how those before it did."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from jaxdlb import checkpoint

from .comparison import Figures
from .loggers import Row, metrics_file
from .population import Population

Curves = tuple[Sequence[Row], Sequence[Row]]  # of metrics.csv, and of held_out.csv


def curves(folder: Path, step: int, population: Population) -> tuple[Curves, Figures]:
    """How what is compared has done all along, and figures of how it came about; `step` is that of its checkpoint.

    For seeds these are all rows, and no figures; for a population the rows of the best member's ancestors.
    """
    rows, held_out = (metrics_file.read(folder, name) for name in (metrics_file.NAME, metrics_file.HELD_OUT))
    if not population.evolves:
        return (rows, held_out), {}
    line = ancestors(rows, checkpoint.read_about(folder, step)["member"], step)
    return (along(line, rows), along(line, held_out)), _figures(rows, line, population)


def ancestors(rows: Sequence[Row], member: int, update: int) -> dict[int, int]:
    """For each update until `update`, in whose place what is `member` there was; `rows` are those of metrics.csv."""
    parents = {(int(row["update"]), int(row["seed"])): int(row["parent"]) for row in rows}
    line = {}
    while (update, member) in parents:
        line[update] = member
        member, update = parents[update, member], update - 1
    return line


def along(line: Mapping[int, int], rows: Sequence[Row]) -> list[Row]:
    """The rows of a line of ancestors alone, as if they were of one seed."""
    return [row | {"seed": 0} for row in rows if line.get(int(row["update"])) == row["seed"]]


def _figures(rows: Sequence[Row], line: Mapping[int, int], population: Population) -> Figures:
    from jaxdlb.evaluation import population_plot

    size = population.size
    names = {"utility": "utility in training"}
    names |= {f"hyperparameters/{name}": name for name in population.learner.explored}
    by_member = {label: _by_member(rows, name, size) for name, label in names.items()}
    followed = np.array([line.get(int(row["update"]), -1) for row in rows[::size]])
    agent_rounds = np.array([row["agent_rounds"] for row in rows[::size]])
    caption = "Every member of the population, and the ancestors of the best"
    return {"population": (caption, population_plot.members(agent_rounds, by_member, followed))}


def _by_member(rows: Sequence[Row], name: str, size: int) -> Shaped[np.ndarray, "P T"]:
    return np.array([row[name] for row in rows]).reshape(-1, size).T
