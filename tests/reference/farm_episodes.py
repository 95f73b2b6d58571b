"""Random farms under hostile actions, and the library's arrays in the words of the scalar reference."""

import dataclasses
import functools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from reference import farm as reference
from reference import farm_views

from jaxdlb.games.farm import Farm

FARMS, STEPS = 100, 64
GAMES = (
    Farm(num_workers=1, task_cv=2.5),
    Farm(num_workers=2, objective="idle", task_law="exponential"),
    Farm(num_workers=3),
    Farm(num_workers=9, objective="idle", num_sizes=4, task_law="uniform"),
)
OF_ALL = ("time", "remaining", "next_task", "until_free", "chunks", "decider", "over", "step")
OF_EACH = (
    *("phase", "until_start", "until_back", "compute_time", "chunk_start", "chunk_size", "waited", "told_wait"),
    *("until_change", "changes", "speed", "weighted_time", "weighted_size", "chunks_done", "last_size", "last_time"),
)
FIELDS = (*OF_ALL, *OF_EACH, "returned")
ABSENT, BUSY, WAITING = reference.ABSENT, reference.BUSY, reference.WAITING


@dataclasses.dataclass(frozen=True)
class Played:
    """Episodes of many farms, as NumPy arrays that lead with the farm, and with the reset and the steps."""

    game: Farm
    params: Any
    actions: np.ndarray  # [farm, step, worker]
    costs: np.ndarray  # of each farm's tasks
    states: Mapping[str, np.ndarray]
    own: np.ndarray
    legal: np.ndarray
    true_own: np.ndarray
    global_state: np.ndarray
    timestep: Mapping[str, np.ndarray]  # all but the observation and the metrics
    metrics: Mapping[str, np.ndarray]

    @functools.cached_property
    def job(self) -> np.ndarray:
        return np.asarray(self.params.job)

    @functools.cached_property
    def ends(self) -> np.ndarray:
        """Of each farm the first place that is over; the last one if none is."""
        over = self.states["over"]
        return np.where(over.any(1), over.argmax(1), over.shape[1] - 1)

    @functools.cached_property
    def counts(self) -> np.ndarray:
        """[farm, step]: whether the step is one of a job that was not over."""
        return ~self.states["over"][:, :-1]

    def rules(self, which: int) -> reference.Facts:
        """What is played on a farm, as the reference takes it."""
        given = {name: np.asarray(leaf)[which].tolist() for name, leaf in vars(self.params).items()}
        return given | {"num_sizes": self.game.num_sizes, "objective": self.game.objective}


@functools.cache
def player(game: Farm) -> Any:
    """An episode of each farm, compiled: (keys, params, changes, actions).

    `changes` [N, steps + 1] says how long a worker stays as it is after its n-th change, NaN where the game does.
    """

    def look(state: Any, timestep: Any, params: Any) -> Any:
        true_own = game.true_observation(state, params).own
        in_the_rules = game.global_state(state, params)[: 9 * game.num_workers + 7]
        return {name: getattr(state, name) for name in FIELDS}, timestep, true_own, in_the_rules

    def play(key: Any, params: Any, changes: Any, actions: Any) -> Any:
        def with_change(state: Any, changed: Any) -> Any:
            stays = jnp.take_along_axis(changes, state.changes[:, None], axis=1)[:, 0]
            told = changed & ~jnp.isnan(stays)
            return state.replace(until_change=jnp.where(told, stays, state.until_change))

        def advance(before: Any, action: Any) -> Any:
            state, timestep = before
            after, of_step = game.step(jax.random.fold_in(key, state.step), state, action, params)
            return (with_change(after, after.changes != state.changes), of_step), look(state, timestep, params)

        state, timestep = game.reset(key, params)
        start = with_change(state, state.phase != ABSENT), timestep
        then_any = jnp.append(actions, actions[:1], 0)  # a step that nobody looks at
        return game.task_costs(state, params), jax.lax.scan(advance, start, then_any)[1]

    return jax.jit(jax.vmap(play))


