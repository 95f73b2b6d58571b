"""Write what comes to the agents of a game: `python -m train.inputs game=<game> output=<file> [key=value …]`.

Plays one episode of one of the clusters to evaluate on, for `evaluation.num_rounds` rounds, and writes what came to
each agent in each step. It is the episode that figures show by the same `evaluation.seed`; whoever plays meets the
same. A file named ….csv gets a line for each step, with a field for each agent; one named ….json gets the same as
lists. For games whose agents get inputs that hang on nobody's actions.

Exit status: 0 when all went well; 2 when something given is wrong, of which one line on stderr says what, and then
nothing has been written.
"""

import csv
import dataclasses
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Shaped
from omegaconf import MISSING

from jaxdlb.games import GAMES
from jaxdlb.writing import write_whole

from . import build, cli, comparison, compose, writable
from .build import Scenario
from .settings import Settings


@dataclasses.dataclass
class InputsSettings(Settings):
    """Settings of a game, and where its inputs are written."""

    output: str = MISSING  # a file named ….csv or ….json, in a folder that exists


@dataclasses.dataclass(frozen=True)
class Plan:
    """An episode that has been found right in everything."""

    settings: Any
    scenario: Scenario
    num_rounds: int
    file: Path


def prepare(overrides: Sequence[str]) -> Plan:
    """Check everything; writes nothing.

    Raises:
        ValueError, OmegaConfBaseException: something given is wrong.
    """
    settings = compose.settings(compose.from_conf(overrides, InputsSettings), overrides)
    build.check(settings)
    file = Path(settings.output)
    if file.suffix not in _WRITTEN or not file.absolute().parent.is_dir() or file.is_dir():
        raise ValueError(
            f"output is {settings.output!r}; it must be a file named ….csv or ….json in a folder that exists"
        )
    writable.check_file("output", file)
    scenario = build.scenario(settings.game)
    if scenario.entry.inputs is None:
        having = ", ".join(name for name, entry in GAMES.items() if entry.inputs is not None)
        raise ValueError(f"game.name is {settings.game.name!r}; it must be a game that tells its inputs ({having})")
    num_rounds = build.lengths(settings.evaluation, scenario.entry).num_rounds
    return Plan(settings, scenario, num_rounds, file)


def execute(plan: Plan) -> None:
    """Play and write."""
    scenario, settings = plan.scenario, plan.settings
    assert scenario.entry.inputs is not None
    anybody = next(iter(scenario.entry.heuristics.values())).make()
    recorded = comparison.record(scenario, anybody, settings.evaluation.seed, plan.num_rounds)
    before_each = jax.tree.map(lambda leaf: leaf[:-1], recorded.states)
    rates = np.asarray(jax.vmap(scenario.entry.inputs)(before_each))
    write_whole(plan.file, _WRITTEN[plan.file.suffix](rates))
    print(f"written to {plan.file}")


def _csv(rates: Shaped[np.ndarray, "T N"]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["step", *(f"agent_{k}" for k in range(rates.shape[1]))])
    writer.writerows([step, *each] for step, each in enumerate(rates.tolist()))
    return file.getvalue()


def _json(rates: Shaped[np.ndarray, "T N"]) -> str:
    return json.dumps({"inputs": rates.tolist()}) + "\n"


_WRITTEN = {".csv": _csv, ".json": _json}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (without the program's name), and return the exit status."""
    return cli.main(__doc__, InputsSettings, prepare, execute, arguments)


if __name__ == "__main__":
    cli.tune()
    sys.exit(main())
