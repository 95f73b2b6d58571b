"""All benchmarks, one after the other: `python -m benchmarks` writes RESULTS.md and the picture in it.

Each runs as a process of its own, for each sets up its devices in its own way. Nothing is written if one fails.
"""

import argparse
import dataclasses
import datetime
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import report

HERE = Path(__file__).resolve().parent
PICTURE = "throughput.png"


@dataclasses.dataclass(frozen=True)
class Part:
    """One benchmark: its name, what it is about, its arguments, and its module if that is not called the same."""

    name: str
    title: str
    arguments: tuple[str, ...] = ()
    module: str | None = None

    @property
    def launch(self) -> list[str]:
        return ["-m", f"benchmarks.{self.module or self.name}", *self.arguments]

    @property
    def command(self) -> str:
        return " ".join(["python", *self.launch])


PARTS = (
    Part("against_c", "The round beside C"),
    Part("against_python", "The rack beside plain Python"),
    Part("growth", "Growth with the number of nodes, and random numbers"),
    Part(
        "games",
        "Throughput over environments and nodes",
        (
            *("--num-nodes", "8", "16", "64", "256", "--num-envs", "4", "16", "64", "256", "1024", "4096"),
            *("--policy", "random", "--consume", "reward", "observation"),
        ),
    ),
    Part(
        "edge",
        "Throughput of the edge, each environment with a network of its own",
        (
            *("--game", "edge", "--size", "max_instances=30", "--param", "instances=30"),
            *("--num-nodes", "2", "5", "8", "64", "--num-envs", "8", "32", "256", "2048"),
            *("--policy", "random", "--consume", "reward"),
        ),
        module="games",
    ),
    Part("learners", "An update of MAPPO"),
    Part("forms", "What the less obvious forms of the code gain"),
    Part("certificates", "Small games solved exactly"),
    Part("training", "`make train` until it is 1.4 times closer to 0 than the best heuristic"),
)


@dataclasses.dataclass(frozen=True)
class Target:
    """What was aimed at: how it is called, what was measured, the bound, and on which side of it to be."""

    what: str
    measured: float | None
    bound: float
    at_least: bool
    unit: str = ""

    @property
    def row(self) -> str:
        sign = "≥" if self.at_least else "≤"
        start = f"| {self.what} | {sign} {self.bound:g}{self.unit} |"
        if self.measured is None:
            return f"{start} not reached | no |"
        met = self.measured >= self.bound if self.at_least else self.measured <= self.bound
        return f"{start} {self.measured:.3g}{self.unit} | {'yes' if met else 'no'} |"


Results = Mapping[str, list[dict[str, Any]]]


def targets(results: Results) -> list[Target]:
    """The project's targets for two CPU cores, beside what was measured: medians."""
    found = [
        Target(f"JAX over C in node-rounds/s, N = {race['num_nodes']}", race["jax_over_c"]["median"], 1.0, True)
        for race in results["against_c"]
    ]
    # 200 times what the first sketch of a rack in plain Python did, 6 thousand; the table has a better one beside it.
    found += [
        Target(f"million node-slices/s of the rack, N = 16, {policy}", rate / 1e6, 1.2, True)
        for policy, rate in _best_rates(results["against_python"]).items()
    ]
    found += [
        Target("cost of a node at N = 1,024 over N = 16", size["over_base"]["median"], 2.0, False)
        for size in results["growth"]
        if size["num_nodes"] == 1024
    ]
    found += _of_the_edge(results["edge"])
    for update in results["learners"]:
        name = f"{update['network']}, N = {update['num_nodes']}"
        share, rate = update["shares"]["game"]["median"], update["of_matmul_rate"]["median"]
        found += [
            Target(f"game in an update, {name}", 100 * share, 15.0, False, "%"),
            Target(f"optimising over its matmul rate, {name}", 100 * rate, _RATES[update["network"]], True, "%"),
        ]
    found += [
        Target(f"compilation of an update, {update['network']}, N = 8", update["compile_seconds"], 15.0, False, " s")
        for update in results["learners"]
        if update["num_nodes"] == 8
    ]
    found += [
        Target(f"solved exactly, N = {each['num_nodes']}, K = {each['capacity']}", seconds["median"], 30.0, False, " s")
        for each in results["certificates"]
        if (each["num_nodes"], each["capacity"]) in ((2, 30), (3, 8)) and (seconds := each["whole_seconds"])
    ]
    (training,) = results["training"]
    for kind, name in (("cold", "first launch"), ("warm", "second launch")):
        seconds = training[kind]["seconds_to_target"]
        found.append(Target(f"1.4 times closer to 0 than the best heuristic, {name}", seconds, 45.0, False, " s"))
    return found


