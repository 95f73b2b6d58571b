"""What moves between the nodes in a recorded game, and when: what an animation draws."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from jaxdlb.evaluation.rollouts import Recording
from jaxdlb.mechanics.stealing import serve_requests


@dataclasses.dataclass(frozen=True)
class Flights:
    """Migrated tasks, stolen tasks and refused requests, M in all; times in rounds, round r from r to r + 1."""

    source: Int[np.ndarray, " M"]  # node: whence the task comes, or who asked in vain
    target: Int[np.ndarray, " M"]
    departs: Float[np.ndarray, " M"]
    lands: Float[np.ndarray, " M"]
    stolen: Bool[np.ndarray, " M"]
    refused: Bool[np.ndarray, " M"]

    def at(self, time: float) -> "Flights":
        """Those under way at `time`."""
        under_way = (self.departs <= time) & (time < self.lands)
        return Flights(**{field.name: getattr(self, field.name)[under_way] for field in dataclasses.fields(self)})

    def progress(self, time: float) -> Float[np.ndarray, " M"]:
        """How much of its way each has behind it at `time`, slow at both ends; within [0, 1]."""
        return _eased((time - self.departs) / (self.lands - self.departs))


def flights(recording: Recording) -> Flights:
    """All that flies in a recording. A task sent in round r lands at the end of round r + transfer delay."""
    itself = np.broadcast_to(np.arange(recording.load.shape[1]), recording.load.shape)
    migrates = recording.arrived & (recording.dispatch != itself)
    asks = recording.steal != itself
    granted = _granted(recording)
    delay = _transfer_delay(recording)
    parts = [
        _flights_of(migrates, itself, recording.dispatch, delay=delay, stolen=False, refused=False),
        _flights_of(granted, recording.steal, itself, delay=delay, stolen=True, refused=False),
        _flights_of(asks & ~granted, itself, recording.steal, delay=0, stolen=False, refused=True),
    ]
    names = [field.name for field in dataclasses.fields(Flights)]
    return Flights(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


def shown_load(recording: Recording, time: float) -> Float[np.ndarray, " N"]:
    """Loads at a `time` in rounds: those at the start of its round, moving to those at its end as tasks land."""
    round = int(time)
    before = loads_before(recording)[round]
    return before + (recording.load[round] - before) * _eased(np.asarray((time - round - 0.5) / 0.5))


def loads_before(recording: Recording) -> Int[np.ndarray, "T N"]:
    """The loads at the start of each round; those of the first, not recorded, are taken to be those at its end."""
    return np.concatenate([recording.load[:1], recording.load[:-1]])


def _flights_of(
    happens: Bool[np.ndarray, "T N"],
    source: Int[np.ndarray, "T N"],
    target: Int[np.ndarray, "T N"],
    *,
    delay: int,
    stolen: bool,
    refused: bool,
) -> Flights:
    rounds, nodes = np.nonzero(happens)
    return Flights(
        source=source[rounds, nodes],
        target=target[rounds, nodes],
        departs=rounds.astype(np.float64),
        lands=rounds + delay + 1.0,
        stolen=np.full(len(rounds), stolen),
        refused=np.full(len(rounds), refused),
    )


def _granted(recording: Recording) -> Bool[np.ndarray, "T N"]:
    """Which steal requests were granted, by the rule of the game."""
    num_rounds, num_nodes = recording.load.shape
    left = loads_before(recording) - recording.completed
    was_alive = np.concatenate([np.ones_like(recording.alive[:1]), recording.alive[:-1]])
    available = np.where(was_alive, np.maximum(left - 1, 0), 0)
    asks = recording.steal != np.arange(num_nodes)
    first_thief = jnp.arange(num_rounds, dtype=jnp.int32) % num_nodes
    serve = jax.jit(jax.vmap(serve_requests))
    return np.asarray(serve(jnp.asarray(recording.steal), jnp.asarray(asks), jnp.asarray(available), first_thief))


def _transfer_delay(recording: Recording) -> int:
    """Rounds that a task travels: row d − 1 of what is in transit is the last that is ever filled."""
    filled = np.flatnonzero(np.any(recording.in_transit > 0, axis=(0, 2)))
    return int(filled[-1]) + 1 if len(filled) else 0


def _eased(share: Float[np.ndarray, "*M"]) -> Float[np.ndarray, "*M"]:
    share = np.clip(share, 0, 1)
    return np.asarray(share * share * (3 - 2 * share))
