"""Runs a command line of `python -m train`: one job, or those of a sweep."""

import os
import sys
from collections.abc import Sequence

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from . import cli, compose, config, errors, hydra_cli, launch, memory, own_conf, planning, reference
from .multirun import parent

DRY_RUN = "--dry_run"  # a flag of our own, which hydra does not know


def main(arguments: Sequence[str], description: str) -> int:
    """Run the command line (without the program's name), and return the exit status; --help says the `description`.

    Raises:
        SystemExit: a signal asked to stop, or something other than training was asked of hydra.
    """
    if set(cli.HELP) & set(arguments):
        return cli.run(lambda: _help(arguments, description), print, arguments)
    if DRY_RUN in arguments:
        rest = [text for text in arguments if text != DRY_RUN]
        return cli.run(lambda: _plan_of_one(rest), memory.dry_run, rest)
    arguments = hydra_cli.in_order(arguments)
    os.environ["HYDRA_FULL_ERROR"] = "1"  # hydra then raises what is wrong, instead of printing it and exiting
    config.register()
    try:
        with errors.refusals(arguments):
            arguments = compose.understood(arguments)
            given = hydra_cli.parse(arguments)
            if given.cfg == "job":
                print(reference.keys(compose.from_conf(given.overrides)))
                return 0
            if not given.multirun:
                return _single(arguments)
    except errors.Refusal as refusal:
        print(refusal, file=sys.stderr)
        return errors.STATUS
    return parent.run(arguments)


def _single(arguments: Sequence[str]) -> int:
    statuses: list[int] = []

    def job(given: DictConfig) -> None:
        overrides = own_conf.passed_on(HydraConfig.get().overrides)
        statuses.append(launch.run(given, overrides))

    hydra_cli.start(arguments, job)
    return max(statuses, default=0)


def _help(arguments: Sequence[str], description: str) -> str:
    groups = f"Groups and their choices:\n{reference.groups(own_conf.folders(arguments))}\n\n"
    return cli.helped(description, arguments, groups=groups)


def _plan_of_one(overrides: Sequence[str]) -> planning.Plan:
    """What a dry run would train: one job, without flags.

    Raises:
        ValueError, HydraException, OmegaConfBaseException: something given is wrong.
    """
    config.register()
    flags = [text for text in overrides if text.startswith("-")]
    if flags:
        raise ValueError(f"{DRY_RUN} is given with {flags[0]}; it must be given without other flags, for one run")
    return planning.prepare(compose.from_conf(overrides), overrides)
