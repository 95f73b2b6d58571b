"""A run from settings to table: prepared and checked first, then trained, evaluated and written."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxtyping import PyTree
from omegaconf import DictConfig, OmegaConf

from jaxdlb import checkpoint, evaluation
from jaxdlb.networks import NetworkConfig, suited

from . import build, comparison, compose, config, lineage, loggers, loop, provenance, run_folder, sweep
from .build import Scenario
from .held_out import HeldOut
from .loggers import metrics_file
from .loop import DivergedError, Schedule, StoppedError
from .population import Population, population_of

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
    resumed: "Resumed | None"
    command: str


@dataclasses.dataclass(frozen=True)
class Resumed:
    """Where a run goes on."""

    folder: Path
    step: int
    state: PyTree


def prepare(given: DictConfig, overrides: Sequence[str]) -> Plan:
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
    population = population_of(settings, build.learner(settings, scenario))
    num_updates = build.num_updates(settings, population.learner)
    schedule = Schedule(
        num_updates=num_updates,
        agent_rounds_per_update=population.learner.agent_rounds_per_update,
        logging_interval=min(settings.logging_interval, num_updates),
        checkpoint_interval=settings.checkpoint_interval,
    )
    resumed = None
    if folder is None:
        run_folder.check(settings)
    else:
        with build.renamed("step", "resume_step"):
            resumed = Resumed(folder, *checkpoint.restore_state(folder, population.template(), step))
        _check_not_beyond(resumed.step, schedule, settings)
    network = suited(scenario.game, build.network(settings.network))
    return Plan(given, settings, scenario, network, population, schedule, resumed, command)


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
        checkpoint.set_aside_after(folder / checkpoint.FOLDER, plan.resumed.step, folder / SET_ASIDE)
        metrics_file.cut_after(folder, plan.resumed.step)
        seconds = max((row["seconds"] for row in metrics_file.read(folder)), default=0.0)
    compose.save(plan.given, folder)
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
        _tell(
            listening, f"{error}; {f'to go on: python -m train resume={folder}' if saved else 'nothing was saved yet'}"
        )
        raise
    finally:
        newest = _newest(folder)
        for logger in listening:
            logger.close(newest)
    print(f"the run is in {folder}")
    return folder


def _few_updates(plan: Plan) -> str:
    updates, each = plan.schedule.num_updates, plan.schedule.agent_rounds_per_update
    return (
        f"warning: total_agent_rounds buys {updates} updates of {each:,} agent-rounds each, and policies seldom learn "
        f"in fewer than {FEW_UPDATES}; raise it, or play fewer environments or shorter rollouts"
    )


def _tell_provenance(plan: Plan, folder: Path) -> None:
    learner = plan.population.learner
    trained = {
        "learner": {"name": plan.settings.learner.name, **provenance.values(learner.config), **plan.population.told},
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
    state = population.init() if plan.resumed is None else plan.resumed.state
    held_out = None
    if plan.settings.evaluation.held_out_episodes != 0:
        held_out = HeldOut(plan.scenario, plan.network, shared, population.size, plan.settings.evaluation)
    with checkpoint.Writer(folder / checkpoint.FOLDER, about) as writer:
        try:
            loop.train(population, state, plan.schedule, writer, listening, seconds, held_out)
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
    about = plan.population.cost(plan.schedule.num_updates * plan.schedule.agent_rounds_per_update)
    result = comparison.compare(scenario, settings, rules, learned, about)
    everyone = comparison.everyone(rules, learned)
    curves, drawn_of_members = lineage.curves(folder, best, plan.population)
    drawn = comparison.figures(result, scenario, settings, everyone, *curves, build.plots(plan.settings))
    drawn |= drawn_of_members
    paths = comparison.write(folder, f"Run {folder.name}", result, drawn, OmegaConf.to_yaml(plan.given))
    for logger in listening:
        logger.evaluation(result, paths)
    print(evaluation.to_text(result))
    sweep.execute(plan.settings, learned, folder)
    for name in comparison.beaten(result):
        _tell(listening, f"warning: {name} ends below the best heuristic, {result.best_heuristic}")


def _tell(listening: Sequence[loggers.Logger], message: str) -> None:
    for logger in listening:
        logger.ended(message)


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
    saved = _plain(compose.from_run(folder, [], config.Settings))
    given = compose.from_run(folder, rest, config.Settings)
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
