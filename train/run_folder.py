"""A run's folder: where it is, and that no two runs share one."""

import dataclasses
import itertools
import time
from pathlib import Path
from typing import Any

from jaxdlb import writing

from . import run_lock, saved_config, writable


def check(settings: Any, *, begun: bool = False) -> None:
    """Raise ValueError if the folder asked for cannot be the folder of a new run; writes nothing.

    With `begun`, one will do in which a start of this run was ended before its first checkpoint.
    """
    if settings.run_dir is None:
        _check_named("runs_dir", settings.runs_dir)
        writable.check_folder("runs_dir", Path(settings.runs_dir))
        return
    _check_named("run_dir", settings.run_dir)
    if begun and is_begun(Path(settings.run_dir)):
        return
    check_new("run_dir", Path(settings.run_dir), hint=f" (resume={settings.run_dir} goes on with the run in it)")


def check_new(key: str, folder: Path, hint: str = "") -> None:
    """Raise ValueError unless the folder is new or empty, and could be made; `hint` is added to what it must be."""
    writable.check_folder(key, folder)
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{key} is {str(folder)!r}; it must be a new or empty folder{hint}")


def asked_for(settings: Any, what: str) -> Path:
    """The folder `output`, or one by time, game and `what` in `runs_dir`; raises ValueError if it could not be made."""
    if settings.output is None:
        check(dataclasses.replace(settings, run_dir=None))
        return Path(settings.runs_dir) / f"{stamp()}_{settings.game.name}_{what}"
    check_new("output", Path(settings.output))
    return Path(settings.output)


def is_begun(folder: Path) -> bool:
    """Whether a folder holds a run's settings, or nothing but what is there before they are."""
    if not folder.is_dir():
        return False
    before = {folder / run_lock.FILE, *writing.partials(folder)}
    return (folder / saved_config.FILE).exists() or before.issuperset(folder.iterdir())


def create(settings: Any) -> Path:
    """Make the folder of a new run and return it: `run_dir`, or one by time, game and learner that is not yet taken."""
    if settings.run_dir is not None:
        folder = Path(settings.run_dir)
        folder.mkdir(parents=True, exist_ok=True)
        return folder
    return create_new(Path(settings.runs_dir) / f"{stamp()}_{settings.game.name}_{settings.learner.name}")


def create_new(folder: Path) -> Path:
    """Make a folder that was not there, with a number after its name if the name is taken, and return it."""
    names = itertools.chain([folder.name], (f"{folder.name}_{number}" for number in itertools.count(2)))
    for name in names:
        try:
            (folder.parent / name).mkdir(parents=True)
        except FileExistsError:
            continue
        return folder.parent / name
    raise AssertionError("unreachable: the names do not end")


def stamp() -> str:
    """The time now, for names of folders that sort by it."""
    return time.strftime("%Y-%m-%d_%H-%M-%S")


def _check_named(key: str, path: str) -> None:
    if not path.strip():
        raise ValueError(f"{key} is {path!r}; it must be the name of a folder")
