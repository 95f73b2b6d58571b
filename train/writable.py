"""Whether what is to be written can be: found out before anything is, by trying, and leaving nothing behind."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

_ROOM = "x/" * 100  # as long as the longest names below a run's folder, those of a checkpoint that is being written


def check_folder(key: str, folder: Path) -> None:
    """Check that a folder is there, or could be made, and that files can be written in it.

    Permissions do not tell: a file system may be read-only, or hold no files at all, as that of /proc. So a folder is
    made in the nearest one that is there, under a name of its own, and taken away.

    Raises:
        ValueError: names the key, the folder and what is in the way.
    """
    with _refused(key, folder, "a folder that can be written"):
        place = folder.absolute()
        present = _nearest(place)
        names = place.relative_to(present).parts
        for path in (place / _ROOM, *(present / name for name in names)):
            _check_length(path)
        with tempfile.TemporaryDirectory(prefix=".", dir=present):
            pass


def check_file(key: str, path: Path) -> None:
    """Check that a file could be written, in a folder that is there.

    Raises:
        ValueError: names the key, the path and what is in the way.
    """
    check_folder(key, path.parent)
    with _refused(key, path, "a file that can be written"):
        _check_length(path)
        if path.is_symlink() and not path.exists():
            raise OSError(0, "it is a link that leads nowhere")
        if path.exists() and not path.is_file():
            raise OSError(0, "it is no file")
        if path.exists():
            path.open("ab").close()


@contextlib.contextmanager
def _refused(key: str, path: Path, wanted: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ValueError(f"{key} is {str(path)!r}; it must be {wanted} ({error.strerror})") from None


def _nearest(place: Path) -> Path:
    """The folder itself or, where it is not there, the nearest of those that it would be in."""
    for present in (place, *place.parents):
        try:
            os.stat(present)
        except (FileNotFoundError, NotADirectoryError):
            if present.is_symlink():
                raise OSError(0, f"{str(present)!r} is a link that leads nowhere") from None
            continue
        if not present.is_dir():
            raise OSError(0, f"{str(present)!r} is a file")
        return present
    raise OSError(0, "nothing above it is there")


def _check_length(path: Path) -> None:
    """Raise OSError if the path, or its last name, is longer than the file system takes."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        os.lstat(path)
