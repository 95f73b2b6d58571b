"""What came of each job of a sweep: a small file for each, since a status must outlive the process that it is of."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from jaxdlb.writing import write_whole

from ..objective import Objective

FOLDER = "jobs"  # in a sweep's folder
_KILLED = 1  # the status of a job that did not live to tell one


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A job of a sweep, and what came of it."""

    job: int  # its number
    overrides: tuple[str, ...]  # key=value, as the sweeper gave them
    folder: str  # of its run; "" where nothing was run
    host: str  # that it runs on
    process: int  # that it runs in
    status: int | None = None  # the exit status that a process of its own would have; None while it runs
    objective: float | None = None  # finite; None where there is none

    @property
    def exit_status(self) -> int:
        """The status; that of a failure where the job was killed before it could tell one."""
        return _KILLED if self.status is None else self.status

    @property
    def values(self) -> dict[str, str]:
        """The value of each key."""
        return {key: value for key, _, value in (text.partition("=") for text in self.overrides)}


def claim(sweep: Path) -> None:
    """Make the folder of the outcomes.

    Raises:
        FileExistsError: another sweep writes there.
    """
    (sweep / FOLDER).mkdir(parents=True)


def write(sweep: Path, outcome: Outcome) -> None:
    """Write what is known of a job, whole or not at all, in place of what was known before."""
    told = json.dumps(dataclasses.asdict(outcome), indent=2, ensure_ascii=False)
    write_whole(sweep / FOLDER / f"{outcome.job}.json", f"{told}\n")


def read(sweep: Path) -> list[Outcome]:
    """What is known of each job that has begun, by its number."""
    told = [json.loads(path.read_text(encoding="utf-8")) for path in (sweep / FOLDER).glob("*.json")]
    found = [Outcome(**each | {"overrides": tuple(each["overrides"])}) for each in told]
    return sorted(found, key=lambda each: each.job)


def ranked(found: Sequence[Outcome], objective: Objective) -> list[Outcome]:
    """The jobs with an objective, best first, and then the others."""
    sign = -1 if objective.direction == "maximize" else 1
    known = [each for each in found if each.objective is not None]
    return [
        *sorted(known, key=lambda each: sign * (each.objective or 0.0)),
        *(each for each in found if each.objective is None),
    ]
