"""Runs a command line of `python -m train`: one job, or those of a sweep."""

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from . import cli, compose, config, errors, launch, own_conf, paths, reference

_SWEEP = ("-m", "--multirun")


def main(arguments: Sequence[str], description: str) -> int:
    """Run the command line (without the program's name), and return the exit status; --help says the `description`.

    Raises:
        SystemExit: a signal asked to stop, or something other than training was asked of hydra.
    """
    if set(cli.HELP) & set(arguments):
        return cli.run(lambda: _help(arguments, description), print, arguments)
    arguments = sorted(arguments, key=lambda text: text not in _SWEEP)  # hydra cannot find a flag between overrides
    os.environ["HYDRA_FULL_ERROR"] = "1"  # hydra then raises what is wrong, instead of printing it and exiting
    config.register()
    statuses: list[int] = []

    def job(given: DictConfig) -> None:
        given_to = HydraConfig.get().overrides
        overrides = [*given_to.task, *own_conf.among(given_to.hydra)]
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            given.run_dir = os.path.relpath(HydraConfig.get().runtime.output_dir)
        statuses.append(cli.run(lambda: launch.prepare(given, overrides), launch.execute, overrides))

    before = sys.argv
    try:
        with errors.refusals(arguments):
            arguments = compose.understood(arguments)
            if (asked := _check(arguments)) is not None:
                print(asked)
                return 0
            sys.argv = ["train", *arguments]
            hydra.main(version_base="1.3", config_path=str(paths.CONF), config_name="config")(job)()
    except errors.Refusal as refusal:
        print(refusal, file=sys.stderr)
        return errors.STATUS
    finally:
        sys.argv = before
    return max(statuses, default=0)


def _help(arguments: Sequence[str], description: str) -> str:
    groups = f"Groups and their choices:\n{reference.groups(own_conf.folders(arguments))}\n\n"
    return cli.helped(description, arguments, groups=groups)


def _check(arguments: Sequence[str]) -> str | None:
    """Check the flags and, of a sweep, every job before the first is run: one that is wrong leaves nothing behind.

    Returns:
        The config with every key's meaning, where --cfg job asks for it.

    Raises:
        ValueError, HydraException, OmegaConfBaseException: something given is wrong.
    """
    parser = get_args_parser()
    parser.error = _refuse_flags  # type: ignore[method-assign]
    given = parser.parse_args(list(arguments))
    if given.cfg == "job":
        return reference.keys(compose.from_conf(given.overrides))
    if not given.multirun:
        return None
    for overrides in compose.jobs(given.overrides):
        composed = compose.from_conf(overrides)
        for key in ("run_dir", "resume"):
            if composed[key] is not None:
                raise ValueError(
                    f"{key} is {composed[key]!r}; it must not be given in a sweep, whose runs have their own"
                )
        launch.prepare(composed, overrides)
    return None


def _refuse_flags(message: str) -> NoReturn:
    raise ValueError(f"the command line is wrong: {message}; it must be flags of hydra (--help) and key=value")
