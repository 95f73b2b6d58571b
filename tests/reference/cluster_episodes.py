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

CLUSTERS, STEPS = 700, 40  # of each game, and what is played of each
COMPARED = 5  # steps of each that the reference plays
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


LARGEST = 8.0  # GB of a task
ENDLESS = Cluster(4, 3, 2, 3)
FINITE = Cluster(5, 4, 5, 3, episode_tasks=15)
RECORDS = {ENDLESS: None, FINITE: recorded(np.random.default_rng(1))}  # what they replay, if they do
GAMES = {"endless": ENDLESS, "finite": FINITE}


@dataclasses.dataclass(frozen=True)
class Played:
    """Episodes of random clusters, as NumPy arrays that lead with the cluster and the step."""

    game: Cluster
    params: Any  # [clusters]
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


def random_clusters(game: Cluster, draws: np.random.Generator, exact: np.ndarray) -> Any:
    """Parameters of all kinds: idle or crowded, near or far nodes, awake or asleep, any weights, steady or not."""
    size, nodes = len(exact), game.num_nodes

    def pick(of: list[float], low: float, high: float, *shape: int) -> np.ndarray:
        """One of a few numbers that float32 adds up exactly, or any between two."""
        is_exact = exact.reshape(-1, *(1 for _ in shape))
        return np.where(is_exact, draws.choice(of, (size, *shape)), draws.uniform(low, high, (size, *shape)))

    def some(share: float, *shape: int) -> np.ndarray:
        return draws.random((size, *shape)) < share

    slot, least = pick([0.5, 1.0, 2.0], 0.2, 2), pick([0.25, 0.5], 0.2, 2)
    memory = draws.integers(4, 80, (size, nodes)) / 4
    memory[np.arange(size), draws.integers(nodes, size=size)] = LARGEST * draws.choice([1, 1.5, 4], size)
    cores = draws.choice([16.0, 32.0], (size, nodes))
    sleep_after = np.where(some(0.2), 0.0, pick([0.5, 1.0, 3.0], 0.1, 4))
    demand = np.stack([np.full(size, 0.3), draws.choice([0.0, 0.8], size)], axis=1)
    gigabytes = np.stack([draws.uniform(-1, 2, size), draws.choice([0.0, 1.0], size)], axis=1)
    share = np.where(some(0.7)[:, None], draws.dirichlet([1, 1, 1], size), np.eye(3)[draws.integers(3, size=size)])
    drawn = {
        ".cores": np.where(exact[:, None], cores, draws.uniform(0.5, 8, (size, nodes))),
        ".memory": memory,
        ".speed": pick([0.5, 1.0, 2.0], 0.3, 2, nodes),
        ".idle_power": 16 * np.arange(nodes) + draws.integers(0, 8, (size, nodes)),  # by which a candidate is known
        ".dynamic_power": pick([0.0, 64.0], 0, 100, nodes),
        ".network_delay": pick([0.0, 0.25, 1.0, 2.5], 0, 3, nodes) * some(0.5, 1),
        ".transfer_time": pick([0.0, 0.125], 0, 0.2, nodes) * some(0.5, 1),
        ".tier": draws.integers(0, 3, (size, nodes)),
        ".sleep_after": np.where(some(0.2), NEVER, sleep_after),
        ".sleep_power": pick([0.0, 0.25, 1.0], 0, 1),
        ".wake_time": pick([0.0, 0.5, 3.0], 0, 4),
        ".arrival_rate": game.num_dispatchers / slot * pick([0.25, 0.5, 1.0], 0.2, 1.2),
        ".arrival_modulation.calm_to_busy": draws.random(size),
        ".arrival_modulation.busy_to_calm": draws.random(size),
        ".arrival_modulation.factors": pick([0.5, 1.0, 2.0], 0.2, 3, 5),
        ".exec_least": least,
        ".exec_shape": draws.uniform(0.5, 4, size),
        ".exec_cap": least * draws.choice([1.0, 2.0, 8.0], size),
        ".cores_law": np.concatenate([demand, np.full((size, 1), 0.25), draws.choice([1, 2, 4], (size, 1))], axis=1),
        ".memory_law": np.concatenate([gigabytes, np.full((size, 1), 0.25), np.full((size, 1), LARGEST)], axis=1),
        ".class_share": share,
        ".deadline_factor": pick([0.5, 1.0, 1.5, 4.0], 0.5, 5, 3),
        ".slot": slot,
        ".weights": np.where(some(0.3, 4), 0.0, draws.uniform(0, 2, (size, 4))),
        ".class_weight": draws.uniform(0, 3, (size, 3)),
        ".completion_scale": draws.uniform(0.5, 20, size),
        ".energy_scale": draws.uniform(0.01, 0.5, size),
        ".balance_scale": draws.uniform(0.05, 1, size),
        ".drop_cost": np.where(some(0.3), 0.0, draws.uniform(0, 10, size)),
        ".horizon": draws.choice([1, 9, 1000], size),
    }
    rows = RECORDS[game]
    workload, law = (Replay(**rows), {"kind": "trace", "factors": [1] * 5}) if rows else ("synthetic", "markov")
    usual = game.default_params(workload=workload, arrival_modulation=law)
    params = replaced(jax.tree.map(lambda leaf: np.broadcast_to(leaf, (size, *leaf.shape)), usual), drawn)
    for which in range(0, size, size // 8):
        game.validate(jax.tree.map(lambda leaf, which=which: leaf[which], params))
    return params


def replaced(params: Any, fields: dict[str, Any]) -> Any:
    """Parameters of many clusters, with some of them replaced by what stands under their paths, as in ".cores"."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: jnp.asarray(fields.get(jax.tree_util.keystr(path), leaf), leaf.dtype), params
    )


def hostile_choices(game: Cluster, draws: np.random.Generator) -> np.ndarray:
    """Choices of which many are illegal, and some beyond what there is."""
    shape = (CLUSTERS, STEPS, game.num_dispatchers)
    beyond = draws.choice([*_BEYOND, game.num_candidates], shape)
    among = draws.integers(0, game.num_candidates, shape)
    return np.where(draws.random(shape) < 0.1, beyond, among).astype(np.int32)


@functools.cache
def played(game: Cluster) -> Played:
    """Random clusters, each for STEPS steps from its reset; every other one is exact, where tasks are replayed."""
    draws = np.random.default_rng(game.num_nodes)
    exact = (np.arange(CLUSTERS) % 2 == 0) & (RECORDS[game] is not None)
    params = random_clusters(game, draws, exact)
    return play_all(game, params, exact, hostile_choices(game, draws), jax.random.split(jax.random.key(5), CLUSTERS))


def play_all(game: Cluster, params: Any, exact: np.ndarray, actions: np.ndarray, keys: jax.Array) -> Played:
    """An episode of each cluster under these actions, together in one batch, each from its key."""
    made = player(game)(params, jnp.asarray(actions), keys)
    return Played(game, jax.device_get(params), exact, actions, *jax.tree.map(np.asarray, made))


@functools.cache
def player(game: Cluster) -> Any:
    """The program that does so: one for all batches of a game that are of one shape."""

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

    return jax.jit(jax.vmap(play))


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


def chance_of(game: Cluster, made: Played, which: int, steps: slice) -> reference.Chance:
    """What chance decided in some steps of an episode: recorded tasks by the record, others as the window shows them.

    Candidates are known by their idle power, as dispatchers see it.
    """
    p, (states, factor) = made.at(made.params, which), made.at((made.states, made.factor), which, steps)
    factors = {int(clock): float(each) for clock, each in zip(states.clock, factor, strict=True)}
    seen: dict[int, reference.Task] = {}
    # s from the start at which a task arrives, and the factor as it enters
    entered: dict[int, tuple[float, float]] = {}
    candidates: dict[int, list[int]] = {}
    peers = made.at(made.timesteps.observation.peers, which, steps)
    power = np.asarray(p.idle_power)
    for t in range(len(states.step)):
        first, clock = int(states.index[t]), int(states.clock[t])
        window = awaited_of(made.at(states, t))
        factor_then = float(factor[max(t - 1, 0)])
        for j, (arrives, task) in enumerate(window):
            seen.setdefault(first + j, dataclasses.replace(task, number=first + j))
            entered.setdefault(first + j, (arrives + clock * float(p.slot), factor_then))
            if arrives <= 0:
                candidates[first + j] = [int(np.argmin(np.abs(power - row[3]))) for row in peers[t, j]]
    rows = RECORDS[game]
    if rows is None:
        rate = float(p.arrival_rate)

        def gap(k: int) -> float:
            arrives, factor = entered[k]
            return (arrives - (entered[k - 1][0] if k else 0.0)) * rate * factor

        return reference.Chance(seen.__getitem__, gap, candidates.__getitem__, factors.__getitem__)
    earliest = int(states.index[0])
    start = int(np.argmin(np.abs(rows["run_time"] - seen[earliest].run_time))) - earliest

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
    index = int(state.index)
    window = [reference.Awaited(chance.task(index + j), arrives) for j, (arrives, _) in enumerate(awaited_of(state))]
    counters = index, int(state.clock), int(state.step), bool(state.over)
    cluster = reference.Cluster(reference.idle_nodes(p), window, *counters)
    for i, node in enumerate(cluster.nodes):
        node.idle_for, node.wake_in = float(state.idle_for[i]), float(state.wake_in[i])
        for slot, status in enumerate(state.status[i].tolist()):
            if status:
                names = ("number", "left", "task_cores", "task_memory", "task_class", "left", "age", "due", "arrives")
                task, times = (
                    [getattr(state, name)[i, slot].item() for name in part] for part in (names[:5], names[5:])
                )
                node.slots[slot] = reference.Held(reference.Task(*task), *times, running=status == 2)
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
