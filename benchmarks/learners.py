"""Throughput of a learner: agent-rounds per second of a whole MAPPO update, and what the update spends its time on.

    python -m benchmarks.learners
    python -m benchmarks.learners --network pointer --num-nodes 64 --num-envs 32 --json -

The whole update is timed, and beside it, repeat by repeat in the same process, its parts, compiled apart at the same
sizes:

- `game`: the rollout's rounds with the actions that were played, resets included, and nothing else;
- `acting`: what `collect` takes beyond the game: what networks see and its moments, actor and critic forward,
  sampling, the record;
- `advantages`: advantages, targets, and the rollout as one batch;
- `optimising`: all epochs over all minibatches.

The parts need not add up to the whole, which the compiler sees at once: their sum over the whole is reported.

What could be had of the machine is measured beside them: every matrix product of `optimising`, found by reading its
program, is timed by itself, and the time that all of them would take is set against the time of `optimising`.
"""

import argparse
import dataclasses
import itertools
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

if not __package__:  # run as a file: the repository's root is not on the path yet
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import jaxdlb
from benchmarks import devices, matmuls, report, timing
from benchmarks.matmuls import Product
from benchmarks.timing import Program, Timing
from jaxdlb.learners import MAPPO, LearnerState, MAPPOConfig, Rollout, environments, mappo
from jaxdlb.learners.environments import Environments
from jaxdlb.networks import NetworkConfig, normalisation

AGENTS_AT_ONCE = (
    1024  # num_envs · N unless told otherwise, so that an update holds equally many agent-rounds at every N
)
HIDDEN = {"mlp": (64, 64), "pointer": (32, 32)}  # as conf/ has them
PARTS = ("game", "acting", "advantages", "optimising")


@dataclasses.dataclass(frozen=True)
class Setting:
    """One learner to measure."""

    network: str
    num_nodes: int
    num_envs: int
    rollout_length: int
    num_epochs: int
    num_minibatches: int
    critic: str

    @property
    def agent_rounds(self) -> int:
        """Of one update."""
        return self.num_envs * self.rollout_length * self.num_nodes


def make_learner(setting: Setting) -> MAPPO:
    """MAPPO on the reference cluster.

    Raises:
        ValueError: a setting that the learner refuses.
    """
    game = jaxdlb.make("dlb", num_nodes=setting.num_nodes)
    params = game.default_params()
    sizes = {field.name: getattr(setting, field.name) for field in dataclasses.fields(setting)[2:]}
    network = NetworkConfig(setting.network, hidden=HIDDEN[setting.network])
    return mappo.make(game, network, MAPPOConfig(**sizes), lambda key: params)


def replay(learner: MAPPO, start: Environments, actions: PyTree) -> tuple[Environments, PyTree]:
    """The rounds of a rollout with `actions` [T, E, N] given: what the game alone takes of `collect`."""

    def play(at: Environments, action: PyTree) -> tuple[Environments, PyTree]:
        following, timestep, _ = environments.step(learner.game, learner.sample_params, at, action)
        return following, (timestep.reward, timestep.discount, timestep.last, timestep.metrics)

    return jax.lax.scan(play, start, actions)


def estimate(learner: MAPPO, state: LearnerState, rollout: Rollout) -> tuple[Any, Any]:
    """Advantages, targets and the scale of returns; and the batch that `optimise` takes."""
    advantage, target = learner.advantages(state, rollout)
    scale = normalisation.update_return_scale(state.return_scale, target)
    return scale, learner.sequences(rollout, advantage, target)


def compile_parts(
    learner: MAPPO, state: LearnerState
) -> tuple[dict[str, Program], dict[str, Callable[[], Any]], Counter[Product]]:
    """The separately compiled parts of one update of `state`, and runs of them on what that update would hand on.

    Also the matrix products of `optimising`.
    """
    key = jax.random.key(0)
    programs, runs = {}, {}

    def add(name: str, function: Callable[..., Any], *arguments: Any) -> Any:
        programs[name] = timing.compile_program(function, *arguments)
        runs[name] = lambda: programs[name].run(*arguments)
        return runs[name]()

    _, rollout = add("collect", learner.collect, state, key)
    actions = rollout.steps.action
    add("game", lambda start, actions: replay(learner, start, actions), state.environments, actions)
    scale, batch = add("advantages", lambda state, rollout: estimate(learner, state, rollout), state, rollout)
    ready = dataclasses.replace(state, return_scale=scale)
    add("optimising", learner.optimise, ready, batch, key)
    return programs, runs, matmuls.products_of(learner.optimise, ready, batch, key)


def shares(timings: dict[str, Timing]) -> dict[str, timing.Spread]:
    """Each part's time over that of the whole update, repeat by repeat, and the same of their sum."""
    seconds = {name: np.array(timing.seconds) for name, timing in timings.items()}
    parts = seconds | {"acting": seconds["collect"] - seconds["game"]}
    parts |= {"sum": sum(parts[name] for name in PARTS)}
    return {name: timing.spread((parts[name] / seconds["update"]).tolist()) for name in (*PARTS, "sum")}


