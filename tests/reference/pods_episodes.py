"""Random clusters of pods under hostile actions, and the library's arrays in the words of the scalar reference."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from reference import pods as reference

from jaxdlb.games.pods import Pods
from jaxdlb.mechanics import chance

STEPS, CLUSTERS = 12, 80
GAMES = {  # with the law of demand; every name of every choice occurs
    Pods(3, "delta", None, "proportional", "cost", queue_capacity=3, max_arrivals=6, history=2): "shares",
    Pods(4, "instant", None, "priority", "marlise_1", queue_capacity=2, max_arrivals=5, history=1): "switching",
    Pods(2, "discrete", 5, "cyclic", "marlise_2", queue_capacity=8, max_arrivals=8, history=3): "levels",
    Pods(1, "levels", None, "proportional", "marlise_3", queue_capacity=1, max_arrivals=1, history=2): "constant",
    Pods(4, "delta", None, "priority", "marlise_4", queue_capacity=4, max_arrivals=4, history=2): "sinusoidal",
    Pods(3, "levels", 11, "cyclic", "marlise_5", queue_capacity=3, max_arrivals=9, percentiles=True): "trace",
}
_ODD = (np.nan, np.inf, -np.inf, 0.0, 1.0, -1.0)


@dataclasses.dataclass(frozen=True)
class Played:
    """Episodes of random clusters, as NumPy arrays that lead with the cluster and the step."""

    params: list[Any]
    actions: np.ndarray
    keys: jax.Array
    before: Any  # states
    after: Any
    timestep: Any
    factor: np.ndarray  # of demand

    def at(self, tree: Any, *place: int) -> Any:
        """One entry of a tree."""
        return jax.tree.map(lambda leaf: leaf[place], tree)


def random_cluster(game: Pods, draws: np.random.Generator) -> Any:
    """Parameters of all kinds: idle or overloaded, any bucket, a budget that binds or not, pods that come and go."""
    pods = game.num_pods
    least = draws.uniform(20, 100, pods)
    most = least * draws.choice([1.0, 3.0, 20.0], pods)
    interval = draws.choice([0.25, 1.0, draws.uniform(0.1, 3)])
    demand = {"kind": GAMES[game]}
    if GAMES[game] == "trace":
        demand["factors"] = draws.uniform(0, 4, (5, pods))
    peak = 4.0
    joins = draws.choice([0, 0, 2, 7], pods)
    return game.default_params(
        rate=draws.choice([0.0, 0.3, 1.0, 1.0], pods) * game.max_arrivals / (interval * peak),
        demand=demand,
        feedback=draws.choice([0.0, draws.uniform(0, 2)], pods),
        work_mean=least * interval / game.max_arrivals * draws.uniform(0.2, 10, pods),
        work_shape=draws.choice([0.0, 0.5, 1.0, 2.0, 3.0], pods),
        max_usage=most * draws.uniform(0.3, 3, pods),
        burst=draws.choice([0.0, 0.1, draws.uniform(0, 1), draws.uniform(0, 10)]),
        slo=interval * draws.choice([0.1, 0.5, 1.0, 2.5], pods) * draws.uniform(0.9, 1.1, pods),
        priority=draws.choice([1.0, 2 / 3, 0.5, 1 / 3, 0.1], pods),
        min_limit=least,
        max_limit=most,
        initial_limit=np.clip(least + (most - least) * draws.random(pods), least, most),
        budget=least.sum() * draws.choice([1.0, draws.uniform(1, 3), 100.0]),
        step_size=draws.choice([10.0, 50.0, 500.0]),
        interval=interval,
        joins_at=joins,
        leaves_at=joins + draws.choice([3, 1000, 2**30], pods),
        leave_prob=draws.choice([0.0, 0.2], pods),
        join_prob=draws.choice([0.0, 0.5], pods),
        cpu_cost=draws.uniform(0, 2),
        violation_cost=draws.uniform(0, 2),
        change_cost=draws.choice([0.0, draws.uniform(0, 5)]),
        selfishness=draws.choice([0.0, 1.0, draws.random()]),
        lower_usage=draws.uniform(0, 50),
        upper_usage=draws.uniform(60, 120),
        response_weight=draws.uniform(0, 5),
        horizon=7,
    )


def hostile_actions(game: Pods, draws: np.random.Generator) -> np.ndarray:
    """Actions of any size, many of which no space contains."""
    shape = (CLUSTERS, STEPS, game.num_pods)
    if game.choices:
        beyond = draws.choice([-(2**31), -1, game.choices, 2**31 - 1], shape)
        return np.where(draws.random(shape) < 0.1, beyond, draws.integers(0, game.choices, shape)).astype(np.int32)
    numbers = np.where(draws.random(shape) < 0.2, draws.choice(_ODD, shape), draws.uniform(-1.5, 1.5, shape))
    return numbers[..., None].astype(np.float32)


@functools.cache
def played(game: Pods) -> Played:
    """Random clusters, each for STEPS steps from its reset."""
    draws = np.random.default_rng(list(GAMES).index(game))
    return play_all(game, [random_cluster(game, draws) for _ in range(CLUSTERS)], hostile_actions(game, draws))


def play_all(game: Pods, params: list[Any], actions: np.ndarray) -> Played:
    """An episode of each cluster under these actions, together in one batch."""

    def play(params: Any, actions: Any, key: Any) -> Any:
        def advance(state: Any, now: Any) -> Any:
            key, action = now
            after, timestep = game.step(key, state, action, params)
            return after, (state, after, timestep, params.demand.factor(state.demand, state.step))

        start, *keys = jax.random.split(key, STEPS + 1)
        keys = jnp.stack(keys)
        return keys, jax.lax.scan(advance, game.reset(start, params)[0], (keys, actions))[1]

    keys = jax.random.split(jax.random.key(3), CLUSTERS)
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *params)
    keys, made = jax.jit(jax.vmap(play))(stacked, jnp.asarray(actions), keys)
    return Played(params, actions, keys, *jax.tree.map(np.asarray, made))


def rules_of(game: Pods, params: Any) -> reference.Facts:
    """What is played, as the reference takes it."""
    given = {name: np.asarray(leaf).tolist() for name, leaf in vars(params).items() if name != "demand"}
    static = ("action", "sharing", "reward", "queue_capacity", "max_arrivals", "history")
    return given | {name: getattr(game, name) for name in static} | {"num_choices": game.choices}


def cluster_of(state: Any) -> reference.Cluster:
    """A state in plain scalars."""
    plain = {name: getattr(state, name).tolist() for name in ("limit", "tokens", "usage", "percent", "history")}
    flags = {name: getattr(state, name).tolist() for name in ("running", "present", "held")}
    ages, works = state.age.tolist(), state.work.tolist()
    pods = [
        reference.Pod(
            *(plain[name][i] for name in ("limit", "tokens", "usage", "percent")),
            held=list(zip(ages[i], works[i], strict=True))[: flags["held"][i]],
            running=flags["running"][i],
            present=flags["present"][i],
            rows=plain["history"][i],
        )
        for i in range(len(ages))
    ]
    return reference.Cluster(pods, int(state.step))


@functools.cache
def _numbers(num: int, pods: int) -> Any:
    return jax.jit(jax.vmap(jax.vmap(lambda key: chance.uniform_rows(key, num, pods))))


def exponentials(game: Pods, keys: jax.Array) -> tuple[np.ndarray, np.ndarray]:
    """Of each cluster and step, what the key holds for gaps and for works: [.., N, A], of the mean 1."""
    drawn = np.asarray(_numbers(2 * game.max_arrivals, game.num_pods)(keys), np.float64)
    return tuple(np.moveaxis(-np.log1p(-drawn[:, :, parity::2]), -2, -1) for parity in (0, 1))
