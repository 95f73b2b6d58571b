"""An episode in which nothing is left to chance, and which ends: the best that can be done, from the game's own `step`.

Whoever knows all decides. States are explored breadth first: every choice in every state is played once, and states are
merged where the game says that what follows depends on the same numbers (`Episode.future`), to the last bit. From the
ends backward, the value of a state is the best sum of the rewards to come, of all agents in the mean.

Values are float64, but what the game computes is float32: the optimum is that of the game as it is played. An optimal
sequence is played once more, so what is said of it is what happened.
"""

import dataclasses
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree, Shaped

NAME = "optimum"
MOST_STATES = 250_000
MOVES_PER_STATE = 20  # an exploration may play as many times more choices than it may find states
_AT_ONCE = 2**11  # steps of the game that are compiled into one call
_ENTRIES_AT_ONCE = 2**22  # states × choices whose legality is found in one call
_KEY = 0  # of the reset and of every step: it decides nothing here


@runtime_checkable
class Episode(Protocol):
    """What a game says of one episode that is certain and ends; see `Entry.episode`. A pytree, `game` being static.

    One number stands for what may be done in a state, whoever does it: C of them in all.
    """

    @property
    def game(self) -> Any: ...

    @property
    def params(self) -> Any: ...

    @property
    def num_choices(self) -> int:
        """C."""
        ...

    @property
    def restricted(self) -> Mapping[str, Collection[int]]:
        """Choices without which the optimum is of interest too, by a word for what is left."""
        ...

    def legal(self, state: Any) -> Bool[Array, " C"]:
        """What may be done; something may be. Choices that come to the same need not all be legal."""
        ...

    def action(self, state: Any, choice: Int[Array, ""]) -> Any:
        """The joint action in which that is done."""
        ...

    def future(self, state: Any) -> PyTree:
        """All that the rest of the episode depends on, as arrays: states in which they are equal count as one."""
        ...


@dataclasses.dataclass(frozen=True, eq=False)
class Moves:
    """Everything that may happen in an episode: E moves between S states, of which 0 is the first."""

    episode: Episode
    num_states: int
    source: Int[np.ndarray, " E"]  # ascending
    choice: Int[np.ndarray, " E"]
    following: Int[np.ndarray, " E"]  # 0 where the episode ends
    reward: Float[np.ndarray, " E"]  # the mean of the agents'
    discount: Float[np.ndarray, " E"]  # 0 where the episode ends

    @property
    def num_moves(self) -> int:
        return len(self.source)


@struct.dataclass
class OpenLoop:
    """A fixed sequence of actions, whatever is observed; after its end the last is played again."""

    actions: PyTree  # of all agents, [T, …]
    name: str = struct.field(pytree_node=False, default=NAME)

    kind = "optimal"

    def init(self, game: Any) -> Int[Array, ""]:
        """The number of steps played."""
        return jnp.int32(0)

    def act(
        self, key: PRNGKeyArray, carry: Int[Array, ""], observation: Any, params: Any
    ) -> tuple[Int[Array, ""], PyTree]:
        """The next action of all agents; nothing is drawn."""
        return carry + 1, jax.tree.map(lambda leaf: leaf[jnp.minimum(carry, leaf.shape[0] - 1)], self.actions)


@dataclasses.dataclass(frozen=True, eq=False)
class Optimum:
    """The best that can be done, and a sequence of actions that does it."""

    value: float  # the sum of the rewards, of all agents in the mean, as the game discounts them
    elapsed: float  # the time that it takes, in the unit of the game's `elapsed`
    choices: Int[np.ndarray, " T"]
    actions: PyTree  # of all agents, every leaf [T, …]

    def policy(self, name: str = NAME) -> OpenLoop:
        """The sequence as a policy that plays."""
        return OpenLoop(jax.tree.map(jnp.asarray, self.actions), name=name)


def explore(episode: Episode, most_states: int = MOST_STATES) -> Moves:
    """Everything that may happen from the episode's start on.

    Raises:
        ValueError: there are more than `most_states` states, or more than 20 moves for each of these.
    """
    known: dict[bytes, int] = {}
    frontier, begun, parts, num_moves = _start(episode, known), 0, [], 0
    while size := _length(frontier):
        found = []
        for source, choice in _legal_moves(episode, frontier):
            played = _played(episode, _rows(frontier, source), choice)
            following, new = _numbered(known, played)
            found.append(_rows(played.state, new))
            parts.append((begun + source, choice, following, np.float64(played.reward), np.float64(played.discount)))
            num_moves += len(source)
            _check_size(len(known), num_moves, most_states)
        begun += size
        frontier = jax.tree.map(lambda *leaves: np.concatenate(leaves), *found)
    return Moves(episode, len(known), *(np.concatenate(each) for each in zip(*parts, strict=True)))


