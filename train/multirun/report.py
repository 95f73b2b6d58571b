"""What came of a sweep: a table for people, the same as CSV, and a figure."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from jaxdlb.writing import write_whole

from ..objective import Objective
from . import outcomes
from .outcomes import Outcome, ranked

TABLE, FIGURE = "sweep.csv", "sweep.png"
_LONG = 8  # characters of a number
_WORDS = {0: "well", 1: "failed", 2: "refused", None: "killed"}  # by status


def tell(folder: Path, objective: Objective, keys: Sequence[str]) -> None:
    """Print and write what is known of the jobs of a sweep; nothing where none has begun."""
    found = outcomes.read(folder)
    if not found:
        return
    swept = swept_keys(found, keys)
    write_whole(folder / TABLE, to_csv(found, swept))
    if swept and any(each.objective is not None for each in found):
        from .figure import objectives

        objectives(found, swept, objective).savefig(folder / FIGURE)
    print(f"{to_text(found, swept, objective)}\nthe sweep is in {folder}", flush=True)


def swept_keys(found: Sequence[Outcome], keys: Sequence[str]) -> list[str]:
    """The keys that took several values: `keys`, and what else a sweeper gave to some jobs alone."""
    known = dict.fromkeys(key for each in found for key in each.values)
    return [key for key in known if key in keys or len({each.values.get(key) for each in found}) > 1]


def to_csv(found: Sequence[Outcome], swept: Sequence[str]) -> str:
    """A line for each job, by its number: the swept keys, the objective, the exit status and the run's folder."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["job", *swept, "objective", "status", "folder"])
    for each in found:
        values = [each.values.get(key, "") for key in swept]
        number = "" if each.objective is None else repr(each.objective)
        writer.writerow([each.job, *values, number, each.exit_status, each.folder])
    return text.getvalue()


def to_text(found: Sequence[Outcome], swept: Sequence[str], objective: Objective) -> str:
    """A table for the terminal, the best job on top."""
    header = ["job", *swept, f"{objective.name} ({objective.direction}d)", "status", "folder"]
    rows = [
        [
            str(each.job),
            *(_short(each.values.get(key, "")) for key in swept),
            "–" if each.objective is None else f"{each.objective:.5g}",
            _status(each),
            each.folder,
        ]
        for each in ranked(found, objective)
    ]
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (header, *rows)]
    rule = "─" * max(map(len, lines))
    return "\n".join([rule, lines[0].rstrip(), rule, *(line.rstrip() for line in lines[1:]), rule])


def _short(value: str) -> str:
    """A value in a few digits: a sweeper chooses learning rates of twenty."""
    try:
        return value if len(value) <= _LONG else f"{float(value):.5g}"
    except ValueError:
        return value


def _status(outcome: Outcome) -> str:
    word = _WORDS.get(outcome.status, "stopped")
    return word if outcome.status is None else f"{outcome.status} {word}"
