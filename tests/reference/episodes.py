"""Episodes of the library's game, and their comparison with the scalar reference, round by round."""

import dataclasses
import functools
import types
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from reference import dlb as reference

from jaxdlb.games.dlb import DLB, Action, Params

HOSTILE = np.array([-(2**31), -100, -1, 2**31 - 1, 100], np.int32)


def play(game: DLB, key: jax.Array, params: Params, actions: Action) -> Any:
    """One episode under the given actions [T, N]: (states, timesteps), leading axis T + 1, the reset and T rounds."""
    reset_key, step_key = jax.random.split(key)
    start = game.reset(reset_key, params)

    def play_round(state: Any, inputs: Any) -> Any:
        key, action = inputs
        after = game.step(key, state, action, params)
        return after[0], after

    keys = jax.random.split(step_key, actions.dispatch.shape[0])
    _, rounds = jax.lax.scan(play_round, start[0], (keys, actions))
    return jax.tree.map(lambda first, rest: jnp.concatenate([first[None], rest]), start, rounds)


@functools.cache
def resetter(game: DLB) -> Any:
    """`game.reset`, compiled."""
    return jax.jit(game.reset)


@functools.cache
def stepper(game: DLB) -> Any:
    """`game.step`, compiled."""
    return jax.jit(game.step)


@functools.cache
def player(game: DLB) -> Any:
    """`play` of one cluster, compiled: (key, params, actions)."""
    return jax.jit(functools.partial(play, game))


@functools.cache
def batch_player(game: DLB) -> Any:
    """`play` of a batch of clusters, compiled: (keys, params, actions)."""
    return jax.jit(jax.vmap(functools.partial(play, game)))


def random_actions(generator: np.random.Generator, shape: tuple[int, ...]) -> Action:
    """Node indices for the last axis of `shape`, one in six replaced by what no node may choose."""

    def choices() -> np.ndarray:
        legal = generator.integers(0, shape[-1], shape)
        hostile = np.append(HOSTILE, [shape[-1], -shape[-1]])
        return np.where(generator.random(shape) < 1 / 6, generator.choice(hostile, shape), legal).astype(np.int32)

    return Action(dispatch=jnp.asarray(choices()), steal=jnp.asarray(choices()))


def no_ops(*shape: int) -> Action:
    """Every node keeps its tasks and asks nobody: [*shape], the last axis being the node."""
    own = jnp.broadcast_to(jnp.arange(shape[-1], dtype=jnp.int32), shape)
    return Action(dispatch=own, steal=own)


def assert_frequency(happened: np.ndarray, trials: np.ndarray, probability: float) -> None:
    """Assert that of the `trials` (a mask) a share `probability` `happened`, within 4.5 standard errors.

    That is the stated error of every test of a frequency: by chance alone one such check in 150,000 fails, and the
    seeds are fixed. Trials must be independent, or each of the same probability given those before it.
    """
    count, size = int(np.sum(happened & trials)), int(np.sum(trials))
    allowed = 4.5 * (size * probability * (1 - probability)) ** 0.5
    assert size > 500, "too few trials to tell"
    assert abs(count - size * probability) <= allowed, f"{count} of {size}, not {probability:.4g} of them"


def random_clusters(game: DLB, generator: np.random.Generator, size: int, **fields: Any) -> Params:
    """A batch of clusters in which everything happens: busy nodes, delays, phases, churn, and losses on links."""
    per_cluster, per_node = (size,), (size, game.num_nodes)
    lossy = game.heartbeats == "per_link"
    drawn = {
        "arrival_prob": generator.uniform(0.2, 0.9, per_node),
        "completion_prob": generator.uniform(0.2, 1.0, per_node),
        "transfer_delay": generator.integers(0, game.max_delay + 1, per_cluster),
        "heartbeat_delay": generator.integers(0, game.max_delay + 1, per_cluster),
        "heartbeat_period": generator.integers(1, 6, per_cluster),
        "heartbeat_phase": generator.integers(0, 6, per_node),
        "heartbeat_loss": generator.choice([0.0, 0.4], per_cluster) if lossy else 0.0,
        "failure_prob": generator.choice([0.0, 0.1], per_node),
        "repair_prob": 0.3,
        "selfishness": generator.uniform(0, 1, per_cluster),
        "initial_load": generator.integers(0, game.capacity + 1, per_node),
    }
    return clusters(game, size, **drawn | fields)


def clusters(game: DLB, size: int, **fields: Any) -> Params:
    """A batch of clusters: the reference cluster, but for `fields`, whose arrays may have the batch as leading axis."""
    base = game.default_params(arrival_modulation=fields.pop("arrival_modulation", None))
    batch = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (size, *leaf.shape)), base)
    shaped = {
        name: jnp.broadcast_to(jnp.asarray(value, getattr(base, name).dtype), getattr(batch, name).shape)
        for name, value in fields.items()
    }
    return dataclasses.replace(batch, **shaped)


def entry(tree: Any, i: int) -> Any:
    """Entry i of the leading axis of every leaf."""
    return jax.tree.map(lambda leaf: leaf[i], tree)


