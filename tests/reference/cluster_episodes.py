"""Random clusters under hostile choices, and the library's arrays in the words of the scalar reference.

Half of them have only numbers that float32 adds up exactly, in rates, times and powers alike: whatever happens at the
very end of a slot or of a deadline, must happen so. In the others a step of which the verdict hangs on the last digits
is left out.
"""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from reference import cluster as reference

from jaxdlb.games.cluster import Cluster, Replay

STEPS, CLUSTERS = 14, 400
NEVER = 1e9
_BEYOND = (-(2**31), -1, 2**31 - 1)


def recorded(draws: np.random.Generator) -> dict[str, np.ndarray]:
    """Tasks that float32 adds up exactly, no two with one run time; gaps have the mean 1."""
    num = 64
    gap = draws.choice([0.0, 0.0, 0.25, 0.5, 1.0, 2.0], num)
    gap[-1] += num - gap.sum()
    return {
        "gap": gap,
        "run_time": draws.permutation(np.arange(1, num + 1)) / 16,
        "cores": draws.choice([0.5, 1.0, 2.0, 4.0], num),
        "memory": draws.integers(1, 33, num) / 4,
        "task_class": draws.integers(0, 3, num),
    }


def replay(rows: dict[str, np.ndarray]) -> Replay:
    """A workload of these tasks."""
    return Replay(**rows)


RECORDS = [recorded(np.random.default_rng(seed)) for seed in range(3)]
GAMES = {  # with the tasks that they replay, if they do
    Cluster(3, 2, 3, 2): RECORDS[0],
    Cluster(4, 3, 2, 3): None,
    Cluster(2, 1, 1, 1, episode_tasks=4): RECORDS[1],
    Cluster(5, 4, 3, 2, episode_tasks=9): None,
    Cluster(1, 2, 1, 4, episode_tasks=6): RECORDS[2],
}


@dataclasses.dataclass(frozen=True)
class Played:
    """Episodes of random clusters, as NumPy arrays that lead with the cluster and the step."""

    params: list[Any]
    exact: np.ndarray  # [clusters]: of numbers that float32 adds up exactly
    actions: np.ndarray
    states: Any  # [clusters, STEPS + 1], like what follows
    timesteps: Any
    global_states: np.ndarray
    factor: np.ndarray  # on λ

    def at(self, tree: Any, *place: Any) -> Any:
        """One entry of a tree."""
        return jax.tree.map(lambda leaf: leaf[place], tree)


# ------------------------------------------------------------------------------------------------------------- clusters


def random_cluster(game: Cluster, draws: np.random.Generator, exact: bool) -> Any:
    """Parameters of all kinds: idle or crowded, near or far nodes, awake or asleep, any weights, steady or not."""
    nodes, pick = game.num_nodes, functools.partial(_pick, draws, exact)
    largest = 8.0
    memory = draws.integers(4, 80, nodes) / 4
    memory[draws.integers(nodes)] = draws.choice([largest, 1.5 * largest, 4 * largest])
    slot = pick([0.5, 1.0, 2.0], 0.2, 2)
    least = pick([0.25, 0.5], 0.2, 2)
    share = draws.dirichlet([1, 1, 1]) if draws.random() < 0.7 else np.eye(3)[draws.integers(3)]
    high = draws.choice([1.0, 2.0, 4.0])
    rows = GAMES.get(game)
    return game.default_params(
        workload="synthetic" if rows is None else replay(rows),
        cores=draws.choice([16.0, 32.0], nodes) if exact else draws.uniform(0.5, 8, nodes),
        memory=memory,
        speed=pick([0.5, 1.0, 2.0], 0.3, 2, nodes),
        idle_power=16 * np.arange(nodes) + draws.integers(0, 8, nodes),  # by which a candidate is known
        dynamic_power=pick([0.0, 64.0], 0, 100, nodes),
        network_delay=pick([0.0, 0.25, 1.0, 2.5], 0, 3, nodes) * draws.choice([0.0, 1.0]),
        transfer_time=pick([0.0, 0.125], 0, 0.2, nodes) * draws.choice([0.0, 1.0]),
        tier=draws.integers(0, 3, nodes),
        sleep_after=NEVER if draws.random() < 0.2 else pick([0.5, 1.0, 3.0], 0.1, 4),
        sleep_power=pick([0.0, 0.25, 1.0], 0, 1),
        wake_time=pick([0.0, 0.5, 3.0], 0, 4),
        arrival_rate=game.num_dispatchers / slot * pick([0.25, 0.5, 1.0], 0.2, 1.2),
        arrival_modulation=_modulation(game, draws, exact),
        exec_least=least,
        exec_shape=draws.uniform(0.5, 4),
        exec_cap=least * draws.choice([1.0, 2.0, 8.0]),
        cores_law=(0.3, draws.choice([0.0, 0.8]), 0.25, high),
        memory_law=(draws.uniform(-1, 2), draws.choice([0.0, 1.0]), 0.25, largest),
        class_share=share,
        deadline_factor=pick([0.5, 1.0, 1.5, 4.0], 0.5, 5, 3),
        slot=slot,
        weights=draws.choice([0.0, 0.5, draws.uniform(0, 2)], 4),
        class_weight=draws.uniform(0, 3, 3),
        completion_scale=draws.uniform(0.5, 20),
        energy_scale=draws.uniform(0.01, 0.5),
        balance_scale=draws.uniform(0.05, 1),
        drop_cost=draws.choice([0.0, draws.uniform(0, 10)]),
        horizon=draws.choice([1, 9, 1000]),
    )


