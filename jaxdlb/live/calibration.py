"""What a running system is like, in the terms of the game: measured in a first run, and kept as JSON."""

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxdlb import games
from jaxdlb.checks import shown
from jaxdlb.live.master import playable
from jaxdlb.writing import write_whole

_NEVER = 1e9  # when workers join that are not there


class TooFewError(ValueError):
    """A worker has computed no task by which it could be measured."""


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Workers, tasks and master, measured; a policy is told times in units of `task_seconds`, as it was trained."""

    task_seconds: float  # t₁: mean of a task on the slowest worker, whose speed is 1
    comm_seconds: float  # c: a chunk without tasks goes there and back
    speeds: tuple[float, ...]  # of each worker
    task_cv: float  # coefficient of variation of a task's time on one worker

    def game(self, num_workers: int | None = None, **sizes: Any) -> Any:
        """The game with so many workers, by default as many as were measured, and tasks that vary as they did."""
        name = next(iter(playable()))
        count = len(self.speeds) if num_workers is None else num_workers
        return games.make(name, num_workers=count, **({"task_cv": max(self.task_cv, 1e-3)} | sizes))

    def params(self, game: Any, job: int, **fields: Any) -> Any:
        """A job of so many tasks, at constant speeds, in units of `task_seconds`, with `fields` replaced.

        Workers beyond those that were measured have their mean speed, and are not there. Times do not depend on the
        `job`, which may be larger than the game plays.
        """
        missing = game.num_workers - len(self.speeds)
        speeds = [*self.speeds, *[float(np.mean(self.speeds))] * missing][: game.num_workers]
        join = [*[0.0] * len(self.speeds), *[_NEVER] * missing][: game.num_workers]
        measured = {"job": job, "task_time": 1.0, "comm_time": self.comm_seconds / self.task_seconds, "drift": 0.0}
        return game.default_params(**measured, speed=speeds, join_time=join, **fields)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as JSON."""
        write_whole(path, json.dumps(dataclasses.asdict(self), indent=2) + "\n")


def load(path: str | os.PathLike[str]) -> Calibration:
    """A calibration that was saved.

    Raises:
        ValueError: the file holds something else.
        OSError: it cannot be read.
    """
    try:
        read = json.loads(Path(path).read_text(encoding="utf-8"))
        numbers = {name: float(read[name]) for name in ("task_seconds", "comm_seconds", "task_cv")}
        found = Calibration(**numbers, speeds=tuple(map(float, read["speeds"])))
        if found.speeds and found.task_seconds > 0:
            return found
    except (ValueError, KeyError, TypeError):
        pass
    raise ValueError(f"calibration is {shown(str(path))}; it must be a file that a calibration was saved in")


def guessed(num_workers: int) -> Calibration:
    """Where nothing was measured: equal workers, tasks of a second, and 10 ms for a chunk's way."""
    return Calibration(task_seconds=1.0, comm_seconds=0.01, speeds=(1.0,) * num_workers, task_cv=1.0)


def measured(task_seconds: Mapping[str, Sequence[float]], empty_seconds: Sequence[float]) -> Calibration:
    """From how long each worker computed at single tasks, and how long empty chunks took there and back.

    Raises:
        TooFewError: a worker that has not computed a task, or nothing measured at all.
    """
    idle = [name for name, each in task_seconds.items() if not each]
    if idle or not task_seconds:
        raise TooFewError(f"tasks are too few to calibrate by; worker {idle[0] if idle else 0!r} has computed none")
    means = np.array([np.mean(each) for each in task_seconds.values()])
    relative = np.concatenate([np.asarray(each) / np.mean(each) for each in task_seconds.values()])
    slowest = float(means.max())
    return Calibration(
        task_seconds=slowest,
        comm_seconds=float(np.median(empty_seconds)),
        speeds=tuple((slowest / means).tolist()),
        task_cv=float(relative.std()),
    )
