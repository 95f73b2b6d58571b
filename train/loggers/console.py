"""The default logger: a progress bar on a terminal, plain lines elsewhere, both on stderr; metrics to files."""

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console as RichConsole
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TaskID, TextColumn
from rich.progress import Progress as Bar

from jaxdlb.writing import clock, quantity

from .base import Progress, Row
from .metrics_file import HELD_OUT, MetricsFile

_SECONDS_BETWEEN_LINES = 10.0


class Console:
    """Progress for whoever watches, and metrics.csv in the run's folder."""

    def __init__(self, folder: Path, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._file = MetricsFile(folder)
        self._held_out = MetricsFile(folder, HELD_OUT)
        self._bar = _ProgressBar(self._stream) if self._stream.isatty() else _Lines(self._stream)

    def start(self, update: int, num_updates: int) -> None:
        self._bar.start(update, num_updates)

    def interval(self, rows: Sequence[Row], progress: Progress) -> None:
        self._file.append(rows)
        self._bar.show(progress)

    def held_out(self, rows: Sequence[Row]) -> None:
        self._held_out.append(rows)

    def ended(self, message: str) -> None:
        self._bar.stop()
        print(message, file=self._stream, flush=True)

    def evaluation(self, evaluation: Any, figures: Mapping[str, Path]) -> None:
        pass  # the launcher prints the table on stdout

    def close(self, checkpoint: Path | None) -> None:
        self._bar.stop()


class _ProgressBar:
    """One line that is drawn anew."""

    def __init__(self, stream: TextIO) -> None:
        columns = (
            SpinnerColumn(),
            MofNCompleteColumn(),
            TextColumn("updates"),
            BarColumn(),
            TextColumn("{task.description}"),
        )
        self._progress = Bar(*columns, console=RichConsole(file=stream, stderr=True))
        self._task: TaskID | None = None

    def start(self, update: int, num_updates: int) -> None:
        self._task = self._progress.add_task("compiling", total=num_updates, completed=update)
        self._progress.start()

    def show(self, progress: Progress) -> None:
        if self._task is not None:
            self._progress.update(self._task, completed=progress.update, description=_described(progress))

    def stop(self) -> None:
        self._progress.stop()


class _Lines:
    """A line at the start, at the end, and every few seconds between."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._last_line = -_SECONDS_BETWEEN_LINES

    def start(self, update: int, num_updates: int) -> None:
        print(f"update {update}/{num_updates}, compiling", file=self._stream, flush=True)

    def show(self, progress: Progress) -> None:
        now = time.monotonic()
        if progress.update < progress.num_updates and now - self._last_line < _SECONDS_BETWEEN_LINES:
            return
        self._last_line = now
        print(f"update {progress.update}/{progress.num_updates}, {_described(progress)}", file=self._stream, flush=True)

    def stop(self) -> None:
        pass


def _described(progress: Progress) -> str:
    return (
        f"utility {progress.utility:.4g}, {quantity(progress.agent_rounds_per_second)} agent-rounds/s, "
        f"{clock(progress.seconds_left)} left"
    )
