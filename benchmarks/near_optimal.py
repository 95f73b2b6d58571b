"""How near one shipped config comes to the team optimum of small clusters that are drawn at random.

    python -m benchmarks.near_optimal
    python -m benchmarks.near_optimal --of-two 2 --of-three 0 --repeats 3 --json -

Every instance is trained and certified by the commands that a user has: `python -m train experiment=certified` and
`python -m train.certify`, with nothing but the instance and the seed given. Half of the clusters of two nodes, and one
of three of three nodes, have equal nodes.
"""

import dataclasses
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

if not __package__:  # run as a file: the repository's root is not on the path yet
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks import devices, report

ROOT = Path(__file__).resolve().parent.parent
RATES, LOADS = (0.2, 0.9), (0.5, 0.95)  # from which completion probabilities and loads are drawn
CAPACITIES = {2: (8, 16), 3: (6, 8)}  # both ends may be drawn
DRAWN_BY = 11  # seed of the instances
BETWEEN_EQUAL = {2: 2, 3: 3}  # every so many instances the nodes are equal
POLICY = "learned(greedy)"


@dataclasses.dataclass(frozen=True)
class Instance:
    """A small cluster."""

    completion_prob: tuple[float, ...]
    load: float
    capacity: int

    @property
    def overrides(self) -> list[str]:
        """What to give on the command line."""
        rates = ",".join(f"{rate:g}" for rate in self.completion_prob)
        return [
            f"game.num_nodes={len(self.completion_prob)}",
            f"game.capacity={self.capacity}",
            f"game.params.completion_prob=[{rates}]",
            f"game.params.load={self.load:g}",
        ]


def instances(num_nodes: int, count: int) -> list[Instance]:
    """Drawn uniformly from the ranges, to two digits; the same ones every time."""
    draws = np.random.default_rng([DRAWN_BY, num_nodes])
    return [_draw(draws, num_nodes, index % BETWEEN_EQUAL[num_nodes] == 1) for index in range(count)]


def _draw(draws: np.random.Generator, num_nodes: int, equal: bool) -> Instance:
    rates = draws.uniform(*RATES, num_nodes).round(2)
    rates = np.full(num_nodes, rates[0]) if equal else rates
    least, most = CAPACITIES[num_nodes]
    load, capacity = round(draws.uniform(*LOADS), 2), int(draws.integers(least, most + 1))
    return Instance(tuple(map(float, rates)), load, capacity)


def measure(instance: Instance, seed: int, folder: Path, further: Sequence[str]) -> dict[str, Any]:
    """Train and certify one instance: its gaps, and the seconds that training took as a process."""
    run = folder / "run"
    start = time.perf_counter()
    _launch("train", "experiment=certified", *instance.overrides, f"seed={seed}", f"run_dir={run}", *further)
    seconds = time.perf_counter() - start
    _launch("train.certify", f"checkpoint={run}", f"output={folder / 'certificate'}")
    certificate = json.loads((folder / "certificate" / "certificate.json").read_text(encoding="utf-8"))
    lines = {line["name"]: line for line in certificate["lines"]}
    rule = next(line for line in certificate["lines"] if line["kind"] == "heuristic")
    return dataclasses.asdict(instance) | {
        "seed": seed,
        "team": sum(certificate["team"]) / 2,
        "gap": lines[POLICY]["gap"],
        "nash_gap": lines[POLICY]["nash_gap"],
        "best_rule_gap": rule["gap"],
        "train_s": seconds,
    }


def _launch(module: str, *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", module, *arguments], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def to_text(rows: Sequence[dict[str, Any]]) -> str:
    """A row for each run, and what they come to."""
    headers = ("q", "load", "K", "seed", "team optimum", "gap", "Nash gap", "best rule's gap", "training s")
    table = [
        (
            " ".join(f"{rate:g}" for rate in row["completion_prob"]),
            f"{row['load']:g}",
            str(row["capacity"]),
            str(row["seed"]),
            f"{row['team']:.4f}",
            *(f"{100 * row[name]:.2f}%" for name in ("gap", "nash_gap", "best_rule_gap")),
            f"{row['train_s']:.0f}",
        )
        for row in rows
    ]
    return report.table(headers, table) + "\n".join(_sums(rows)) + "\n"


def _sums(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Median and worst, for each number of nodes."""
    lines = []
    for num_nodes in sorted({len(row["completion_prob"]) for row in rows}):
        few = [row for row in rows if len(row["completion_prob"]) == num_nodes]
        told = [
            f"{name} {100 * statistics.median(row[key] for row in few):.2f}% in the median, "
            f"{100 * max(row[key] for row in few):.2f}% at worst"
            for name, key in (("gap", "gap"), ("Nash gap", "nash_gap"))
        ]
        lines.append(f"N = {num_nodes}, {len(few)} runs: {'; '.join(told)}.")
    return lines


def _number(text: str) -> int:
    """An integer ≥ 0 from the command line."""
    return 0 if text == "0" else report.count(text)


def _parser() -> report.Parser:
    parser = report.Parser("How near one shipped config comes to the team optimum of small clusters.")
    parser.set_defaults(repeats=1)  # training seeds of every instance, from --seed on
    parser.add_argument("--of-two", type=_number, default=10, help="instances of two nodes")
    parser.add_argument("--of-three", type=_number, default=3, help="instances of three nodes")
    parser.add_argument("--further", nargs="*", default=[], metavar="KEY=VALUE", help="settings of training to change")
    return parser


def main() -> None:
    """Measure, print, and write JSON where asked to."""
    options = _parser().parse_args()
    devices.prepare(spread=False)
    rows = []
    for instance in [*instances(2, options.of_two), *instances(3, options.of_three)]:
        for seed in range(options.seed, options.seed + options.repeats):
            report.progress(f"{' '.join(instance.overrides)} seed={seed}")
            with tempfile.TemporaryDirectory() as folder:
                rows.append(measure(instance, seed, Path(folder), options.further))
            report.progress(f"gap {100 * rows[-1]['gap']:.2f}%, Nash gap {100 * rows[-1]['nash_gap']:.2f}%")
    report.publish(options.json, jax.devices()[0], vars(options), rows, to_text(rows))


if __name__ == "__main__":
    main()
