"""What moved between the nodes of a recorded rack, and when, found by replaying the game's own stages."""

import dataclasses
import enum
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree

from jaxdlb.games.rack import dynamics, lines, responses, views
from jaxdlb.games.rack.types import Lines, Params, State
from jaxdlb.mechanics import peer_view
from jaxdlb.mechanics.peer_view import Action
from jaxdlb.recording import Recording


class Kind(enum.IntEnum):
    """What flies between nodes."""

    SENT = 0  # a task that has just arrived, sent on to another node
    STOLEN = 1  # a task that was asked for, on its way to the thief
    REQUEST = 2  # a thief's request, on its way to the victim
    REFUSAL = 3  # the victim's answer, if it has no task to give


@dataclasses.dataclass(frozen=True)
class Flights:
    """Packets between nodes, K in all; slice s lasts from time s to s + 1."""

    kind: Int[np.ndarray, " K"]
    source: Int[np.ndarray, " K"]
    target: Int[np.ndarray, " K"]
    departs: Float[np.ndarray, " K"]  # when it is handed to the source's interface
    lands: Float[np.ndarray, " K"]

    def only(self, which: Bool[np.ndarray, " K"]) -> "Flights":
        """The flights that `which` selects."""
        return Flights(**{field.name: getattr(self, field.name)[which] for field in dataclasses.fields(self)})


@dataclasses.dataclass(frozen=True)
class Falls:
    """Tasks that the central load balancer deals to nodes."""

    node: Int[np.ndarray, " K"]
    lands: Float[np.ndarray, " K"]


@dataclasses.dataclass(frozen=True)
class Replay:
    """W slices of a recorded rack in the terms of a picture, from `first` on, and the W1 = W + 1 states around them."""

    first: int
    dt: float  # ms
    cores: Int[np.ndarray, " N"]
    core_perf: Float[np.ndarray, " N"]
    io_cores: Int[np.ndarray, " N"]
    io_perf: Float[np.ndarray, " N"]
    cpu_queue: Int[np.ndarray, "W1 N"]
    io_queue: Int[np.ndarray, "W1 N"]
    core_busy: Bool[np.ndarray, "W1 N C"]
    io_busy: Bool[np.ndarray, "W1 N J"]
    alive: Bool[np.ndarray, "W1 N"]
    completed: Int[np.ndarray, "W1 N"]  # in the slice before the state
    p99: Float[np.ndarray, " W1"]  # ms, of all tasks completed since the recording began; NaN without any
    flights: Flights
    falls: Falls

    @property
    def num_nodes(self) -> int:
        return self.cpu_queue.shape[1]

    @property
    def num_slices(self) -> int:
        return len(self.cpu_queue) - 1


def replay(recording: Recording, first: int, last: int) -> Replay:
    """Slices `first` … `last` of the recording, with the stages of each played again from its state and action.

    What is under way in the first slice has set out before; so the replay starts as early as that.
    """
    states, params = recording.states, recording.params
    window = slice(first, last + 2)
    done = np.asarray(recording.timesteps.metrics["responses"])
    return Replay(
        first=first,
        dt=float(params.dt),
        **{name: np.asarray(getattr(params, name)) for name in ("cores", "core_perf", "io_cores", "io_perf")},
        cpu_queue=states.cpu_queue[window],
        io_queue=states.io_queue[window],
        core_busy=_is_busy(states.core_free[window]),
        io_busy=_is_busy(states.io_free[window]),
        alive=states.alive[window],
        completed=states.completed[window],
        p99=_running_p99(done, window),
        flights=_flights(recording, _earliest(states, first), last),
        falls=_falls(states, first, min(last + 1, recording.num_rounds)),
    )


def shown_queue(queue: Int[np.ndarray, "W1 N"], time: float) -> Float[np.ndarray, " N"]:
    """Queues at `time`, in slices from the first state: between two states, the way from one to the other."""
    slice = int(time)
    return queue[slice] + (queue[slice + 1] - queue[slice]) * (time - slice)


def _is_busy(free: Float[np.ndarray, "W1 N C"]) -> Bool[np.ndarray, "W1 N C"]:
    """Which of the servers are busy that `dynamics.num_busy` counts."""
    return (free > 0) & np.isfinite(free)


def _running_p99(done: Int[np.ndarray, "T B"], window: slice) -> Float[np.ndarray, " W1"]:
    before = done[: window.start].sum(axis=0)
    later = np.cumsum(done[window.start : window.stop - 1], axis=0)
    return np.array([responses.percentile(before + added, 99) for added in [np.zeros_like(before), *later]])


def _earliest(states: State, first: int) -> int:
    """The last slice by which nothing that is under way in slice `first` had set out."""
    start = first
    while start > 0 and _lands_last(states, start) > first - start:
        start -= 1
    return start


def _lands_last(states: State, slice: int) -> float:
    """When the last of the packets that are under way at the start of a slice lands, in slices from then."""
    requests = states.requests
    answers = np.where(np.isfinite(requests.answered[slice]), requests.answered[slice], 0.0)
    asks = np.where(np.isfinite(requests.heard[slice]), requests.heard[slice], 0.0)
    return float(max(states.tasks.lands[slice].max(), asks.max(), answers.max()))


