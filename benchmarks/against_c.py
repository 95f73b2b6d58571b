"""The round of `dlb` in JAX, on all cores, beside the same round in plain C, on one.

    python -m benchmarks.against_c
    python -m benchmarks.against_c --num-nodes 16 --repeats 21 --json -

`reference/dlb.c` is compiled by the system's compiler for each number of nodes. Before anything is timed, both play the
same clusters with the same events and actions, and everything they say of each round must agree. Then both are timed,
repeat by repeat, each with random events of its own and a policy uniform over the legal choices: heartbeats, transit
and stealing on, rewards of every node and all metrics added up.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

if not __package__:  # run as a file: the repository's root is not on the path yet
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks import devices, games, reference, report, timing
from benchmarks.reference import NoCompilerError, Reference
from jaxdlb.games.dlb import DLB
from jaxdlb.games.dlb.dynamics import play_legal

CHECKED_CLUSTERS, CHECKED_ROUNDS = 32, 60
NODE_ROUNDS_A_CALL = 2**20


class DisagreementError(Exception):
    """The two rounds differ; the message says in what, where and by how much."""


def harsh_params(game: DLB) -> Any:
    """A cluster in which everything happens: drops, failures, delays of tasks and heartbeats, own and common reward."""
    num_nodes = game.num_nodes
    return game.default_params(
        arrival_prob=jnp.linspace(0.3, 0.95, num_nodes),
        holding_weight=0.3,
        transfer_delay=2,
        heartbeat_period=3,
        heartbeat_phase=jnp.arange(num_nodes) % 5,
        heartbeat_delay=1,
        failure_prob=0.05,
        repair_prob=0.2,
        selfishness=0.4,
    )


def check(game: DLB, c: Reference, params: Any, seed: int) -> None:
    """Play both with the same events and actions.

    Raises:
        DisagreementError: loads, transit, what was heard, utilities, rewards or metrics differ.
    """
    variant = games.Variant("random", "reward")
    clusters = games.clusters_like(params, game.num_nodes, CHECKED_CLUSTERS)
    start = games.start(game, variant, clusters, jax.random.key(seed))
    state, theirs, c_params = start.state, c.clusters(start.state), c.params(params, CHECKED_CLUSTERS)
    step = jax.jit(jax.vmap(game.step))
    played_by = jax.jit(jax.vmap(play_legal))
    choose = jax.jit(lambda keys, round: games.choose(game, variant, keys, round, clusters))
    fold = jax.jit(jax.vmap(jax.random.fold_in, (0, None)))
    for round in range(CHECKED_ROUNDS):
        action = choose(start.policy_keys, round)
        played = played_by(state, action)
        state, timestep = step(fold(start.game_keys, round), state, action, clusters.params)
        chance = {name: np.asarray(getattr(state, name)) for name in ("alive", "arrived", "completed")}
        tallies = c.play_given(c_params, theirs, {"dispatch": played.dispatch, "steal": played.steal}, chance)
        mine = {name: getattr(state, name) for name in ("load", "in_transit", "heard_load", "heard_age")}
        mine |= {"reward": timestep.reward} | timestep.metrics
        others = {name: theirs[name] for name in ("load", "heard_load", "heard_age")}
        others |= {"in_transit": c.in_transit(theirs)}
        others |= {name: tallies[name] for name in ("reward", "imbalance", "utility")}
        others |= dict(zip(reference.COUNTS, tallies["counts"].T, strict=True))
        _compare(mine, others, round)


def _compare(mine: dict[str, Any], others: dict[str, Any], round: int) -> None:
    if mine.keys() != others.keys():
        raise DisagreementError(f"only one of the two speaks of {', '.join(sorted(mine.keys() ^ others.keys()))}")
    for name, value in mine.items():
        apart = np.abs(np.asarray(value, np.float64) - others[name])
        if np.any(apart > 1e-4 * (1 + np.abs(others[name]))):
            raise DisagreementError(f"{name} differs by {apart.max():.3g} in round {round}")


def race(game: DLB, c: Reference, num_envs: int, options: argparse.Namespace) -> dict[str, Any]:
    """Both timed side by side on the reference cluster."""
    params, variant = game.default_params(), games.Variant("random", "reward")
    num_rounds = max(NODE_ROUNDS_A_CALL // (num_envs * game.num_nodes), 1)
    program, chain = games.prepare(game, variant, num_envs, num_rounds, options.seed)
    theirs = c.clusters(jax.device_get(chain.carry.state))
    c_params, tallies = c.params(params, num_envs), c.tallies(num_envs)
    random_states = np.random.default_rng(options.seed).integers(1, 2**63, num_envs, np.uint64)

    def run_c() -> np.ndarray:
        c.play_random(c_params, theirs, random_states, tallies, num_rounds)
        return tallies

    timings = timing.measure({"jax": chain, "c": run_c}, repeats=options.repeats, min_seconds=options.min_seconds)
    work = num_rounds * num_envs * game.num_nodes
    return {
        "num_nodes": game.num_nodes,
        "num_envs": num_envs,
        "num_devices": jax.device_count(),
        "compiler": c.compiler,
        "jax_node_rounds_per_second": timings["jax"].rate(work),
        "c_node_rounds_per_second": timings["c"].rate(work),
        "jax_over_c": timings["c"].ratio(timings["jax"]),
        "compile_seconds": program.compile_seconds,
        "jax_mean_utility": float(jnp.mean(chain.carry.metrics["utility"]) / chain.carry.round),
        "c_mean_utility": float(np.mean(tallies["utility"] / (theirs["round"]))),
    }


def to_text(results: list[dict[str, Any]]) -> str:
    """The results as a table."""
    rows = [
        (
            str(result["num_nodes"]),
            str(result["num_envs"]),
            report.with_range(result["jax_node_rounds_per_second"]),
            report.with_range(result["c_node_rounds_per_second"]),
            report.with_range(result["jax_over_c"]),
        )
        for result in results
    ]
    headers = ("N", "envs", "JAX node-rounds/s", "C node-rounds/s", "JAX over C")
    return (
        report.table(headers, rows)
        + f"Median (least–greatest) of the repeats. JAX on {results[0]['num_devices']} devices, C on one thread "
        + f"({results[0]['compiler']}, {' '.join(reference.OPTIONS[:3])}).\n"
        + "Given the same events and actions, both say the same of every round.\n"
    )


def _parser() -> report.Parser:
    parser = report.Parser("The round of dlb in JAX beside the same round in C.")
    parser.set_defaults(repeats=15)
    parser.add_argument("--num-nodes", type=report.count, nargs="+", default=[8, 16, 64])
    parser.add_argument("--nodes", type=report.count, default=4096, help="nodes of all environments together")
    return parser


def main() -> None:
    """Check, measure, print, and write JSON where asked to."""
    parser = _parser()
    options = parser.parse_args()
    devices.prepare(spread=True)
    results = []
    for num_nodes in options.num_nodes:
        report.progress(f"N = {num_nodes}")
        try:
            checked = DLB(num_nodes, capacity=6)
            check(checked, Reference.compile(num_nodes, checked.max_delay, 6), harsh_params(checked), options.seed)
            game = DLB(num_nodes)
            c = Reference.compile(num_nodes, game.max_delay, game.capacity)
            check(game, c, game.default_params(), options.seed)
        except (NoCompilerError, DisagreementError) as error:
            parser.error(str(error))
        results.append(race(game, c, max(options.nodes // num_nodes, jax.device_count()), options))
    report.publish(options.json, jax.devices()[0], vars(options), results, to_text(results))


if __name__ == "__main__":
    main()
