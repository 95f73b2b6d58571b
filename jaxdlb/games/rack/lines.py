"""Waiting lines of tasks, and stations that serve them with several servers, first come, first served.

A line is fed by one source (a link, a core) that emits its tasks in the order of time; so whoever is at its head is the
first of it to be ready. A station takes the earliest of the heads of its lines.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from jaxdlb.games.rack.types import Lines
from jaxdlb.mechanics.loops import while_any

NOBODY = -1
_FULL_SLICE = 1.0


def empty(num_stations: int, num_lines: int) -> Lines:
    """Lines without any tasks."""
    nobody = jnp.full((num_stations, num_lines), NOBODY, jnp.int32)
    return Lines(head=nobody, tail=nobody)


def append(
    lines: Lines,
    following: Int[Array, " M"],
    into: Bool[Array, "N S"],
    first: Int[Array, "*B"],
    last: Int[Array, "*B"],
    feeder_axis: int,
) -> tuple[Lines, Int[Array, " M"]]:
    """`lines` with chains of tasks, from `first` to `last`, at the end of those lines that they go `into`.

    Each feeder appends to at most one of its lines; `feeder_axis` is the other axis, along which these stand.
    """
    is_empty = lines.head == NOBODY
    before = jnp.sum(jnp.where(into & ~is_empty, lines.tail + 1, 0), axis=feeder_axis) - 1
    head_of_chain = first if first.ndim == 1 else first[:, 0]
    following = link(following, before, head_of_chain)
    return Lines(head=jnp.where(into & is_empty, first, lines.head), tail=jnp.where(into, last, lines.tail)), following


def link(following: Int[Array, " M"], before: Int[Array, " B"], after: Int[Array, " B"]) -> Int[Array, " M"]:
    """`following` with each task `after` behind the one `before` it; nothing happens where `before` is −1."""
    return following.at[jnp.where(before == NOBODY, following.shape[0], before)].set(after, mode="drop")


class Head(NamedTuple):
    """The heads of all lines, and when they are ready; ∞ for an empty line."""

    slot: Int[Array, "N S"]
    ready: Float[Array, "N S"]


def heads(lines: Lines, ready: Float[Array, " M"]) -> Head:
    """The heads of the lines; `ready` says when each task is."""
    return Head(lines.head, ready_of(lines.head, ready))


def ready_of(slot: Int[Array, "*S"], ready: Float[Array, " M"]) -> Float[Array, "*S"]:
    """When the tasks in these slots are ready; ∞ for nobody."""
    return jnp.where(slot == NOBODY, jnp.inf, ready[jnp.maximum(slot, 0)])


def first_least(rows: Float[Array, "N S"]) -> Int[Array, " N"]:
    """Where each row is least, for the first time: int32 [N]; no entry may be NaN.

    XLA compiles `jnp.argmin` to a loop over pairs, which takes several times as long on a CPU.
    """
    size = rows.shape[1]
    is_least = rows == jnp.min(rows, axis=1, keepdims=True)
    return jnp.min(jnp.where(is_least, jnp.arange(size, dtype=jnp.int32), size), axis=1)


def take_earliest(
    head: Head, ready: Float[Array, " M"], following: Int[Array, " M"], takes: Bool[Array, " N"]
) -> tuple[Head, Int[Array, " N"]]:
    """The heads after each station that `takes` has taken its earliest task, and that task's slot: int32 [N]."""
    line = first_least(head.ready)
    slot = jnp.take_along_axis(head.slot, line[:, None], axis=1)[:, 0]
    after = following[jnp.maximum(slot, 0)]
    taken = (jnp.arange(head.slot.shape[1]) == line[:, None]) & takes[:, None]
    return Head(
        slot=jnp.where(taken, after[:, None], head.slot),
        ready=jnp.where(taken, ready_of(after, ready)[:, None], head.ready),
    ), jnp.maximum(slot, 0)


@struct.dataclass
class Station:
    """What a station needs to know to serve: a task takes `fixed` + its demand / `speed`, in slices."""

    ready: Float[Array, " M"]  # when each task is at the station
    demand: Float[Array, " M"]
    fixed: Float[Array, " N"]
    speed: Float[Array, " N"]
    open: Bool[Array, " N"]  # whether it starts anything in this slice
    context: Any = None  # what else is needed when a task is started


class Start(NamedTuple):
    """What each station has just started, if it has (`any`)."""

    any: Bool[Array, " N"]
    slot: Int[Array, " N"]
    server: Bool[Array, "N C"]  # which of its servers serves it
    finish: Float[Array, " N"]


class Served(NamedTuple):
    """The state of stations while they serve."""

    head: Head
    free: Float[Array, "N C"]  # when each server is free
    busy: Float[Array, " N"]  # time that servers are busy in this slice
    following: Int[Array, " M"]
    outcome: Any  # whatever else changes when a task is started


OnStart = Callable[[Any, Served, Start], Served]


def serve(
    station: Station,
    head: Head,
    free: Float[Array, "N C"],
    following: Int[Array, " M"],
    outcome: Any,
    on_start: OnStart,
) -> Served:
    """All stations over one slice: whenever a server is free and a task ready, the earliest one is started.

    `on_start(station, served, start)` does what else is to be done; it must do nothing where nothing was started.
    """
    busy = jnp.sum(jnp.where(jnp.isinf(free), 0.0, jnp.clip(free, 0.0, _FULL_SLICE)), axis=1)
    return while_any(
        lambda station, now: jnp.any(_next_start(station, now) < _FULL_SLICE),
        lambda station, now: on_start(station, *_start_next(station, now)),
        station,
        Served(head, free, busy, following, outcome),
    )


def _next_start(station: Station, now: Served) -> Float[Array, " N"]:
    """When each station can start a task; ∞ if never."""
    start = jnp.maximum(jnp.min(now.head.ready, axis=1), jnp.min(now.free, axis=1))
    return jnp.where(station.open, jnp.maximum(start, 0.0), jnp.inf)


def _start_next(station: Station, now: Served) -> tuple[Served, Start]:
    start = _next_start(station, now)
    starts = start < _FULL_SLICE
    head, slot = take_earliest(now.head, station.ready, now.following, starts)
    finish = start + station.fixed + station.demand[slot] / station.speed
    server = (jnp.arange(now.free.shape[1]) == first_least(now.free)[:, None]) & starts[:, None]
    served = now._replace(
        head=head,
        free=jnp.where(server, finish[:, None], now.free),
        busy=now.busy + jnp.where(starts, jnp.minimum(finish, _FULL_SLICE) - start, 0.0),
    )
    return served, Start(starts, slot, server, finish)