def as_plain(params: Params) -> types.SimpleNamespace:
    """`params` as Python lists, floats and ints: the float32 numbers themselves, so that no rounding comes between."""
    fields = vars(params) | {"arrival_modulation": types.SimpleNamespace()}
    plain = types.SimpleNamespace(**{k: np.asarray(v).tolist() for k, v in fields.items() if k != "arrival_modulation"})
    law = params.arrival_modulation
    plain.kind = type(law).__name__
    plain.law = types.SimpleNamespace(**{k: np.asarray(v).tolist() for k, v in vars(law).items()})
    return plain


def check_episode(game: DLB, params: Params, states: Any, timesteps: Any, actions: Action) -> None:
    """Assert that every round of one recorded episode is what the reference makes of its events."""
    rules = reference.Rules(game.num_nodes, game.capacity, game.imbalance, game.max_delay)
    plain = as_plain(params)
    states, timesteps, actions = (
        jax.tree.map(lambda leaf: np.asarray(leaf).tolist(), tree) for tree in (states, timesteps, actions)
    )
    cluster = reference.begin(rules, plain, states.modulation[0], states.arrived[0], states.completed[0])
    _check_chance(plain, None, cluster)
    _check_state(rules, plain, cluster, states, timesteps, 0)
    for t in range(len(actions.dispatch)):
        before = cluster
        events = reference.Events(
            alive=states.alive[t + 1],
            lost=_losses(game, plain, before, states, t + 1),
            modulation=states.modulation[t + 1],
            arrived=states.arrived[t + 1],
            completed=states.completed[t + 1],
        )
        cluster, tally = reference.play_round(rules, plain, before, actions.dispatch[t], actions.steal[t], events)
        _check_chance(plain, before, cluster)
        _check_state(rules, plain, cluster, states, timesteps, t + 1)
        _check_tally(rules, plain, before, cluster, tally, timesteps, t + 1)


def _losses(game: DLB, plain: Any, before: reference.Cluster, states: Any, t: int) -> list[list[bool]]:
    """A link that may lose has lost something where what the receiver knows only aged."""
    everyone = range(game.num_nodes)
    if plain.heartbeat_loss == 0:
        return [[False for _ in everyone] for _ in everyone]

    def only_aged(i: int, j: int) -> bool:
        known = (states.heard_load[t][i][j], states.heard_age[t][i][j])
        return known == (before.heard_load[i][j], before.heard_age[i][j] + 1)

    return [[only_aged(i, j) for j in everyone] for i in everyone]


def _check_chance(plain: Any, before: reference.Cluster | None, after: reference.Cluster) -> None:
    factor = reference.arrival_factor(plain.kind, plain.law, after.modulation, after.round)
    assert reference.impossible(plain, factor, before, after) == []


def _check_state(
    rules: reference.Rules, plain: Any, cluster: reference.Cluster, states: Any, timesteps: Any, t: int
) -> None:
    assert states.round[t] == cluster.round
    assert states.load[t] == cluster.load
    assert states.in_transit[t] == reference.in_transit(rules, cluster)
    seen, expected = timesteps.observation, reference.observation(plain, cluster)
    assert seen.own[t] == expected["own"]
    assert seen.peers[t] == expected["peers"]
    assert seen.legal.dispatch[t] == expected["dispatch"]
    assert seen.legal.steal[t] == expected["steal"]
    assert timesteps.last[t] == (cluster.round >= plain.horizon)
    assert timesteps.discount[t] == 1.0
    counts = {
        "total_load": sum(cluster.load),
        "total_in_transit": len(cluster.under_way),
        "nodes_up": sum(cluster.alive),
    }
    assert {name: timesteps.metrics[name][t] for name in counts} == counts
    shares = reference.imbalance(rules, plain, reference.bound_for(cluster))
    _check_close(plain, cluster, timesteps.metrics["imbalance"][t], sum(shares) / len(shares), weight=1.0)


def _check_tally(
    rules: reference.Rules,
    plain: Any,
    before: reference.Cluster,
    after: reference.Cluster,
    tally: reference.Tally,
    timesteps: Any,
    t: int,
) -> None:
    counts = {
        "arrivals": sum(before.arrived),
        "completions": sum(before.completed),
        "migrations": sum(tally.migrated),
        "steal_requests": sum(tally.asked),
        "steals": tally.steals,
        "drops": sum(tally.drops),
    }
    assert {name: timesteps.metrics[name][t] for name in counts} == counts
    mean = sum(tally.utility) / rules.num_nodes
    _check_close(plain, after, timesteps.metrics["utility"][t], mean, plain.imbalance_weight)
    for seen, expected in zip(timesteps.reward[t], tally.reward, strict=True):
        _check_close(plain, after, seen, expected, plain.imbalance_weight)


def _check_close(plain: Any, cluster: reference.Cluster, seen: float, expected: float, weight: float) -> None:
    """Equal but for float32's rounding, which grows with the square of the drain times that are subtracted."""
    largest = max(x / q for x, q in zip(reference.bound_for(cluster), plain.completion_prob, strict=True))
    allowed = 1e-5 * (1 + abs(expected)) + 2e-6 * weight * largest**2
    assert abs(seen - expected) <= allowed, f"{seen} is not {expected} (± {allowed})"
