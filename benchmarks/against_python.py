"""The `rack` game in JAX, on all cores, beside the same rack in plain Python, on one.

    python -m benchmarks.against_python
    python -m benchmarks.against_python --num-envs 64 --policy random --param load=0.6 --json -

`reference/rack.py` is the rack as one would write it with deques and heaps. Before anything is timed, both play many
episodes of the same rack, and their response times (mean and p99), migrations and steals must agree within the error of
their means. Then both are timed, repeat by repeat, each with its own chance. Rewards and all metrics are added up.

The rack has the sizes of the preset `rack_heterogeneous`.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PyTree

if not __package__:  # run as a file: the repository's root is not on the path yet
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks import devices, games, report, timing
from benchmarks.reference.rack import POLICIES, Plain
from jaxdlb.games.rack import Rack
from jaxdlb.games.rack.responses import percentile

SIZES = ("num_nodes=16", "max_cores=8", "max_io_cores=8", "max_tasks=1024", "max_arrivals=48")
EPISODES, SLICES = 64, 400  # that both play before they are timed
STANDARD_ERRORS = 5.0  # of a difference that may be chance: one in two million is larger
OF_BINS = 0.01  # by how much of itself a percentile from a histogram may be off
ROUNDING = 1e-4  # by how much of itself any other sum may be, in float32
NODE_ROUNDS_A_CALL = 2**17
SLICES_A_CALL = 500  # of the plain simulator: some hundredths of a second


class DisagreementError(Exception):
    """The two racks differ; the message says in what and by how much."""


def check(game: Rack, params: Any, policy: str, seed: int, episodes: int = EPISODES, slices: int = SLICES) -> None:
    """Play both.

    Raises:
        DisagreementError: the means over episodes of response times, migrations or steals differ by more than chance.
    """
    mine = in_jax(game, params, policy, seed, episodes, slices)
    theirs = in_python(game, params, policy, seed, episodes, slices)
    for name in mine:
        here, there = mine[name].mean(), theirs[name].mean()
        error = float(np.hypot(mine[name].std(ddof=1), theirs[name].std(ddof=1))) / episodes**0.5
        allowed = STANDARD_ERRORS * error + (OF_BINS if name == "p99" else ROUNDING) * abs(there)
        if abs(here - there) > allowed:
            raise DisagreementError(
                f"{name} is {here:.4g} in JAX, {there:.4g} in Python; chance explains {allowed:.2g}"
            )


Episodes = Mapping[str, Float[np.ndarray, " E"]]


def in_jax(game: Rack, params: Any, policy: str, seed: int, episodes: int, slices: int) -> Episodes:
    """What the game's episodes came to, each from an empty rack."""
    variant = games.Variant(policy, "reward")
    clusters = games.clusters_like(params, game.num_nodes, episodes)
    start = jax.jit(games.start, static_argnums=(0, 1))(game, variant, clusters, jax.random.key(seed))
    played = jax.jit(games.play, static_argnums=(0, 1, 2))(game, variant, slices, start, clusters)
    sums = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), played.metrics)
    return {
        "mean response time": sums["latency_sum"].sum(axis=1) / sums["completions"],
        "p99": np.array([percentile(histogram, 99) for histogram in sums["responses"]]),
        "migrations": sums["migrations"],
        "steal requests": sums["steal_requests"],
        "steals": sums["steals"],
        "utility": sums["utility"]
        + float(params.imbalance_weight) * sums["imbalance"],  # which is left out of the other
    }


def in_python(game: Rack, params: Any, policy: str, seed: int, episodes: int, slices: int) -> Episodes:
    """The same of the plain simulator."""
    racks = [Plain(game, params, policy, seed=episodes * seed + episode) for episode in range(episodes)]
    for rack in racks:
        rack.play(slices)
    found = {
        "mean response time": [np.mean(rack.responses) for rack in racks],
        "p99": [np.percentile(rack.responses, 99, method="inverted_cdf") for rack in racks],
        "migrations": [rack.num_migrated for rack in racks],
        "steal requests": [rack.num_asked for rack in racks],
        "steals": [rack.num_stolen for rack in racks],
        "utility": [np.mean([node.utility for node in rack.nodes]) for rack in racks],
    }
    return {name: np.array(values, np.float64) for name, values in found.items()}


