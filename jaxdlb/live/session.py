"""One job: what happens at the master is told to the agents, and what they choose is handed out to workers.

There is no engine here and no clock: whoever runs workers says what happened, and when.
"""

import dataclasses
import time
from collections.abc import Callable, Sequence

from jaxdlb.live.algorithm import ActorState, LearningAlgorithm, Team
from jaxdlb.live.master import Chunk, Master

HandOut = Callable[[str, Chunk], None]  # to a worker, by its name


class Seats:
    """Which number each worker has at the master, by its name; a worker that comes again has its old one if it can."""

    def __init__(self, count: int) -> None:
        self._free = list(range(count))  # the longest free first
        self._names: dict[str, int] = {}
        self._former: dict[int, str] = {}

    def __getitem__(self, name: str) -> int:
        return self._names[name]

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def name_of(self, seat: int) -> str:
        """Of the worker that has a seat."""
        return next(name for name, each in self._names.items() if each == seat)

    def take(self, name: str) -> tuple[int, bool] | None:
        """A seat, and whether nobody else sat there before; None where all are taken."""
        if not self._free:
            return None
        own = next((seat for seat in self._free if self._former.get(seat) == name), None)
        fresh = next((seat for seat in self._free if seat not in self._former), None)
        seat = own if own is not None else fresh if fresh is not None else self._free[0]
        self._free.remove(seat)
        self._names[name] = seat
        return seat, self._former.get(seat, name) == name

    def leave(self, name: str) -> None:
        """The seat is free."""
        seat = self._names.pop(name)
        self._former[seat] = name
        self._free.append(seat)


@dataclasses.dataclass
class Session:
    """A job that is being done. All present agents are told of every event, as in the game, and then choose.

    Times are in the unit of the game's time.
    """

    master: Master
    team: Team
    hand_out: HandOut
    seats: Seats
    decision_seconds: list[float] = dataclasses.field(default_factory=list)  # what it took to choose, of each request
    _agents: dict[str, LearningAlgorithm] = dataclasses.field(default_factory=dict)
    _told_at: dict[str, float] = dataclasses.field(default_factory=dict)  # of each agent that was told of a state
    _standing: list[str] = dataclasses.field(default_factory=list)  # workers for whom there is no seat

    def start(self, workers: Sequence[str]) -> None:
        """The workers that are there when the job begins, at time 0."""
        for name in workers:
            self._seat(name, 0.0)

    def join(self, name: str, now: float) -> None:
        """A worker comes."""
        if self._seat(name, now):
            self._step(now)

    def leave(self, name: str, now: float) -> None:
        """A worker is gone."""
        if name not in self.seats:
            self._standing.remove(name)
            return
        self.master.fail(self.seats[name], now)
        self.seats.leave(name)
        self._told_at.pop(name, None)
        del self._agents[name]
        self.team.leave(name)
        for agent in self._agents.values():
            agent.agent_left(name)
        self._step(now)
        if self._standing:
            self.join(self._standing.pop(0), now)

    def finish(self, name: str, compute_time: float, now: float) -> None:
        """The results of a worker's chunk are there."""
        self.master.finish(self.seats[name], compute_time, now)

    def serve(self, now: float) -> None:
        """Serve all requests that there are."""
        while (seat := self.master.serve(now)) is not None:
            began, name = time.perf_counter(), self.seats.name_of(seat)
            chunk = self.master.decide(self._step(now)[name], now)
            self.decision_seconds.append(time.perf_counter() - began)
            if chunk is not None:
                self.hand_out(name, chunk)

    def end(self, now: float) -> None:
        """Nothing follows: the agents are told so, and are gone."""
        self._tell(now, over=True)
        for name in self._agents:
            self.team.leave(name)

    def _seat(self, name: str, now: float) -> bool:
        taken = self.seats.take(name)
        if taken is None:
            self._standing.append(name)
            return False
        seat, known = taken
        self.master.join(seat, now, known=known)
        for agent in self._agents.values():
            agent.agent_joined(name)
        self._agents[name] = self.team.agent(name)
        return True

    def _step(self, now: float) -> dict[str, int]:
        """A step of the game: what each agent chooses, once all have been told how things are."""
        self._tell(now)
        return {name: agent.sample_action() for name, agent in self._agents.items()}

    def _tell(self, now: float, *, over: bool = False) -> None:
        rows, legal, rewards = self.master.rows(now), self.master.legal(), self.master.rewards(now)
        for name, agent in self._agents.items():
            seat, before = self.seats[name], self._told_at.get(name)
            if before is not None:
                state = ActorState(rows[seat], legal[seat], elapsed=now - before, over=over)
                agent.update(state, float(rewards[seat]))
            elif not over:
                agent.init_agent(ActorState(rows[seat], legal[seat]))
            self._told_at[name] = now
