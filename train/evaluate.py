"""Evaluate a trained policy: `python -m train.evaluate checkpoint=<run> [group=choice …] [key=value …]`.

The settings are those saved with the run, with what the command line overrides: `game.num_nodes=64
game.params.load=0.7` plays a pointer policy elsewhere, `game=dlb` takes the whole game afresh from conf/. Prints the
table, and writes evaluation.json, samples.csv, table.txt, report.html, provenance.json and figures into `output`, or a
new folder in the run's; with `statistics=true` also what every agent did in every step.

Exit status: 0 when all went well; 2 when something given is wrong, of which one line on stderr says what, and then
nothing has been written.
"""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import MISSING, DictConfig, OmegaConf

from jaxdlb import checkpoint, evaluation
from jaxdlb.evaluation import Fresh

from . import (
    build,
    cli,
    comparison,
    compose,
    fresh_news,
    node_statistics,
    pareto,
    provenance,
    run_folder,
    sweep,
    writable,
)
from .build import Scenario
from .settings import Settings

FOLDER = "evaluations"  # in a run's folder


@dataclasses.dataclass
class EvaluateSettings(Settings):
    """Settings of a run, and which of its policies to evaluate."""

    checkpoint: str = MISSING  # a run's folder, its checkpoints folder or that of one step
    step: int | None = None  # which checkpoint; null: the best in episodes held out
    output: str | None = None  # a new or empty folder; null: <run>/evaluations/<date_time>
    statistics: bool = False  # write what every agent did in every step of every episode


@dataclasses.dataclass(frozen=True)
class Plan:
    """An evaluation that has been found right in everything."""

    given: DictConfig
    settings: Any
    scenario: Scenario
    learned: comparison.Learned
    fresh: Fresh | None
    folder: Path  # to be made
    step: int  # of the checkpoint
    command: str


def prepare(overrides: Sequence[str]) -> Plan:
    """Check everything and load the policies; writes nothing.

    Raises:
        ValueError, OmegaConfBaseException: something given is wrong.
    """
    given, settings, located = from_run(overrides, EvaluateSettings)
    if settings.across.over is not None:
        raise ValueError(
            f"checkpoint is {settings.checkpoint!r}; it must be a run of one policy, and that one has policies for "
            f"several values of {settings.across.over}, which it compares itself"
        )
    build.check(settings)
    sweep.check(settings)
    pareto.check(settings)
    scenario = build.scenario(settings.game)
    learned = comparison.learned(located.folder, scenario, settings.evaluation, located.step)
    fresh = fresh_news.rival_of_saved(located.folder.parent, scenario, settings.evaluation, overrides)
    step = comparison.step_of(located)
    if settings.statistics:
        node_statistics.check(scenario)
    if settings.output is None:
        folder = located.folder.parent / FOLDER / run_folder.stamp()
        writable.check_folder("output is not given, and the folder", folder)
    else:
        folder = Path(settings.output)
        run_folder.check_new("output", folder)
    command = provenance.command("train.evaluate", overrides)
    return Plan(given, settings, scenario, learned, fresh, folder, step, command)


def from_run(overrides: Sequence[str], schema: type) -> tuple[DictConfig, Any, checkpoint.Location]:
    """The settings of the run that `checkpoint=…` names with `overrides`, and the step to load.

    Raises:
        ValueError, OmegaConfBaseException: no such run, or an override that is wrong.
    """
    located = checkpoint.locate(cli.value_of("checkpoint", overrides))
    given = compose.from_run(located.folder.parent, overrides, schema)
    settings = compose.settings(given, overrides)
    step = located.step if settings.step is None else settings.step
    return given, settings, checkpoint.Location(located.folder, step)


def execute(plan: Plan) -> None:
    """Compare, print and write."""
    settings = plan.settings.evaluation
    rules = comparison.rules(plan.scenario, settings)
    about = {"checkpoint": plan.settings.checkpoint}
    result = comparison.compare(plan.scenario, settings, rules, plan.learned, about, plan.fresh)
    everyone, asked = comparison.everyone(rules, plan.learned), build.plots(plan.settings)
    drawn = comparison.figures(result, plan.scenario, settings, everyone, asked=asked)
    if "checkpoints" in asked:
        drawn |= comparison.of_checkpoints(checkpoint.locate(plan.settings.checkpoint).folder, plan.scenario, settings)
    drawn |= pareto.drawn(plan.settings, plan.scenario, plan.learned)
    folder = plan.folder if plan.settings.output else run_folder.create_new(plan.folder)
    if plan.settings.statistics:
        num_rounds = build.lengths(settings, plan.scenario.entry).num_rounds
        node_statistics.write(folder, plan.scenario, settings, everyone, num_rounds, plan.fresh)
    comparison.write(folder, f"Evaluation of {plan.settings.checkpoint}", result, drawn, OmegaConf.to_yaml(plan.given))
    compose.save(plan.given, folder)
    provenance.write(folder, plan.settings, plan.scenario, plan.command, update=plan.step)
    print(evaluation.to_text(result))
    sweep.execute(plan.settings, plan.learned, folder)
    print(f"written to {folder}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (without the program's name), and return the exit status."""
    return cli.main(__doc__, EvaluateSettings, prepare, execute, arguments)


if __name__ == "__main__":
    cli.tune()
    sys.exit(main())
