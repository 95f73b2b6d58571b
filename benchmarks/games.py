"""Throughput of a game: rounds and node-rounds per second over the number of nodes and of environments.

    python -m benchmarks.games
    python -m benchmarks.games --num-nodes 8 64 --num-envs 1024 --json -
    python -m benchmarks.games --game rack --num-nodes 16 --size max_cores=8 max_tasks=1024 --param load=0.6

The game is `dlb` unless `--game` names another; `--size` and `--param` set its sizes and parameters by their names.
Every program plays a fixed number of rounds in all environments, in a `scan` whose carry is donated. In games whose
episodes end, a new one begins where one has ended. What a program consumes of a round decides what the compiler may
leave out:

- `reward`: rewards and every metric are added up; the observation is never made.
- `observation`: besides, the whole observation, legal masks included, is written to memory in every round, as a learner
  needs it.

Two policies play: `random`, uniform over the legal choices, and `noop`, which shows the game alone; its actions are
data of the program all the same, so that the compiler cannot know that nobody acts.

Beside the programs a copy of a large array is timed: what part of its bandwidth a program reaches counts every byte of
the clusters' state as read and written once a round.

The first combination of policy and consumption is measured at every size; the others, beside it, with the largest
number of environments of each N.
"""

import argparse
import dataclasses
import functools
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int, Key, PRNGKeyArray, PyTree, Shaped

if not __package__:  # run as a file: the repository's root is not on the path yet
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import jaxdlb
from benchmarks import devices, report, timing
from jaxdlb import memory, parameters, spaces
from jaxdlb.game import Game
from jaxdlb.games import GAMES
from jaxdlb.mechanics import chance
from jaxdlb.writing import quantity

NUM_ENVS = {"cpu": (16, 256, 2048)}
NUM_ENVS_ON_ACCELERATOR = (1024, 16384, 131072)
MOST_ROUNDS, FEWEST_ROUNDS = 1024, 1
NODE_ROUNDS_A_CALL = {"cpu": 2**18}  # a tenth of a second or so
NODE_ROUNDS_A_CALL_ON_ACCELERATOR = 2**26
COPIED_BYTES = 2**27  # by the copy that a device's bandwidth is measured by: far more than its caches hold
COPIES = 3  # of the environments held at once: the initial ones, the carry, and what a round makes of it


@struct.dataclass
class Clusters:
    """What stays the same in E clusters; arguments of the program, so that it is compiled for any values of them."""

    params: PyTree  # leading axis E
    itself: Int[Array, "E N"]  # every agent's own index


@struct.dataclass
class Play:
    """E clusters under way, and what was consumed of their rounds so far."""

    round: Int[Array, ""]
    game_keys: PRNGKeyArray  # [E]
    policy_keys: PRNGKeyArray  # [E], apart from the game's: every policy meets the same events
    state: PyTree
    action: PyTree  # to be played next; drawn a round before, for it lies in memory then as an observed policy's does
    reward: Float[Array, "E N"]  # sum over rounds
    metrics: dict[str, Float[Array, "E ..."]]  # sums over rounds
    observation: PyTree  # of the last round; () where it is not consumed


@dataclasses.dataclass(frozen=True)
class Variant:
    """One way to play the game."""

    policy: str
    consume: str


def random_choice(key: PRNGKeyArray, itself: Int[Array, " N"], game: Game) -> PyTree:
    """An action of all agents: choices uniform over nodes, shares over the simplex, entries over their box.

    An agent may choose every node or nothing at all, and an illegal choice is played as the no-op; so a choice uniform
    over all nodes is uniform over the legal ones, and no mask need be read. Illegal shares stay with the agent.
    """
    heads = spaces.leaves(game.action_space)
    *starts, num = itertools.accumulate(map(_num_uniforms, heads), initial=0)
    draw = chance.uniforms if num <= len(heads) else chance.uniform_rows  # which compiles faster if there are dozens
    numbers = draw(key, num, game.num_agents)
    return _action(
        game, [_drawn(head, numbers[at : at + _num_uniforms(head)]) for head, at in zip(heads, starts, strict=True)]
    )


def _num_uniforms(head: spaces.Space) -> int:
    return 1 if isinstance(head, spaces.Discrete) else head.size


def _drawn(head: spaces.Space, numbers: Any) -> Shaped[Array, "N ..."]:
    """A choice from one uniform number; shares (exponentials over their sum) and entries of a box from one each."""
    if isinstance(head, spaces.Discrete):
        return (numbers[0] * head.num_choices).astype(jnp.int32)
    if isinstance(head, spaces.Box):
        return head.low + (head.high - head.low) * jnp.stack([*numbers], axis=-1)
    exponentials = -jnp.log1p(-jnp.stack([*numbers], axis=-1))
    return exponentials / jnp.sum(exponentials, axis=-1, keepdims=True)


