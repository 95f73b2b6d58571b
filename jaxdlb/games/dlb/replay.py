"""What moved between the nodes in a recorded game, and when, found by replaying the game's own stages."""

import dataclasses
from functools import partial

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxdlb.drawing import layout
from jaxdlb.games.dlb import dynamics
from jaxdlb.games.dlb.types import State
from jaxdlb.mechanics.peer_view import Action
from jaxdlb.recording import Recording

REQUEST = 0.5  # share of a round during which a thief's request is drawn on its way; the stolen task follows


@dataclasses.dataclass(frozen=True)
class Replay:
    """A recorded game in the terms of a picture: T rounds, and the T1 = T + 1 states before and after them."""

    speed: Float[np.ndarray, " N"]  # q
    load: Int[np.ndarray, "T1 N"]
    heard_load: Float[np.ndarray, "T1 N"]  # of each node, averaged over the other nodes
    heard_age: Float[np.ndarray, "T1 N"]
    alive: Bool[np.ndarray, "T1 N"]
    arrived: Bool[np.ndarray, "T N"]
    completed: Bool[np.ndarray, "T N"]
    utility: Float[np.ndarray, " T"]
    flights: "Flights"

    @property
    def num_rounds(self) -> int:
        return len(self.utility)

    @property
    def num_nodes(self) -> int:
        return len(self.speed)


@dataclasses.dataclass(frozen=True)
class Flights:
    """Migrated tasks, stolen tasks and refused requests, M in all; round r lasts from time r to r + 1.

    A steal is a request, which goes from the task's target to its source, followed by the task if it is granted.
    """

    source: Int[np.ndarray, " M"]  # the node that the task comes from, or would have come from
    target: Int[np.ndarray, " M"]  # the node that it goes to; for a steal, the thief
    departs: Float[np.ndarray, " M"]
    lands: Float[np.ndarray, " M"]  # for a refused request, the end of its round
    asked: Bool[np.ndarray, " M"]  # whether it is a steal
    refused: Bool[np.ndarray, " M"]

    def at(self, time: float) -> "Flights":
        """The flights in progress at `time`."""
        return self.only((self.departs <= time) & (time < self.lands))

    def only(self, which: Bool[np.ndarray, " M"]) -> "Flights":
        """The flights that `which` selects."""
        return Flights(**{field.name: getattr(self, field.name)[which] for field in dataclasses.fields(self)})

    def requesting(self, time: float) -> Bool[np.ndarray, " M"]:
        """Which flights are still requests at `time`, or were refused."""
        return self.asked & (self.refused | (time < self.departs + REQUEST))

    def progress(self, time: float) -> Float[np.ndarray, " M"]:
        """The share of its path, within [0, 1], that each has covered at `time`; slow at both ends.

        A request's path leads to the victim, a task's path from its source to its target.
        """
        requesting = self.requesting(time)
        sets_out = self.departs + np.where(self.asked & ~requesting, REQUEST, 0.0)
        arrives = np.where(requesting, self.departs + REQUEST, self.lands)
        return layout.eased((time - sets_out) / (arrives - sets_out))


def replay(recording: Recording) -> Replay:
    """The recording, with the stages of every round played again from the recorded state and action."""
    states, timesteps = recording.states, recording.timesteps
    before = jax.tree.map(lambda leaf: leaf[:-1], states)
    played, migrated, asked, granted = jax.device_get(_requests_and_grants(before, recording.actions))
    return Replay(
        speed=np.asarray(recording.params.completion_prob),
        load=states.load,
        heard_load=_mean_over_others(states.heard_load),
        heard_age=_mean_over_others(states.heard_age),
        alive=states.alive,
        arrived=before.arrived,
        completed=before.completed,
        utility=np.asarray(timesteps.metrics["utility"]),
        flights=_flights(played, migrated, asked, granted, int(recording.params.transfer_delay)),
    )


def shown_load(replayed: Replay, time: float) -> Float[np.ndarray, " N"]:
    """Loads at `time`, in rounds: those at the start of the round, changing to those at its end as tasks land."""
    round = int(time)
    before, after = replayed.load[round], replayed.load[round + 1]
    return before + (after - before) * layout.eased(np.asarray((time - round - 0.5) / 0.5))


def balanced(load: Float[np.ndarray, " N"], speed: Float[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
    """The same tasks, spread so that all nodes would drain at the same time."""
    return np.sum(load) * speed / np.sum(speed)


@jax.jit
@partial(jax.vmap, in_axes=(0, 0))
def _requests_and_grants(state: State, action: Action) -> tuple[Action, Array, Array, Array]:
    """What each node played; and which nodes sent a task away, asked for one and got it: bool [T, N] each."""
    played = dynamics.play_legal(state, action)
    load = dynamics.complete(state.load, state.completed)
    _, asked, granted = dynamics.steal(load, played, state.alive, state.round)
    _, migrated, _ = dynamics.dispatch(state.arrived, played, granted)
    return played, migrated, asked, granted


def _mean_over_others(heard: Int[np.ndarray, "T1 *I N"]) -> Float[np.ndarray, "T1 N"]:
    """The news of each node, averaged over the other nodes if each link has its own."""
    if heard.ndim == 2:
        return heard.astype(np.float64)
    num_nodes = heard.shape[-1]
    others = ~np.eye(num_nodes, dtype=bool)
    return np.sum(heard, axis=1, where=others, dtype=np.float64) / max(num_nodes - 1, 1)


def _flights(
    played: Action,
    migrated: Bool[np.ndarray, "T N"],
    asked: Bool[np.ndarray, "T N"],
    granted: Bool[np.ndarray, "T N"],
    delay: int,
) -> Flights:
    """All flights. A task sent in round r lands at the end of round r + `delay`."""
    itself = np.broadcast_to(np.arange(asked.shape[1], dtype=np.int32), asked.shape)
    groups = [
        _flights_of_kind(migrated, itself, played.dispatch, delay=delay, asked=False, refused=False),
        _flights_of_kind(granted, played.steal, itself, delay=delay, asked=True, refused=False),
        _flights_of_kind(asked & ~granted, played.steal, itself, delay=0, asked=True, refused=True),
    ]
    names = [field.name for field in dataclasses.fields(Flights)]
    return Flights(**{name: np.concatenate([getattr(group, name) for group in groups]) for name in names})


def _flights_of_kind(
    happens: Bool[np.ndarray, "T N"],
    source: Int[np.ndarray, "T N"],
    target: Int[np.ndarray, "T N"],
    *,
    delay: int,
    asked: bool,
    refused: bool,
) -> Flights:
    rounds, nodes = np.nonzero(happens)
    return Flights(
        source=source[rounds, nodes],
        target=target[rounds, nodes],
        departs=rounds.astype(np.float64),
        lands=rounds + delay + 1.0,
        asked=np.full(len(rounds), asked),
        refused=np.full(len(rounds), refused),
    )
