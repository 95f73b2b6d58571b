"""Completion of the command `jaxdlb` in a shell: hydra's own, for the launcher that the line names.

A shell asks `jaxdlb -sc query=bash`, with the line so far in COMP_LINE. Where there is no answer nothing is printed: a
line that is still being written may be wrong.
"""

import contextlib
import importlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence

from hydra.core.plugins import Plugins
from hydra.plugins.completion_plugin import CompletionPlugin

from . import compose, errors, own_conf
from .launchers import COMMAND, LAUNCHERS
from .settings import Settings

_LINE = "COMP_LINE"
_ACTIONS: Mapping[str, Callable[[CompletionPlugin], None]] = {
    "install": lambda plugin: plugin.install(),
    "uninstall": lambda plugin: plugin.uninstall(),
    "query": lambda plugin: complete(plugin, os.environ.get(_LINE, "")),
}


def main(asked: str) -> int:
    """Do what is `asked`, such as install=bash or query=bash, and return the exit status."""
    action, _, shell = asked.partition("=")
    found = Plugins.instance().discover(CompletionPlugin)
    known = {each.provides(): each for each in found if issubclass(each, CompletionPlugin)}
    if action not in _ACTIONS or shell not in known:
        possible = f"{' or '.join(_ACTIONS)}, an equals sign, and {' or '.join(sorted(known))}"
        print(f"--shell-completion is {asked!r}; it must be {possible}, as in install=bash", file=sys.stderr)
        return errors.STATUS
    with compose.loader() as loader:
        _ACTIONS[action](known[shell](loader))
    return 0


def complete(plugin: CompletionPlugin, line: str) -> None:
    """Print what may stand in the place of the last word of a line, or behind a line that ends in a blank."""
    _, *words = [*line.split(), *([""] if line[-1:].isspace() else [])]
    if len(words) < 2:
        print("\n".join(LAUNCHERS))
    elif words[0] in LAUNCHERS:
        launcher, *before, word = words
        with contextlib.suppress(errors.Refusal), errors.refusals():
            _complete_keys(plugin, _schema(launcher), own_conf.as_override(before), word)


def _complete_keys(plugin: CompletionPlugin, schema: type, before: Sequence[str], word: str) -> None:
    with compose.loader(schema):
        os.environ[_LINE] = " ".join([COMMAND, *compose.understood(before, schema), word])
        plugin.query("config")


def _schema(launcher: str) -> type:
    """The settings that a launcher declares, or those of a run."""
    if launcher == "train":
        return Settings
    module = importlib.import_module(f".{launcher}", __package__)
    kinds = [each for each in vars(module).values() if isinstance(each, type) and issubclass(each, Settings)]
    return next((each for each in kinds if each.__module__ == module.__name__), Settings)
