"""Does it hold elsewhere? `python -m train.robustness [suite=conf/robustness.yaml] [only=[…]] [key=value …]`.

Trains and compares on every cluster of a suite, one after another, each in a folder of its own below `output`, and
writes `robustness.md` and `robustness.json` there: of each cluster the learned policy beside the best rule, in utility
and in whatever else the game is judged by. With `checkpoint=<run>` nothing is trained: that run's policy is played on
every cluster, as by `train.evaluate`. Keys given besides go to every run. A cluster whose folder holds an evaluation is
not run again, and training that was cut short goes on.

Exit status: 0 when all went well; 1 when training diverged; 2 when something given is wrong, of which one line on
stderr says what, and then nothing has been written.
"""

import dataclasses
import functools
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxdlb import evaluation
from jaxdlb.evaluation import Evaluation, PolicyResult
from jaxdlb.evaluation.numerals import written
from jaxdlb.evaluation.sentences import warned
from jaxdlb.writing import write_whole

from . import cli, comparison, compose, evaluate, suites
from .settings import Settings
from .suites import Run

_OWN = ("suite", "output", "only", "checkpoint")
_STANDING = {1: "better", 0: "level", -1: "behind"}


@dataclasses.dataclass
class RobustnessSettings(Settings):
    """Settings of the runs, and which runs there are."""

    suite: str = str(
        Path("conf") / "robustness.yaml"
    )  # a YAML file: the keys that runs have in common, and each one's own
    output: str = str(Path("runs") / "robustness")  # the folder of all runs
    only: list[str] | None = None  # names of clusters; null: all of the suite
    checkpoint: str | None = None  # a run's folder, whose policy is played on every cluster; null: each is trained on


def prepare(overrides: Sequence[str]) -> tuple[Path, list[Run]]:
    """Check every run of the suite; writes nothing.

    Raises:
        ValueError, OmegaConfBaseException: something given is wrong, in the suite or on the command line.
    """
    own, rest = suites.split(overrides, _OWN)
    settings = compose.settings(compose.from_conf(own, RobustnessSettings), own)
    common, clusters = suites.read(settings.suite)
    given = {name: [*common, *clusters[name], *rest] for name in suites.chosen(settings, clusters)}
    prepared = suites.training if settings.checkpoint is None else functools.partial(_playing, settings.checkpoint)
    return suites.runs(settings.output, given, comparison.JSON, prepared)


def _playing(checkpoint: str, folder: Path, overrides: Sequence[str]) -> Callable[[], Any]:
    """Compares the policy of a run on a cluster."""
    plan = evaluate.prepare([f"checkpoint={checkpoint}", *overrides, f"output={folder}"])
    return functools.partial(evaluate.execute, plan)


def execute(prepared: tuple[Path, list[Run]]) -> None:
    """Run what has not been run, and write what came of all of it."""
    output, runs = prepared
    suites.carry_out(runs)
    results = {run.name: _result(run.folder) for run in runs}
    write_whole(output / "robustness.md", to_markdown(results))
    write_whole(output / "robustness.json", json.dumps(to_json(results), indent=2) + "\n")
    print(to_markdown(results))
    print(f"written to {output}")


def _result(folder: Path) -> Evaluation:
    return evaluation.from_json(json.loads((folder / comparison.JSON).read_text(encoding="utf-8")))


def to_markdown(results: Mapping[str, Evaluation]) -> str:
    """A row for each cluster: in each judged column the learned policy, the best rule in it, and how they stand.

    Below it, what ought not to have happened on any of them.
    """
    judged = _judged(results.values())
    headers = [next(iter(results.values())).columns[name][0] for name in judged]
    columns = [f"{header}: {who}" for header in headers for who in ("learned", "best rule", "learned is")]
    lines = [["played on", *columns], ["---", *["---:", "---:", "---"] * len(judged)]]
    for name, result in results.items():
        cells = [_cells(result, column) for column in judged]
        lines.append([name, *(cell for each in cells for cell in each)])
    told = [f"{name}: {sentence}" for name, result in results.items() for sentence in warned(result)]
    return "\n\n".join(["\n".join(f"| {' | '.join(line)} |" for line in lines), *told]) + "\n"


def to_json(results: Mapping[str, Evaluation]) -> list[dict[str, Any]]:
    """The same as data: of each cluster and judged column, both names and intervals, and the standing."""
    judged = _judged(results.values())
    return [
        {"played_on": name, **{column: _as_data(result, column) for column in judged}, "told": warned(result)}
        for name, result in results.items()
    ]


def _as_data(result: Evaluation, column: str) -> dict[str, Any]:
    learned, rule = result.learned[0], best_rule(result, column)
    ends = {who.name: dataclasses.asdict(who.columns[column]) for who in (learned, rule)}
    return {"learned": learned.name, "rule": rule.name, "intervals": ends, "standing": standing(result, column)}


def _cells(result: Evaluation, column: str) -> list[str]:
    learned, rule = result.learned[0], best_rule(result, column)
    family = rule.name.partition("(")[0]
    word = _STANDING[standing(result, column)]
    return [written(learned.columns[column]), f"{written(rule.columns[column])}, `{family}`", word]


def _judged(results: Iterable[Evaluation]) -> list[str]:
    """The utility, and what else every one of the games is judged by."""
    first, *others = [["utility", *each.verdicts] for each in results]
    return [name for name in first if all(name in each for each in others)]


def best_rule(result: Evaluation, column: str) -> PolicyResult:
    """The rule with the best mean in a column, which need not be the one with the best utility."""
    rules = [each for each in result.results if each.kind == "heuristic"]
    return max(rules, key=lambda each: _sign(result, column) * each.columns[column].mean)


def standing(result: Evaluation, column: str) -> int:
    """1 where the learned interval is better than that of the best rule, −1 where worse, 0 where they overlap."""
    ours, theirs = result.learned[0].columns[column], best_rule(result, column).columns[column]
    return _sign(result, column) * ((ours.low > theirs.high) - (ours.high < theirs.low))


def _sign(result: Evaluation, column: str) -> int:
    return -1 if column in result.verdicts and result.verdicts[column].lower_is_better else 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (without the program's name), and return the exit status."""
    return cli.main(__doc__, RobustnessSettings, prepare, execute, arguments)


if __name__ == "__main__":
    cli.tune()
    sys.exit(main())