def no_operation(key: PRNGKeyArray, itself: Int[Array, " N"], game: Game) -> PyTree:
    """Every agent names itself in every head, or gives itself all: it keeps its tasks and asks nobody.

    Where there are no agents to name it makes choice 0, and a box gets 0.
    """
    return _action(game, [_nothing(head, itself) for head in spaces.leaves(game.action_space)])


def _nothing(head: spaces.Space, itself: Int[Array, " N"]) -> Shaped[Array, "N ..."]:
    if isinstance(head, spaces.Discrete):
        return itself if head.over_agents else jnp.zeros_like(itself)
    if isinstance(head, spaces.Box):
        return jnp.clip(jnp.zeros((*itself.shape, head.size)), head.low, head.high)
    return jax.nn.one_hot(itself, head.size)


def _action(game: Game, choices: list[Shaped[Array, "N ..."]]) -> PyTree:
    treedef = jax.tree.structure(game.action_space, is_leaf=lambda node: isinstance(node, spaces.Space))
    return jax.tree.unflatten(treedef, choices)


POLICIES = {"random": random_choice, "noop": no_operation}
CONSUMES = ("observation", "reward")


def clusters_like(params: PyTree, num_agents: int, num_envs: int) -> Clusters:
    """`num_envs` clusters with the same `params`, each with a copy of its own as if they differed."""
    alike = Clusters(params=params, itself=jnp.arange(num_agents, dtype=jnp.int32))
    return jax.tree.map(lambda leaf: jnp.repeat(leaf[None], num_envs, axis=0), alike)


def start(game: Game, variant: Variant, clusters: Clusters, key: PRNGKeyArray) -> Play:
    """The clusters before their first round."""
    num_envs = clusters.itself.shape[0]
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(num_envs))
    reset_keys, game_keys, policy_keys = jax.vmap(lambda key: jax.random.split(key, 3), out_axes=1)(keys)
    state, timestep = jax.vmap(game.reset)(reset_keys, clusters.params)
    return Play(
        round=jnp.int32(0),
        game_keys=game_keys,
        policy_keys=policy_keys,
        state=state,
        action=choose(game, variant, policy_keys, jnp.int32(0), clusters),
        reward=jnp.zeros((num_envs, game.num_agents)),
        metrics={name: jnp.zeros(value.shape) for name, value in timestep.metrics.items()},
        observation=timestep.observation if variant.consume == "observation" else (),
    )


def choose(game: Game, variant: Variant, keys: Key[Array, " E"], round: Int[Array, ""], clusters: Clusters) -> PyTree:
    """The policy's actions in `round`, for every cluster."""
    policy = POLICIES[variant.policy]
    return jax.vmap(lambda key, itself: policy(chance.fold_in(key, round), itself, game))(keys, clusters.itself)


def play(game: Game, variant: Variant, num_rounds: int, carry: Play, clusters: Clusters) -> Play:
    """`num_rounds` further rounds in every cluster."""

    def play_round(carry: Play, _: None) -> tuple[Play, None]:
        keys = jax.vmap(chance.fold_in, (0, None))(carry.game_keys, carry.round)
        state, timestep = jax.vmap(game.step)(keys, carry.state, carry.action, clusters.params)
        following = dataclasses.replace(
            carry,
            round=carry.round + 1,
            state=state,
            action=choose(game, variant, carry.policy_keys, carry.round + 1, clusters),
            reward=carry.reward + timestep.reward,
            metrics={name: carry.metrics[name] + value for name, value in timestep.metrics.items()},
            observation=timestep.observation if variant.consume == "observation" else (),
        )
        return restarted(game, following, keys, timestep.last, clusters), None

    return jax.lax.scan(play_round, carry, length=num_rounds)[0]


def restarted(game: Game, played: Play, keys: Key[Array, " E"], ended: Bool[Array, " E"], clusters: Clusters) -> Play:
    """With new episodes where some have `ended`; in games that go on for ever, as it was."""
    if not GAMES[game.name].lengths.ends:
        return played

    def restart() -> Play:
        state, timestep = jax.vmap(game.reset)(jax.vmap(chance.fold_in, (0, None))(keys, 1), clusters.params)
        fresh = state, timestep.observation if jax.tree.leaves(played.observation) else ()
        choose_each = functools.partial(jax.vmap(jnp.where), ended)
        state, observation = jax.tree.map(choose_each, fresh, (played.state, played.observation))
        return dataclasses.replace(played, state=state, observation=observation)

    return jax.lax.cond(jnp.any(ended), restart, lambda: played)


