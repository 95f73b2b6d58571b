"""How files and numbers are written, whoever writes them."""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

_PARTIAL = re.compile(r"\..+\.\d+\.partial")


def write_whole(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Write a file that is complete or not there at all: beside its place first, then moved there.

    Raises:
        OSError: the file cannot be written; the error names it.
    """
    place = Path(path)
    partial = place.with_name(f".{place.name}.{os.getpid()}.partial")
    try:
        with named(place):
            partial.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
            partial.replace(place)
    finally:
        partial.unlink(missing_ok=True)


def partials(folder: Path) -> list[Path]:
    """What `write_whole` left in a folder where its process was killed."""
    return [path for path in folder.iterdir() if _PARTIAL.fullmatch(path.name)]


@contextlib.contextmanager
def named(path: Path) -> Iterator[None]:
    """Have an OSError from within name the file: of a full disk it does not say by itself what could not be written."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def user_cache() -> Path:
    """The user's folder for what can be made anew."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jaxdlb"


def quantity(value: float) -> str:
    """A number in three digits, in thousands, millions or billions: 75.5k, 1.2M, 3G."""
    for prefix, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= size:
            return f"{value / size:.3g}{prefix}"
    return f"{value:.3g}"


def clock(seconds: float) -> str:
    """A time as a clock shows it: 0:07, 12:34, 1:02:03."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
