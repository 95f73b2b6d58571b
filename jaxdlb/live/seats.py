"""Agents that decide together, as those of a game do: each has a seat, and what they are told is gathered in steps."""

import abc
import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxdlb.checks import check_type, shown
from jaxdlb.game import check_is_game
from jaxdlb.live.algorithm import ActorState
from jaxdlb.spaces import Discrete


@dataclasses.dataclass(frozen=True)
class Seen:
    """What is known before a step, a row for each of N seats.

    Where nobody was told of a new state, the row is 0 and choice 0 the only one.
    """

    own: Float[np.ndarray, "N F"]
    legal: Bool[np.ndarray, "N A"]
    first: bool  # of an episode


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of a step."""

    reward: Float[np.ndarray, " N"]
    elapsed: float
    over: bool


class SeatedTeam(abc.ABC):
    """A team whose agents sit in the `num_agents` seats of a game, so that shapes do not change as they come and go.

    A step of the game begins when an agent is asked for its choice and somebody has been told of a state since the last
    step; then all who were told decide at once. So whoever tells all agents of every event, and then asks all, plays
    the game as it is trained.

    Raises:
        ValueError: a game whose agents see or choose anything that an `ActorState` does not hold.
    """

    def __init__(self, game: Any) -> None:
        check_is_game(game)
        names = {field.name for field in dataclasses.fields(game.observation_shapes)}
        if names != {"own", "legal"} or not isinstance(game.action_space, Discrete):
            raise ValueError(
                f"game is {game.name}; it must be one whose agents see a row of numbers each and make one choice"
            )
        shapes = game.observation_shapes
        self.game = game
        self._own, self._legal = np.zeros(shapes.own.shape, np.float32), np.zeros(shapes.legal.shape, bool)
        self._told = np.zeros(game.num_agents, bool)
        self._reward, self._over = np.zeros(game.num_agents), False
        self._clocks, self._clock, self._stepped_at = np.zeros(game.num_agents), 0.0, 0.0
        self._seats: dict[str, int] = {}
        self._agents: dict[str, Agent] = {}
        self._actions: Int[np.ndarray, " N"] | None = None  # those of the last step; None before the first
        self._follows_an_end = True

    def agent(self, name: str) -> "Agent":
        """The agent of that name; it takes a seat, unless it has one.

        Raises:
            ValueError: all seats are taken, or the name is none.
        """
        check_type("name", name, str, "a name")
        self._sit(name)
        if name not in self._agents:
            self._agents[name] = Agent(self, name, self._seats[name])
        return self._agents[name]

    def leave(self, name: str) -> None:
        """The agent of that name is gone, and its seat is free; nothing happens if it was not there."""
        seat = self._seats.pop(name, None)
        if seat is not None:
            self._told[seat] = False
        agent = self._agents.pop(name, None)
        if agent is not None:
            agent.is_gone = True

    @property
    @abc.abstractmethod
    def is_learning(self) -> bool:
        """Whether what agents are told changes how they act."""

    @abc.abstractmethod
    def choose(self, seen: Seen) -> Int[np.ndarray, " N"]:
        """Begin a step: the choice of every seat."""

    @abc.abstractmethod
    def end_step(self, outcome: Outcome) -> None:
        """End the step that was begun last."""

    @abc.abstractmethod
    def probabilities(self, seen: Seen, *, is_chosen: bool) -> Float[np.ndarray, "N A"]:
        """Of each choice of every seat; of the step that was begun last if `is_chosen`, else of one that might be."""

    def tell(self, seat: int, state: ActorState, reward: float | None) -> None:
        """An agent is told of a state, its first if nothing is said of a `reward`.

        Raises:
            ValueError: features or choices of another shape, a feature that is no number, or no legal choice.
        """
        features, legal = np.asarray(state.features, np.float32), np.asarray(state.legal)
        _check_shape("features", features, self._own.shape[1:])
        _check_shape("legal", legal, self._legal.shape[1:])
        if not np.isfinite(features).all():
            where = int(np.flatnonzero(~np.isfinite(features))[0])
            raise ValueError(f"features[{where}] is {features[where]}; it must be a finite number")
        if legal.dtype != bool or not legal.any():
            raise ValueError(f"legal is {shown(legal.tolist())}; it must be true for at least one choice")
        self._own[seat], self._legal[seat], self._told[seat] = features, legal, not state.over
        self._over |= state.over
        self._clocks[seat] = self._clock if reward is None else self._clocks[seat] + state.elapsed
        self._clock = max(self._clock, self._clocks[seat])
        self._reward[seat] += reward or 0.0

    def choice(self, seat: int) -> int:
        """The choice of a seat in the last step; a new step begins where somebody has been told of a new state.

        Raises:
            RuntimeError: the policy made a choice that is illegal.
        """
        if self._told.any():
            self._step()
        assert self._actions is not None
        return int(self._actions[seat])

    def probabilities_of(self, seat: int) -> Float[np.ndarray, " A"]:
        """How likely each choice of a seat is in the state that it was told of last."""
        is_chosen = not self._told[seat]
        seen = self._seen if is_chosen else self._looked()
        each = np.asarray(self.probabilities(seen, is_chosen=is_chosen), np.float64)[seat]
        return np.where(seen.legal[seat], each, 0.0)

    def _sit(self, name: str) -> None:
        if name in self._seats:
            return
        free = sorted(set(range(self.game.num_agents)) - set(self._seats.values()))
        if not free:
            raise ValueError(f"all {self.game.num_agents} seats are taken; {name!r} can have one when another has left")
        self._seats[name] = free[0]

    def _looked(self) -> Seen:
        alone = np.arange(self._legal.shape[1]) == 0
        told = self._told[:, None]
        return Seen(np.where(told, self._own, 0), np.where(told, self._legal, alone), self._ended)

    @property
    def _ended(self) -> bool:
        """Whether an episode ends with the step that is open, or nothing has been played."""
        return self._over or self._follows_an_end

    def _step(self) -> None:
        if self._actions is not None:
            self.end_step(Outcome(self._reward.copy(), self._clock - self._stepped_at, self._over))
        self._seen = self._looked()
        self._follows_an_end = False
        self._actions = self.choose(self._seen)
        self._check_legal(self._actions)
        self._told[:], self._reward[:], self._over = False, 0.0, False
        self._stepped_at = self._clock

    def _check_legal(self, actions: Int[np.ndarray, " N"]) -> None:
        """Codes beyond the choices, by which rules play what no choice stands for, are left to the system."""
        legal = self._seen.legal
        within = np.clip(actions, 0, legal.shape[1] - 1)
        wrong = (actions < legal.shape[1]) & ~(legal[np.arange(len(actions)), within] & (actions >= 0))
        if wrong.any():
            seat = int(np.flatnonzero(wrong)[0])
            name = next((name for name, each in self._seats.items() if each == seat), seat)
            raise RuntimeError(f"the policy chose {actions[seat]} for agent {name!r}, which is not legal there")


class Agent:
    """One agent of a team; see `LearningAlgorithm`."""

    def __init__(self, team: SeatedTeam, name: str, seat: int) -> None:
        self.name, self.is_gone = name, False
        self._team, self._seat = team, seat
        self._expected = "init_agent"

    def init_agent(self, actor_state: ActorState) -> None:
        """The first state of an episode."""
        self._expect("init_agent")
        self._team.tell(self._seat, actor_state, None)
        self._expected = "sample_action"

    def is_learning(self) -> bool:
        """Whether what it is told changes how it acts."""
        return self._team.is_learning

    def sample_action(self) -> int:
        """Its choice in the state that it was told of last."""
        self._expect("sample_action")
        choice = self._team.choice(self._seat)
        self._expected = "update"
        return choice

    def update(self, actor_state: ActorState, reward: float) -> None:
        """What came of its last choice."""
        self._expect("update")
        self._team.tell(self._seat, actor_state, float(reward))
        self._expected = "init_agent" if actor_state.over else "sample_action"

    def action_probabilities(self) -> Float[np.ndarray, " A"]:
        """How likely each choice is; all 0 where a rule plays what none of them stands for."""
        if self.is_gone or self._expected == "init_agent":
            self._expect("action_probabilities")
        return self._team.probabilities_of(self._seat)

    def agent_joined(self, agent: str) -> None:
        """Another agent takes a seat."""
        self._team.agent(agent)

    def agent_left(self, agent: str) -> None:
        """Another agent leaves its seat."""
        self._team.leave(agent)

    def _expect(self, call: str) -> None:
        if self.is_gone:
            raise RuntimeError(f"agent {self.name!r} has left; team.agent({self.name!r}) was expected before {call}")
        if call != self._expected:
            raise RuntimeError(f"{call} was called of agent {self.name!r}; {self._expected} was expected")


def _check_shape(name: str, array: np.ndarray, shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}; it must have shape {shape}")
