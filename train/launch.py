"""A run from settings to table: prepared and checked first, then trained, evaluated and written."""

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxtyping import PyTree
from omegaconf import DictConfig, OmegaConf

from jaxdlb import checkpoint, evaluation
from jaxdlb.learners import sharding
from jaxdlb.learners.sharding import Placement
from jaxdlb.networks import NetworkConfig, suited

from . import (
    build,
    cli,
    comparison,
    compose,
    config,
    distributed,
    launchers,
    loggers,
    loop,
    objective,
    provenance,
    run_folder,
    saved_config,
    sweep,
    writable,
)
from .build import Scenario
from .distributed import ALONE, Group
from .held_out import HeldOut
from .loggers import metrics_file
from .loop import DivergedError, Population, Schedule, StoppedError
from .objective import Objective

_FIXED = ("game", "learner", "network", "seed")  # what a resumed run cannot change
_RESUME_KEYS = ("resume", "resume_step")
FEW_UPDATES = 100
SET_ASIDE = "set_aside"  # in a run's folder: steps later than the one resumed


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
    group: Group
    placement: Placement | None  # None: all on one device


@dataclasses.dataclass(frozen=True)
class Resumed:
    """Where a run goes on."""

    folder: Path
    step: int
    state: PyTree
    told: str | None  # what it keeps that reaches out of its folder


def run(given: DictConfig, overrides: Sequence[str]) -> int:
    """Prepare and execute, alone or as one of several processes; the exit status.

    Raises:
        SystemExit: a signal asked to stop.
    """
    return distributed.run(given.distributed, lambda group: _run_as_one_of(group, given, overrides))


def _run_as_one_of(group: Group, given: DictConfig, overrides: Sequence[str]) -> int:
    return cli.run(
        lambda: group.together(lambda: prepare(given, overrides, group), overrides),
        execute if group.is_first else take_part,
        overrides,
    )


def prepare(given: DictConfig, overrides: Sequence[str], group: Group = ALONE) -> Plan:
    """Check all that hydra composed and, where a run is to be resumed, restore its state; writes nothing.

    Raises:
        ValueError, OmegaConfBaseException: something given is wrong, or the run cannot be resumed.
    """
    folder, command = None, provenance.command("train", overrides)
    if given.resume is None and given.resume_step is not None:
        raise ValueError(f"resume_step is {given.resume_step}; it must not be given without resume")
    if given.resume is not None:
        folder = _folder_of_run(given)
        step = given.resume_step
        given, overrides = _resumed_config(folder, overrides)
    settings = compose.settings(given, overrides)
    build.check(settings)
    sweep.check(settings)
    loggers.check(settings.logger)
    scenario = build.scenario(settings.game)
    population = Population(build.learner(settings, scenario), settings.seed, settings.learner.num_seeds)
    num_updates = build.num_updates(settings, population.learner)
    schedule = Schedule(
        num_updates=num_updates,
        agent_rounds_per_update=population.learner.agent_rounds_per_update,
        logging_interval=min(settings.logging_interval, num_updates),
        checkpoint_interval=settings.checkpoint_interval,
    )
    placement = _placement(settings, population, group)
    resumed = None
    if folder is None:
        run_folder.check(settings)
    else:
        writable.check_folder("resume", folder)
        saved_config.check_own(folder)
        told = saved_config.told(saved_config.read(folder), overrides)
        with build.renamed("step", "resume_step"):
            resumed = Resumed(folder, *checkpoint.restore_state(folder, population.template(), step), told)
        _check_not_beyond(resumed.step, schedule, settings)
    network = suited(scenario.game, build.network(settings.network))
    return Plan(
        given=given,
        settings=settings,
        scenario=scenario,
        network=network,
        population=population,
        schedule=schedule,
        objective=objective.of(settings, scenario, population),
        resumed=resumed,
        command=command,
        group=group,
        placement=placement,
    )


def _placement(settings: Any, population: Population, group: Group) -> Placement | None:
    devices = distributed.devices(settings.distributed, group)
    if len(devices) == 1:
        return None
    with build.named("learner", settings.learner):
        return sharding.place(population.learner, population.num_seeds, devices)