def _pick(draws: np.random.Generator, exact: bool, of: list[float], low: float, high: float, size: Any = None) -> Any:
    """One of a few numbers that float32 adds up exactly, or any between two."""
    return draws.choice(of, size) if exact else draws.uniform(low, high, size)


def _modulation(game: Cluster, draws: np.random.Generator, exact: bool) -> Any:
    """How λ varies: a batch has one law."""
    if GAMES.get(game) is not None:
        factors = draws.choice([0.5, 1.0, 2.0], 5) if exact else draws.uniform(0.2, 3, 5)
        return {"kind": "trace", "factors": factors}
    if game.episode_tasks is None:
        return {"kind": "sinusoidal", "amplitude": draws.uniform(0, 0.9), "period": draws.uniform(2, 9)}
    return {"kind": "markov", "calm_to_busy": draws.random(), "busy_to_calm": draws.random()}


def hostile_choices(game: Cluster, draws: np.random.Generator) -> np.ndarray:
    """Choices of which many are illegal, and some beyond what there is."""
    shape = (CLUSTERS, STEPS, game.num_dispatchers)
    beyond = draws.choice([*_BEYOND, game.num_candidates], shape)
    among = draws.integers(0, game.num_candidates, shape)
    return np.where(draws.random(shape) < 0.1, beyond, among).astype(np.int32)


@functools.cache
def played(game: Cluster) -> Played:
    """Random clusters, each for STEPS steps from its reset; every other one is exact, where tasks are replayed."""
    draws = np.random.default_rng(list(GAMES).index(game))
    exact = (np.arange(CLUSTERS) % 2 == 0) & (GAMES[game] is not None)
    params = [random_cluster(game, draws, bool(each)) for each in exact]
    return play_all(game, params, exact, hostile_choices(game, draws))


def play_all(
    game: Cluster, params: list[Any], exact: np.ndarray, actions: np.ndarray, keys: jax.Array | None = None
) -> Played:
    """An episode of each cluster under these actions, together in one batch, each from its key."""
    keys = jax.random.split(jax.random.key(5), len(params)) if keys is None else keys

    def play(params: Any, actions: Any, key: Any) -> Any:
        def advance(carry: Any, now: Any) -> Any:
            key, action = now
            made = game.step(key, carry[0], action, params)
            return made, carry

        start, *keys = jax.random.split(key, actions.shape[0] + 1)
        first = game.reset(start, params)
        last, (states, timesteps) = jax.lax.scan(advance, first, (jnp.stack(keys), actions))
        whole = jax.tree.map(lambda list, end: jnp.concatenate([list, end[None]]), (states, timesteps), last)
        views = jax.vmap(lambda state: (game.global_state(state, params), factor(state, params)))(whole[0])
        return *whole, *views

    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *params)
    made = jax.jit(jax.vmap(play))(stacked, jnp.asarray(actions), keys)
    return Played(params, exact, actions, *jax.tree.map(np.asarray, made))


def factor(state: Any, params: Any) -> Any:
    """The factor on λ in the slot that a state stands in."""
    return params.arrival_modulation.factor(state.modulation, state.clock)


# ---------------------------------------------------------------------------------------------------- in plain scalars


def rules_of(game: Cluster, params: Any) -> reference.Facts:
    """What is played, as the reference takes it."""
    laws = ("arrival_modulation", "workload")
    given = {name: np.asarray(leaf).tolist() for name, leaf in vars(params).items() if name not in laws}
    sizes = ("num_dispatchers", "num_candidates", "max_tasks", "episode_tasks")
    return given | {name: getattr(game, name) for name in sizes}


