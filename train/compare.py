"""Compare algorithms over tasks and seeds: `python -m train.compare <run> [<run> …] [name=<run> …] [key=value …]`.

Takes folders of runs that have been compared with the heuristics, or of later evaluations of runs. Those of the same
learner and network, trained for as long, are one algorithm, and so are those that are given one name, as in
mappo=runs/a mappo=runs/b; runs in the same game are training seeds of one task. Prints interquartile mean, mean,
median, optimality gap and probability of improvement with their intervals, and writes them (table.txt, table.csv,
scores.csv, comparison.json), a figure with the performance profiles, and marl_eval.json into `output`.

Exit status: 0 when all went well; 2 when something given is wrong, of which one line on stderr says what, and then
nothing has been written.
"""

import dataclasses
import json
import math
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from jaxdlb.evaluation import PolicyResult, algorithms, marl_eval, remarks
from jaxdlb.evaluation import algorithm_tables as tables
from jaxdlb.evaluation.algorithms import Contest, Task
from jaxdlb.evaluation.marl_eval import Runs
from jaxdlb.evaluation.sentences import means
from jaxdlb.writing import write_whole

from . import cli, comparison, compose, evaluated, provenance, run_folder
from .evaluated import EvaluatedRun
from .loggers import metrics_file

BEST = "best"


@dataclasses.dataclass
class CompareSettings:
    """What is compared, and beside whom."""

    output: str | None = None  # a new or empty folder; null: one by time in runs
    column: str = "utility"  # what is compared: the utility, or what else every game is judged by
    one: str = BEST  # the rule that scores 1 in each task; best: whichever is best in the column there
    zero: str | None = None  # the rule that scores 0; null: scores are ratios to the rule that scores 1
    resamples: int = 10_000  # that the intervals rest on


@dataclasses.dataclass(frozen=True)
class Entrant:
    """A run with the names of what it is a run of."""

    run: EvaluatedRun
    algorithm: str
    task: str


@dataclasses.dataclass(frozen=True)
class Plan:
    """A comparison that has been found right in everything."""

    settings: CompareSettings
    entrants: list[Entrant]
    contest: Contest
    told: list[str]  # what ought not to have happened in a task's episodes
    folder: Path  # to be made
    command: str


def prepare(arguments: Sequence[str]) -> Plan:
    """Read the runs, check that they can be compared, and compare them; writes nothing.

    Raises:
        ValueError, OmegaConfBaseException: something given is wrong.
    """
    settings, given = understood(arguments)
    folder = Path("runs") / f"{run_folder.stamp()}_compared" if settings.output is None else Path(settings.output)
    run_folder.check_new("output", folder)
    found = entrants(given)
    _check_column(settings.column, [each.run for each in found])
    by_task = {name: [each for each in found if each.task == name] for name in _once(each.task for each in found)}
    tasks = [_task(name, own, settings) for name, own in by_task.items()]
    header = found[0].run.result.columns[settings.column][0].partition(",")[0]
    compared = algorithms.contest(header, tasks, settings.resamples)
    told = [f"{name}: {sentence}" for name, own in by_task.items() for sentence in _warned(own)]
    return Plan(settings, found, compared, told, folder, provenance.command("train.compare", arguments))


def understood(arguments: Sequence[str]) -> tuple[CompareSettings, list[tuple[str | None, str]]]:
    """The settings, and the folders that are given, each with the name of its algorithm if it has one.

    Raises:
        ValueError, OmegaConfBaseException: a value of the wrong type, a name that is empty, or no folder.
    """
    keys = {field.name for field in dataclasses.fields(CompareSettings)}
    own = [text for text in arguments if "=" in text and text.partition("=")[0] in keys]
    rest = [text for text in arguments if text not in own]
    merged = OmegaConf.merge(
        OmegaConf.structured(CompareSettings), OmegaConf.from_dotlist(compose.understood(own, CompareSettings))
    )
    given: list[tuple[str | None, str]] = [
        (None, text) if "=" not in text or Path(text).is_dir() else _named(text) for text in rest
    ]
    if not given:
        raise ValueError("no run is given; it must be one folder at least, as in runs/a runs/b or name=runs/a")
    settings = OmegaConf.to_object(merged)
    assert isinstance(settings, CompareSettings)
    return settings, given


