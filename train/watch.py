"""Each process of a run says that it lives and looks whether the others do; one left alone ends, with a sentence.

jax has no such watch: a process whose peer is dead or stopped waits for it in the next sum over devices, for ever or
until an error without a name comes out of the network. What says that a process lives is a count that a thread of it
puts into the store of jax's coordinator, which process 0 holds.
"""

import contextlib
import math
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Protocol

STATUS = 75  # of a process that lost another: EX_TEMPFAIL of sysexits.h, it may be tried again
_LONGEST_BEAT = 1.0  # seconds between two signs of life, at most
_BEATS_IN_TIMEOUT = 5
_GRACE = 20.0  # seconds in which a process may end by itself after another has ended for a reason of its own
_ENDED, _OVER = "ended ", " over"
_FOLDER = "jaxdlb/alive/"


class Store(Protocol):
    """What is used of the client of jax's coordinator."""

    def key_value_set(self, key: str, value: str, allow_overwrite: bool = False) -> None: ...

    def key_value_dir_get(self, key: str) -> list[tuple[str, str]]: ...


class Watch:
    """Signs of life of `count` processes, of which this is number `index`; silent for `timeout` seconds is dead."""

    def __init__(self, store: Store, index: int, count: int, timeout: float) -> None:
        self._store, self._index, self._count, self._timeout = store, index, count, timeout
        self._beat = min(_LONGEST_BEAT, timeout / _BEATS_IN_TIMEOUT)
        self._others = [peer for peer in range(count) if peer != index]
        self._own = 0  # signs of life given
        self._signs: dict[int, str] = {}  # the last of each process
        self._silence = dict.fromkeys(range(count), 0.0)  # seconds since then
        self._status: int | None = None
        self._over = False
        self._leaving = threading.Lock()
        self.farewell: Callable[[], str] = lambda: ""  # called before the process ends, for the end of its sentence

    def start(self) -> None:
        """Give signs of life from now on, and end this process when another is lost."""
        for work in (self._give_signs, self._look):
            threading.Thread(target=work, daemon=True).start()

    def end(self, status: int) -> None:
        """Say that this process is about to end, and wait until all others are too.

        Where it ends alone, for a reason of its own, it waits for as long as it takes others to notice.
        """
        self._status = status
        self._wait(self._has_ended, math.inf if _is_common(status) else 2 * _GRACE)
        self._over = True  # it knows of all others, so that process 0 may take the store away
        self._wait(lambda peer: self._signs.get(peer, "").endswith(_OVER), _GRACE)

    def _wait(self, ready: Callable[[int], bool], seconds: float) -> None:
        """Until all processes are `ready`, but no longer than so many seconds."""
        until = time.monotonic() + seconds
        while not all(map(ready, range(self._count))) and time.monotonic() < until:
            time.sleep(self._beat / 2)

    def lost(self, peer: int, why: str) -> None:
        """End this process, since another is lost."""
        if self._has_ended(peer) or self._ends_alone or not self._leaving.acquire(blocking=False):
            return
        _leave(f"process {peer} of {self._count} {why}, so this one (process {self._index}) ends", self.farewell)

    def verdict(self) -> None:
        """Wait for as long as it takes to find out whether another process is lost, which ends this one."""
        time.sleep(self._timeout + 5 * _LONGEST_BEAT)

    def _give_signs(self) -> None:
        while True:
            self._own += 1
            with contextlib.suppress(Exception):  # silence says it all
                self._store.key_value_set(f"{_FOLDER}{self._index}", self._sign, allow_overwrite=True)
                for key, found in self._store.key_value_dir_get(_FOLDER):
                    self._note(int(key.rpartition("/")[2]), found)
            time.sleep(self._beat)

    @property
    def _sign(self) -> str:
        if self._status is None:
            return str(self._own)
        return f"{_ENDED}{self._status}{_OVER if self._over else ''}"

    def _note(self, peer: int, sign: str) -> None:
        if self._signs.get(peer) != sign:
            self._signs[peer], self._silence[peer] = sign, 0.0

    def _look(self) -> None:
        """Seconds in which this process itself was stopped do not count."""
        before = time.monotonic()
        while True:
            time.sleep(self._beat / 2)
            now = time.monotonic()
            for peer in self._others:
                self._silence[peer] += min(now - before, self._beat)
                self._judge(peer)
            before = now

    def _judge(self, peer: int) -> None:
        """Where all are silent it is process 0 that is: it holds the store."""
        if self._has_ended(peer):
            self._judge_status(peer)
        elif self._silence[peer] > self._timeout:
            self.lost(peer, f"has given no sign of life for {self._timeout:g} s (distributed.timeout)")

    def _judge_status(self, peer: int) -> None:
        """Whoever ended for a reason of its own takes this process along, unless it ends for the same reason."""
        status = int(self._signs[peer].split()[1])
        if _is_common(status) or self._status is not None or self._silence[peer] < _GRACE:
            return
        with self._leaving:
            self._status = status
            time.sleep(2 * self._beat)  # for the others to be told
            _leave(f"process {peer} of {self._count} ended with status {status}", self.farewell, status)

    @property
    def _ends_alone(self) -> bool:
        return self._status is not None and not _is_common(self._status)

    def _has_ended(self, peer: int) -> bool:
        return self._signs.get(peer, "").startswith(_ENDED)


def _is_common(status: int) -> bool:
    """Whether a status is that of all processes together: the run is complete, or a signal has stopped it."""
    return status == 0 or status > 128


def _leave(why: str, farewell: Callable[[], str], status: int = STATUS) -> None:
    """End the process at once: its main thread may be waiting for what never comes."""
    said: list[str] = []
    last = threading.Thread(target=lambda: said.append(farewell()), daemon=True)
    last.start()
    last.join(30)  # seconds
    ending = f"; {said[0]}" if said and said[0] else ""
    print(f"{why}{ending}", file=sys.__stderr__, flush=True)
    os._exit(status)