def benchmark(setting: Setting, learner: MAPPO, options: argparse.Namespace) -> dict[str, Any]:
    """Measure one learner."""
    begin = jax.jit(learner.init)
    state = begin(jax.random.key(options.seed))
    update = timing.compile_program(learner.update, state, donate=(0,))
    # The donated program takes the memory of its state, so the parts get a state of their own.
    whole = timing.Chain(lambda carry: update.run(carry[0]), (begin(jax.random.key(options.seed)), None))
    peak = timing.peak_memory(whole, jax.devices()[0])
    programs, runs, products = compile_parts(learner, state)
    all_runs: dict[Any, Callable[[], Any]] = {"update": whole, **runs}
    all_runs |= {product: product.alone() for product in products}
    all_timings = timing.measure(all_runs, repeats=options.repeats, min_seconds=options.min_seconds)
    timings = {name: all_timings[name] for name in ("update", *runs)}
    alone = matmuls.seconds_alone(products, {product: all_timings[product] for product in products})
    flops = matmuls.total_flops(products)
    state, metrics = whole.carry
    return dataclasses.asdict(setting) | {
        "num_parameters": sum(leaf.size for leaf in jax.tree.leaves(state.params)),
        "agent_rounds_an_update": setting.agent_rounds,
        "agent_rounds_per_second": timings["update"].rate(setting.agent_rounds),
        "seconds": {name: timing.spread for name, timing in timings.items()},
        "shares": shares(timings),
        "optimising_flops": flops,
        "optimising_flops_per_second": timings["optimising"].rate(flops),
        "matmul_flops_per_second": alone.rate(flops),
        "of_matmul_rate": alone.ratio(timings["optimising"]),
        "compile_seconds": update.compile_seconds,
        "compile_seconds_of_parts": {name: program.compile_seconds for name, program in programs.items()},
        "program_bytes": update.num_bytes,
        "peak_memory": peak,
        "num_updates": int(state.num_updates),
        "metrics": {name: float(value) for name, value in metrics.items()},
    }


def to_text(results: list[dict[str, Any]]) -> str:
    """The results as tables."""
    headers = ("network", "N", "envs", "agent-rounds/s", "update s", "compile s", "program MiB", "peak MiB")
    speeds = [
        (
            *_names(result),
            report.with_range(result["agent_rounds_per_second"]),
            report.with_range(result["seconds"]["update"]),
            f"{result['compile_seconds']:.1f}",
            report.mebibytes(result["program_bytes"]),
            report.mebibytes(result["peak_memory"].num_bytes),
        )
        for result in results
    ]
    rates = [
        (
            result["network"],
            str(result["num_nodes"]),
            f"{result['optimising_flops'] / 1e9:.3g}",
            report.with_range(result["optimising_flops_per_second"]),
            report.with_range(result["matmul_flops_per_second"]),
            _percent(result["of_matmul_rate"]),
        )
        for result in results
    ]
    percent = [(*_names(result), *(_percent(result["shares"][name]) for name in (*PARTS, "sum"))) for result in results]
    return (
        report.table(headers, speeds)
        + "Median (least–greatest) of the repeats. "
        + f"Peak memory of the {results[0]['peak_memory'].covers}.\n\n"
        + "Time of each part, compiled apart, in percent of the whole update:\n"
        + report.table(("network", "N", "envs", *PARTS, "sum"), percent)
        + "\nOptimising beside its own matrix products, each timed by itself:\n"
        + report.table(("network", "N", "GFLOP", "FLOP/s", "matmul FLOP/s", "of matmul rate"), rates)
    )


def _names(result: dict[str, Any]) -> tuple[str, str, str]:
    return result["network"], str(result["num_nodes"]), str(result["num_envs"])


def _percent(share: timing.Spread) -> str:
    return f"{share.median:.1%} ({share.low:.1%}–{share.high:.1%})"


def _parser() -> report.Parser:
    parser = report.Parser("Agent-rounds per second of a MAPPO update on dlb, and what the update spends its time on.")
    defaults = MAPPOConfig()
    parser.add_argument("--network", choices=("mlp", "pointer"), nargs="+", default=["mlp", "pointer"])
    parser.add_argument("--num-nodes", type=report.count, nargs="+", default=[8, 64])
    parser.add_argument("--num-envs", type=report.count, help=f"by default {AGENTS_AT_ONCE} / N, at least 1")
    for name in ("rollout_length", "num_epochs"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=report.count, default=getattr(defaults, name))
    parser.add_argument("--num-minibatches", type=report.count, default=16)
    parser.add_argument("--critic", choices=("global_state", "observation"), default=defaults.critic)
    return parser


def _settings(options: argparse.Namespace) -> list[Setting]:
    return [
        Setting(
            network=network,
            num_nodes=num_nodes,
            num_envs=options.num_envs or max(AGENTS_AT_ONCE // num_nodes, 1),
            rollout_length=options.rollout_length,
            num_epochs=options.num_epochs,
            num_minibatches=options.num_minibatches,
            critic=options.critic,
        )
        for network, num_nodes in itertools.product(options.network, options.num_nodes)
    ]


def main() -> None:
    """Measure, print, and write JSON where asked to."""
    parser = _parser()
    options = parser.parse_args()
    settings = _settings(options)
    try:
        learners = [make_learner(setting) for setting in settings]
    except ValueError as error:
        parser.error(str(error))
    devices.prepare(spread=False)
    results = []
    for setting, learner in zip(settings, learners, strict=True):
        report.progress(f"{setting.network}, N = {setting.num_nodes}, {setting.num_envs} environments")
        results.append(benchmark(setting, learner, options))
    report.publish(options.json, jax.devices()[0], vars(options), results, to_text(results))


if __name__ == "__main__":
    main()