def prepare(
    game: Game, variant: Variant, num_envs: int, num_rounds: int, seed: int, params: PyTree | None = None
) -> tuple[timing.Program, timing.Chain]:
    """The program of `num_rounds` rounds, environments spread over the devices, and a run that goes on and on."""
    params = game.default_params() if params is None else params
    clusters = clusters_like(params, game.num_agents, num_envs)
    carry = jax.jit(start, static_argnums=(0, 1))(game, variant, clusters, jax.random.key(seed))
    carry, clusters = devices.spread((carry, clusters), num_envs)
    function = devices.on_each(functools.partial(play, game, variant, num_rounds), num_envs, carry, clusters)
    program = timing.compile_program(function, carry, clusters, donate=(0,))
    return program, timing.Chain(lambda carry: program.run(carry, clusters), carry)


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How many nodes and environments, and bytes of an environment's state, parameters and observation."""

    num_nodes: int
    num_envs: int
    state_bytes: int
    params_bytes: int
    observation_bytes: int

    @property
    def total_bytes(self) -> int:
        """Of all environments, with the copies that a measurement holds."""
        return COPIES * self.num_envs * (self.state_bytes + self.params_bytes + self.observation_bytes)

    def rounds_a_call(self, platform: str) -> int:
        """Rounds of a call unless told otherwise: few where a round is large."""
        node_rounds = NODE_ROUNDS_A_CALL.get(platform, NODE_ROUNDS_A_CALL_ON_ACCELERATOR)
        return min(max(node_rounds // (self.num_envs * self.num_nodes), FEWEST_ROUNDS), MOST_ROUNDS)


def sizes_of(game: Game, num_envs: int, params: PyTree | None = None) -> Sizes:
    """The sizes of `game` in `num_envs` environments."""
    params = game.default_params() if params is None else params
    state, timestep = jax.eval_shape(game.reset, jax.random.key(0), params)
    return Sizes(
        num_nodes=game.num_agents,
        num_envs=num_envs,
        state_bytes=memory.num_bytes(state),
        params_bytes=memory.num_bytes(params),
        observation_bytes=memory.num_bytes(timestep.observation),
    )


def copying() -> timing.Chain:
    """A run that reads and writes `COPIED_BYTES`, spread over the devices: each entry becomes another one."""
    words = COPIED_BYTES // 4 // jax.device_count()
    array = devices.spread(jnp.zeros((jax.device_count(), words)), jax.device_count())
    copy = devices.on_each(lambda array: array + 1, jax.device_count(), array)
    return timing.Chain(timing.compile_program(copy, array).run, array)  # not donated: read here, written there


def benchmark(
    game: Game, params: PyTree, sizes: Sizes, variants: list[Variant], options: argparse.Namespace
) -> list[dict[str, Any]]:
    """Measure all `variants` of one game side by side; a result for each."""
    device, num_envs = jax.devices()[0], sizes.num_envs
    num_rounds = options.rounds or sizes.rounds_a_call(device.platform)
    programs, runs, peaks = {}, {}, {}
    for variant in variants:
        programs[variant], runs[variant] = prepare(game, variant, num_envs, num_rounds, options.seed, params)
        peaks[variant] = timing.peak_memory(runs[variant], device)
    timings = timing.measure({**runs, "copy": copying()}, repeats=options.repeats, min_seconds=options.min_seconds)
    state_over_copied = num_rounds * num_envs * sizes.state_bytes / COPIED_BYTES
    return [
        dataclasses.asdict(sizes)
        | dataclasses.asdict(variant)
        | {
            "rounds_a_call": num_rounds,
            "seconds_a_call": timings[variant].spread,
            "rounds_per_second": timings[variant].rate(num_rounds * num_envs),
            "node_rounds_per_second": timings[variant].rate(num_rounds * num_envs * sizes.num_nodes),
            "time_over_first": timings[variant].ratio(timings[variants[0]]),
            "copied_bytes_per_second": timings["copy"].rate(2 * COPIED_BYTES),
            "of_copy_bandwidth": timing.spread(
                [ratio * state_over_copied for ratio in timings["copy"].ratios(timings[variant])]
            ),
            "compile_seconds": programs[variant].compile_seconds,
            "program_bytes": programs[variant].num_bytes,
            "peak_memory": peaks[variant],
            "mean_reward": float(jnp.mean(runs[variant].carry.reward) / runs[variant].carry.round),
        }
        for variant in variants
    ]


def to_text(results: list[dict[str, Any]], skipped: list[Sizes]) -> str:
    """The results as tables."""
    headers = ("N", "envs", "policy", "consumes", "rounds/s", "node-rounds/s", "time vs first", "of copy", "compile s")
    rows = [
        (
            str(result["num_nodes"]),
            str(result["num_envs"]),
            result["policy"],
            result["consume"],
            quantity(result["rounds_per_second"].median),
            report.with_range(result["node_rounds_per_second"]),
            report.with_range(result["time_over_first"]),
            f"{result['of_copy_bandwidth'].median:.1%}",
            f"{result['compile_seconds']:.2f}",
            report.mebibytes(result["program_bytes"]),
            report.mebibytes(result["peak_memory"].num_bytes),
        )
        for result in results
    ]
    text = report.table((*headers, "program MiB", "peak MiB"), rows)
    text += "Median (least–greatest) of the repeats; `time vs first` compares programs of one size, repeat by repeat.\n"
    if results:
        rate = quantity(results[-1]["copied_bytes_per_second"].median)
        text += f"`of copy`: the state, read and written once a round, over the copy bandwidth, {rate} bytes/s.\n"
    text += f"Peak memory of the {results[0]['peak_memory'].covers}.\n" if results else ""
    columns = ("num_nodes", "state_bytes", "params_bytes", "observation_bytes")
    per_env = dict.fromkeys(tuple(str(result[column]) for column in columns) for result in results)
    text += "\n" + report.table(("N", "state bytes/env", "params bytes/env", "observation bytes/env"), list(per_env))
    for sizes in skipped:
        text += (
            f"N = {sizes.num_nodes} with {sizes.num_envs} environments is left out: it would take "
            f"{report.mebibytes(sizes.total_bytes)} MiB, above --memory-limit.\n"
        )
    return text


def add_settings(parser: report.Parser, size: Sequence[str] = (), param: Sequence[str] = ()) -> None:
    """The options by which a game's sizes and parameters are set, with their defaults."""
    for name, default, what in (("--size", size, "sizes"), ("--param", param, "parameters")):
        parser.add_argument(
            name,
            type=report.setting,
            nargs="+",
            metavar="NAME=VALUE",
            default=[report.setting(each) for each in default],
            help=f"{what} of the game that are not as by default",
        )


def agents_size(name: str) -> str:
    """The size by which a game counts its agents: the first that it declares."""
    return next(iter(parameters.declarations(GAMES[name].game)))


def make(parser: report.Parser, options: argparse.Namespace, **sizes: int) -> tuple[Any, PyTree]:
    """The game and its parameters as the options say; what they refuse is answered as any wrong argument is."""
    try:
        game = jaxdlb.make(options.game, **(dict(options.size) | sizes))
        return game, game.default_params(**dict(options.param))
    except ValueError as error:
        parser.error(str(error))


def _parser() -> report.Parser:
    parser = report.Parser("Rounds and node-rounds per second of a game, over nodes and environments.")
    parser.add_argument("--game", choices=GAMES, default="dlb")
    add_settings(parser)
    parser.add_argument("--num-nodes", type=report.count, nargs="+", default=[2, 8, 16, 64, 256])
    parser.add_argument(
        "--num-envs",
        type=report.count,
        nargs="+",
        help=f"by default {NUM_ENVS['cpu']} on a CPU and {NUM_ENVS_ON_ACCELERATOR} on an accelerator",
    )
    parser.add_argument("--policy", choices=POLICIES, nargs="+", default=list(POLICIES))
    parser.add_argument("--consume", choices=CONSUMES, nargs="+", default=list(CONSUMES))
    parser.add_argument("--rounds", type=report.count, help="rounds of one call; by default few where a round is large")
    parser.add_argument(
        "--memory-limit", type=report.count, default=1024, metavar="MIB", help="sizes that would take more are left out"
    )
    return parser


def main() -> None:
    """Measure, print, and write JSON where asked to."""
    parser = _parser()
    options = parser.parse_args()
    devices.prepare(spread=True)
    device = jax.devices()[0]
    options.num_envs = options.num_envs or list(NUM_ENVS.get(device.platform, NUM_ENVS_ON_ACCELERATOR))
    size = agents_size(options.game)
    games = [(num_nodes, *make(parser, options, **{size: num_nodes})) for num_nodes in options.num_nodes]
    variants = [Variant(*pair) for pair in itertools.product(options.policy, options.consume)]
    results, skipped = [], []
    for num_nodes, game, params in games:
        all_sizes = [sizes_of(game, num_envs, params) for num_envs in sorted(set(options.num_envs))]
        fitting = [sizes for sizes in all_sizes if sizes.total_bytes <= options.memory_limit * report.MIB]
        skipped += all_sizes[len(fitting) :]
        for sizes in fitting:
            report.progress(f"N = {num_nodes}, {sizes.num_envs} environments")
            results += benchmark(game, params, sizes, variants if sizes is fitting[-1] else variants[:1], options)
    report.publish(options.json, device, vars(options), results, to_text(results, skipped))


if __name__ == "__main__":
    main()
