"""The process that a sweep is started in: it checks all jobs, has them run, and tells what came of them."""

import contextlib
import dataclasses
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from hydra.core.override_parser.types import Quote, QuotedString
from omegaconf import DictConfig, OmegaConf

from .. import cli, compose, distributed, errors, hydra_cli, launch, own_conf, processors, run_folder
from ..objective import Objective
from ..population import num_apart
from . import outcomes, proposals, report
from .job import in_this_process, job
from .stopping import Stopping

_KEPT = ("run_dir", "resume")  # keys that the runs of a sweep have of their own
_SAME = ("objective", "direction", "runs_dir")  # keys that are of the sweep as a whole


@dataclasses.dataclass(frozen=True)
class Sweep:
    """A sweep whose jobs have all been found right; nothing is written yet."""

    arguments: tuple[str, ...]  # hydra's command line
    keys: tuple[str, ...]  # that take several values
    objective: Objective
    runs_dir: Path
    folder: Path | None  # None: one by time, below runs_dir
    hydra: DictConfig  # its settings


def run(arguments: Sequence[str]) -> int:
    """Run the sweep of a command line, and return the highest exit status of its jobs, or that of the sweep itself.

    Raises:
        SystemExit: a signal asked to stop.
    """
    statuses: list[int] = []
    ended = cli.run(lambda: prepare(arguments), lambda sweep: statuses.append(execute(sweep)), arguments)
    return max(ended, *statuses, 0)


def prepare(arguments: Sequence[str]) -> Sweep:
    """Check every job before the first one is run, and what the sweep itself is asked; writes nothing.

    Where the jobs run in processes of their own, this one computes on the CPU: on a GPU it would hold memory that they
    need.

    Raises:
        ValueError, HydraException, OmegaConfBaseException: something given is wrong.
    """
    given = hydra_cli.parse(arguments).overrides
    flags = [text for text in arguments if text not in given]
    given = compose.without_globs(given)
    space, hydra = compose.sweep(given)
    here = in_this_process(hydra)
    if not here:
        jax.config.update("jax_platforms", "cpu")
    keys = proposals.swept_keys(space)
    for key in {*keys} & {*_SAME}:
        raise ValueError(f"{key} takes several values; it must be the same for all jobs of a sweep")
    proposes = hydra.runtime.choices["hydra/sweeper"] != "basic"
    own = own_conf.among(given)
    jobs = [[*each, *own] for each in proposals.command_lines(space, proposes=proposes)]
    composed = [compose.from_conf(overrides) for overrides in jobs]
    processors.split(
        max(processors.number(num_apart(each) if here else 1, each.distributed.devices) for each in composed)
    )
    jax.devices()  # before a job says anything else
    plans = [_planned(*job) for job in zip(composed, jobs, strict=True)]
    folder = Path(hydra.sweep.dir) if hydra.sweep.dir else None
    if folder is not None:
        run_folder.check_new("hydra.sweep.dir", folder)
    objective = _common([plan.objective for plan in plans])
    return Sweep(
        arguments=(*flags, *given, *_directed(objective, hydra, given)),
        keys=tuple(keys),
        objective=objective,
        runs_dir=Path(plans[0].settings.runs_dir),
        folder=folder,
        hydra=hydra,
    )


def _planned(composed: DictConfig, overrides: Sequence[str]) -> launch.Plan:
    distributed.refuse(composed.distributed, "in a sweep, whose runs take turns")
    for key in _KEPT:
        if composed[key] is not None:
            raise ValueError(f"{key} is {composed[key]!r}; it must not be given in a sweep, whose runs have their own")
    return launch.prepare(composed, overrides)


def _common(objectives: Sequence[Objective]) -> Objective:
    """The objective of all jobs.

    Raises:
        ValueError: they have different ones.
    """
    first, *_ = objectives
    for other in objectives:
        if other != first:
            raise ValueError(
                f"objective is not given, and would be {first.name} in one job ({first.direction}) and {other.name} in "
                f"another ({other.direction}); it must be the same for all jobs of a sweep"
            )
    return first


def _directed(objective: Objective, hydra: DictConfig, given: Sequence[str]) -> list[str]:
    """What tells the sweeper which way the objective is better, if it wants to know.

    Raises:
        ValueError: it was told otherwise.
    """
    if "direction" not in hydra.sweeper:
        return []
    if not any(text.lstrip("+").startswith("hydra.sweeper.direction=") for text in given):
        return [f"hydra.sweeper.direction={objective.direction}"]
    told = getattr(hydra.sweeper.direction, "name", hydra.sweeper.direction)
    if told != objective.direction:
        raise ValueError(
            f"hydra.sweeper.direction is {told}; it must be left out, or be {objective.direction} as the direction of "
            f"{objective.name} is (direction={told} changes that)"
        )
    return []


def execute(sweep: Sweep) -> int:
    """Have the jobs run, print and write what came of them, and return the highest exit status.

    Raises:
        errors.Refusal: the launcher or the sweeper refuses something; nothing was run.
        SystemExit: a signal asked to stop.
    """
    folder = _new_folder(sweep)
    _tell_where(sweep.hydra, folder)
    place = QuotedString(str(folder.absolute()), Quote.single).with_quotes()
    try:
        with _stopping(sweep.hydra, folder), errors.refusals(sweep.arguments):
            hydra_cli.start([*sweep.arguments, f"hydra.sweep.dir={place}"], job)
    except errors.Refusal:
        if not outcomes.read(folder):
            shutil.rmtree(folder)
        raise
    except Exception as error:
        if all(each.status is not None for each in outcomes.read(folder)):
            raise
        print(f"the launcher gave up, since a job was killed ({type(error).__name__})", file=sys.stderr)
    finally:
        report.tell(folder, sweep.objective, sweep.keys)
    return max((each.exit_status for each in outcomes.read(folder)), default=0)


def _stopping(hydra: DictConfig, folder: Path) -> contextlib.AbstractContextManager[None]:
    """A job in this process takes signals itself."""
    return contextlib.nullcontext() if in_this_process(hydra) else Stopping(folder)


def _new_folder(sweep: Sweep) -> Path:
    """The folder of the sweep, which no other sweep has."""
    if sweep.folder is None:
        folder = run_folder.create_new(sweep.runs_dir / f"{run_folder.stamp()}_sweep")
    else:
        folder = sweep.folder
        folder.mkdir(parents=True, exist_ok=True)
    try:
        outcomes.claim(folder)
    except FileExistsError:
        raise errors.Refusal(
            f"hydra.sweep.dir is {str(folder)!r}; it must be a new or empty folder, and another sweep took it just now"
        ) from None
    return folder


def _tell_where(hydra: DictConfig, folder: Path) -> None:
    """Say what runs the jobs, and where to find what they print if it does not come here."""
    if in_this_process(hydra):
        return
    settings: Any = OmegaConf.to_container(hydra.launcher, resolve=False)
    logs = settings.get("submitit_folder", "").replace("${hydra.sweep.dir}", str(folder))
    told = f"; what they print is in {logs} (%j: as the scheduler numbers them)" if logs else ""
    print(f"{hydra.runtime.choices['hydra/launcher']} runs the jobs of {folder}{told}", file=sys.stderr, flush=True)