def stacked(game: Farm, **fields: Any) -> Any:
    """Parameters of all farms: the defaults, with some replaced [farm, …]."""

    def fill(name: str, leaf: Any) -> Any:
        given = np.asarray(fields.get(name, leaf), leaf.dtype)
        if name in fields:
            given = given.reshape(given.shape + (1,) * (leaf.ndim + 1 - given.ndim))
        return jnp.asarray(np.broadcast_to(given, (FARMS, *leaf.shape)))

    params = game.default_params()
    assert not set(fields) - set(vars(params)), fields
    return type(params)(**{name: fill(name, leaf) for name, leaf in vars(params).items()})


def play_all(game: Farm, keys: Any, params: Any, actions: np.ndarray, changes: np.ndarray | None = None) -> Played:
    """An episode of each farm under these actions [farm, step, worker], together in one batch."""
    if changes is None:
        changes = np.full((FARMS, game.num_workers, STEPS + 1), np.nan, np.float32)
    made = player(game)(keys, params, jnp.asarray(changes, jnp.float32), jnp.asarray(actions, jnp.int32))
    costs, (states, timestep, true_own, global_state) = jax.tree.map(np.asarray, made)
    told = {name: getattr(timestep, name) for name in ("reward", "discount", "last", "elapsed")}
    seen = timestep.observation
    return Played(
        *(game, params, actions, costs, states, seen.own, seen.legal),
        *(true_own, global_state, told, timestep.metrics),
    )


# Random farms


def drawn_from(draws: np.random.Generator, shape: tuple[int, ...], *kinds: Any) -> np.ndarray:
    """Entries each of one of some kinds: a number, or an interval."""
    columns = [draws.uniform(*kind, shape) if isinstance(kind, tuple) else np.full(shape, kind) for kind in kinds]
    return np.choose(draws.integers(0, len(kinds), shape), columns)


def hostile_actions(game: Farm, draws: np.random.Generator) -> np.ndarray:
    """Choices, legal or not; sizes asked for outright; numbers of any size; of some farms nothing but single tasks."""
    shape, most = (FARMS, STEPS, game.num_workers), game.num_sizes
    usual = draws.integers(0, most, shape)
    odd = draws.choice([-(2**31), -7, -1, most, 2**30, 2**31 - 1], shape)
    wide = most + draws.integers(0, 12, shape)
    kind = draws.random(shape)
    actions = np.where(kind < 0.15, wide, np.where(kind < 0.2, odd, np.where(kind < 0.4, 0, usual)))
    thrifty = draws.random((FARMS, 1, 1)) < 0.25
    return np.where(thrifty & (kind < 0.9), np.where(kind < 0.4, 0, 1), actions)


