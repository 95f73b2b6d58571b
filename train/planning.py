"""What a launch will do, found right in everything before anything is written."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from jaxtyping import PyTree
from omegaconf import DictConfig

from jaxdlb import checkpoint
from jaxdlb.learners import sharding
from jaxdlb.learners.sharding import Placement
from jaxdlb.networks import NetworkConfig, suited

from . import (
    build,
    comparison,
    compose,
    distributed,
    fresh_news,
    loggers,
    objective,
    pareto,
    processors,
    provenance,
    resuming,
    run_folder,
    run_lock,
    saved_config,
    sweep,
    tradeoff,
    writable,
)
from .build import Scenario
from .distributed import ALONE, Group
from .loop import Schedule
from .objective import Objective
from .population import Population, num_apart, population_of
from .settings import Settings

_RESUME_KEYS = ("resume", "resume_step")


@dataclasses.dataclass(frozen=True)
class Plan:
    """A run that has been found right in everything: nothing is written yet."""

    given: DictConfig
    settings: Any
    scenario: Scenario
    network: NetworkConfig
    population: Population
    schedule: Schedule
    objective: Objective
    resumed: "Resumed | None"
    command: str
    automatic: bool  # by resume=auto: the same command line goes on with the run
    group: Group
    placement: Placement | None  # None: all on one device
    part: str = ""  # the folder within the run's where it is trained, "" for the run's own
    fresh: "Plan | None" = None  # to train the same learner with fresh news, then; None where nothing is left to do

    @property
    def folder_key(self) -> str:
        """What names the run's folder on the command line."""
        return "run_dir" if self.resumed is None or self.automatic else "resume"

    @property
    def cost(self) -> dict[str, int]:
        """What to say of the training that a policy has behind it at the end."""
        return self.population.cost(self.schedule.num_updates * self.schedule.agent_rounds_per_update)

    @property
    def finished(self) -> bool:
        """Whether resume=auto finds nothing left to do."""
        if not self.automatic or self.resumed is None or self.resumed.step < self.schedule.num_updates:
            return False
        return resuming.is_evaluated(self.resumed.folder, self.settings, self.cost[comparison.TRAINED])


@dataclasses.dataclass(frozen=True)
class Resumed:
    """Where a run goes on."""

    folder: Path
    step: int
    state: PyTree
    newest: int  # step in the folder, which is another where an older one was asked for
    told: str | None  # what it keeps that reaches out of its folder


def prepare(given: DictConfig, overrides: Sequence[str], group: Group = ALONE) -> Plan:
    """Check all that hydra composed and, where a run is to be resumed, restore its state; writes nothing.

    Raises:
        ValueError, OmegaConfBaseException: something given is wrong, or the run cannot be resumed.
    """
    folder, command = None, provenance.command("train", overrides)
    if given.resume is None and given.resume_step is not None:
        raise ValueError(f"resume_step is {given.resume_step}; it must not be given without resume")
    automatic, step, told = given.resume == resuming.AUTO, given.resume_step, None
    if automatic:
        given, folder = resuming.automatic(given, overrides)
    elif given.resume is not None:
        folder = _folder_of_run(given)
        told = saved_config.told(saved_config.read(folder), overrides)
        given, overrides = _resumed_config(folder, overrides)
    settings = compose.settings(given, overrides)
    if group.count == 1:
        processors.split(processors.number(num_apart(settings), settings.distributed.devices))
    build.check(settings)
    sweep.check(settings)
    tradeoff.check(settings)
    pareto.check(settings)
    loggers.check(settings.logger)
    scenario = build.scenario(settings.game)
    fresh_news.check(settings, scenario)
    devices = distributed.devices(settings.distributed, group, num_apart(settings))
    population = population_of(settings, build.learner(settings, tradeoff.trained_on(settings, scenario)), devices)
    num_updates = build.num_updates(settings, population.learner)
    schedule = Schedule(
        num_updates=num_updates,
        agent_rounds_per_update=population.learner.agent_rounds_per_update,
        logging_interval=min(settings.logging_interval, num_updates),
        checkpoint_interval=settings.checkpoint_interval,
    )
    placement = _placement(settings, population, devices)
    resumed = None
    if folder is None:
        run_folder.check(settings, begun=automatic)
    else:
        key = "run_dir" if automatic else "resume"
        _check_own(folder, key)
        newest = checkpoint.steps(folder / checkpoint.FOLDER)[-1]
        with build.renamed("step", "resume_step"):
            resumed = Resumed(folder, *checkpoint.restore_state(folder, population.template(), step), newest, told)
        _check_not_beyond(resumed.step, schedule, settings)
    plan = Plan(
        given=given,
        settings=settings,
        scenario=scenario,
        network=suited(scenario.game, build.network(settings.network)),
        population=population,
        schedule=schedule,
        objective=objective.of(settings, scenario, population),
        resumed=resumed,
        command=command,
        automatic=automatic,
        group=group,
        placement=placement,
    )
    return dataclasses.replace(plan, fresh=_with_fresh_news(plan, folder))


