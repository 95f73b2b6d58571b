"""Throughput of learners from a replay buffer: agent-rounds per second of a whole update, and what it spends time on.

    python -m benchmarks.buffers
    python -m benchmarks.buffers --game dlb --learner dqn --num-nodes 8 --json -

Every learner of the registry that keeps a buffer and fits the game is measured, with its own defaults, once it has
played enough to learn. The whole update is timed, and beside it, repeat by repeat in the same process, its parts,
compiled apart at the same sizes:

- `game`: the rollout's rounds with actions that are given, resets included;
- `acting`: what `collect` takes beyond the game;
- `buffer`: storing the rollout, and drawing and normalising all batches of the update;
- `optimising`: all steps of the optimisers, on one batch.

The parts need not add up to the whole, which the compiler sees at once: their sum over the whole is reported.
"""

import argparse
import dataclasses
import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray, PyTree

if not __package__:  # run as a file: the repository's root is not on the path yet
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks import devices, games, report, timing
from jaxdlb import spaces
from jaxdlb.game import Game
from jaxdlb.games import GAMES
from jaxdlb.learners import LEARNERS, environments, replay
from jaxdlb.learners.off_policy import OffPolicy, OffPolicyConfig, OffPolicyState, Rollout
from jaxdlb.networks import NetworkConfig

PARTS = ("game", "acting", "buffer", "optimising")


def keeping_buffers(game: Game) -> list[str]:
    """The learners from a replay buffer whose actions are those of the game."""
    return [name for name, each in LEARNERS.items() if issubclass(each.config, OffPolicyConfig) and each.suits(game)]


def make_learner(name: str, game: Game, params: PyTree) -> OffPolicy:
    """A learner as it is by default, on clusters with these `params`."""
    entry = LEARNERS[name]
    return entry.make(game, NetworkConfig(), entry.config(), lambda key: params)


def play(learner: OffPolicy, state: OffPolicyState, action: PyTree) -> PyTree:
    """The rounds of a rollout with the same action in all of them."""

    def step(at: environments.Environments, _: None) -> tuple[environments.Environments, Any]:
        following, timestep, _ = environments.step(learner.game, learner.sample_params, at, action)
        return following, timestep.reward

    return jax.lax.scan(step, state.environments, length=learner.config.rollout_length)


def collect(learner: OffPolicy, state: OffPolicyState) -> tuple[PyTree, Rollout]:
    """What an update plays and records, without what it leaves as it is."""
    state, rollout = learner.collect(state)
    return (state.environments, state.noise), rollout


def keep_and_draw(learner: OffPolicy, rollout: Rollout, key: PRNGKeyArray, state: OffPolicyState) -> OffPolicyState:
    """The buffer with a rollout more, and the batches of an update drawn from it, of which one number each is kept."""
    kept = replay.store(state.replay, rollout.transitions)
    state = dataclasses.replace(state, replay=kept)

    def draw(total: Any, key: PRNGKeyArray) -> tuple[Any, None]:
        batch = learner.batch(state, key)
        return total + sum(jnp.sum(leaf.astype(jnp.float32)) for leaf in jax.tree.leaves(batch)), None

    keys = jax.random.split(key, learner.config.gradient_steps)
    total, _ = jax.lax.scan(draw, jnp.float32(0), keys)
    # So that the batches are drawn at all; what lies in the buffer does not matter.
    return dataclasses.replace(state, num_updates=state.num_updates + (total > 0))


def optimise(learner: OffPolicy, state: OffPolicyState, batch: Any, key: PRNGKeyArray) -> PyTree:
    """All steps of the optimisers of an update, on the same batch."""

    def descend(learned: Any, at: tuple[PRNGKeyArray, Any]) -> tuple[Any, Any]:
        return learner.algorithm.descend(learned, state.hyperparameters, batch, *at)

    count = learner.config.gradient_steps
    return jax.lax.scan(descend, state.learned, (jax.random.split(key, count), jnp.arange(count)))