def _named(text: str) -> tuple[str, str]:
    name, _, folder = text.partition("=")
    if not name:
        raise ValueError(f"{text} has no name; it must be the folder of a run, a name with one, or key=value")
    if not Path(folder).is_dir():
        keys = ", ".join(field.name for field in dataclasses.fields(CompareSettings))
        raise ValueError(f"{text} is neither the folder of a run with a name nor one of the keys {keys}")
    return name, folder


def entrants(given: Sequence[tuple[str | None, str]]) -> list[Entrant]:
    """The runs in the folders, with the names of their algorithms and tasks.

    Raises:
        ValueError: a folder that holds no comparison, one given twice, or names that say two things.
    """
    runs = [evaluated.read(folder) for _, folder in given]
    _check_once(runs)
    unnamed = _distinct([run.algorithm for (name, _), run in zip(given, runs, strict=True) if name is None])
    called = dict(zip(map(_key, unnamed), evaluated.labels(unnamed), strict=True))
    for name, folder in given:
        if name in called.values():
            raise ValueError(f"{name}={folder}: {name} is also what a run without a name is called; give each a name")
    games = {run.task: run.game for run in runs}
    tasks = dict(zip(games, evaluated.labels(list(games.values())), strict=True))
    found = [
        Entrant(run, called[_key(run.algorithm)] if name is None else name, tasks[run.task])
        for (name, _), run in zip(given, runs, strict=True)
    ]
    _check_seeds(found)
    return found


def _check_once(runs: Sequence[EvaluatedRun]) -> None:
    places = [run.folder.resolve() for run in runs]
    for run, place in zip(runs, places, strict=True):
        if places.count(place) > 1:
            raise ValueError(f"{run.given} is given twice; each run must count once")


def _check_seeds(found: Sequence[Entrant]) -> None:
    """Raise ValueError where one training seed would count as two."""
    seen: dict[Any, Entrant] = {}
    for each in found:
        trained = (each.algorithm, each.task, _key(each.run.algorithm), each.run.seed, each.run.num_seeds > 1)
        if trained in seen:
            raise ValueError(
                f"{each.run.given} was trained as {seen[trained].run.given} was, with seed {each.run.seed}; "
                "each training seed must count once"
            )
        seen[trained] = each


def _check_same_episodes(runs: Sequence[EvaluatedRun]) -> None:
    first, *others = runs
    for run in others:
        for name, value in run.episodes.items():
            if value != first.episodes.get(name):
                raise ValueError(
                    f"{run.given} was evaluated with evaluation.{name} {value} and {first.given} with "
                    f"{first.episodes.get(name)}; runs of one game must have played the same episodes "
                    "(python -m train.evaluate plays others)"
                )


def _check_column(column: str, runs: Sequence[EvaluatedRun]) -> None:
    judged = [name for name in ("utility", *runs[0].result.verdicts) if all(_judges(run, name) for run in runs)]
    if column not in judged:
        raise ValueError(f"column is {column!r}; it must be one of {', '.join(judged)}, which all the games judge")


def _judges(run: EvaluatedRun, column: str) -> bool:
    return column == "utility" or column in run.result.verdicts


def _task(name: str, found: Sequence[Entrant], settings: CompareSettings) -> Task:
    """The samples of every algorithm in a task, and the yardsticks.

    Raises:
        ValueError: runs that did not play the same episodes, or no policy of the name of a yardstick.
    """
    column, runs = settings.column, [each.run for each in found]
    _check_same_episodes(runs)
    samples = {
        algorithm: np.stack(
            [
                each.run.samples[seed][column]
                for each in found
                if each.algorithm == algorithm
                for seed in each.run.learned
            ]
        )
        for algorithm in _once(each.algorithm for each in found)
    }
    verdict = runs[0].result.verdicts.get(column)
    lower_is_better = verdict is not None and verdict.lower_is_better
    one = _yardstick("one", settings.one, name, runs, column, lower_is_better)
    zero = None if settings.zero is None else _yardstick("zero", settings.zero, name, runs, column, lower_is_better)
    return Task(name, samples, one, zero, lower_is_better)


def _warned(found: Sequence[Entrant]) -> list[str]:
    """A sentence for each column that ought to be 0 in a task, and is not for an algorithm or a rule."""
    warnings = {
        name: (each.run.result.columns[name][0], warning)
        for each in found
        for name, warning in each.run.result.warnings.items()
    }
    rows = ((each.algorithm, row) for each in found for row in each.run.result.results)
    return remarks.warned(warnings, ((who if row.kind == "learned" else row.name, means(row)) for who, row in rows))


