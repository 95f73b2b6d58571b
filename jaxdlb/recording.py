"""Records complete states while a policy plays one cluster of any game, and defines what can draw them."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from jaxdlb.checks import POSITIVE_COUNT, check_size, check_whole
from jaxdlb.game import Game, TimeStep, check_is_game
from jaxdlb.mechanics import chance
from jaxdlb.policies import Policy, check_policy

_AT_ONCE = 512  # rounds that are played before it is asked whether the game is over


@dataclasses.dataclass(frozen=True)
class Recording:
    """One cluster over T rounds, as NumPy arrays (but for keys of chance, which have none).

    `states[t]` is the cluster before round t, and `states[T]` is the final state. `actions[t]` is the action requested
    in round t, legal or not. `timesteps[t]` is the result of round t. Nothing follows a true end.
    """

    params: PyTree
    states: PyTree  # every leaf [T + 1, …]
    actions: PyTree  # [T, …]
    timesteps: PyTree  # [T, …]

    @property
    def num_rounds(self) -> int:
        return len(self.timesteps.last)


@runtime_checkable
class Viewer(Protocol):
    """Draws recorded games by calling the game's own functions; a module or an object, see `game.Entry.viewer`.

    `recordings` are keyed by the name of the policy that played, and are drawn on shared scales.
    """

    def figures(self, recordings: Mapping[str, Recording]) -> dict[str, tuple[str, Any]]:
        """A caption and a matplotlib figure, by file name without its suffix.

        Raises:
            ValueError: no recordings.
        """
        ...

    def animation(
        self,
        recordings: Mapping[str, Recording],
        path: str | os.PathLike[str],
        *,
        first_round: int = 0,
        num_frames: int = 100,
        frames_per_round: int = 4,
        seconds_per_round: float = 0.4,
    ) -> None:
        """Write an animated GIF with one panel per recording.

        Raises:
            ValueError: no recordings, a `first_round` beyond the end of one, or a number below its minimum.
        """
        ...


def check_drawable(recordings: Mapping[str, Recording]) -> None:
    """Raise ValueError unless there is something to draw."""
    if not recordings:
        raise ValueError("recordings is empty; there must be at least 1 to draw")


def frame_times(
    recordings: Mapping[str, Recording], first_round: int, num_frames: int, frames_per_round: int
) -> Float[np.ndarray, " F"]:
    """The rounds at which an animation shows its frames, F ≤ `num_frames`: they end with the shortest recording.

    Raises:
        ValueError: no recordings, a `first_round` beyond the end of one of them, or a number below its minimum.
    """
    check_drawable(recordings)
    for name, size in {"num_frames": num_frames, "frames_per_round": frames_per_round}.items():
        check_size(name, size, 1)
    num_rounds = min(recording.num_rounds for recording in recordings.values())
    if not 0 <= first_round < num_rounds:
        raise ValueError(f"first_round is {first_round}; it must be within 0 … {num_rounds - 1}, the recording")
    shown = min(num_frames, (num_rounds - first_round) * frames_per_round)
    return first_round + np.arange(shown) / frames_per_round


def record(game: Game, policy: Policy, params: Any, key: PRNGKeyArray, num_rounds: int) -> Recording:
    """Play `policy` on one cluster of `game` for `num_rounds` rounds without a reset, or until it truly ends.

    The game's keys depend only on `key` and the round: with the same key, two policies face the same random events.

    Raises:
        ValueError: `num_rounds` is below 1, `game` or `policy` is none, `game.validate` refuses the `params`, or `key`
            is not one key.
    """
    check_is_game(game)
    check_policy("policy", policy)
    game.validate(params)
    chance.check_key("key", key)
    check_whole("num_rounds", num_rounds, POSITIVE_COUNT)
    at_once = min(num_rounds, _AT_ONCE)
    play = jax.jit(partial(_history, game, policy, at_once))
    now = jax.jit(partial(begin, game, policy))(params, key)
    first, parts, is_over = jax.device_get(now.state), list[tuple](), False
    while len(parts) * at_once < num_rounds and not is_over:
        now, part = play(params, key, now, len(parts) * at_once)
        parts.append(jax.device_get(part))
        is_over = bool(np.any(parts[-1][-1].discount == 0))
    history = jax.tree.map(lambda *leaves: _joined(leaves), *parts)
    length = _until_the_end(history[-1].discount, num_rounds)
    states, actions, timesteps = jax.tree.map(lambda leaf: leaf[:length], history)
    states = jax.tree.map(lambda start, rest: _joined([start[None], rest]), first, states)
    return Recording(jax.device_get(params), states, actions, timesteps)


def _joined(leaves: Sequence[Any]) -> Any:
    """One after the other along the first axis; keys of chance stay what they are, so that states can be played on."""
    is_key = jnp.issubdtype(leaves[0].dtype, jax.dtypes.prng_key)
    return (jnp if is_key else np).concatenate(leaves)


def _until_the_end(discount: Float[np.ndarray, " T"], num_rounds: int) -> int:
    """How many rounds are played, at most `num_rounds`: up to and including the first that nothing follows."""
    ends = np.flatnonzero(discount[:num_rounds] == 0)
    return int(ends[0]) + 1 if len(ends) else num_rounds


class Moment(NamedTuple):
    """One cluster between two rounds."""

    memory: PyTree  # of the policy
    state: PyTree
    timestep: TimeStep  # what the game reported last


def begin(game: Game, policy: Policy, params: Any, key: PRNGKeyArray) -> Moment:
    """The start of what `record` records with the same `key`."""
    game_key, _ = jax.random.split(key)
    return Moment(policy.init(game), *game.reset(jax.random.fold_in(game_key, 0), params))


def play_round(
    game: Game, policy: Policy, params: Any, key: PRNGKeyArray, now: Moment, round: Int[Array, ""]
) -> tuple[Moment, PyTree]:
    """What follows upon the moment before a round, the rounds counting from 0, and the action in between."""
    game_key, policy_key = jax.random.split(key)
    seen = game.true_observation(now.state, params) if policy.kind == "oracle" else now.timestep.observation
    memory, action = policy.act(jax.random.fold_in(policy_key, round), now.memory, seen, params)
    after = game.step(jax.random.fold_in(game_key, round + 1), now.state, action, params)
    return Moment(memory, *after), action


def _history(
    game: Game, policy: Policy, num_rounds: int, params: Any, key: PRNGKeyArray, now: Moment, played: Int[Array, ""]
) -> tuple[Moment, tuple]:
    """The moment after `num_rounds` more, so many being `played`; and of each the state, action and time step."""

    def play(now: Moment, round: Int[Array, ""]) -> tuple[Moment, tuple]:
        after, action = play_round(game, policy, params, key, now, round)
        return after, (after.state, action, after.timestep)

    return jax.lax.scan(play, now, played + jnp.arange(num_rounds))
