"""A run's folder is trained in by one process at a time.

The lock is the kernel's (`flock`): it ends with the process that holds it, however that ends, so none is ever left
behind. What stands in its file is for people. On NFS the server keeps it for all hosts.
"""

import contextlib
import datetime
import errno
import os
import socket
import warnings
from collections.abc import Iterator
from pathlib import Path

import filelock

FILE = ".lock"  # in a run's folder; it stays, for a lock that is taken away could be held twice
_UNSUPPORTED = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)


@contextlib.contextmanager
def held(folder: Path, key: str) -> Iterator[None]:
    """Hold the lock of a run's folder, which `key` of the command line names; warns where locks are not supported.

    Raises:
        ValueError: another process holds it; the message says which, and since when.
    """
    try:
        lock = _acquired(folder, key)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        warnings.warn(
            f"{folder} lies where files cannot be locked ({error.strerror}): nothing keeps two processes from training "
            "this run at once",
            stacklevel=2,
        )
        yield
        return
    try:
        (folder / FILE).write_text(_myself() + "\n", encoding="utf-8")
        yield
    finally:
        lock.release()


def check_free(folder: Path, key: str) -> None:
    """Raise ValueError if a process holds the lock of a run's folder; writes nothing."""
    if (folder / FILE).exists():
        with contextlib.suppress(OSError):  # which training it will tell
            _acquired(folder, key).release()


def _acquired(folder: Path, key: str) -> filelock.BaseFileLock:
    lock = filelock.FileLock(folder / FILE, fallback_to_soft=False)
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        raise ValueError(
            f"{key} is {str(folder)!r}; it must be a run that nobody trains, and {_holder(folder)}"
        ) from None
    return lock


def _holder(folder: Path) -> str:
    with contextlib.suppress(OSError, UnicodeDecodeError):
        if words := " ".join((folder / FILE).read_text(encoding="utf-8").split()):
            return words
    return "another process does"


def _myself() -> str:
    now = datetime.datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    return f"process {os.getpid()} on {socket.gethostname()} does since {now}"