def _falls(states: State, first: int, last: int) -> Falls:
    """The tasks dealt in the slices from `first` to `last`, whose arrivals are drawn in the state before."""
    arrivals = jax.tree.map(lambda leaf: leaf[first : last + 1], states.generator.arrivals)
    which = np.arange(arrivals.node.shape[1]) < arrivals.num[:, None]
    lands = arrivals.instant + np.arange(first, last + 1)[:, None]
    return Falls(node=arrivals.node[which], lands=lands[which].astype(np.float64))


# Stages


class Moved(NamedTuple):
    """What set out in a slice, times in slices from its start; M task slots, N nodes."""

    stolen: Bool[Array, " M"]  # the tasks that were given to thieves
    dealt: Bool[Array, " M"]  # the tasks that arrived
    owner: Int[Array, " M"]  # the node where each task was before it was stolen
    bound_for: Int[Array, " M"]
    born: Float[Array, " M"]
    lands: Float[Array, " M"]
    links: Lines
    following: Int[Array, " M"]
    asked: Bool[Array, " N"]
    refused: Bool[Array, " N"]  # thieves
    victim_before: Int[Array, " N"]  # whom each had asked, for the refused
    victim: Int[Array, " N"]
    heard: Float[Array, " N"]
    answered: Float[Array, " N"]


@jax.jit
def _moved(state: State, action: Action, params: Params) -> Moved:
    """The stages of a slice in which packets set out, played again."""
    played = peer_view.play_legal(action, views.may_dispatch(state), views.may_steal(state, params))
    given, answers, granted = dynamics.answer_requests(state, params)
    outbox, requests, asked = dynamics.ask(given, answers, played, params)
    outbox, *_ = dynamics.dispatch(outbox, state.generator.arrivals, played, params)
    before, between, after = (each.lands for each in (state.tasks, given.tasks, outbox.tasks))
    slots = jnp.arange(after.shape[0])
    taken = (slots >= outbox.tasks.num_free) & (slots < given.tasks.num_free)  # of the stack of free slots
    return Moved(
        stolen=between != before,
        dealt=jnp.zeros_like(taken).at[jnp.where(taken, given.tasks.free, slots.size)].set(True, mode="drop"),
        owner=state.tasks.bound_for,
        bound_for=outbox.tasks.bound_for,
        born=outbox.tasks.born,
        lands=after,
        links=outbox.links,
        following=outbox.tasks.following,
        asked=asked,
        refused=jnp.isinf(state.requests.answered) & jnp.isfinite(answers.answered) & ~granted,
        victim_before=answers.victim,
        victim=requests.victim,
        heard=requests.heard,
        answered=answers.answered,
    )


def _flights(recording: Recording, first: int, last: int) -> Flights:
    """All packets that set out in slices `first` … `last`."""
    # One slice at a time: so it is compiled once, however many slices are shown.
    each = [
        jax.device_get(_moved(_at(recording.states, slice), _at(recording.actions, slice), recording.params))
        for slice in range(first, last + 1)
    ]
    moved = jax.tree.map(lambda *leaves: np.stack(leaves), *each)
    origin = _origins(moved.links, moved.following)
    sent = moved.dealt & (origin != moved.bound_for)
    itself = np.broadcast_to(np.arange(moved.asked.shape[1]), moved.asked.shape)
    zero = np.zeros(moved.asked.shape)
    groups = [
        _of_kind(Kind.SENT, sent, origin, moved.bound_for, np.maximum(moved.born, 0.0), moved.lands),
        _of_kind(Kind.STOLEN, moved.stolen, moved.owner, moved.bound_for, np.zeros(moved.lands.shape), moved.lands),
        _of_kind(Kind.REQUEST, moved.asked, itself, moved.victim, zero, moved.heard),
        _of_kind(Kind.REFUSAL, moved.refused, moved.victim_before, itself, zero, moved.answered),
    ]
    names = [field.name for field in dataclasses.fields(Flights)]
    flights = {name: np.concatenate([getattr(group, name) for group in groups]) for name in names}
    return Flights(**flights | {name: flights[name] + first for name in ("departs", "lands")})


def _at(tree: PyTree, slice: int) -> Any:
    return jax.tree.map(lambda leaf: leaf[slice], tree)


def _of_kind(
    kind: Kind,
    happens: Bool[np.ndarray, "W K"],
    source: Int[np.ndarray, "W K"],
    target: Int[np.ndarray, "W K"],
    departs: Float[np.ndarray, "W K"],
    lands: Float[np.ndarray, "W K"],
) -> Flights:
    slices, places = np.nonzero(happens)
    return Flights(
        kind=np.full(len(slices), kind),
        source=source[slices, places],
        target=target[slices, places],
        departs=slices + departs[slices, places].astype(np.float64),
        lands=slices + lands[slices, places].astype(np.float64),
    )


def _origins(links: Lines, following: Int[np.ndarray, "W M"]) -> Int[np.ndarray, "W M"]:
    """The node from which each task on a link came, −1 for tasks on none: the lines of links, walked in step."""
    origin = np.full(following.shape, lines.NOBODY)
    slices, _, source = np.nonzero(links.head != lines.NOBODY)
    slot = links.head[links.head != lines.NOBODY]
    while len(slot):
        origin[slices, slot] = source
        slot = following[slices, slot]
        goes_on = slot != lines.NOBODY
        slices, source, slot = slices[goes_on], source[goes_on], slot[goes_on]
    return origin