def optimum(moves: Moves, without: Collection[int] = ()) -> Optimum:
    """The best that can be done, if nobody makes a choice that is in `without`.

    Raises:
        ValueError: an end cannot be reached without these.
        ArithmeticError: rewards can be collected for ever, or the best choices lead in a circle.
    """
    allowed = ~np.isin(moves.choice, list(without))
    values = _values(moves, allowed)
    if not np.isfinite(values[0]):
        raise ValueError(f"without is {sorted(without)}; it must leave choices by which the episode ends")
    return _replayed(moves.episode, np.array([*_best(moves, allowed, values)], np.int32))


def solve(episode: Episode, *, without: Collection[int] = (), most_states: int = MOST_STATES) -> Optimum:
    """The optimum of an episode, if nobody makes a choice that is in `without`.

    Raises:
        ValueError, ArithmeticError: as `explore` and `optimum` do.
    """
    return optimum(explore(episode, most_states), without)


# From the ends backward


def _worth(moves: Moves, allowed: Bool[np.ndarray, " E"], values: Float[np.ndarray, " S"]) -> Float[np.ndarray, " E"]:
    """What each move is worth, given the values of the states: r + d · V; −∞ if it is not allowed."""
    later = moves.discount * np.where(moves.discount > 0, values[moves.following], 0.0)
    return np.where(allowed, moves.reward + later, -np.inf)


def _values(moves: Moves, allowed: Bool[np.ndarray, " E"]) -> Float[np.ndarray, " S"]:
    """The value of each state, improved all at once until none changes; −∞ where no end is in reach.

    That takes no more turns than the longest way has moves, since no way leads through a state twice.
    """
    first = np.searchsorted(moves.source, np.arange(moves.num_states))
    values = np.full(moves.num_states, -np.inf)
    for _ in range(moves.num_states + 1):
        better = np.maximum.reduceat(_worth(moves, allowed, values), first)
        if np.array_equal(better, values):
            return values
        values = better
    raise ArithmeticError("the values of states did not settle: rewards can be collected for ever")


def _best(moves: Moves, allowed: Bool[np.ndarray, " E"], values: Float[np.ndarray, " S"]) -> Iterator[int]:
    """The first of the best choices in every state from the start to the end."""
    worth, state = _worth(moves, allowed, values), 0
    ends = np.searchsorted(moves.source, [np.arange(moves.num_states), 1 + np.arange(moves.num_states)])
    for _ in range(moves.num_states):
        low, high = ends[:, state]
        move = low + int(np.argmax(worth[low:high]))
        yield int(moves.choice[move])
        if moves.discount[move] == 0:
            return
        state = int(moves.following[move])
    raise ArithmeticError("the best choices lead in a circle that costs nothing; something must set them apart")


def _replayed(episode: Episode, choices: Int[np.ndarray, " T"]) -> Optimum:
    """What comes of these choices, by the same program that explores."""
    state, played = _start(episode, {}), []
    for choice in choices:
        played.append(_played(episode, state, choice[None]))
        state = played[-1].state
    reward, discount, elapsed = (
        np.array([getattr(each, name)[0] for each in played], np.float64) for name in ("reward", "discount", "elapsed")
    )
    return Optimum(
        value=float(np.sum(reward * np.cumprod([1.0, *discount[:-1]]))),
        elapsed=float(np.sum(elapsed)),
        choices=choices,
        actions=jax.tree.map(lambda *leaves: np.concatenate(leaves), *(each.action for each in played)),
    )


# Breadth first. States are kept as NumPy arrays, with the data of keys in their place, and a leading axis.


class _Played(NamedTuple):
    """What came of B moves, as arrays of JAX or of NumPy."""

    action: PyTree  # [B, …]
    state: PyTree  # plain, [B, …]
    future: Any  # bit by bit, int32 [B, W]
    reward: Any  # float32 [B], of the agents in the mean
    discount: Any  # float32 [B]
    elapsed: Any  # float32 [B]


def _start(episode: Episode, known: dict[bytes, int]) -> PyTree:
    """The first state, plain and [1, …], of which `known` learns the future."""
    state, future = jax.device_get(_begun(episode))
    known[future.tobytes()] = 0
    return jax.tree.map(lambda leaf: leaf[None], state)


@jax.jit
def _begun(episode: Episode) -> tuple[PyTree, Int[Array, " W"]]:
    state, _ = _reset(episode)
    return _plain(state), _bits(episode.future(state))


def _reset(episode: Episode) -> tuple[Any, Any]:
    result: tuple[Any, Any] = episode.game.reset(jax.random.key(_KEY), episode.params)
    return result


