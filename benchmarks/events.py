"""Events per second of the `farm` in JAX beside an event loop of the same farm in plain Python.

    python -m benchmarks.events
    python -m benchmarks.events --num-workers 8 --rule guided --param failure_rate=0.02 rejoin_rate=0.1 --json -

`reference/farm.py` is the farm as one would write it with heaps and absolute times; an event costs it the same however
many workers there are. Before anything is timed, both play the same episodes, in which the same befalls the same
workers, under the same rule, and must agree on how many events they have and how long they take. Then they are timed,
repeat by repeat:

- `loop`: the event loop, on one core, that reckons what the rule asks for alone;
- `seeing`: the same, that makes before each decision the row and the mask that the game shows to the worker that
  decides, as a learner in its place would need them;
- `one core` and `all cores`: the game, whose environments the rule plays and which begin anew when an episode ends, as
  learners play them. Rows and masks of all workers are written to memory in every step, rewards and metrics added up.

Jobs and requests are those of the reference farm by worker, unless `--param` says otherwise: 125 tasks for each of N,
and a request that keeps the master busy for 1.6 / N.
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
from flax import struct
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree

if not __package__:  # run as a file: the repository's root is not on the path yet
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks import devices, games, report, timing
from benchmarks.reference.farm import RULES, Chance, Plain, seeing
from jaxdlb.games.farm import ENTRY, Farm, Params, State
from jaxdlb.games.farm.costs import MOST_TASKS
from jaxdlb.learners import environments
from jaxdlb.mechanics import chance
from jaxdlb.policies import Policy

EPISODES = 16  # that both play before they are timed
OFF = 0.01  # by how much of themselves means over these may differ: float32 may swap what is all but simultaneous
TASKS_OF_WORKER, REQUESTS_OF_WORKER = 125, 1.6
EVENTS_A_CALL = 2**15
JOBS_A_CALL = 4
STAGGER = 500  # steps within which first episodes are cut


class DisagreementError(Exception):
    """The two farms differ; the message says in what and by how much."""


@struct.dataclass
class Play:
    """E farms under way, and the sums of what was consumed so far."""

    environments: environments.Environments
    memory: PyTree
    reward: Float[Array, "E N"]
    metrics: dict[str, Float[Array, " E"]]


def decide(game: Farm, policy: Policy, at: environments.Environments, memory: PyTree) -> tuple[PyTree, PyTree]:
    """What the rule remembers, which forgets as an episode begins, and what all workers play."""
    anew = policy.init(game)

    def act(key: PRNGKeyArray, memory: PyTree, observation: PyTree, params: Params, first: Bool[Array, ""]) -> PyTree:
        memory = jax.tree.map(functools.partial(jnp.where, first), anew, memory)
        return policy.act(key, memory, observation, params)

    return jax.vmap(act)(at.key, memory, at.observation, at.params, at.first)


def play(game: Farm, policy: Policy, params: Params, num_steps: int, carry: Play) -> Play:
    """`num_steps` further events in every farm."""

    def step(carry: Play, _: None) -> tuple[Play, None]:
        memory, action = decide(game, policy, carry.environments, carry.memory)
        following, timestep, _ = environments.step(game, lambda key: params, carry.environments, action)
        metrics = {name: total + timestep.metrics[name] for name, total in carry.metrics.items()}
        return Play(following, memory, carry.reward + timestep.reward, metrics), None

    return jax.lax.scan(step, carry, length=num_steps)[0]


def start(game: Farm, policy: Policy, params: Params, num_envs: int, key: PRNGKeyArray) -> Play:
    """Farms before their first event."""
    return Play(
        environments=environments.reset(game, lambda key: params, key, num_envs, stagger=STAGGER),
        memory=jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (num_envs, *jnp.shape(leaf))), policy.init(game)),
        reward=jnp.zeros((num_envs, game.num_workers)),
        metrics={name: jnp.zeros(num_envs) for name in game.metrics},
    )


def prepare(
    game: Farm, policy: Policy, params: Params, num_envs: int, cores: int, seed: int
) -> tuple[timing.Program, timing.Chain, int]:
    """The program on so many cores, a run that goes on and on, and how many events are in a call."""
    num_steps = max(EVENTS_A_CALL // num_envs, 1)
    carry = jax.jit(start, static_argnums=(0, 3))(game, policy, params, num_envs, jax.random.key(seed))
    carry = devices.spread(carry, num_envs, cores)
    function = devices.on_each(functools.partial(play, game, policy, params, num_steps), num_envs, carry, most=cores)
    program = timing.compile_program(function, carry, donate=(0,))
    return program, timing.Chain(program.run, carry), num_steps * num_envs


class OfGame(Chance):
    """What befalls workers in an episode of the game."""

    def __init__(self, state: State) -> None:
        self.place = int(state.start)
        words = chance.key_words(state.key)
        workers = jnp.arange(state.phase.shape[0])

        @jax.jit
        def drawn(pair: Array) -> tuple[Array, Array]:
            even, odd = chance.uniform_pair(words, workers, pair)
            return chance.standard_normal(even), -jnp.log1p(-odd)

        self.drawn = functools.lru_cache(maxsize=None)(lambda pair: [each.tolist() for each in drawn(jnp.int32(pair))])

    def start(self, length: int) -> int:
        return self.place

    def normal(self, worker: int, period: int) -> float:
        return self.drawn(period)[0][worker]

    def exponential(self, worker: int, changes: int) -> float:
        return self.drawn(changes)[1][worker]


@dataclasses.dataclass(frozen=True)
class Episodes:
    """What episodes came to, by episode."""

    num_events: list[int]
    makespan: list[float]


def check(game: Farm, params: Params, rule: str, options: dict[str, Any], seed: int) -> None:
    """Play both in the same episodes.

    Raises:
        DisagreementError: their mean numbers of events or makespans differ by more than float32 explains.
    """
    first = jax.vmap(game.reset, (0, None))(jax.random.split(jax.random.key(seed), EPISODES), params)
    mine, theirs = in_jax(game, params, rule, options, first), in_python(game, params, rule, options, first[0])
    for name in ("num_events", "makespan"):
        here, there = np.mean(getattr(mine, name)), np.mean(getattr(theirs, name))
        if abs(here - there) > OFF * there:
            raise DisagreementError(f"{name} is {here:.6g} in JAX, {there:.6g} in Python, in the mean of {EPISODES}")


def in_jax(game: Farm, params: Params, rule: str, options: dict[str, Any], first: tuple[State, Any]) -> Episodes:
    """What the game's episodes come to that begin so (leading axis: the episode)."""
    policy = ENTRY.heuristics[rule].make(**options)

    def episode(state: State, timestep: Any) -> State:
        def step(at: tuple[State, Any, Any]) -> tuple[State, Any, Any]:
            state, observation, memory = at
            memory, action = policy.act(state.key, memory, observation, params)
            state, timestep = game.step(state.key, state, action, params)
            return state, timestep.observation, memory

        begun = state, timestep.observation, policy.init(game)
        return jax.lax.while_loop(lambda at: ~at[0].over, step, begun)[0]

    last = jax.jit(jax.vmap(episode))(*first)
    return Episodes(last.step.tolist(), last.time.tolist())


