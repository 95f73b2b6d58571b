"""hydra's command line: its flags, and how it is started."""

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import hydra
from omegaconf import DictConfig

from . import paths

MULTIRUN = ("-m", "--multirun")
_SWITCHES = (("--hydra-help",), ("--version",), ("--resolve",), ("--run", "-r"), ("--shell-completion", "-sc"))
_VALUES = (("--package", "-p"), ("--config-path", "-cp"), ("--config-name", "-cn"), ("--config-dir", "-cd"))
_INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")


class _Parser(argparse.ArgumentParser):
    """Raises what is wrong, where argparse prints it and exits."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"the command line is wrong: {message}; it must be flags of hydra (--help) and key=value")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The `overrides` of a command line and hydra's flags, of which --experimental-rerun is left out: it unpickles.

    Raises:
        ValueError: a flag that there is not, or one without its value.
    """
    parser = _Parser(add_help=False)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--help", "-h", action="store_true")
    parser.add_argument(*MULTIRUN[::-1], action="store_true")
    parser.add_argument("--cfg", "-c", choices=["job", "hydra", "all"])
    parser.add_argument("--info", "-i", const="all", nargs="?", choices=_INFO)
    for names in _SWITCHES:
        parser.add_argument(*names, action="store_true")
    for names in _VALUES:
        parser.add_argument(*names)
    return parser.parse_args(in_order(arguments))


def in_order(arguments: Sequence[str]) -> list[str]:
    """The command line with -m in front: neither argparse nor hydra finds a flag between overrides."""
    return sorted(arguments, key=lambda text: text not in MULTIRUN)


def start(arguments: Sequence[str], job: Callable[[DictConfig], Any]) -> None:
    """Have hydra do what the command line asks for, with `job` for each run.

    Raises:
        Exception: whatever is wrong with the command line, or goes wrong in the sweeper, the launcher or a job.
        SystemExit: something other than a run was asked for.
    """
    before = sys.argv
    sys.argv = ["train", *arguments]
    try:
        hydra.main(version_base="1.3", config_path=str(paths.CONF), config_name="config")(job)()
    finally:
        sys.argv = before