def _best_rates(races: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """By policy, the node-slices a second of the rack with the number of environments that suits it best."""
    return _best([(race["policy"], race["jax_node_rounds_per_second"]) for race in races])


def _of_the_edge(results: Sequence[Mapping[str, Any]]) -> list[Target]:
    """Steps a second beside those of DFaaS' own environment, whose caches are warm, and what a node costs."""
    best = _best([(size["num_nodes"], size["node_rounds_per_second"]) for size in results])
    return [
        *(
            Target(f"steps/s of the edge over the {theirs:,} of its source, N = {n}", best[n] / n / theirs, bound, True)
            for n, theirs, bound in ((2, 6760, 300.0), (5, 2240, 200.0))
        ),
        Target("cost of a node of the edge at N = 64 over N = 8", best[8] / best[64], 3.0, False),
    ]


def _best(rates: Sequence[tuple[Any, Mapping[str, float]]]) -> dict[Any, float]:
    """By name, the greatest of the medians: with as many environments as suit it best."""
    names = dict.fromkeys(name for name, _ in rates)
    return {name: max(rate["median"] for each, rate in rates if each == name) for name in names}


_RATES = {"mlp": 50.0, "pointer": 35.0}  # percent


def run(part: Part, folder: Path) -> tuple[str, dict[str, Any]]:
    """What a benchmark prints, and what it writes as JSON."""
    path = folder / f"{part.name}.json"
    command = [sys.executable, *part.launch, "--json", str(path)]
    done = subprocess.run(command, cwd=HERE.parent, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"benchmarks: {part.command} failed; nothing was written")
    return done.stdout, json.loads(path.read_text())


def commit() -> str:
    """The commit that was measured, and whether files differed from it."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=HERE, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    changed = " with changes" if git("status", "--porcelain", "--untracked-files=no") else ""
    return (git("rev-parse", "--short=12", "HEAD") or "unknown") + changed


def page(machine: Mapping[str, Any], measured: str, texts: Mapping[str, str], results: Results, when: str) -> str:
    """RESULTS.md."""
    lines = [
        "# Benchmarks",
        "",
        f"Written by `make bench` (`python -m benchmarks`) on {when}, at commit {measured}.",
        "",
        f"{machine['cpu_model']}, {machine['cores']} cores; jax {machine['jax']} on {machine['platform']}, "
        f"Python {machine['python']}. The machine may be shared: ratios, taken repeat by repeat within one run, "
        "decide, not bare times.",
        "",
        "| target | bound | measured | met |",
        "| --- | --- | --- | --- |",
        *(target.row for target in targets(results)),
        "",
        f"![Throughput over environments, and cost of a node over nodes]({PICTURE})",
    ]
    for part in PARTS:
        lines += ["", f"## {part.title}", "", f"`{part.command}`", "", "```text", texts[part.name].strip(), "```"]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None, run: Callable[[Part, Path], tuple[str, dict[str, Any]]] = run) -> None:
    """Run all, then write the page and its picture."""
    from benchmarks import figure  # matplotlib is needed here alone

    parser = argparse.ArgumentParser(prog="benchmarks", description="Run all benchmarks and write RESULTS.md.")
    parser.add_argument("--output", type=Path, default=HERE, help="folder of RESULTS.md and its picture")
    options = parser.parse_args(arguments)
    if not options.output.is_dir():
        parser.exit(2, f"benchmarks: error: --output is {options.output}; it must be an existing folder\n")
    texts, results, machine = {}, {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for part in PARTS:
            report.progress(part.command)
            texts[part.name], document = run(part, Path(folder))
            results[part.name], machine = document["results"], document["machine"]
    when = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d")
    title = f"dlb on {machine['cores']} cores of {machine['cpu_model']}"
    text = page(machine, commit(), texts, results, when)  # before anything is written, for it may fail
    figure.draw(results["games"], results["growth"], results["against_c"], title, options.output / PICTURE)
    (options.output / "RESULTS.md").write_text(text)
    print(f"written: {options.output / 'RESULTS.md'}")


if __name__ == "__main__":
    main()