def chance_of(game: Cluster, made: Played, which: int) -> reference.Chance:
    """What chance decided in one episode: recorded tasks by the record, others as the window shows them.

    Candidates are known by their idle power, as dispatchers see it.
    """
    p, states = made.params[which], made.at(made.states, which)
    factors = {int(clock): float(each) for clock, each in zip(states.clock, made.factor[which], strict=True)}
    seen: dict[int, reference.Task] = {}
    entered: dict[
        int, tuple[float, float]
    ] = {}  # s from the start at which a task arrives, and the factor as it enters
    candidates: dict[int, list[int]] = {}
    peers = made.at(made.timesteps.observation.peers, which)
    power = np.asarray(p.idle_power)
    for t in range(len(states.step)):
        first, clock = int(states.index[t]), int(states.clock[t])
        window = awaited_of(made.at(states, t))
        factor_then = float(made.factor[which, max(t - 1, 0)])
        for j, (arrives, task) in enumerate(window):
            seen.setdefault(first + j, dataclasses.replace(task, number=first + j))
            entered.setdefault(first + j, (arrives + clock * float(p.slot), factor_then))
            if arrives <= 0:
                candidates[first + j] = [int(np.argmin(np.abs(power - row[3]))) for row in peers[t, j]]
    rows = GAMES.get(game)
    if rows is None:
        rate = float(p.arrival_rate)

        def gap(k: int) -> float:
            arrives, factor = entered[k]
            return (arrives - (entered[k - 1][0] if k else 0.0)) * rate * factor

        return reference.Chance(seen.__getitem__, gap, candidates.__getitem__, factors.__getitem__)
    start = int(np.argmin(np.abs(rows["run_time"] - seen[0].run_time)))

    def row(k: int) -> int:
        return (start + k) % len(rows["gap"])

    def task(k: int) -> reference.Task:
        return reference.Task(k, *(rows[name][row(k)].item() for name in ("run_time", "cores", "memory", "task_class")))

    return reference.Chance(task, lambda k: rows["gap"][row(k)].item(), candidates.__getitem__, factors.__getitem__)


def awaited_of(state: Any) -> list[tuple[float, reference.Task]]:
    """The window of a state: when each task arrives, and what it is; its number is its place."""
    window = state.window
    leaves = (window.run_time, window.cores, window.memory, window.task_class)
    rows = zip(*(leaf.tolist() for leaf in leaves), strict=True)
    tasks = [reference.Task(place, *row) for place, row in enumerate(rows)]
    return list(zip(window.arrives.tolist(), tasks, strict=True))


def cluster_of(p: reference.Facts, chance: reference.Chance, state: Any) -> reference.Cluster:
    """A state in plain scalars."""
    cluster = reference.reset(p, chance)
    cluster.index, cluster.clock, cluster.step = int(state.index), int(state.clock), int(state.step)
    cluster.over = bool(state.over)
    cluster.window = [
        reference.Awaited(chance.task(cluster.index + j), arrives) for j, (arrives, _) in enumerate(awaited_of(state))
    ]
    for i, node in enumerate(cluster.nodes):
        node.idle_for, node.wake_in = float(state.idle_for[i]), float(state.wake_in[i])
        for slot, status in enumerate(state.status[i].tolist()):
            if status:
                times = (float(getattr(state, name)[i, slot]) for name in ("left", "age", "due", "arrives"))
                task = chance.task(int(state.number[i, slot]))
                node.slots[slot] = reference.Held(task, *times, running=status == 2)
    return cluster


def arrays_of(cluster: reference.Cluster) -> dict[str, np.ndarray]:
    """The same the other way round, by the names of the game's state."""

    def by_slot(value: Any) -> np.ndarray:
        return np.array([[0 if each is None else value(each) for each in node.slots] for node in cluster.nodes])

    return {
        "status": by_slot(lambda held: 1 + held.running),
        "left": by_slot(lambda held: held.left),
        "task_cores": by_slot(lambda held: held.task.cores),
        "task_memory": by_slot(lambda held: held.task.memory),
        "task_class": by_slot(lambda held: held.task.rank),
        "age": by_slot(lambda held: held.age),
        "due": by_slot(lambda held: held.due),
        "arrives": by_slot(lambda held: held.arrives),
        "number": by_slot(lambda held: held.task.number),
        "idle_for": np.array([node.idle_for for node in cluster.nodes]),
        "wake_in": np.array([node.wake_in for node in cluster.nodes]),
        "index": np.array(cluster.index),
        "clock": np.array(cluster.clock),
        "step": np.array(cluster.step),
        "over": np.array(cluster.over),
    }


def window_of(cluster: reference.Cluster) -> dict[str, np.ndarray]:
    """The window, by the names that the game's has."""
    window = cluster.window
    return {
        "arrives": np.array([each.arrives for each in window]),
        "run_time": np.array([each.task.run_time for each in window]),
        "cores": np.array([each.task.cores for each in window]),
        "memory": np.array([each.task.memory for each in window]),
        "task_class": np.array([each.task.rank for each in window]),
    }


def is_near(found: Any, expected: Any, tolerance: float = 1e-4) -> np.ndarray:
    """Which numbers agree as far as float32 can tell after some steps; infinities must be the same."""
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    with np.errstate(invalid="ignore"):
        return (found == expected) | (np.abs(found - expected) <= tolerance * (1 + np.abs(expected)))


def isolated(value: float) -> bool:
    """Whether a verdict does not hang on the last digits."""
    return math.isinf(value) or value > 1e-3