def race(game: Rack, params: PyTree, policy: str, num_envs: int, options: argparse.Namespace) -> dict[str, Any]:
    """Both timed side by side, once queues have grown for `options.warmup` slices."""
    num_rounds = max(NODE_ROUNDS_A_CALL // (num_envs * game.num_nodes), 1)
    variant = games.Variant(policy, "reward")
    program, chain = games.prepare(game, variant, num_envs, num_rounds, options.seed, params)
    plain = Plain(game, params, policy, options.seed)
    plain.play(options.warmup)
    while int(chain.carry.round) < options.warmup:
        chain()

    def run_plain() -> Any:
        plain.responses.clear()
        plain.play(SLICES_A_CALL)
        return ()

    timings = timing.measure(
        {"jax": chain, "python": run_plain}, repeats=options.repeats, min_seconds=options.min_seconds
    )
    jax_work, python_work = num_rounds * num_envs * game.num_nodes, SLICES_A_CALL * game.num_nodes
    ratios = [ratio * jax_work / python_work for ratio in timings["python"].ratios(timings["jax"])]
    return {
        "num_nodes": game.num_nodes,
        "num_envs": num_envs,
        "num_devices": jax.device_count(),
        "policy": policy,
        "jax_node_rounds_per_second": timings["jax"].rate(jax_work),
        "python_node_rounds_per_second": timings["python"].rate(python_work),
        "jax_over_python": timing.spread(ratios),
        "compile_seconds": program.compile_seconds,
        "jax_mean_load": float(jnp.mean(chain.carry.metrics["total_load"]) / chain.carry.round),
    }


def to_text(results: list[dict[str, Any]]) -> str:
    """The results as a table."""
    rows = [
        (
            str(result["num_nodes"]),
            str(result["num_envs"]),
            result["policy"],
            report.with_range(result["jax_node_rounds_per_second"]),
            report.with_range(result["python_node_rounds_per_second"]),
            report.with_range(result["jax_over_python"]),
            f"{result['compile_seconds']:.1f}",
        )
        for result in results
    ]
    headers = ("N", "envs", "policy", "JAX node-slices/s", "Python node-slices/s", "JAX over Python", "compile s")
    return (
        report.table(headers, rows)
        + f"Median (least–greatest) of the repeats. JAX on {results[0]['num_devices']} devices, Python on one thread.\n"
        + "Response times, migrations and steals of both agree within the error of their means.\n"
    )


def _parser() -> report.Parser:
    parser = report.Parser("The rack in JAX beside the same rack in plain Python.")
    parser.set_defaults(game="rack")
    games.add_settings(parser, size=SIZES)
    parser.add_argument("--num-envs", type=report.count, nargs="+", default=[16, 256, 1024])
    parser.add_argument("--policy", choices=POLICIES, nargs="+", default=list(POLICIES))
    parser.add_argument("--warmup", type=report.count, default=200, help="slices played before anything is timed")
    return parser


def main() -> None:
    """Check, measure, print, and write JSON where asked to."""
    parser = _parser()
    options = parser.parse_args()
    devices.prepare(spread=True)
    game, params = games.make(parser, options)
    try:
        Plain(game, params, options.policy[0], options.seed)
    except ValueError as error:  # it leaves something out that this rack has
        parser.error(str(error))
    results = []
    for policy in options.policy:
        report.progress(f"whether both play the same rack, {policy}")
        try:
            check(game, params, policy, options.seed)
        except DisagreementError as error:
            parser.error(str(error))
        for num_envs in options.num_envs:
            report.progress(f"{policy}, {num_envs} environments")
            results.append(race(game, params, policy, num_envs, options))
    report.publish(options.json, jax.devices()[0], vars(options), results, to_text(results))


if __name__ == "__main__":
    main()
