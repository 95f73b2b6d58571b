"""A user's own folder of settings, searched besides `conf/`: the flag --config-dir, of every launcher.

hydra's flag reaches only what hydra composes for a job. As the override that does the same it goes wherever overrides
go: into the checks before the first job, into other launchers, and into a run that is resumed.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser

_FLAGS = ("--config-dir", "-cd")
_KEY = "hydra.searchpath"
_SCHEME = "file://"


def given(arguments: Sequence[str]) -> bool:
    """Whether a command line names a folder of settings besides `conf/`, as a flag or as an override."""
    return any(text.partition("=")[0] in (*_FLAGS, _KEY) for text in arguments)


def as_override(arguments: Sequence[str]) -> list[str]:
    """The command line with an override in place of --config-dir, which may be given more than once.

    Raises:
        ValueError: no such folder, or the override is given besides.
    """
    rest, found, remaining = [], list[str](), iter(arguments)
    for text in remaining:
        flag, equals, value = text.partition("=")
        if flag in _FLAGS:
            found.append(_folder(flag, value if equals else next(remaining, "")))
        else:
            rest.append(text)
    if not found:
        return rest
    if given(rest):
        raise ValueError(f"{_KEY} is given besides {_FLAGS[0]}; it must not be, since both name folders of settings")
    place = next((index for index, text in enumerate(rest) if re.match(r"[^-][^=]*=", text)), len(rest))
    return [*rest[:place], f"{_KEY}=[{','.join(found)}]", *rest[place:]]  # hydra takes no flag between overrides


def among(overrides: Sequence[str]) -> list[str]:
    """Of a list of overrides, the one that names folders of settings, if there is one."""
    return [text for text in overrides if text.startswith(f"{_KEY}=")]


def passed_on(overrides: Any) -> list[str]:
    """Of hydra's overrides of a job, those that compose its settings anew: the job's, and that of `among`."""
    return [*overrides.task, *among(overrides.hydra)]


def folders(overrides: Sequence[str]) -> list[Path]:
    """The folders of settings that a list of overrides names."""
    parsed: Any = [each.value() for each in OverridesParser.create().parse_overrides(among(overrides))]
    places = [place for places in parsed if isinstance(places, list) for place in places]
    return [Path(str(place).removeprefix(_SCHEME)) for place in places]


def _folder(flag: str, value: str) -> str:
    """A folder as an entry of hydra's list.

    Raises:
        ValueError: there is none.
    """
    if not Path(value).is_dir() or not value:
        raise ValueError(f"{flag} is {value!r}; it must be a folder that holds folders of settings, such as game/")
    escaped = str(Path(value).absolute()).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{_SCHEME}{escaped}"'