def random_farms(game: Farm, draws: np.random.Generator) -> Any:
    """Farms of all kinds. Each comes twice, so that it is played in two ways under the same key."""
    of_all, of_each = (FARMS // 2,), (FARMS // 2, game.num_workers)
    fails = drawn_from(draws, of_each, 0.0, (0.0, 0.5)) * draws.integers(0, 2, (FARMS // 2, 1))
    fields = {
        "job": np.choose(
            draws.integers(0, 20, of_all),
            [1, 2, 65_536, 5_000, *[draws.integers(3, 20, of_all)] * 8, *[draws.integers(10, 100, of_all)] * 8],
        ),
        "task_time": drawn_from(draws, of_all, 1.0, (0.1, 3.0)),
        "comm_time": drawn_from(draws, of_all, 0.0, (0.0, 0.2), (0.0, 1.0)),
        "comm_per_task": drawn_from(draws, of_all, 0.0, 0.0, (0.0, 0.1)),
        "latency": drawn_from(draws, of_each, 0.0, (0.0, 0.5)),
        "speed": np.exp(draws.uniform(np.log(0.2), np.log(5), of_each)),
        "noise": drawn_from(draws, of_all, 0.0, 1.0, (0.0, 1.0)),
        "drift": drawn_from(draws, of_all, 0.0, (0.0, 1.0)),
        "drift_period": drawn_from(draws, of_all, (0.5, 5.0), 50.0),
        "failure_rate": fails,
        "rejoin_rate": draws.uniform(0.2, 2, of_each),
        "join_time": drawn_from(draws, of_each, 0.0, 0.0, (0.0, 5.0)),
        "selfishness": drawn_from(draws, of_all, 0.0, 1.0, (0.0, 1.0)),
        "horizon": np.where(draws.random(of_all) < 0.2, draws.integers(1, 20, of_all), 1_000_000),
    }
    return stacked(game, **{name: np.concatenate([each, each]) for name, each in fields.items()})


@functools.cache
def played(game: Farm) -> Played:
    """Random farms, each for STEPS steps from its reset; those of the second half are those of the first again."""
    draws = np.random.default_rng(GAMES.index(game))
    keys = jax.random.split(jax.random.key(5 + GAMES.index(game)), FARMS // 2)
    return play_all(game, jnp.append(keys, keys, 0), random_farms(game, draws), hostile_actions(game, draws))


def even_farms(game: Farm, draws: np.random.Generator) -> Any:
    """Farms in which all times are multiples of 1/16, exact in float32, so that many events happen at one time."""
    of_all, of_each = (FARMS,), (FARMS, game.num_workers)
    return stacked(
        game,
        job=draws.integers(1, 60, of_all),
        task_time=draws.choice([0.5, 1.0, 2.0], of_all),
        comm_time=draws.choice([0.0, 0.25, 0.5], of_all),
        comm_per_task=draws.choice([0.0, 0.0, 0.25], of_all),
        latency=draws.choice([0.0, 0.0, 0.25, 0.5], of_each),
        speed=draws.choice([0.5, 1.0, 2.0, 4.0], of_each),
        noise=0.0,
        drift=0.0,
        join_time=draws.choice([0.0, 0.0, 0.0, 1.0, 2.5], of_each),
        selfishness=draws.choice([0.0, 0.5, 1.0], of_all),
    )


@functools.cache
def played_evenly(game: Farm) -> tuple[Played, np.ndarray]:
    """Such farms, half of them with churn, and how long each worker stays as it is after each of its changes."""
    draws = np.random.default_rng(100 + GAMES.index(game))
    changes = draws.integers(1, 24, (FARMS, game.num_workers, STEPS + 1)) / 4
    changes[::2] = np.inf
    keys = jax.random.split(jax.random.key(0), FARMS)
    return play_all(game, keys, even_farms(game, draws), hostile_actions(game, draws), changes), changes


# What is drawn, as it shows in the states


def period_of(time: float, period: float) -> int:
    return math.floor(time / period)


def are_between(periods: Any, near: float) -> Any:
    """Whether float32's rounding of a time in periods may put it into one or the other of two."""
    return np.abs(periods - np.round(periods)) < near * periods


def drawn_speeds(made: Played) -> Iterator[tuple[tuple[int, int], list[float]]]:
    """Of every state the farm, the period, and the speeds of all workers; but not where two periods meet."""
    time = made.states["time"].astype(np.float64)
    periods = time / np.asarray(made.params.drift_period)[:, None]
    is_clear = ~are_between(periods, near=3e-7)
    before_end = np.arange(time.shape[1]) <= made.ends[:, None]
    speeds = made.states["speed"].tolist()
    for which, t in np.argwhere(is_clear & before_end).tolist():
        yield (which % (FARMS // 2), int(periods[which, t])), speeds[which][t]


def drawn_changes(made: Played) -> Iterator[tuple[tuple[int, int, int], float]]:
    """Of every change the farm, the worker, its number, and how long the worker stays so."""
    number, until = made.states["changes"], made.states["until_change"]
    fresh = np.append(made.states["phase"][:, :1] != ABSENT, np.diff(number, axis=1) != 0, axis=1)
    for which, t, i in np.argwhere(fresh).tolist():
        yield (which % (FARMS // 2), i, int(number[which, t, i])), float(until[which, t, i])


# In the words of the reference


def farm_of(record: Mapping[str, list[Any]], t: int) -> reference.Farm:
    """The state at a place of an episode."""
    given = {name: record[name][t] for name in FIELDS}
    each = zip(*(given[name] for name in OF_EACH), strict=True)
    workers = []
    for entries in each:
        facts = dict(zip(OF_EACH, entries, strict=True))
        first, count = facts.pop("chunk_start"), facts.pop("chunk_size")
        workers.append(reference.Worker(**facts, chunk=(first, count) if count else None))
    decider = given.pop("decider")
    return reference.Farm(
        workers,
        decider=decider if decider < len(workers) else None,
        returned=[(first, count) for first, count in given["returned"] if count],
        **{name: given[name] for name in OF_ALL if name != "decider"},
    )


COUNTED = (
    *("remaining", "next_task", "chunks", "decider", "over", "step", "last", "discount"),
    *("phase", "in hand", "first in hand", "changes", "chunks_done", "last_size", "returned", "legal"),
    *(f"{name} of a step" for name in ("chunks", "declines", "tasks_done", "tasks_returned", "failures", "joins")),
    *(f"{name} after a step" for name in ("remaining", "outstanding", "present")),
)
MEASURED = (
    *("time", "until_free", "until_start", "until_back", "compute_time", "waited", "told_wait", "until_change"),
    *("speed", "weighted_time", "weighted_size", "last_time", "reward", "elapsed"),
    *(f"{name} of a step" for name in ("time", "compute_time", "comm_time", "idle_time", "utility")),
    *("own", "true own", "global state"),
)


def facts_of(made: Played) -> dict[str, np.ndarray]:
    """All that is compared, each [farm, reset and steps, …]."""
    states, metrics = made.states, made.metrics
    busy = states["phase"] == BUSY
    held = states["chunk_size"] > 0
    return {
        **{name: states[name] for name in FIELDS if name in (*COUNTED, *MEASURED)},
        **{name: made.timestep[name] for name in ("last", "discount", "elapsed", "reward")},
        **{name: np.where(busy, states[name], 0) for name in ("until_start", "until_back")},
        "in hand": states["chunk_size"],
        "first in hand": np.where(held, states["chunk_start"], -1),
        "legal": made.legal,
        **{f"{name} of a step": each for name, each in metrics.items()},
        **{f"{name} after a step": metrics[name] for name in ("remaining", "outstanding", "present")},
        **{
            "own": made.own,
            "true own": made.true_own,
            "global state": made.global_state,
        },
    }


def facts_by_rules(p: reference.Facts, farm: reference.Farm, of_step: reference.Facts) -> dict[str, Any]:
    """The same of one step, by the reference."""
    workers, metrics = farm.workers, of_step["metrics"]
    rows = [*farm.returned, *[(0, 0)] * (2 * len(workers) - len(farm.returned))]
    true_rows = farm_views.true_rows(p, farm)
    return {
        **{name: getattr(farm, name) for name in OF_ALL if name != "decider"},
        **{name: [getattr(each, name) for each in workers] for name in OF_EACH if not name.startswith("chunk_")},
        **{name: of_step[name] for name in ("last", "discount", "elapsed", "reward")},
        "until_start": [each.until_start if each.phase == BUSY else 0.0 for each in workers],
        "until_back": [each.until_back if each.phase == BUSY else 0.0 for each in workers],
        "decider": len(workers) if farm.decider is None else farm.decider,
        "in hand": [each.in_hand for each in workers],
        "first in hand": [each.chunk[0] if each.chunk else -1 for each in workers],
        "returned": rows,
        "legal": reference.legal(p, farm),
        **{f"{name} of a step": each for name, each in metrics.items()},
        **{f"{name} after a step": metrics[name] for name in ("remaining", "outstanding", "present")},
        "own": farm_views.without_speeds(true_rows),
        "true own": true_rows,
        "global state": farm_views.global_state(p, farm),
    }