def in_python(game: Farm, params: Params, rule: str, options: dict[str, Any], first: State) -> Episodes:
    """The same of the event loop."""
    farms = [
        Plain(game, params, RULES[rule](**options), OfGame(jax.tree.map(lambda leaf, at=at: leaf[at], first)))
        for at in range(len(first.step))
    ]
    makespans = [farm.play() for farm in farms]
    return Episodes([farm.num_events for farm in farms], makespans)


@dataclasses.dataclass
class Jobs:
    """A run of the event loop: some jobs, one after another."""

    farm: Plain
    num_calls: int = 0

    def __call__(self) -> tuple[()]:
        for _ in range(JOBS_A_CALL):
            self.farm.play()
        self.num_calls += 1
        return ()

    @property
    def events_a_call(self) -> float:
        """In the mean."""
        return self.farm.num_events / self.num_calls


def race(game: Farm, params: Params, rule: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """All timed side by side, the game with each number of environments; a result for each of these."""
    keywords = dict(options.option)
    loops = {
        name: Jobs(Plain(game, params, made, Chance(options.seed)))
        for name, made in (("loop", RULES[rule](**keywords)), ("seeing", seeing(RULES[rule](**keywords))))
    }
    policy = ENTRY.heuristics[rule].make(**keywords)
    runs: dict[Any, Callable[[], Any]] = dict(loops)
    work: dict[Any, float] = {}
    compile_seconds: dict[Any, float] = {}
    for num_envs in options.num_envs:
        for cores in sorted({1, jax.device_count()}):
            at = num_envs, cores
            program, runs[at], work[at] = prepare(game, policy, params, num_envs, cores, options.seed)
            compile_seconds[at] = program.compile_seconds
    timings = timing.measure(runs, repeats=options.repeats, min_seconds=options.min_seconds)
    work |= {name: jobs.events_a_call for name, jobs in loops.items()}

    def over(at: Any, name: str) -> timing.Spread:
        return timing.spread([ratio * work[at] / work[name] for ratio in timings[name].ratios(timings[at])])

    return [
        {
            "num_workers": game.num_workers,
            "rule": rule,
            "num_envs": num_envs,
            "cores": cores,
            "events_per_second": timings[at].rate(work[at]),
            **{f"{name}_events_per_second": timings[name].rate(work[name]) for name in loops},
            **{f"over_{name}": over(at, name) for name in loops},
            "compile_seconds": compile_seconds[at],
        }
        for at in compile_seconds
        for num_envs, cores in [at]
    ]


def to_text(results: list[dict[str, Any]]) -> str:
    """The results as a table."""
    rows = [
        (
            str(result["num_workers"]),
            result["rule"],
            str(result["num_envs"]),
            str(result["cores"]),
            *(report.with_range(result[f"{name}events_per_second"]) for name in ("", "loop_", "seeing_")),
            *(report.with_range(result[f"over_{name}"]) for name in ("loop", "seeing")),
            f"{result['compile_seconds']:.1f}",
        )
        for result in results
    ]
    headers = ("N", "rule", "envs", "cores", "JAX events/s", "loop events/s", "seeing events/s")
    return (
        report.table((*headers, "JAX over loop", "JAX over seeing", "compile s"), rows)
        + "Median (least–greatest) of the repeats. The loops are in plain Python, on one core; the second also makes\n"
        + "what the worker sees that decides, as JAX does for all of them. Events and makespans of both agree.\n"
    )


def _parser() -> report.Parser:
    parser = report.Parser("The farm in JAX beside an event loop of the same farm in plain Python.")
    parser.set_defaults(game="farm")
    games.add_settings(parser)
    parser.add_argument("--num-workers", type=report.count, nargs="+", default=[8, 64])
    parser.add_argument("--num-envs", type=report.count, nargs="+", default=[32, 128])
    parser.add_argument("--rule", choices=RULES, nargs="+", default=["adaptive_weighted_factoring"])
    parser.add_argument(
        "--option",
        type=report.setting,
        nargs="+",
        metavar="NAME=VALUE",
        default=[],
        help="options of the rule that are not as by default",
    )
    return parser


def main() -> None:
    """Check, measure, print, and write JSON where asked to."""
    parser = _parser()
    options = parser.parse_args()
    devices.prepare(spread=True)
    given, results = options.param, []
    for num_workers in options.num_workers:
        job, comm_time = min(TASKS_OF_WORKER * num_workers, MOST_TASKS), REQUESTS_OF_WORKER / num_workers
        options.param = [("job", job), ("comm_time", comm_time), *given]
        game, params = games.make(parser, options, num_workers=num_workers)
        for rule in options.rule:
            report.progress(f"whether both play the same farm, N = {num_workers}, {rule}")
            try:
                check(game, params, rule, dict(options.option), options.seed)
            except (DisagreementError, TypeError, ValueError) as error:
                parser.error(str(error))
            report.progress(f"N = {num_workers}, {rule}")
            results += race(game, params, rule, options)
    options.param = given
    report.publish(options.json, jax.devices()[0], vars(options), results, to_text(results))


if __name__ == "__main__":
    main()
