"""Train: `python -m train [group=choice …] [key=value …]`; `-m` sweeps, `resume=<run>` goes on with a run.

Exit status: 0 when all went well; 1 when training diverged; 2 when something given is wrong, of which one line on
stderr says what, and then nothing has been written; 128 + the signal's number when a signal stopped it, after a
checkpoint.
"""

import os
import sys
from collections.abc import Sequence

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from train import cli, compose, config, errors, launch


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (without the program's name), and return the exit status.

    Raises:
        SystemExit: a signal asked to stop, or --help or the like was answered.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    os.environ["HYDRA_FULL_ERROR"] = "1"  # hydra then raises what is wrong, instead of printing it and exiting
    config.register()
    statuses: list[int] = []

    def job(given: DictConfig) -> None:
        overrides = list(HydraConfig.get().overrides.task)
        statuses.append(cli.run(lambda: launch.prepare(given, overrides), launch.execute, overrides))

    before, sys.argv = sys.argv, ["train", *arguments]
    try:
        with errors.refusals(arguments):
            _check_sweep(arguments)
            hydra.main(version_base="1.3", config_path=str(compose.CONF), config_name="config")(job)()
    except errors.Refusal as refusal:
        print(refusal, file=sys.stderr)
        return errors.STATUS
    finally:
        sys.argv = before
    return max(statuses, default=0)


def _check_sweep(arguments: Sequence[str]) -> None:
    """Prepare every job of a sweep before the first is run, so that one that is wrong leaves nothing behind."""
    given = get_args_parser().parse_args(list(arguments))
    if given.multirun:
        for overrides in compose.jobs(given.overrides):
            launch.prepare(compose.from_conf(overrides), overrides)


if __name__ == "__main__":
    launch.use_compilation_cache()
    sys.exit(main())
