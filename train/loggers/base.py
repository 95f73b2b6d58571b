"""What a run tells, and whoever listens."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

Row = dict[str, float]  # one update of one seed: update, seed, agent_rounds, seconds, and the learner's metrics


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a run is, at a visit to the host."""

    update: int
    num_updates: int
    agent_rounds: int  # of each seed, so far
    agent_rounds_per_second: float  # of all seeds together, since training began or was resumed
    seconds_left: float
    utility: float  # the mean over the updates since the last visit and over seeds


class Logger(Protocol):
    """Listens to a run; called on the host, in this order, `interval` many times."""

    def start(self, update: int, num_updates: int) -> None:
        """Training begins, or goes on after `update` updates."""
        ...

    def interval(self, rows: Sequence[Row], progress: Progress) -> None:
        """A visit to the host: the rows since the last one, and how far the run is."""
        ...

    def held_out(self, rows: Sequence[Row]) -> None:
        """The policy of each seed was played in episodes held out: update, seed, agent_rounds, seconds, and columns."""
        ...

    def ended(self, message: str) -> None:
        """Training has ended, as the message says."""
        ...

    def evaluation(self, evaluation: Any, figures: Mapping[str, Path]) -> None:
        """The policies were compared: an `Evaluation`, and pictures by name."""
        ...

    def close(self, checkpoint: Path | None) -> None:
        """Nothing follows; `checkpoint` is the folder of the newest step, if there is one."""
        ...
