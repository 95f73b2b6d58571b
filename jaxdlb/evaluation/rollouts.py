"""Plays policies in independent episodes under common random numbers, and says what happened."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, Shaped

from jaxdlb.checks import check_size
from jaxdlb.evaluation.side_by_side import SampleParams, play, teams_of
from jaxdlb.game import Game
from jaxdlb.games.dlb.dynamics import play_legal
from jaxdlb.policies import Policy

# So many (policy, agent, agent) entries are played at once, and more episodes take turns: bounds memory, not results.
_ENTRIES_AT_ONCE = 2**22


def evaluate(
    game: Game,
    policy: Policy,
    sample_params: SampleParams,
    key: PRNGKeyArray,
    *,
    num_episodes: int,
    num_rounds: int,
    warmup: int,
) -> dict[str, np.ndarray]:
    """As `evaluate_all`, for one policy: the same numbers that it has there."""
    sizes = {"num_episodes": num_episodes, "num_rounds": num_rounds, "warmup": warmup}
    return evaluate_all(game, [policy], sample_params, key, **sizes)[0]


def evaluate_all(
    game: Game,
    policies: Sequence[Policy],
    sample_params: SampleParams,
    key: PRNGKeyArray,
    *,
    num_episodes: int,
    num_rounds: int,
    warmup: int,
) -> list[dict[str, np.ndarray]]:
    """What happened in independent episodes, for each policy: a dict of float64 [num_episodes].

    Each episode plays one cluster, `sample_params` of a key of its own, for `num_rounds` rounds without reset, whatever
    the game's time limit; the first `warmup` rounds are left out. Policies meet the same clusters, arrivals and chances
    of completion. The dict holds the mean per round of every metric of the game, and the `quotients` of those means.

    Raises:
        ValueError: no policies, fewer than 2 episodes, no rounds, or a warm-up that leaves none.
    """
    check_sizes(num_episodes, num_rounds, warmup)
    if not policies:
        raise ValueError("policies is empty; there must be at least 1 policy to evaluate")
    teams, places = teams_of(policies)
    at_once = _ENTRIES_AT_ONCE // (len(policies) * game.num_agents**2)
    tally = play(
        teams,
        key,
        jnp.int32(num_rounds),
        jnp.int32(warmup),
        game=game,
        sample_params=sample_params,
        num_episodes=num_episodes,
        at_once=min(max(at_once, 1), num_episodes),
    )
    total, excess = (np.asarray(sums, np.float64) for sums in tally)
    means = ((total - excess) / (num_rounds - warmup))[:, np.argsort(places)]  # [episode, policy, metric]
    results = [dict(zip(game.metrics, means[:, policy].T, strict=True)) for policy in range(len(policies))]
    return [result | quotients(result, game.num_agents) for result in results]


def check_sizes(num_episodes: int, num_rounds: int, warmup: int) -> None:
    """Raise ValueError unless the episodes allow an interval and the warm-up leaves a round to count."""
    check_size("num_episodes", num_episodes, 2)
    check_size("num_rounds", num_rounds, 1)
    check_size("warmup", warmup, 0)
    if warmup >= num_rounds:
        raise ValueError(f"warmup is {warmup}; it must be below num_rounds, which is {num_rounds}")


Means = Mapping[str, np.ndarray]
_QUOTIENTS: Mapping[str, tuple[tuple[str, ...], Callable[..., np.ndarray]]] = {
    "response_time": (
        ("total_load", "total_in_transit", "arrivals", "drops"),
        lambda num_nodes, held, in_transit, arrivals, drops: (held + in_transit) / (arrivals - drops),
    ),
    "queue_length": (("total_load",), lambda num_nodes, held: held / num_nodes),
    "migrations_per_arrival": (
        ("migrations", "arrivals"),
        lambda num_nodes, migrations, arrivals: migrations / arrivals,
    ),
    "steal_requests_per_completion": (
        ("steal_requests", "completions"),
        lambda num_nodes, requests, completions: requests / completions,
    ),
}


def quotients(means: Means, num_nodes: int) -> dict[str, np.ndarray]:
    """Quotients of mean metrics, for each episode; those whose metrics are all there.

    `response_time` is Little's law: mean tasks present, held or in transit, over tasks accepted per round. A quotient
    is NaN in an episode that has nothing to divide by.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        made = {
            name: quotient(num_nodes, *(means[metric] for metric in metrics))
            for name, (metrics, quotient) in _QUOTIENTS.items()
            if all(metric in means for metric in metrics)
        }
    return {name: np.where(np.isfinite(values), values, np.nan) for name, values in made.items()}


