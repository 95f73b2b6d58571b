"""SIGINT and SIGTERM while a launcher works: a first one asks to stop, a second one stops at once."""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

STOPPING = (signal.SIGINT, signal.SIGTERM)
# Schedulers tell a job's shell and its program, and the shell tells the program again: that is one request, not two.
_SECONDS_OF_ONE_REQUEST = 1.0
_SHOW_CURSOR = "\x1b[?25h"  # which a progress bar hides


class StoppedError(KeyboardInterrupt):
    """A signal asked to stop. No `except Exception` on its way takes it for an error of its own."""

    def __init__(self, signal_number: int, update: int | None = None) -> None:
        after = "" if update is None else f" after update {update}"
        super().__init__(f"stopped by {signal.Signals(signal_number).name}{after}")
        self.signal_number = signal_number


class Signals:
    """While in use, a first SIGINT or SIGTERM raises StoppedError, and a second one ends the process at once.

    Within `deferred` a first one is only noted: whoever works there looks at `asked()` when it suits. A second SIGTERM
    within a second of the first counts as the same.

    Python runs handlers between two steps of the main thread, and compiling is one step. So a thread listens beside it,
    by which signals are answered whatever the main thread does.
    """

    def __init__(self) -> None:
        self._received: int | None = None
        self._since = 0.0  # when the first was received
        self._deferred = False
        self._handled = 0  # signals that the main thread has heard of; the listener counts its own
        self._announced = threading.Lock()  # is never given back: the first is announced once
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Signals":
        reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        self._listener = threading.Thread(target=self._listen, args=(reader,), name="signals", daemon=True)
        self._listener.start()
        self._wakeup_before = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        self._before = {number: signal.signal(number, self._handle) for number in STOPPING}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup_before)
        os.close(self._writer)  # by which the listener ends
        self._listener.join()

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Where a first signal is only noted; what was noted and not acted upon raises StoppedError at the end."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False
        if self._received is not None:
            raise StoppedError(self._received)

    def asked(self) -> int | None:
        """The number of the signal that asked to stop; None while there was none."""
        return self._received

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._handled += 1
        self._received = self._received or number
        self._answer(number, self._handled)
        if self._handled == 1 and not self._deferred:
            raise StoppedError(number)

    def _listen(self, reader: int) -> None:
        heard = 0
        while byte := os.read(reader, 1):
            if byte[0] in STOPPING:
                heard += 1
                self._answer(byte[0], heard)
        os.close(reader)

    def _answer(self, number: int, heard: int) -> None:
        if self._announced.acquire(blocking=False):
            self._since = time.monotonic()
            when = " after this interval" if self._deferred else ""
            _say(f"{signal.Signals(number).name}: stopping{when}; once more to stop at once")
        elif heard > 1 and not self._same_request(number):
            stop_at_once(number)

    def _same_request(self, number: int) -> bool:
        return number == signal.SIGTERM and time.monotonic() - self._since < _SECONDS_OF_ONE_REQUEST


def stop_at_once(number: int, frame: FrameType | None = None) -> None:
    """End the process with a sentence and the status 128 + the signal's number; a handler of signals."""
    with contextlib.suppress(OSError, ValueError):
        shown = _SHOW_CURSOR if sys.stderr.isatty() else ""
        _say(f"{shown}stopped at once by {signal.Signals(number).name}")
    os._exit(128 + number)


def answer_at_once() -> None:
    """Have SIGINT and SIGTERM end the process with a sentence, where no `Signals` is in use: nothing is half done."""
    for number in STOPPING:
        signal.signal(number, stop_at_once)


def _say(text: str) -> None:
    """Write a line to stderr, past Python's own buffer: a handler may come while that is in use."""
    with contextlib.suppress(OSError):
        os.write(2, f"{text}\n".encode())
