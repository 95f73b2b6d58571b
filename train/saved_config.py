"""A run's saved config is data: plain values under known keys, whoever made the folder.

It is read as YAML without tags, aliases or interpolation. What it names is not looked up: no file is written or read,
nothing is sent anywhere, and no module imported because it says so; those come from the command line.
"""

import dataclasses
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from . import command_line
from .settings import Settings

FILE = "config.yaml"  # in a run's folder
GROUPS = ("game", "learner", "network", "logger")
CODE = ("game.name", "learner.name", "learner.fixed_policy", "evaluation.heuristics")  # may hold package.module:OBJECT
# files and folders that a run reads
READ = ("game.trace.path", "game.trace.bandwidth_path", "evaluation.sweep.beside")
_OWN = ("runs_dir", "run_dir", "resume", "resume_step")  # of the launch that made the run, and of no other
_SENT = "logger"  # where metrics go
_CONSOLE = {"name": "console"}
_LARGEST = 2**20  # bytes

Saved = dict[str, Any]


class _NotPlainError(ValueError):
    """A file holds more than values."""


class _Reader(yaml.SafeLoader):
    """Plain YAML: values and lists and mappings of them, each written out where it is."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) or getattr(event, "tag", None):
            raise _NotPlainError("anchors, aliases and tags are no plain values")
        return super().compose_node(parent, index)


def read(folder: Path) -> Saved:
    """What a run's folder holds as its settings.

    Raises:
        ValueError: no such file, or one that no run saved: too large, no plain YAML, an interpolation, unknown keys.
    """
    path = folder / FILE
    if not path.is_file():
        raise ValueError(f"{folder} holds no {FILE}; it must be the folder of a run")
    saved = plain(path)
    if not isinstance(saved, dict) or not all(isinstance(saved.get(group), dict) for group in GROUPS):
        raise ValueError(f"{path} lacks some of the groups {', '.join(GROUPS)}; it must be what a run saved")
    unknown = sorted(set(map(str, saved)) - {field.name for field in dataclasses.fields(Settings)})
    if unknown:
        raise ValueError(f"{path} holds {unknown[0]}, which is no known key; it must be what a run saved")
    return saved


def plain(path: Path) -> Any:
    """What a file of settings holds, as plain values; None where it is too large to be one.

    Raises:
        ValueError: it cannot be read, or holds more than values.
    """
    try:
        with path.open("rb") as file:
            text = file.read(_LARGEST + 1)
        saved = yaml.load(text, _Reader) if len(text) <= _LARGEST else None
        _check_plain(saved)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        reason = error if isinstance(error, _NotPlainError) else type(error).__name__
        raise ValueError(f"{path} cannot be read ({reason}); it must be what a run saved") from None
    return saved


def _check_plain(value: Any) -> None:
    """Raise ValueError for an interpolation, at any depth."""
    if isinstance(value, str) and "${" in value:
        raise _NotPlainError("an interpolation is no plain value")
    for each in _parts(value):
        _check_plain(each)


def _parts(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        yield from value.keys()
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def kept(saved: Saved, overrides: Sequence[str], *, resumed: bool, source: Path) -> Saved:
    """What counts of a saved config: neither the paths nor the logger, but where the run itself goes on.

    A resumed run keeps its logger and what it reads, of which `told` says so.

    Raises:
        ValueError: it names files to read, or code, that the command line does not name.
    """
    left = {key: value for key, value in saved.items() if key not in _OWN}
    if not resumed:
        left[_SENT] = dict(_CONSOLE)
        _check_not_read(left, overrides, source)
    _check_known_code(left, overrides, source)
    return left


def told(saved: Saved, overrides: Sequence[str]) -> str | None:
    """A line on what a resumed run keeps that reaches out of its folder; None where nothing does."""
    found = {key: _at(saved, key) for key in READ}
    if saved[_SENT] != _CONSOLE:
        found |= {f"{_SENT}.{key}": value for key, value in saved[_SENT].items()}
    named = [f"{key}={value}" for key, value in found.items() if value and not _given(key, overrides)]
    return f"as saved with the run: {' '.join(named)}" if named else None


def check_own(folder: Path) -> None:
    """Check that no file of a run is a link: going on with the run would write where it leads.

    Raises:
        ValueError: names the file.
    """
    for path in sorted(folder.iterdir()):
        if path.is_symlink() and not path.is_dir():
            raise ValueError(f"{path} is a link; it must be a file of the run's own, since resuming writes it")


def code(overrides: Sequence[str]) -> list[str]:
    """Those of `overrides` that name objects of modules, which a run's folder may name but not have imported."""
    return [text for text in overrides if text.partition("=")[0] in CODE and ":" in text]


def _check_not_read(saved: Saved, overrides: Sequence[str], source: Path) -> None:
    for key in READ:
        if _at(saved, key) and not _given(key, overrides):
            raise ValueError(
                f"{key} is not given; it must be, since {source} names {_at(saved, key)!r} and what a run's folder "
                "names is not read"
            )


def _check_known_code(saved: Saved, overrides: Sequence[str], source: Path) -> None:
    """Raise ValueError for an object of a module that is not imported yet: of the command line they are."""
    for key in CODE:
        for place in _places(_at(saved, key)):
            if not _given(key, overrides) and place.partition(":")[0] not in sys.modules:
                raise ValueError(
                    f"{key} is not given; it must be, since {source} names {place!r} and what a run's folder names is "
                    "not imported"
                )


def _places(value: Any) -> Iterable[str]:
    """Each package.module:OBJECT in a name, or in a list of names and of mappings with one."""
    if isinstance(value, str):
        return [value] if ":" in value else []
    if isinstance(value, Mapping):
        return _places(value.get("name"))
    return [place for each in value for place in _places(each)] if isinstance(value, list) else []


def _given(key: str, overrides: Sequence[str]) -> bool:
    """Whether the command line gives a key, or the group that it is in."""
    return any(command_line.value_of(name, overrides) is not None for name in (key, key.partition(".")[0]))


def _at(saved: Any, key: str) -> Any:
    for name in key.split("."):
        saved = saved.get(name) if isinstance(saved, Mapping) else None
    return saved
