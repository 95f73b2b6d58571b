"""The most environments whose training fits a device, and how right the prediction of its memory is.

    python -m benchmarks.memory
    python -m benchmarks.memory --network pointer --num-nodes 8 64 --memory-limit 2048 --json -

For each network and number of nodes the largest `num_envs` is sought for which an update of MAPPO, by what its compiled
program says, takes no more than `--memory-limit` or, without one, what the device has left. The search is by regula
falsi: memory grows nearly in proportion to the environments. What is found is then proved: the update is run, and what
it held at its peak beyond what the process held before is set beside the prediction. On accelerators the peak is that
of the device since the process started, so measure one setting at a time there.
"""

import argparse
import dataclasses
import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

if not __package__:  # run as a file: the repository's root is not on the path yet
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks import devices, report, timing
from benchmarks.learners import HIDDEN, Setting, make_learner
from jaxdlb import memory
from jaxdlb.learners import MAPPO, LearnerState

UNIT = 16  # environments: minibatches divide every multiple of it
CLOSE = 1.05  # an upper bound this near to what fits ends the search
FACTOR = 8  # to the second size that is tried, from which on sizes are guessed

Sized = Callable[[int], int]  # from a number of environments to the bytes that training takes


def largest(takes: Sized, limit: int) -> int:
    """The largest multiple of `UNIT`, within a factor of `CLOSE`, at which `takes` gives at most `limit`; 0 for none.

    `takes` must not fall; it is called as seldom as may be, for each call compiles a program.
    """
    low, high = (0, 0), (UNIT, takes(UNIT))  # numbers of environments and their bytes, around the limit in the end
    while high[1] <= limit:
        slope = (high[1] - low[1]) / (high[0] - low[0])
        beyond = (limit - high[1]) / max(slope, 1.0) * CLOSE if low[0] else FACTOR * UNIT
        guess = high[0] + _multiple(beyond) + UNIT
        low, high = high, (guess, takes(guess))
    while high[0] - low[0] > UNIT and high[0] > CLOSE * low[0]:
        share = (limit - low[1]) / max(high[1] - low[1], 1)
        guess = _multiple(low[0] + share * (high[0] - low[0]))
        guess = min(max(guess, low[0] + UNIT), high[0] - UNIT)
        middle = (guess, takes(guess))
        low, high = (middle, high) if middle[1] <= limit else (low, middle)
    return low[0]


def _multiple(number: float) -> int:
    return int(number // UNIT) * UNIT


def compiled(learner: MAPPO) -> Any:
    """An update, compiled from shapes alone; its state is donated, as in training."""
    shapes = jax.eval_shape(learner.init, jax.random.key(0))
    return jax.jit(learner.update, donate_argnums=0).lower(shapes).compile()


def predicted(learner: MAPPO) -> int:
    """Bytes that an update takes by what its program says."""
    estimate = memory.estimate(compiled(learner))
    if estimate is None:
        raise SystemExit(f"benchmarks: {jax.default_backend()} does not say how much memory a program takes")
    return estimate.total


def benchmark(setting: Setting, limit: int, options: argparse.Namespace) -> dict[str, Any]:
    """The most environments that fit, and the peak of a run with them."""

    def takes(num_envs: int) -> int:
        report.progress(f"{setting.network}, N = {setting.num_nodes}, {num_envs} environments")
        return predicted(make_learner(dataclasses.replace(setting, num_envs=num_envs)))

    num_envs = largest(takes, limit)
    result = dataclasses.asdict(setting) | {"num_envs": num_envs, "limit_bytes": limit}
    if num_envs == 0:
        return result | {"predicted_bytes": None, "peak_bytes": None, "covers": ""}
    learner = make_learner(dataclasses.replace(setting, num_envs=num_envs))
    update = compiled(learner)
    estimate = memory.estimate(update)
    assert estimate is not None
    begin = jax.jit(learner.init).lower(jax.random.key(options.seed)).compile()
    on_host = jax.devices()[0].platform == "cpu"
    before = timing.resident_memory() if on_host else 0

    def run() -> tuple[LearnerState, Any]:
        return update(begin(jax.random.key(options.seed)))

    peak = timing.peak_memory(run, jax.devices()[0])
    return result | {
        "predicted_bytes": estimate.total,
        "peak_bytes": peak.num_bytes - before,
        "covers": peak.covers,
    }


def to_text(results: list[dict[str, Any]]) -> str:
    """The results as a table."""
    rows = [
        (
            result["network"],
            str(result["num_nodes"]),
            str(result["num_envs"]),
            report.mebibytes(result["limit_bytes"]),
            report.mebibytes(result["predicted_bytes"]),
            report.mebibytes(result["peak_bytes"]),
            f"{result['predicted_bytes'] / result['peak_bytes']:.2f}" if result["peak_bytes"] else "–",
        )
        for result in results
    ]
    headers = ("network", "N", "most envs", "limit MiB", "predicted MiB", "peak MiB", "predicted / peak")
    return report.table(headers, rows)


def _parser() -> report.Parser:
    parser = report.Parser("The most environments whose training fits a device.")
    parser.add_argument("--network", choices=HIDDEN, nargs="+", default=list(HIDDEN))
    parser.add_argument("--num-nodes", type=report.count, nargs="+", default=[8])
    parser.add_argument("--rollout-length", type=report.count, default=32)
    parser.add_argument("--num-epochs", type=report.count, default=1)
    parser.add_argument(
        "--memory-limit", type=report.count, metavar="MIB", help="by default nine tenths of what the device has left"
    )
    return parser


def main() -> None:
    """Search, prove, print, and write JSON where asked to."""
    options = _parser().parse_args()
    devices.prepare(spread=False)
    device = jax.devices()[0]
    left = memory.free(device).num_bytes
    limit = options.memory_limit * report.MIB if options.memory_limit else left * 9 // 10
    results = [
        benchmark(
            Setting(network, num_nodes, UNIT, options.rollout_length, options.num_epochs, UNIT, "global_state"),
            limit,
            options,
        )
        for network, num_nodes in itertools.product(options.network, options.num_nodes)
    ]
    report.publish(options.json, device, vars(options), results, to_text(results))


if __name__ == "__main__":
    main()