@dataclasses.dataclass(frozen=True)
class Recording:
    """One cluster over T rounds; the leading axis of all but `completion_prob` is the round.

    Loads, ages, aliveness and what is in transit are those at the end of the round, events and actions those of the
    round itself.
    """

    load: Int[np.ndarray, "T N"]
    heard_age: Float[np.ndarray, "T N"]  # rounds since a node's heard load was so; mean over the others who hear it
    arrived: Bool[np.ndarray, "T N"]
    completed: Bool[np.ndarray, "T N"]
    alive: Bool[np.ndarray, "T N"]
    dispatch: Int[np.ndarray, "T N"]  # as played: illegal choices are the own index
    steal: Int[np.ndarray, "T N"]
    in_transit: Int[np.ndarray, "T D N"]
    completion_prob: Float[np.ndarray, " N"]
    metrics: Mapping[str, Shaped[np.ndarray, " T"]]


def record(game: Any, policy: Policy, params: Any, key: PRNGKeyArray, num_rounds: int) -> Recording:
    """What happens in every round when `policy` plays one cluster of `game`, whose state is that of `dlb`.

    The game's keys depend on `key` and the round alone: by the same key, two policies meet the same arrivals.

    Raises:
        ValueError: `num_rounds` below 1.
    """
    check_size("num_rounds", num_rounds, 1)
    history = jax.jit(partial(_history, game, policy, num_rounds))(params, key)
    rows: dict[str, Any] = jax.tree.map(np.asarray, history)
    return Recording(completion_prob=np.asarray(params.completion_prob), **rows)


def _history(game: Any, policy: Policy, num_rounds: int, params: Any, key: PRNGKeyArray) -> dict[str, Any]:
    """The fields of a recording that have an entry a round."""
    game_key, policy_key = jax.random.split(key)
    state, timestep = game.reset(jax.random.fold_in(game_key, 0), params)

    def play_round(carry: tuple, round: Int[Array, ""]) -> tuple[tuple, dict[str, Any]]:
        memory, state, observation = carry
        seen = game.true_observation(state, params) if policy.sees_true_state else observation
        memory, action = policy.act(jax.random.fold_in(policy_key, round), memory, seen, params)
        after, timestep = game.step(jax.random.fold_in(game_key, round + 1), state, action, params)
        played = play_legal(state, action, game.num_agents)
        row = {
            "load": after.load,
            "heard_age": _mean_age(after.heard_age),
            "arrived": state.arrived,
            "completed": state.completed,
            "alive": after.alive,
            "dispatch": played.dispatch,
            "steal": played.steal,
            "in_transit": after.in_transit,
            "metrics": timestep.metrics,
        }
        return (memory, after, timestep.observation), row

    start = (policy.init(game), state, timestep.observation)
    return jax.lax.scan(play_round, start, jnp.arange(num_rounds))[1]


def _mean_age(heard_age: Int[Array, "*I N"]) -> Float[Array, " N"]:
    """How old the news of each node is, on average over the others where each hears for itself."""
    if heard_age.ndim == 1:
        return heard_age.astype(jnp.float32)
    num_others = max(heard_age.shape[0] - 1, 1)
    return jnp.sum(heard_age, axis=0) / num_others  # the own entry is 0
