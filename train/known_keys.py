"""A first look at a command line: a key that does not exist is refused before anything heavy is imported.

Which keys there are follows from the library's declarations, and these need JAX. So the keys are remembered, in the
user's cache folder, for each choice of groups; they hold until a file of the library, of the launchers or of `conf/`
changes. What is not remembered is left to the whole check, which says the same.
"""

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path

import jaxdlb
from jaxdlb.writing import user_cache, write_whole

from . import errors, own_conf, paths

_NAME = "keys.json"
_SOURCES = {Path(jaxdlb.__file__).parent: "*.py", paths.PACKAGE: "*.py", paths.CONF: "*.yaml"}


def check(arguments: Sequence[str]) -> None:
    """Refuse a key that is known not to exist.

    Raises:
        errors.Refusal: names the key, those beside it and the nearest.
    """
    if own_conf.given(arguments):  # whose groups may have other keys
        return
    known = _remembered().get(_choice(arguments))
    if known is None or any(text.startswith("resume=") for text in arguments):  # whose groups are those of the run
        return
    for key in _keys(arguments):
        parent, _, _ = key.rpartition(".")
        if key not in known and (not parent or parent in known):
            beside = [each for each in known if each.rpartition(".")[0] == parent]
            raise errors.Refusal(errors.unknown_key(key, [each.rpartition(".")[2] for each in beside], known))


def remember(arguments: Sequence[str]) -> None:
    """Note the keys that there are with the groups that `arguments` choose, where they are not known yet."""
    if own_conf.given(arguments):
        return
    from . import compose

    known = _remembered()
    choice = _choice(arguments)
    if choice in known or ":" in choice:  # the keys of a user's own package change with its files
        return
    with contextlib.suppress(errors.Refusal, OSError), errors.refusals():
        keys = errors.dotted(compose.from_conf(choice.split()))
        path = user_cache() / _NAME
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps({"stamp": _stamp(), "known": known | {choice: keys}}))


def _choice(arguments: Sequence[str]) -> str:
    """The groups that a command line chooses, by their files or by a name."""
    chosen = _groups() | {f"{group}.name" for group in _groups()}
    return " ".join(sorted(text for text in arguments if text.partition("=")[0] in chosen))


def _groups() -> set[str]:
    return {path.name for path in paths.CONF.iterdir() if path.is_dir()}


def _keys(arguments: Sequence[str]) -> list[str]:
    """The keys that a command line sets; flags, groups, and what hydra adds, deletes or owns are left out."""
    keys = [text.partition("=")[0] for text in arguments if "=" in text and not text.startswith(("-", "~", "+"))]
    left = _groups()
    return [key for key in keys if key and key not in left and not set("/@") & set(key) and not key.startswith("hydra")]


def _remembered() -> dict[str, list[str]]:
    try:
        read = json.loads((user_cache() / _NAME).read_text(encoding="utf-8"))
        known = read["known"] if read["stamp"] == _stamp() else {}
        return {str(choice): [str(key) for key in keys] for choice, keys in known.items() if keys}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _stamp() -> str:
    """Differs whenever a file is added, taken away or written that says which keys there are."""
    files = [path for folder, names in _SOURCES.items() for path in folder.rglob(names)]
    return f"{' '.join(map(str, _SOURCES))} {len(files)} {sum(_changed(path) for path in files)}"


def _changed(path: Path) -> int:
    with contextlib.suppress(OSError):
        return path.stat().st_mtime_ns
    return 0