def benchmark(name: str, learner: OffPolicy, options: argparse.Namespace) -> dict[str, Any]:
    """Measure one learner."""
    key, begin = jax.random.key(options.seed), jax.jit(learner.init)
    update = timing.compile_program(learner.update, begin(key), donate=(0,))
    whole = timing.Chain(lambda carry: update.run(carry[0]), (begin(key), None))
    for _ in range(learner.config.warmup_steps // learner.config.rollout_length + 1):
        whole()
    # What is donated takes the memory of its state, so parts have states of their own.
    state = jax.tree.map(jnp.copy, whole.carry[0])
    legal = state.environments.observation.legal
    action = jax.vmap(functools.partial(spaces.sample, learner.game.action_space))(
        jax.random.split(key, learner.config.num_envs), legal
    )
    _, rollout = jax.jit(functools.partial(collect, learner))(state)
    batch = jax.jit(learner.batch)(state, key)
    runs: dict[str, Callable[[], Any]] = {"update": whole}

    def add(part: str, function: Callable[..., Any], *arguments: Any) -> None:
        program = timing.compile_program(functools.partial(function, learner), *arguments)
        runs[part] = lambda: program.run(*arguments)

    add("game", play, state, action)
    add("collect", collect, state)
    add("optimising", optimise, state, batch, key)
    kept = timing.compile_program(functools.partial(keep_and_draw, learner), rollout, key, state, donate=(2,))
    runs["buffer"] = timing.Chain(lambda carry: kept.run(rollout, key, carry), jax.tree.map(jnp.copy, state))
    timings = timing.measure(runs, repeats=options.repeats, min_seconds=options.min_seconds)
    rounds = learner.agent_rounds_per_update
    return {
        "learner": name,
        "num_nodes": learner.game.num_agents,
        "num_envs": learner.config.num_envs,
        "replay_bytes": sum(leaf.nbytes for leaf in jax.tree.leaves(state.replay)),
        "agent_rounds_per_second": timings["update"].rate(rounds),
        "seconds": {part: each.spread for part, each in timings.items()},
        "shares": shares(timings),
        "compile_seconds": update.compile_seconds,
    }


def shares(timings: dict[str, timing.Timing]) -> dict[str, timing.Spread]:
    """Each part's time over that of the whole update, repeat by repeat, and the same of their sum."""
    seconds = {part: np.array(each.seconds) for part, each in timings.items()}
    parts = seconds | {"acting": seconds["collect"] - seconds["game"]}
    parts |= {"sum": sum(parts[part] for part in PARTS)}
    return {part: timing.spread((parts[part] / seconds["update"]).tolist()) for part in (*PARTS, "sum")}


def to_text(results: list[dict[str, Any]]) -> str:
    """The results as a table."""
    headers = ("learner", "N", "envs", "agent-rounds/s", "update s", "buffer MiB", *PARTS, "sum")
    rows = [
        (
            result["learner"],
            str(result["num_nodes"]),
            str(result["num_envs"]),
            report.with_range(result["agent_rounds_per_second"]),
            report.with_range(result["seconds"]["update"]),
            report.mebibytes(result["replay_bytes"]),
            *(f"{result['shares'][part].median:.1%}" for part in (*PARTS, "sum")),
        )
        for result in results
    ]
    return report.table(headers, rows) + "Median (least–greatest) of the repeats; parts, compiled apart, in percent.\n"


def _parser() -> report.Parser:
    parser = report.Parser("Agent-rounds per second of learners from a replay buffer, and what updates spend time on.")
    parser.add_argument("--game", choices=GAMES, default="pods")
    games.add_settings(parser)
    parser.add_argument("--learner", nargs="+", help="by default all that keep a buffer and fit the game")
    parser.add_argument("--num-nodes", type=report.count, default=3)
    return parser


def main() -> None:
    """Measure, print, and write JSON where asked to."""
    parser = _parser()
    options = parser.parse_args()
    devices.prepare(spread=False)
    game, params = games.make(parser, options, **{games.agents_size(options.game): options.num_nodes})
    fitting = keeping_buffers(game)
    for name in options.learner or []:
        if name not in fitting:
            parser.error(f"learner is {name!r}; it must be one of {', '.join(fitting)} in {game.name}")
    learners = {name: make_learner(name, game, params) for name in options.learner or fitting}
    results = []
    for name, learner in learners.items():
        report.progress(f"{name}, N = {game.num_agents}")
        results.append(benchmark(name, learner, options))
    report.publish(options.json, jax.devices()[0], vars(options), results, to_text(results))


if __name__ == "__main__":
    main()