def _legal_moves(episode: Episode, frontier: PyTree) -> Iterator[tuple[Int[np.ndarray, " P"], Int[np.ndarray, " P"]]]:
    """Which states of a frontier, and which choices, make a move: in order, P ≤ 2,048 at a time."""
    at_once = max(1, min(_AT_ONCE, _ENTRIES_AT_ONCE // episode.num_choices))
    for index in _in_parts(np.arange(_length(frontier)), at_once):
        legal = np.asarray(_legal(episode, _rows(frontier, _filled(index, at_once))))[: len(index)]
        if not legal.any(axis=1).all():
            raise ValueError("the episode has a state in which nothing is legal; something must be in each")
        state, choice = np.nonzero(legal)
        yield from zip(_in_parts(index[state]), _in_parts(choice.astype(np.int32)), strict=True)


@jax.jit
def _legal(episode: Episode, states: PyTree) -> Bool[Array, "B C"]:
    return jax.vmap(lambda state: episode.legal(_whole(episode, state)))(states)


def _played(episode: Episode, states: PyTree, choices: Int[np.ndarray, " P"]) -> _Played:
    """What comes of P ≤ 2,048 moves; always as many are played, so that one program does."""
    size = len(choices)
    places = _filled(np.arange(size), _AT_ONCE)
    played: _Played = jax.device_get(_play(episode, _rows(states, places), choices[places]))
    return jax.tree.map(lambda leaf: leaf[:size], played)


@jax.jit
def _play(episode: Episode, states: PyTree, choices: Int[Array, " B"]) -> _Played:
    def play(plain: PyTree, choice: Int[Array, ""]) -> _Played:
        state = _whole(episode, plain)
        action = episode.action(state, choice)
        after, timestep = episode.game.step(jax.random.key(_KEY), state, action, episode.params)
        reward = jnp.mean(timestep.reward)
        future = _bits(episode.future(after))
        return _Played(action, _plain(after), future, reward, timestep.discount, timestep.elapsed)

    return jax.vmap(play)(states, choices)


def _numbered(known: dict[bytes, int], played: _Played) -> tuple[Int[np.ndarray, " B"], Int[np.ndarray, " F"]]:
    """The number of the state after each move, 0 after an end; and the rows of those that are new, as numbered."""
    width = played.future.shape[1] * played.future.itemsize
    rows = np.ascontiguousarray(played.future).view(np.dtype((np.void, width)))[:, 0]
    goes_on = np.flatnonzero(played.discount > 0)
    distinct, first, place = np.unique(rows[goes_on], return_index=True, return_inverse=True)
    names = [each.tobytes() for each in distinct]
    new = [goes_on[row] for name, row in zip(names, first, strict=True) if name not in known]
    numbers = np.array([known.setdefault(name, len(known)) for name in names], np.int32)
    following = np.zeros(len(rows), np.int32)
    following[goes_on] = numbers[place]
    return following, np.array(new, np.int64)


def _check_size(num_states: int, num_moves: int, most_states: int) -> None:
    for count, most, what in (
        (num_states, most_states, "states"),
        (num_moves, MOVES_PER_STATE * most_states, "moves between states"),
    ):
        if count > most:
            raise ValueError(f"the episode has more than {most:,} {what}; it must have at most as many to be solved")


def _length(states: PyTree) -> int:
    return len(jax.tree.leaves(states)[0])


def _rows(states: PyTree, places: Int[np.ndarray, " P"]) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[places], states)


def _in_parts(numbers: Int[np.ndarray, " P"], size: int = _AT_ONCE) -> Iterator[Int[np.ndarray, " p"]]:
    return (numbers[start : start + size] for start in range(0, len(numbers), size))


def _filled(places: Int[np.ndarray, " P"], size: int) -> Int[np.ndarray, " B"]:
    """The places, and the first again as often as it takes to make `size` of them."""
    return np.pad(places, (0, size - len(places)), constant_values=places[0])


def _plain(state: PyTree) -> PyTree:
    """The state with the data of keys instead of keys."""
    return jax.tree.map(lambda leaf: jax.random.key_data(leaf) if _is_key(leaf) else leaf, state)


def _whole(episode: Episode, plain: PyTree) -> Any:
    """The state of that data; of the first one, only the kinds of keys are used."""
    return jax.tree.map(
        lambda leaf, data: jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf)) if _is_key(leaf) else data,
        _reset(episode)[0],
        plain,
    )


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _bits(future: PyTree) -> Int[Array, " W"]:
    """All numbers in a row, as they are in memory; 0 is 0, whatever its sign."""
    return jnp.concatenate([_bits_of(jnp.ravel(leaf)) for leaf in jax.tree.leaves(future)])


def _bits_of(numbers: Shaped[Array, " n"]) -> Int[Array, " n"]:
    if jnp.issubdtype(numbers.dtype, jnp.floating):
        signless = jnp.where(numbers == 0, 0.0, numbers).astype(jnp.float32)
        return jax.lax.bitcast_convert_type(signless, jnp.int32)
    return numbers.astype(jnp.int32)
