"""How much faster an update is on several devices, and what part of its time goes into sums over them.

    python -m benchmarks.sharding
    python -m benchmarks.sharding --network pointer --num-envs 256 --json -

On a CPU every core becomes a device of its own, with one thread. Three programs are timed side by side: an update on
one device; the same update, its environments spread over all devices; and beside them updates that have as much to do
on each device but exchange nothing, a seed a device, each with its share of the environments. What spread updates take
longer than those is the share of the sums over devices, and of waiting for the slowest.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

if not __package__:  # run as a file: the repository's root is not on the path yet
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import jaxdlb
from benchmarks import devices, report, timing
from benchmarks.learners import HIDDEN
from jaxdlb.learners import MAPPO, MAPPOConfig, mappo, sharding
from jaxdlb.networks import NetworkConfig


def make_learner(options: argparse.Namespace, num_envs: int) -> MAPPO:
    """MAPPO on the reference cluster.

    Raises:
        ValueError: a setting that the learner refuses.
    """
    game = jaxdlb.make("dlb", num_nodes=options.num_nodes)
    params = game.default_params()
    network = NetworkConfig(options.network, hidden=HIDDEN[options.network])
    return mappo.make(game, network, MAPPOConfig(num_envs=num_envs, num_minibatches=16), lambda key: params)


def updates(learner: MAPPO, num_seeds: int, num_devices: int) -> Callable[[], Any]:
    """Updates one after the other, on so many devices; each waits for the last."""
    placement = sharding.place(learner, num_seeds, jax.devices()[:num_devices])
    keys = jax.random.split(jax.random.key(0), num_seeds)
    alone = num_seeds == 1
    init = (lambda: learner.init(keys[0])) if alone else (lambda: jax.vmap(learner.init)(keys))
    update = learner.update if alone else jax.vmap(learner.update)
    where: dict[str, Any] = {"in_shardings": (placement.state,), "out_shardings": (placement.state, None)}
    program = jax.jit(update, donate_argnums=0, **where)
    run = program.lower(placement.made(init)).compile()
    return timing.Chain(lambda carry: jax.block_until_ready(run(carry[0])), (placement.made(init), None))


def benchmark(options: argparse.Namespace) -> dict[str, Any]:
    """Measure on one device and on all."""
    count = jax.device_count()
    whole, share = (make_learner(options, num_envs) for num_envs in (options.num_envs, options.num_envs // count))
    runs = {"one": updates(whole, 1, 1), "spread": updates(whole, 1, count), "apart": updates(share, count, count)}
    timings = timing.measure(runs, repeats=options.repeats, min_seconds=options.min_seconds)
    sums = [1 - ratio for ratio in timings["apart"].ratios(timings["spread"])]
    return {
        "num_devices": count,
        "agent_rounds_per_second": {name: timings[name].rate(whole.agent_rounds_per_update) for name in runs},
        "seconds": {name: each.spread for name, each in timings.items()},
        "speed_up": timings["one"].ratio(timings["spread"]),
        "share_of_sums": timing.spread(sums),
    }


def to_text(result: dict[str, Any]) -> str:
    """The result as a table."""
    rates = result["agent_rounds_per_second"]
    rows = [
        ("agent-rounds/s on one device", report.with_range(rates["one"])),
        (f"agent-rounds/s on {result['num_devices']} devices", report.with_range(rates["spread"])),
        ("speed-up", report.with_range(result["speed_up"])),
        ("share of sums over devices and waiting", report.with_range(result["share_of_sums"])),
    ]
    return report.table(("", "median (least–greatest)"), rows)


def _parser() -> report.Parser:
    parser = report.Parser("An update of MAPPO on dlb on one device and on all.")
    parser.add_argument("--network", choices=tuple(HIDDEN), default="mlp")
    parser.add_argument("--num-nodes", type=report.count, default=8)
    parser.add_argument("--num-envs", type=report.count, default=64)
    return parser


def main() -> None:
    """Measure, print, and write JSON where asked to."""
    parser = _parser()
    options = parser.parse_args()
    devices.prepare(spread=True)
    count = jax.device_count()
    if count == 1 or options.num_envs % count:
        parser.error(f"--num-envs is {options.num_envs}; it must be a multiple of the devices, several, not {count}")
    result = benchmark(options)
    report.publish(options.json, jax.devices()[0], vars(options), [result], to_text(result))


if __name__ == "__main__":
    main()