def _yardstick(
    key: str, wanted: str, task: str, runs: Sequence[EvaluatedRun], column: str, lower_is_better: bool
) -> tuple[str, np.ndarray]:
    """The best policy of a name, or the best heuristic, in any of a task's tables: all played the same episodes."""
    rows = [(each, run.samples[each.name][column]) for run in runs for each in run.rules]
    rows = [(each, samples) for each, samples in rows if math.isfinite(samples.mean())]
    fitting = [(each, samples) for each, samples in rows if _is_wanted(each, wanted)]
    if not fitting:
        families = ", ".join(_once(_family(each) for each, _ in rows))
        raise ValueError(f"{key} is {wanted!r}; it must be {BEST} or a rule in a table of {task}: {families}")
    sign = -1 if lower_is_better else 1
    best, samples = max(fitting, key=lambda row: sign * row[1].mean())
    return best.name, samples


def _is_wanted(rule: PolicyResult, wanted: str) -> bool:
    return rule.kind == "heuristic" if wanted == BEST else _family(rule) == wanted


def _family(rule: PolicyResult) -> str:
    return rule.name.partition("(")[0]


def execute(plan: Plan) -> None:
    """Print and write."""
    from jaxdlb.evaluation import algorithm_plots

    runs = for_marl_eval(plan.entrants)
    table = "\n".join([tables.to_text(plan.contest), *(textwrap.fill(each, tables.WIDTH) for each in plan.told)])
    told = tables.to_json(plan.contest) | {
        "told": plan.told,
        "runs": [_as_data(each) for each in plan.entrants],
        "command": plan.command,
        "versions": provenance.versions(),
    }
    files = {
        "table.txt": table + "\n",
        "table.csv": tables.to_csv(plan.contest),
        "scores.csv": tables.scores_to_csv(plan.contest),
        "comparison.json": json.dumps(told, indent=2, ensure_ascii=False) + "\n",
        "marl_eval.json": json.dumps(marl_eval.to_marl_eval(runs)) + "\n",
    }
    figure = algorithm_plots.algorithms(plan.contest)
    folder = run_folder.create_new(plan.folder) if plan.settings.output is None else plan.folder
    (folder / comparison.FIGURES).mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        write_whole(folder / name, text)
    figure.savefig(folder / comparison.FIGURES / "algorithms.png")
    print(table)
    print(f"written to {folder}")
    fewest, most = marl_eval.fewest_runs(runs), max(len(each.scores) for each in plan.contest.standings.values())
    if fewest < most:
        print(
            f"marl_eval.json holds {fewest} of up to {most} training seeds, since marl-eval wants as many of all",
            file=sys.stderr,
        )


def for_marl_eval(found: Sequence[Entrant]) -> Runs:
    """The runs as marl-eval takes them, by environment and task, then by algorithm; a run for each training seed."""
    laid_out: dict[tuple[str, str], dict[str, list[marl_eval.Run]]] = {}
    for each in found:
        own = laid_out.setdefault((str(each.run.game["name"]), each.task), {}).setdefault(each.algorithm, [])
        own += [_run(each.run, seed, name) for seed, name in enumerate(each.run.learned)]
    return laid_out


def _run(run: EvaluatedRun, seed: int, name: str) -> marl_eval.Run:
    rows = [row for row in run.held_out if row["seed"] == seed]
    steps = {
        int(row["agent_rounds"]): {key: [value] for key, value in row.items() if key not in metrics_file.LEADING}
        for row in rows
    }
    absolute = {column: values.tolist() for column, values in run.samples[name].items()}
    return marl_eval.Run(steps, absolute, run.agent_rounds)


def _as_data(each: Entrant) -> dict[str, Any]:
    folder = each.run.folder.name if each.run.folder.is_absolute() else each.run.given
    return {
        "folder": folder,
        "algorithm": each.algorithm,
        "task": each.task,
        "seed": each.run.seed,
        "num_seeds": each.run.num_seeds,
    }


def _distinct(settings: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return list({_key(each): each for each in settings}.values())


def _key(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True, default=str)


def _once(names: Any) -> list[str]:
    return list(dict.fromkeys(names))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (without the program's name), and return the exit status."""
    return cli.main_of_keys(__doc__, CompareSettings, prepare, execute, arguments)


if __name__ == "__main__":
    cli.tune()
    sys.exit(main())
