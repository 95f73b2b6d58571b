"""Plays policies in independent episodes under common random numbers, and sums up what happened."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from jaxdlb.checks import LARGEST_INT, NON_NEGATIVE, POSITIVE, check_array, check_size, check_type, shown
from jaxdlb.evaluation.side_by_side import SampleParams, draw_clusters, play, teams_of
from jaxdlb.game import Column, Game, check_is_game
from jaxdlb.mechanics import chance
from jaxdlb.policies import Policy, check_policy

# The most (policy, agent, agent) entries played at once; beyond that, episodes take turns. Bounds memory, not results.
_ENTRIES_AT_ONCE = 2**22

Samples = dict[str, np.ndarray]  # of one policy, by column: float64 [num_episodes]
EpisodeSums = dict[str, np.ndarray]  # of one policy, by metric: float64 [num_episodes, …]


def evaluate(
    game: Game,
    policy: Policy,
    sample_params: SampleParams,
    key: PRNGKeyArray,
    *,
    num_episodes: int,
    num_rounds: float,
    warmup: float,
    by_time: bool = False,
) -> Samples:
    """Like `evaluate_all`, for one policy; the numbers are the same as there."""
    sizes: Any = {"num_episodes": num_episodes, "num_rounds": num_rounds, "warmup": warmup, "by_time": by_time}
    return evaluate_all(game, [policy], sample_params, key, **sizes)[0]


def evaluate_all(
    game: Game,
    policies: Sequence[Policy],
    sample_params: SampleParams,
    key: PRNGKeyArray,
    *,
    num_episodes: int,
    num_rounds: float,
    warmup: float,
    by_time: bool = False,
) -> list[Samples]:
    """The game's columns in independent episodes: for each policy, a dict of float64 [num_episodes].

    Each is computed from the episode's `sums`, and is NaN if that episode leaves it nothing to divide by.

    Raises:
        ValueError: see `sums`.
    """
    sizes: Any = {"num_episodes": num_episodes, "num_rounds": num_rounds, "warmup": warmup, "by_time": by_time}
    return [columns_of(game, each) for each in sums(game, policies, sample_params, key, **sizes)]


def utilities(
    game: Game,
    policies: Sequence[Policy],
    sample_params: SampleParams,
    key: PRNGKeyArray,
    *,
    num_episodes: int,
    num_rounds: float,
    warmup: float,
) -> list[np.ndarray]:
    """The column `utility` of `evaluate_all` alone: float64 [num_episodes] for each policy.

    It is computed without what the game measures for evaluations alone, so that a search costs no more than training.

    Raises:
        ValueError: see `sums`.
    """
    sizes: Any = {"num_episodes": num_episodes, "num_rounds": num_rounds, "warmup": warmup}
    played = sums(game, policies, sample_params, key, **sizes, in_full=False)
    return [_column(game.columns["utility"], each) for each in played]


def columns_of(game: Game, episodes: EpisodeSums) -> Samples:
    """The game's columns of each episode, from its sums."""
    return {name: _column(column, episodes) for name, column in game.columns.items()}


def _column(column: Column, episodes: EpisodeSums) -> np.ndarray:
    """A column of each episode, NaN where it is no finite number."""
    num_episodes = len(episodes["steps"])
    rows = ({name: values[episode] for name, values in episodes.items()} for episode in range(num_episodes))
    with np.errstate(divide="ignore", invalid="ignore"):
        values = np.array([column.of(row) for row in rows], np.float64)
    return np.where(np.isfinite(values), values, np.nan)


def sums(
    game: Game,
    policies: Sequence[Policy],
    sample_params: SampleParams,
    key: PRNGKeyArray,
    *,
    num_episodes: int,
    num_rounds: float,
    warmup: float,
    by_time: bool = False,
    in_full: bool = True,
) -> list[EpisodeSums]:
    """What happened in independent episodes: for each policy, every metric summed over the counted steps.

    Each episode plays one cluster, which `sample_params` draws from the episode's own key, for `num_rounds` rounds
    without a reset. The first `warmup` rounds are not counted, nor is anything after a true end; play continues past a
    time limit of the game. `by_time`, both are in the game's own unit of time, and a round counts by when it begins.
    All policies face the same clusters, arrivals and chances of completion. Besides the metrics there are `steps`, the
    number of counted steps, and `elapsed`, the time that they took; and, `in_full`, what the game measures for
    evaluations alone (`game.Measuring`).

    Raises:
        ValueError: no policies, fewer than 2 episodes, no rounds, or a warm-up that leaves none to count.
    """
    check_sizes(num_episodes, num_rounds, warmup, by_time)
    _check_what_plays(game, policies, sample_params, key)
    if not policies:
        raise ValueError("policies is empty; there must be at least 1 policy to evaluate")
    teams, places = teams_of(policies)
    at_once = _ENTRIES_AT_ONCE // (len(policies) * game.num_agents**2)
    tally = play(
        teams,
        draw_clusters(sample_params, key, num_episodes),
        key,
        jnp.float32(num_rounds),
        jnp.float32(warmup),
        game=game,
        num_episodes=num_episodes,
        at_once=min(max(at_once, 1), num_episodes),
        by_time=by_time,
        in_full=in_full,
    )
    total = jax.tree.map(lambda sum_, excess: np.float64(sum_) - np.float64(excess), tally.total, tally.excess)
    order = np.argsort(places)  # where each policy stands among the members of all teams
    return [{name: values[:, place] for name, values in total.items()} for place in order]


def _check_what_plays(game: Any, policies: Sequence[Any], sample_params: Any, key: Any) -> None:
    """Raise ValueError for an argument of `sums` that is of another kind."""
    check_is_game(game)
    check_type("policies", policies, Sequence, "a list of policies")
    for index, policy in enumerate(policies):
        check_policy(f"policies[{index}]", policy)
    if not callable(sample_params):
        raise ValueError(f"sample_params is {shown(sample_params)}; it must be a function from a key to parameters")
    chance.check_key("key", key)


def check_sizes(num_episodes: int, num_rounds: float, warmup: float, by_time: bool = False) -> None:
    """Raise ValueError unless there are enough episodes for an interval and the warm-up leaves a round to count."""
    check_size("num_episodes", num_episodes, 2)
    if by_time:
        check_array("num_rounds", num_rounds, (), POSITIVE)
        check_array("warmup", warmup, (), NON_NEGATIVE)
    else:
        check_size("num_rounds", num_rounds, 1)
        check_size("warmup", warmup, 0)
    for name, value in (("num_episodes", num_episodes), ("num_rounds", num_rounds)):
        if value > LARGEST_INT:
            raise ValueError(f"{name} is {value}; it must be at most {LARGEST_INT}")
    if warmup >= num_rounds:
        raise ValueError(f"warmup is {warmup}; it must be below num_rounds, which is {num_rounds}")
