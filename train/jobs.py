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

from . import cli, compose, config, errors, launch, memory, paths, reference

_SWEEP = ("-m", "--multirun")
DRY_RUN = "--dry_run"  # a flag of our own, which hydra does not know


def main(arguments: Sequence[str], description: str) -> int:
    """Run the command line (without the program's name), and return the exit status; --help says the `description`.

    Raises:
        SystemExit: a signal asked to stop, or something other than training was asked of hydra.
    """
    if set(cli.HELP) & set(arguments):
        groups = f"Groups and their choices:\n{reference.groups()}\n\n"
        return cli.run(lambda: cli.helped(description, arguments, groups=groups), print, arguments)
    if DRY_RUN in arguments:
        rest = [text for text in arguments if text != DRY_RUN]
        return cli.run(lambda: _plan_of_one(rest), memory.dry_run, rest)
    arguments = sorted(arguments, key=lambda text: text not in _SWEEP)  # hydra cannot find a flag between overrides
    os.environ["HYDRA_FULL_ERROR"] = "1"  # hydra then raises what is wrong, instead of printing it and exiting
    config.register()
    statuses: list[int] = []

    def job(given: DictConfig) -> None:
        overrides = list(HydraConfig.get().overrides.task)
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


def _plan_of_one(overrides: Sequence[str]) -> launch.Plan:
    """What a dry run would train: one job, without flags.

    Raises:
        ValueError, HydraException, OmegaConfBaseException: something given is wrong.
    """
    config.register()
    flags = [text for text in overrides if text.startswith("-")]
    if flags:
        raise ValueError(f"{DRY_RUN} is given with {flags[0]}; it must be given without other flags, for one run")
    return launch.prepare(compose.from_conf(overrides), overrides)


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
