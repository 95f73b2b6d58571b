"""How long `make train` takes to be 1.4 times closer to 0 than the best heuristic: the real command, cold and cached.

    python -m benchmarks.training

The launcher is run three times in an empty folder: with its evaluation, which says what the best heuristic, tuned,
reaches; then without it, once with an empty compilation cache and once with the cache which that left. Training has
got there when the mean utility of its last ten updates, exploration included, is the heuristic's divided by 1.4. Wall
time counts from the start of the process: imports, compilation and all.
"""

import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

if not __package__:  # run as a file: the repository's root is not on the path yet
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import jax
import numpy as np

from benchmarks import report

ROOT = Path(__file__).resolve().parent.parent
TIMES_BETTER = 1.4
UPDATES = 10  # whose mean utility is taken


class LaunchError(Exception):
    """The launcher failed; the message is its last line."""


def launch(folder: Path, name: str, *overrides: str) -> float:
    """Run the launcher in `folder`, its cache there as well; the wall time of the process in seconds.

    Raises:
        LaunchError: it did not end well.
    """
    environment = os.environ | {"XDG_CACHE_HOME": str(folder / "cache"), "PYTHONPATH": str(ROOT)}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    command = [sys.executable, "-m", "train", "experiment=reference", f"run_dir={name}", *overrides]
    start = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LaunchError(f"python -m train failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    return time.perf_counter() - start


def curve(run: Path) -> tuple[np.ndarray, np.ndarray]:
    """Seconds since training began and mean utility of the last updates, at every update."""
    with (run / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    utility = np.array([float(row["utility"]) for row in rows])
    seconds = np.array([float(row["seconds"]) for row in rows])
    sums = np.cumsum(np.concatenate([[0.0], utility]))
    width = np.minimum(np.arange(1, len(rows) + 1), UPDATES)
    return seconds, (sums[1:] - sums[np.arange(1, len(rows) + 1) - width]) / width


def reached(run: Path, target: float, wall: float) -> dict[str, Any]:
    """When the run reached `target`; `wall` is its whole time, of which what is not training is its start."""
    seconds, utility = curve(run)
    starting = wall - seconds[-1]
    there = np.flatnonzero(utility >= target)
    return {
        "starting_seconds": starting,
        "training_seconds": float(seconds[-1]),
        "seconds_to_target": float(starting + seconds[there[0]]) if len(there) else None,
        "final_utility": float(utility[-1]),
    }


def measure(folder: Path) -> dict[str, Any]:
    """Both launches."""
    report.progress("a first launch, with its evaluation")
    with_evaluation = launch(folder, "first")
    table = json.loads((folder / "first" / "evaluation.json").read_text())
    utilities = {result["name"]: result["columns"]["utility"]["mean"] for result in table["results"]}
    best = table["best_heuristic"]
    learned = next(
        utilities[result["name"]]
        for result in table["results"]
        if result["kind"] == "learned" and result["part_of"] is None
    )
    target = utilities[best] / TIMES_BETTER
    report.progress("a launch with an empty cache")
    (folder / "cache").rename(folder / "set_aside")
    cold = launch(folder, "cold", "evaluation.enabled=false")
    report.progress("a launch with the cache of the one before")
    warm = launch(folder, "warm", "evaluation.enabled=false")
    return {
        "best_heuristic": best,
        "best_heuristic_utility": utilities[best],
        "learned_utility": learned,
        "target_utility": target,
        "seconds_with_evaluation": with_evaluation,
        "cold": reached(folder / "cold", target, cold),
        "warm": reached(folder / "warm", target, warm),
    }


def to_text(result: dict[str, Any]) -> str:
    """The result in words and a table."""
    rows = [
        (
            name,
            f"{result[kind]['starting_seconds']:.1f}",
            f"{result[kind]['training_seconds']:.1f}",
            "not reached" if result[kind]["seconds_to_target"] is None else f"{result[kind]['seconds_to_target']:.1f}",
            f"{result[kind]['final_utility']:.2f}",
        )
        for name, kind in (("first launch", "cold"), ("second launch, from the cache", "warm"))
    ]
    headers = ("", "start s", "training s", f"s to {result['target_utility']:.2f}", "utility at the end")
    return (
        report.table(headers, rows)
        + f"Evaluated: learned {result['learned_utility']:.2f}, the best heuristic {result['best_heuristic']} "
        + f"{result['best_heuristic_utility']:.2f}; "
        + f"{result['target_utility']:.2f} is {TIMES_BETTER} times closer to 0. "
        + f"The whole first command, evaluation and report included, took {result['seconds_with_evaluation']:.0f} s.\n"
    )


def _parser() -> report.Parser:
    return report.Parser("Wall time of make train until it is 1.4 times closer to 0 than the best heuristic.")


def main() -> None:
    """Measure, print, and write JSON where asked to."""
    parser = _parser()
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        try:
            result = measure(Path(folder))
        except LaunchError as error:
            parser.error(str(error))
    report.publish(options.json, jax.devices()[0], vars(options), [result], to_text(result))


if __name__ == "__main__":
    main()
