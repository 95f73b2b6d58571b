"""How a sweep whose jobs run in other processes is stopped: by a file that jobs look for before they begin."""

import contextlib
import os
import platform
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from jaxdlb.writing import write_whole

from . import outcomes

_FILE = "stop"  # in the folder of the outcomes: the number of the signal
SIGNALS = 128  # plus the number of a signal is the exit status of what it stopped


class Stopping:
    """While in use, SIGINT or SIGTERM ends the sweep once its running jobs have stopped; a second one ends it at once.

    Ctrl-C reaches the jobs of this machine by itself; SIGTERM is passed on to them. Both let a job save a checkpoint.
    """

    def __init__(self, sweep: Path) -> None:
        self._sweep = sweep
        self._before: dict[int, Any] = {}

    def __enter__(self) -> None:
        self._before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.__exit__()
        write_whole(self._sweep / outcomes.FOLDER / _FILE, str(number))
        name = signal.Signals(number).name
        print(f"{name}: stopping after the jobs that run; once more to stop at once", file=sys.stderr, flush=True)
        running = [each for each in outcomes.read(self._sweep) if each.status is None and each.host == platform.node()]
        for each in running if number == signal.SIGTERM else []:
            with contextlib.suppress(ProcessLookupError):
                os.kill(each.process, number)


def asked(sweep: Path) -> int | None:
    """The exit status of a job that must not begin any more; None where nobody has stopped the sweep."""
    try:
        return SIGNALS + int((sweep / outcomes.FOLDER / _FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
