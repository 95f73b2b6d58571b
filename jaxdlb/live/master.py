"""Who hands out work in a running system: the part of a game that knows what is to be done, by whom, and how it goes.

A game that can be played by processes that run has such a master in its entry (`game.Entry.master`), which needs no
engine: it is told what happens, and when.
"""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float

from jaxdlb.game import Entry
from jaxdlb.games import GAMES


@runtime_checkable
class Chunk(Protocol):
    """Tasks that are handed out together: the first of them, and how many they are."""

    @property
    def first(self) -> int: ...

    @property
    def size(self) -> int: ...


@runtime_checkable
class Master(Protocol):
    """Of one job; a worker is a number below `num_workers`. Times are in the game's unit and do not go back."""

    num_workers: int
    remaining: int  # tasks not handed out, or handed out and lost
    chunks: int  # handed out so far
    declines: int
    failures: int
    joins: int
    tasks_returned: int  # that were lost with their worker
    compute_time: Float[np.ndarray, " N"]  # of each worker so far
    comm_time: Float[np.ndarray, " N"]  # in which it had a chunk and did not compute

    @property
    def over(self) -> bool:
        """Whether the results of all tasks are there."""
        ...

    @property
    def tasks_done(self) -> int:
        """Whose results are there."""
        ...

    def join(self, worker: int, now: float, *, known: bool = True) -> None:
        """A worker comes and asks for work; one that is not `known` is another than was there under its number."""
        ...

    def fail(self, worker: int, now: float) -> None:
        """A worker is gone, and what it had in hand is to be handed out again."""
        ...

    def finish(self, worker: int, compute_time: float, at: float) -> Chunk:
        """The results of a worker's chunk are there, and it asks for more."""
        ...

    def serve(self, now: float) -> int | None:
        """Turn to the next request, and say whose it is; None if nobody asks, or nothing is left."""
        ...

    def decide(self, code: int, now: float) -> Chunk | None:
        """What the worker whose request is being served gets for its choice; None if it declines."""
        ...

    def rows(self, now: float) -> Float[np.ndarray, "N F"]:
        """What each worker sees, the row `own` of an observation."""
        ...

    def legal(self) -> Bool[np.ndarray, "N A"]:
        """What each worker may choose."""
        ...

    def rewards(self, now: float) -> Float[np.ndarray, " N"]:
        """What each earned since it was asked for last."""
        ...

    def idle_time(self, now: float) -> Float[np.ndarray, " N"]:
        """How long each worker has had nothing to do."""
        ...


def playable() -> dict[str, Entry]:
    """The games that processes can play."""
    return {name: entry for name, entry in GAMES.items() if entry.master is not None}


def find(game: Any) -> Callable[[Any, Any], Master]:
    """What makes the master of a job, by the game and its params.

    Raises:
        ValueError: no process can play the game.
    """
    found = next((entry.master for entry in playable().values() if isinstance(game, entry.game)), None)
    if found is None:
        raise ValueError(f"game is {getattr(game, 'name', game)}; it must be one that processes play, {_listed()}")
    return found


def _listed() -> str:
    return " or ".join(playable())
