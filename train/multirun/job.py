"""A job of a sweep, in whatever process the launcher runs it."""

import dataclasses
import math
import os
import platform
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from .. import cli, launch, objective, own_conf, processors
from . import outcomes, stopping
from .outcomes import Outcome

_SIDE_BY_SIDE = ("joblib", "submitit_local", "ray")  # whose jobs keep the cores of one machine busy together


def job(given: DictConfig) -> float:
    """Run a job, note what came of it, and return its objective for the sweeper.

    Where there is none, since the job failed or its objective is not finite, it is the worst there is: a sampler then
    learns to keep away, which it would not from a trial that is left out.

    Raises:
        SystemExit: a signal asked this process to stop, in which the sweep itself runs.
    """
    hydra = HydraConfig.get()
    sweep, folder = Path(hydra.sweep.dir), _seen_from_here(Path(hydra.runtime.output_dir))
    overrides = list(hydra.overrides.task)
    begun = Outcome(hydra.job.num, tuple(overrides), str(folder), platform.node(), os.getpid())
    outcomes.write(sweep, begun)
    given.run_dir = str(folder)
    if not in_this_process(hydra):
        cli.tune()
    if hydra.runtime.choices["hydra/launcher"] in _SIDE_BY_SIDE and given.distributed.devices is None:
        processors.leave_whole()
    ended = dataclasses.replace(begun, status=stopping.asked(sweep))
    if ended.status is None:
        status, value = _run(given, own_conf.passed_on(hydra.overrides))
        ended = dataclasses.replace(begun, status=status, objective=value)
    if folder.exists() and not any(folder.iterdir()):
        folder.rmdir()  # hydra made it, and nothing was run
        ended = dataclasses.replace(ended, folder="")
    outcomes.write(sweep, ended)
    if ended.exit_status > stopping.SIGNALS and in_this_process(hydra):
        raise SystemExit(ended.exit_status)
    return _worst(hydra) if ended.objective is None else ended.objective


def _run(given: DictConfig, overrides: list[str]) -> tuple[int, float | None]:
    """The exit status of a run and, where it has one, its objective."""
    found: list[float] = []

    def work(plan: launch.Plan) -> None:
        found.append(objective.value(launch.execute(plan), plan.objective))

    try:
        status = cli.run(lambda: launch.prepare(given, overrides), work, overrides)
    except SystemExit as stopped:
        status = int(stopped.code or 0)
    return status, next(filter(math.isfinite, found), None)


def _seen_from_here(folder: Path) -> Path:
    return folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder


def in_this_process(hydra: Any) -> bool:
    """Whether hydra's settings have the jobs run one after another in the process that the sweep is started in."""
    return bool(hydra.runtime.choices["hydra/launcher"] == "basic")


def _worst(hydra: Any) -> float:
    """What no objective is below, or above where the sweeper minimises it."""
    direction = OmegaConf.select(hydra, "sweeper.direction")
    return math.inf if str(getattr(direction, "name", direction)) == "minimize" else -math.inf
