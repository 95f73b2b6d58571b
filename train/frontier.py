"""What is to be had for what is spent? `python -m train.frontier experiment=… [suite=…] [only=[…]] [key=value …]`.

On every cluster of a suite, one after another and each in a folder of its own below `output`: trains a policy at each
of several values of a parameter (`across`), all in one program, and compares them with every setting of every rule, by
what they spend and the harm that is left (`evaluation.frontier`). Writes `frontier.md` and `frontier.json` there.
Keys given besides go to every run. A cluster that has been compared is not run again, and training that was cut short
goes on.

Exit status: 0 when all went well; 1 when training diverged; 2 when something given is wrong, of which one line on
stderr says what, and then nothing has been written.
"""

import dataclasses
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxdlb.writing import write_whole

from . import cli, compose, suites, tradeoff
from .settings import Settings
from .suites import Run

_OWN = ("suite", "output", "only", "trace")
_TRACE = "{trace}"  # in the keys of a cluster: the file that `trace` names


@dataclasses.dataclass
class FrontierSettings(Settings):
    """Settings of the runs, and which runs there are."""

    suite: str = str(
        Path("conf") / "pods_headline.yaml"
    )  # a YAML file: the keys that runs have in common, and each one's own
    output: str = str(Path("runs") / "frontier")  # the folder of all runs
    only: list[str] | None = None  # names of clusters; null: all of the suite
    trace: str | None = None  # a file, in place of {trace} in the keys of clusters; null: these are left out


def prepare(overrides: Sequence[str]) -> tuple[Path, list[Run], list[str]]:
    """Check every run of the suite, and say which are left out; writes nothing.

    Raises:
        ValueError, OmegaConfBaseException: something given is wrong, in the suite or on the command line.
    """
    own, rest = suites.split(overrides, _OWN)
    settings = compose.settings(compose.from_conf(own, FrontierSettings), own)
    common, clusters = suites.read(settings.suite)
    names = suites.chosen(settings, clusters)
    left_out = [] if settings.trace else [name for name in names if any(_TRACE in key for key in clusters[name])]
    if left_out and settings.only is not None:
        raise ValueError(f"trace is null; it must be given as trace=<file> for {left_out[0]!r}, which only holds")
    given = {
        name: [*common, *(key.replace(_TRACE, settings.trace or "") for key in clusters[name]), *rest]
        for name in names
        if name not in left_out
    }
    return *suites.runs(settings.output, given, tradeoff.JSON, _training), left_out


def _training(folder: Path, overrides: Sequence[str]) -> Callable[[], Any]:
    """Trains and compares on a cluster, or goes on with it; raises ValueError where nothing would be compared."""
    settings = compose.settings(compose.from_conf(overrides), overrides)
    if settings.across.over is None:
        raise ValueError("across.over is null; it must name the parameter at whose values policies are trained")
    if not settings.evaluation.enabled:
        raise ValueError("evaluation.enabled is false; it must be true, since train.frontier compares")
    return suites.training(folder, overrides)


def execute(prepared: tuple[Path, list[Run], list[str]]) -> None:
    """Run what has not been run, and write what came of all of it."""
    output, runs, left_out = prepared
    for name in left_out:
        print(f"{name} is left out, since no recorded demand is given (trace=<file>)", file=sys.stderr)
    suites.carry_out(runs)
    results = {run.name: json.loads((run.folder / tradeoff.JSON).read_text(encoding="utf-8")) for run in runs}
    text = to_markdown(results)
    write_whole(output / "frontier.md", text)
    data = [{"played_on": name, **_summary(result)} for name, result in results.items()]
    write_whole(output / "frontier.json", json.dumps(data, indent=2) + "\n")
    print(text)
    print(f"written to {output}")


def to_markdown(results: Mapping[str, Mapping[str, Any]]) -> str:
    """A row for each cluster and column of harm: how the learned policies stand to the hardest rule, and who is ahead.

    The hardest is the best rule at each level, where there are several.
    """
    lines = [
        [
            "played on",
            "harm",
            "beside",
            "% less spent at equal harm",
            "times less harm at equal spending",
            "ahead somewhere",
        ],
        ["---", "---", "---", "---:", "---:", "---"],
    ]
    for name, result in results.items():
        for column in result["columns"]:
            row = column["comparisons"][-1]
            less, fewer = (_cell(row[number]["median"], factor) for number, factor in (("less", 100), ("fewer", 1)))
            ahead = [each["beside"] for each in column["comparisons"] if _is_ahead(each)]
            lines.append([name, column["harm"], row["beside"], less, fewer, ", ".join(ahead) or "none"])
    told = [f"{name}: {sentence}" for name, result in results.items() for sentence in result["told"]]
    return "\n\n".join(["\n".join(f"| {' | '.join(line)} |" for line in lines), *told]) + "\n"


def _is_ahead(row: Mapping[str, Any]) -> bool:
    """Whether the rule of a row is ahead of the learned policies at some level."""
    return any(row[number]["behind"] is not None for number in ("less", "fewer"))


def _cell(estimate: Mapping[str, float | None], factor: float) -> str:
    if estimate["mean"] is None:
        return "–"
    mean, low, high = (
        np.nan if estimate[end] is None else factor * estimate[end]  # type: ignore[operator]
        for end in ("mean", "low", "high")
    )
    return f"{mean:.3g} [{low:.3g}, {high:.3g}]"


def _summary(result: Mapping[str, Any]) -> dict[str, Any]:
    """What the table rests on, as data."""
    columns = [{key: each[key] for key in ("spent", "harm", "comparisons", "behind")} for each in result["columns"]]
    return {"columns": columns, "told": result["told"]}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (without the program's name), and return the exit status."""
    return cli.main(__doc__, FrontierSettings, prepare, execute, arguments)


if __name__ == "__main__":
    cli.tune()
    sys.exit(main())