def _check_not_beyond(step: int, schedule: Schedule, settings: Any) -> None:
    """Raise ValueError if the run to be resumed has trained for longer than is asked of it."""
    if step > schedule.num_updates:
        raise ValueError(
            f"total_agent_rounds is {settings.total_agent_rounds}; it must be at least the "
            f"{step * schedule.agent_rounds_per_update} that the checkpoint of update {step} has behind it"
        )


def execute(plan: Plan) -> Path:
    """Train as planned, evaluate, print the table, and return the run's folder, where all is written.

    Raises:
        DivergedError: a metric became NaN or infinite; the message names the last good checkpoint.
        StoppedError: a signal asked to stop, and a checkpoint was saved.
    """
    if plan.resumed is None:
        folder = run_folder.create(plan.settings)
        seconds = 0.0
    else:
        folder = plan.resumed.folder
        if plan.resumed.told is not None:
            print(plan.resumed.told, file=sys.stderr)
        checkpoint.set_aside_after(folder / checkpoint.FOLDER, plan.resumed.step, folder / SET_ASIDE)
        metrics_file.cut_after(folder, plan.resumed.step)
        seconds = max((row["seconds"] for row in metrics_file.read(folder)), default=0.0)
    compose.save(_without_place(plan.given), folder)
    _tell_provenance(plan, folder)
    listening = loggers.make(plan.settings.logger, folder, _plain(plan.given))
    if plan.schedule.num_updates < FEW_UPDATES:
        _tell(listening, _few_updates(plan))
    try:
        _train(plan, folder, listening, seconds)
        if plan.settings.evaluation.enabled:
            _tell(listening, f"trained {plan.schedule.num_updates} updates; comparing with the heuristics")
            _evaluate(plan, folder, listening)
    except DivergedError as error:
        _tell(listening, str(error))
        raise
    except StoppedError as error:
        saved = _newest(folder) is not None
        _tell(listening, f"{error}; {_again(plan, folder) if saved else 'nothing was saved yet'}")
        raise
    finally:
        newest = _newest(folder)
        for logger in listening:
            logger.close(newest)
    print(f"the run is in {folder}")
    return folder


def take_part(plan: Plan) -> None:
    """Train as planned beside the process that executes the plan, and write nothing.

    Raises:
        DivergedError, StoppedError: as in `execute`.
    """
    with plan.group.training(lambda: ""):
        agree, placement = plan.group.agreed, plan.placement
        loop.train(plan.population, _start(plan), plan.schedule, None, [], placement=placement, agree=agree)


def _start(plan: Plan) -> PyTree:
    """The state to train from, where it is to be."""
    if plan.placement is None:
        return plan.population.init() if plan.resumed is None else plan.resumed.state
    if plan.resumed is None:
        return plan.placement.made(plan.population.init)
    return plan.placement.placed(plan.resumed.state)


def _without_place(given: DictConfig) -> DictConfig:
    """The settings of the run, and not those of the machines that it happens to be trained on."""
    kept = given.copy()
    kept.distributed = OmegaConf.structured(config.DistributedSettings)
    return kept


def _last_words(plan: Plan, writer: checkpoint.Writer, folder: Path) -> str:
    """What is left of a run that must end here, once the step that is being written is on disk."""
    writer.wait()
    return _what_is_left(folder) + (f"; {_again(plan, folder)}" if _newest(folder) is not None else "")


def _again(plan: Plan, folder: Path) -> str:
    """The command line that goes on; a game or a learner of the user's own is imported only where it is named."""
    named = {"game.name": plan.settings.game.name, "learner.name": plan.settings.learner.name}
    own = [f" {key}={name}" for key, name in named.items() if ":" in name]
    return f"to go on: python -m train resume={folder}{''.join(own)}"


def _few_updates(plan: Plan) -> str:
    updates, each = plan.schedule.num_updates, plan.schedule.agent_rounds_per_update
    return (
        f"warning: total_agent_rounds buys {updates} updates of {each:,} agent-rounds each, and policies seldom learn "
        f"in fewer than {FEW_UPDATES}; raise it, or play fewer environments or shorter rollouts"
    )


