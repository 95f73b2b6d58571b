"""How far something is that takes a while, on stderr: a line drawn anew on a terminal, one in ten seconds elsewhere."""

import sys
import time
from typing import TextIO

from jaxdlb.writing import clock

_SECONDS_BETWEEN_LINES = 10.0
_AGAIN = "\r\x1b[2K"  # back to the start of the line, which is cleared


class Countdown:
    """Says how much is done, and how long the rest will take if it goes on like this."""

    def __init__(self, what: str, stream: TextIO | None = None) -> None:
        self._what, self._stream = what, stream or sys.stderr
        terminal = self._stream.isatty()
        self._before, self._after = (_AGAIN, "") if terminal else ("", "\n")
        self._seconds_between = 0.0 if terminal else _SECONDS_BETWEEN_LINES
        self._began = self._last = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        """`done` of `total`, in whatever unit; `done` > 0."""
        now = time.monotonic()
        if now - self._last < self._seconds_between:
            return
        self._last = now
        left = clock((now - self._began) * (total - done) / done)
        self._write(f"{self._what}: {done / total:.0%}, {left} left", self._after)

    def ended(self, message: str) -> None:
        """All is done, as the message says."""
        self._write(message, "\n")

    def _write(self, text: str, after: str) -> None:
        print(f"{self._before}{text}", end=after, file=self._stream, flush=True)
