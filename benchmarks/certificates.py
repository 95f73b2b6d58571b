"""How long it takes to build and solve small games exactly, and how that grows with the capacity.

    python -m benchmarks.certificates
    python -m benchmarks.certificates --capacities-of-two 12 30 --capacities-of-three 4 --json -

Uneven clusters of `dlb` with fresh news: the chain on what all agents know, built from the game's own step; the
centralised optimum; and the team optimum. Every repeat forgets what was compiled before, as it is for a user who solves
one game.
"""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np

if not __package__:  # run as a file: the repository's root is not on the path yet
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import jaxdlb
from benchmarks import devices, report, timing
from jaxdlb.games.dlb.common import CommonInformation
from jaxdlb.theory import chain as chains
from jaxdlb.theory import optimal

RATES = {2: (0.3, 0.6), 3: (0.3, 0.5, 0.7)}  # completion probabilities, by the number of nodes
LOAD = 0.7
CAPACITIES = {2: (4, 8, 12, 16, 20, 25, 30), 3: (2, 3, 4, 5, 6, 7, 8)}
PARTS = ("build", "centralised", "team")
Made = TypeVar("Made")


def cluster(num_nodes: int, capacity: int) -> CommonInformation:
    """A small cluster with fresh news."""
    game = jaxdlb.make("dlb", num_nodes=num_nodes, capacity=capacity)
    fresh = {"heartbeat_period": 1, "transfer_delay": 0}
    return CommonInformation(game, game.default_params(completion_prob=np.array(RATES[num_nodes]), load=LOAD, **fresh))


def solve(common: CommonInformation) -> tuple[dict[str, float], dict[str, Any]]:
    """The seconds of each part, compilation included, and what was found."""
    jax.clear_caches()
    seconds: dict[str, float] = {}

    def timed(part: str, make: Callable[[], Made]) -> Made:
        start = time.perf_counter()
        made = make()
        seconds[part] = time.perf_counter() - start
        return made

    chain = timed("build", lambda: chains.build(common))
    whole = timed("centralised", lambda: optimal.centralised(chain))
    best, _ = timed("team", lambda: optimal.team(chain))
    found = {
        "num_states": chain.num_states,
        "num_joint_choices": chains.num_joint_choices(chain.num_agents),
        "improvements": whole.num_improvements + best.num_improvements,
        "centralised": whole.average,
        "team": best.average,
    }
    return seconds, found


def measure(options: Any) -> Iterator[dict[str, Any]]:
    """Every instance, those of two nodes first."""
    for num_nodes, capacities in ((2, options.capacities_of_two), (3, options.capacities_of_three)):
        least: dict[str, Any] | None = None
        for capacity in capacities:
            report.progress(f"N = {num_nodes}, K = {capacity}")
            repeats = [solve(cluster(num_nodes, capacity)) for _ in range(options.repeats)]
            whole = [sum(seconds.values()) for seconds, _ in repeats]
            found = repeats[0][1]
            result = {
                "num_nodes": num_nodes,
                "capacity": capacity,
                **found,
                "bytes": chains.size_in_bytes(num_nodes, capacity),
                "seconds": {part: timing.spread([each[part] for each, _ in repeats]) for part in PARTS},
                "whole_seconds": timing.spread(whole),
                "states_per_second": timing.spread([found["num_states"] / each for each in whole]),
            }
            least = least or result
            result["over_least"] = {
                "states": found["num_states"] / least["num_states"],
                "seconds": result["whole_seconds"].median / least["whole_seconds"].median,
            }
            yield result


def to_text(results: list[dict[str, Any]]) -> str:
    """The results as a table."""
    headers = (
        *("N", "K", "states", "choices", "MiB", *(f"{part} s" for part in PARTS)),
        *("whole s", "states/s", "states over least K", "seconds over least K"),
    )
    rows = [
        (
            str(result["num_nodes"]),
            str(result["capacity"]),
            f"{result['num_states']:,}",
            f"{result['num_joint_choices']:,}",
            f"{result['bytes'] / report.MIB:,.0f}",
            *(f"{result['seconds'][part].median:.2f}" for part in PARTS),
            report.with_range(result["whole_seconds"]),
            report.with_range(result["states_per_second"]),
            f"{result['over_least']['states']:.3g}",
            f"{result['over_least']['seconds']:.3g}",
        )
        for result in results
    ]
    return report.table(headers, rows) + "Median (least–greatest) of the repeats, compilation included.\n"


def _parser() -> report.Parser:
    parser = report.Parser("How long small games take to be built and solved exactly.")
    parser.set_defaults(repeats=3)
    parser.add_argument("--capacities-of-two", type=report.count, nargs="+", default=list(CAPACITIES[2]))
    parser.add_argument("--capacities-of-three", type=report.count, nargs="+", default=list(CAPACITIES[3]))
    return parser


def main() -> None:
    """Measure, print, and write JSON where asked to."""
    options = _parser().parse_args()
    devices.prepare(spread=False)
    results = list(measure(options))
    report.publish(options.json, jax.devices()[0], vars(options), results, to_text(results))


if __name__ == "__main__":
    main()
