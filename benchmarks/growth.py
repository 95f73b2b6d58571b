"""How a round of `dlb` grows with the number of nodes, and what part of it its random numbers are.

    python -m benchmarks.growth
    python -m benchmarks.growth --num-nodes 16 1024 --json -

Heartbeats are common to all receivers. Every size plays equally many nodes in all environments together, with a policy
uniform over the legal choices; sizes are timed side by side, so that their ratios share the machine's moods. Beside
each whole round stand the numbers that it draws: by `jaxdlb.mechanics.chance`, as the game and the policy draw them,
and as many by `jax.random`.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray

if not __package__:  # run as a file: the repository's root is not on the path yet
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import jaxdlb
from benchmarks import devices, games, report, timing
from jaxdlb.mechanics import chance

NUM_NODES = (2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
BASE = 16  # nodes of the round that others are compared with
NODE_ROUNDS_A_CALL = 2**19


@struct.dataclass
class Drawing:
    """Numbers under way: what a round's game and policy draw, and nothing else."""

    round: Int[Array, ""]
    keys: Key[Array, " E"]
    sums: Float[Array, "E 4 N"]


def inline(key: PRNGKeyArray, num_nodes: int) -> Float[Array, "4 N"]:
    """A round's numbers as they are drawn: two an agent for the game, two for the policy, each under a key."""
    keys = [chance.fold_in(key, stream) for stream in range(2)]
    return jnp.stack([number for key in keys for number in chance.uniforms(key, 2, num_nodes)])


def library(key: PRNGKeyArray, num_nodes: int) -> Float[Array, "4 N"]:
    """As many numbers by `jax.random`."""
    keys = [jax.random.fold_in(key, stream) for stream in range(2)]
    return jnp.concatenate([jax.random.uniform(key, (2, num_nodes)) for key in keys])


DRAWS: dict[str, Callable[[PRNGKeyArray, int], Float[Array, "4 N"]]] = {"chance": inline, "jax.random": library}


def prepare_drawing(draw: str, num_nodes: int, num_envs: int, num_rounds: int) -> timing.Chain:
    """Rounds that do nothing but draw, on the devices that play rounds."""

    def draw_round(_: Int[Array, ""], carry: Drawing) -> Drawing:
        numbers = jax.vmap(lambda key: DRAWS[draw](key, num_nodes))(carry.keys)
        keys = jax.vmap(chance.fold_in, (0, None))(carry.keys, carry.round)
        return Drawing(round=carry.round + 1, keys=keys, sums=carry.sums + numbers)

    start = Drawing(
        round=jnp.int32(0),
        keys=jax.random.split(jax.random.key(0), num_envs),
        sums=jnp.zeros((num_envs, 4, num_nodes)),
    )
    carry = devices.spread(start, num_envs)
    rounds = devices.on_each(lambda carry: jax.lax.fori_loop(0, num_rounds, draw_round, carry), num_envs, carry)
    return timing.Chain(timing.compile_program(rounds, carry, donate=(0,)).run, carry)


def measure(options: Any) -> list[dict[str, Any]]:
    """All sizes side by side."""
    runs: dict[Any, timing.Chain] = {}
    facts: dict[int, dict[str, Any]] = {}
    work: dict[int, int] = {}
    for num_nodes in sorted({BASE, *options.num_nodes}):
        report.progress(f"N = {num_nodes} (compiling)")
        game = jaxdlb.make("dlb", num_nodes=num_nodes)
        num_envs = max(options.nodes // num_nodes, jax.device_count())
        num_rounds = max(NODE_ROUNDS_A_CALL // (num_envs * num_nodes), 1)
        work[num_nodes] = num_envs * num_nodes * num_rounds
        program, runs[num_nodes, "round"] = games.prepare(
            game, games.Variant("random", "reward"), num_envs, num_rounds, options.seed
        )
        for draw in DRAWS:
            runs[num_nodes, draw] = prepare_drawing(draw, num_nodes, num_envs, num_rounds)
        sizes = games.sizes_of(game, num_envs)
        facts[num_nodes] = {
            "num_nodes": num_nodes,
            "num_envs": num_envs,
            "state_bytes": sizes.state_bytes,
            "params_bytes": sizes.params_bytes,
            "observation_bytes": sizes.observation_bytes,
            "compile_seconds": program.compile_seconds,
        }
    report.progress("all sizes side by side")
    timings = timing.measure(runs, repeats=options.repeats, min_seconds=options.min_seconds)
    per_node = {key: timing.Timing(tuple(s / work[key[0]] for s in each.seconds)) for key, each in timings.items()}
    base = per_node[BASE, "round"]
    return [
        about
        | {
            "nanoseconds_per_node_round": timing.spread([1e9 * s for s in per_node[num_nodes, "round"].seconds]),
            "over_base": per_node[num_nodes, "round"].ratio(base),
            "share_of_numbers": per_node[num_nodes, "chance"].ratio(per_node[num_nodes, "round"]),
            "library_over_inline": per_node[num_nodes, "jax.random"].ratio(per_node[num_nodes, "chance"]),
        }
        for num_nodes, about in facts.items()
    ]


def to_text(results: list[dict[str, Any]]) -> str:
    """The results as a table."""
    headers = (
        *("N", "envs", "ns per node-round", f"over N = {BASE}", "share of numbers", "jax.random over chance"),
        *("state B/env", "params B/env", "observation B/env", "compile s"),
    )
    rows = [
        (
            str(result["num_nodes"]),
            str(result["num_envs"]),
            report.with_range(result["nanoseconds_per_node_round"]),
            report.with_range(result["over_base"]),
            report.with_range(result["share_of_numbers"]),
            report.with_range(result["library_over_inline"]),
            str(result["state_bytes"]),
            str(result["params_bytes"]),
            str(result["observation_bytes"]),
            f"{result['compile_seconds']:.1f}",
        )
        for result in results
    ]
    return report.table(headers, rows) + "Median (least–greatest) of the repeats, ratios repeat by repeat.\n"


def _parser() -> report.Parser:
    parser = report.Parser("How a round of dlb grows with the number of nodes.")
    parser.add_argument("--num-nodes", type=report.count, nargs="+", default=list(NUM_NODES))
    parser.add_argument("--nodes", type=report.count, default=8192, help="nodes of all environments together")
    return parser


def main() -> None:
    """Measure, print, and write JSON where asked to."""
    options = _parser().parse_args()
    devices.prepare(spread=True)
    results = measure(options)
    report.publish(options.json, jax.devices()[0], vars(options), results, to_text(results))


if __name__ == "__main__":
    main()
