"""metrics.csv and held_out.csv: one row for each update, or for each checkpoint, and seed."""

import contextlib
import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path

from jaxdlb.writing import named, write_whole

from .base import Row

NAME = "metrics.csv"
HELD_OUT = "held_out.csv"
LEADING = ("update", "seed", "agent_rounds", "seconds")


class MetricsFile:
    """Appends rows to a file in a run's folder, on disk when `append` returns."""

    def __init__(self, folder: Path, name: str = NAME) -> None:
        self._path = folder / name

    def append(self, rows: Sequence[Row]) -> None:
        """Add rows, all or none; the first of them makes the header of a new file, and what a file lacks is left out.

        Raises:
            OSError: the file cannot be written; the error names it.
        """
        size = self._path.stat().st_size if self._path.exists() else 0
        columns = _header(self._path) if size else list(rows[0])
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, columns, extrasaction="ignore")  # an older version's file has fewer metrics
        if not size:
            writer.writeheader()
        writer.writerows(rows)
        with named(self._path):
            try:
                with self._path.open("a", newline="", encoding="utf-8") as file:
                    file.write(text.getvalue())
            except OSError:
                with contextlib.suppress(OSError):
                    os.truncate(self._path, size)
                raise


def read(folder: Path, name: str = NAME) -> list[Row]:
    """The rows of a file of a run, oldest first; none where there is no file. A row cut short ends them."""
    path = folder / name
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.reader(file)
        columns = next(reader, [])
        rows = []
        for fields in reader:
            if len(fields) != len(columns):
                break
            rows.append({name: float(field) for name, field in zip(columns, fields, strict=True)})
    return rows


def cut_after(folder: Path, update: int) -> None:
    """Drop the rows of later updates than `update`, of both files: a resumed run writes them anew."""
    for name in (NAME, HELD_OUT):
        _cut_after(folder, name, update)


def _cut_after(folder: Path, name: str, update: int) -> None:
    path = folder / name
    kept = [row for row in read(folder, name) if row["update"] <= update]
    if not kept:
        path.unlink(missing_ok=True)
        return
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(kept[0]))
    writer.writeheader()
    writer.writerows({k: int(v) if k in LEADING[:3] else v for k, v in row.items()} for row in kept)
    write_whole(path, text.getvalue())


def _header(path: Path) -> list[str]:
    with path.open(newline="", encoding="utf-8") as file:
        return next(csv.reader(file))