def _tell_provenance(plan: Plan, folder: Path) -> None:
    trained = {
        "learner": {"name": plan.settings.learner.name, **provenance.values(plan.population.learner.config)},
        "network": provenance.values(plan.network),
        "training": {"num_updates": plan.schedule.num_updates},
    }
    update = 0 if plan.resumed is None else plan.resumed.step
    provenance.write(folder, plan.settings, plan.scenario, plan.command, update=update, further=trained)


def _train(plan: Plan, folder: Path, listening: Sequence[loggers.Logger], seconds: float) -> None:
    population = plan.population
    shared = getattr(population.learner.config, "share_parameters", True)
    game, found_as = plan.scenario.game, plan.settings.game.name
    about = checkpoint.describe(game, plan.network, shared, population.num_seeds, found_as=found_as)
    held_out = None
    if plan.settings.evaluation.held_out_episodes != 0:
        held_out = HeldOut(plan.scenario, plan.network, shared, population.num_seeds, plan.settings.evaluation)
    with checkpoint.Writer(folder / checkpoint.FOLDER, about) as writer:
        heard: dict[str, Any] = {"placement": plan.placement, "agree": plan.group.agreed}
        try:
            with plan.group.training(lambda: _last_words(plan, writer, folder)):
                loop.train(population, _start(plan), plan.schedule, writer, listening, seconds, held_out, **heard)
        except DivergedError as error:
            writer.wait()
            raise DivergedError(f"{error}; {_what_is_left(folder)}") from None


def _evaluate(plan: Plan, folder: Path, listening: Sequence[loggers.Logger]) -> None:
    """Compare the best policy with the heuristics; print and write the result."""
    settings, scenario = plan.settings.evaluation, plan.scenario
    best, newest = checkpoint.best_step(folder / checkpoint.FOLDER), checkpoint.steps(folder / checkpoint.FOLDER)[-1]
    if best != newest:
        _tell(listening, f"warning: update {newest} did worse than update {best}, whose policy is compared and kept")
    rules, learned = comparison.heuristics(scenario, settings), comparison.learned(folder, scenario, settings)
    about = {comparison.TRAINED: plan.schedule.num_updates * plan.schedule.agent_rounds_per_update}
    result = comparison.compare(scenario, settings, rules, learned, about)
    everyone = comparison.everyone(rules, learned)
    curves = metrics_file.read(folder), metrics_file.read(folder, metrics_file.HELD_OUT)
    drawn = comparison.figures(result, scenario, settings, everyone, *curves, build.plots(plan.settings))
    paths = comparison.write(folder, f"Run {folder.name}", result, drawn, OmegaConf.to_yaml(plan.given))
    for logger in listening:
        logger.evaluation(result, paths)
    print(evaluation.to_text(result))
    sweep.execute(plan.settings, learned, folder)
    for name in comparison.beaten(result):
        _tell(listening, f"warning: {name} ends below the best heuristic, {result.best_heuristic}")


def _tell(listening: Sequence[loggers.Logger], message: str) -> None:
    for logger in listening:
        logger.ended(launchers.as_called(message))


def _what_is_left(folder: Path) -> str:
    newest = _newest(folder)
    return "no checkpoint had been saved yet" if newest is None else f"the last good checkpoint is {newest}"


def _newest(folder: Path) -> Path | None:
    known = checkpoint.steps(folder / checkpoint.FOLDER)
    return folder / checkpoint.FOLDER / str(known[-1]) if known else None


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
    given = compose.from_run(folder, rest, config.Settings, resumed=True)
    saved = _plain(compose.from_run(folder, saved_config.code(rest), config.Settings, resumed=True))
    changed = [_difference(key, saved[key], value) for key, value in _plain(given).items() if key in _FIXED]
    for difference in filter(None, changed):
        raise ValueError(f"{difference} in a run that is resumed")
    return given, rest


def _difference(key: str, before: Any, after: Any) -> str | None:
    """The first key at or below `key` at which two plain values differ, as the start of a sentence."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        names = [*after, *(name for name in before if name not in after)]
        below = (_difference(f"{key}.{name}", before.get(name), after.get(name)) for name in names)
        return next(filter(None, below), None)
    return None if before == after else f"{key} is {after!r}; it must stay {before!r}"


def _plain(given: DictConfig) -> dict[str, Any]:
    plain = OmegaConf.to_container(given, resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}