def _with_fresh_news(plan: Plan, folder: Path | None) -> Plan | None:
    """What is left to train of the same learner with fresh news, if that is asked for; `folder` is the run's."""
    settings, num_updates = plan.settings, plan.schedule.num_updates
    if not (settings.evaluation.enabled and settings.evaluation.fresh_news):
        return None
    known = [] if folder is None else fresh_news.steps(folder)
    if known[-1:] == [num_updates]:
        return None
    scenario = fresh_news.scenario_of(plan.scenario)
    devices = distributed.devices(settings.distributed, plan.group, num_apart(settings))
    population = population_of(settings, build.learner(settings, scenario), devices)
    resumed = None
    if folder is not None and (reached := [step for step in known if step <= num_updates]):
        within = folder / fresh_news.FOLDER
        saved_config.check_own(within)
        whole = checkpoint.restore_state(within, population.template(), reached[-1])
        resumed = Resumed(within, *whole, known[-1], None)
    return dataclasses.replace(
        plan,
        scenario=scenario,
        population=population,
        resumed=resumed,
        placement=_placement(settings, population, devices),
        part=fresh_news.FOLDER,
    )


def _placement(settings: Any, population: Population, devices: Sequence[jax.Device]) -> Placement | None:
    if len(devices) == 1:
        return None
    if population.evolves and population.size % len(devices):
        raise ValueError(
            f"learner.population is {population.size}; it must be a multiple of {len(devices)}, the number of devices"
        )
    with build.named("learner", settings.learner):
        return sharding.place(population.learner, population.size, devices)


def _check_own(folder: Path, key: str) -> None:
    """Raise ValueError unless a run's folder can be written, by this launch alone, and what is written lies in it."""
    writable.check_folder(key, folder)
    saved_config.check_own(folder)
    run_lock.check_free(folder, key)


def _check_not_beyond(step: int, schedule: Schedule, settings: Any) -> None:
    """Raise ValueError if the run to be resumed has trained for longer than is asked of it."""
    if step > schedule.num_updates:
        raise ValueError(
            f"total_agent_rounds is {settings.total_agent_rounds}; it must be at least the "
            f"{step * schedule.agent_rounds_per_update} that the checkpoint of update {step} has behind it"
        )


def _folder_of_run(given: DictConfig) -> Path:
    if given.run_dir is not None:
        raise ValueError(f"run_dir is {given.run_dir!r}; it must not be given with resume, which names the folder")
    located = checkpoint.locate(given.resume, "resume")
    if located.folder.name != checkpoint.FOLDER or located.step is not None:
        raise ValueError(f"resume is {given.resume!r}; it must be the folder of a run (resume_step=… names a step)")
    return located.folder.parent


def _resumed_config(folder: Path, overrides: Sequence[str]) -> tuple[DictConfig, list[str]]:
    """The run's own settings with what is given on the command line besides, and that.

    Raises:
        ValueError: something given would make it another run.
    """
    rest = [text for text in overrides if text.lstrip("+").partition("=")[0] not in _RESUME_KEYS]
    given = compose.from_run(folder, rest, Settings, resumed=True)
    saved = compose.from_run(folder, saved_config.code(rest), Settings, resumed=True)
    resuming.check_same(resuming.plain(saved), resuming.plain(given))
    return given, rest
