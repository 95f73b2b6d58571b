"""A run from settings to table: prepared and checked first, then trained, evaluated and written."""

import contextlib
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxtyping import PyTree
from omegaconf import DictConfig, OmegaConf

from jaxdlb import checkpoint, evaluation, writing
from jaxdlb.networks import NetworkConfig, suited

from . import (
    build,
    comparison,
    compose,
    config,
    errors,
    loggers,
    loop,
    provenance,
    resuming,
    run_folder,
    run_lock,
    sweep,
)
from .build import Scenario
from .held_out import HeldOut
from .loggers import metrics_file
from .loop import DivergedError, Population, Schedule
from .signals import Signals, StoppedError

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
    automatic: bool  # by resume=auto: the same command line goes on with the run

    @property
    def folder_key(self) -> str:
        """What names the run's folder on the command line."""
        return "run_dir" if self.resumed is None or self.automatic else "resume"

    @property
    def agent_rounds(self) -> int:
        """What each seed has behind it at the end."""
        return self.schedule.num_updates * self.schedule.agent_rounds_per_update

    @property
    def finished(self) -> bool:
        """Whether resume=auto finds nothing left to do."""
        if not self.automatic or self.resumed is None or self.resumed.step < self.schedule.num_updates:
            return False
        return resuming.is_evaluated(self.resumed.folder, self.settings, self.agent_rounds)


@dataclasses.dataclass(frozen=True)
class Resumed:
    """Where a run goes on."""

    folder: Path
    step: int
    state: PyTree
    newest: int  # step in the folder, which is another where an older one was asked for


def prepare(given: DictConfig, overrides: Sequence[str]) -> Plan:
    """Check all that hydra composed and, where a run is to be resumed, restore its state; writes nothing.

    Raises:
        ValueError, OmegaConfBaseException: something given is wrong, or the run cannot be resumed.
    """
    folder, command = None, provenance.command("train", overrides)
    if given.resume is None and given.resume_step is not None:
        raise ValueError(f"resume_step is {given.resume_step}; it must not be given without resume")
    automatic, step = given.resume == resuming.AUTO, None
    if automatic:
        given, folder = resuming.automatic(given)
    elif given.resume is not None:
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
    resumed = None
    if folder is None:
        run_folder.check(settings, begun=automatic)
    else:
        run_lock.check_free(folder, "run_dir" if automatic else "resume")
        newest = checkpoint.steps(folder / checkpoint.FOLDER)[-1]
        with build.renamed("step", "resume_step"):
            resumed = Resumed(folder, *checkpoint.restore_state(folder, population.template(), step), newest)
        _check_not_beyond(resumed.step, schedule, settings)
    network = suited(scenario.game, build.network(settings.network))
    return Plan(given, settings, scenario, network, population, schedule, resumed, command, automatic)


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
        errors.Refusal: another process trains in the folder, or has done so since the plan was made.
        DivergedError: a metric became NaN or infinite; the message names the last good checkpoint.
        StoppedError: a signal asked to stop; during training a checkpoint was saved.
        OSError: a file could not be written; the last whole checkpoint is kept.
    """
    folder = run_folder.create(plan.settings) if plan.resumed is None else plan.resumed.folder
    if plan.finished:
        print(f"the run in {folder} has finished, after update {plan.schedule.num_updates}; nothing is left to do")
        return folder
    with contextlib.ExitStack() as stack:
        signals = stack.enter_context(Signals())
        with errors.refusals():
            stack.enter_context(run_lock.held(folder, plan.folder_key))
            _check_untouched(plan, folder)
        _run(plan, folder, signals)
    print(f"the run is in {folder}")
    return folder


def _check_untouched(plan: Plan, folder: Path) -> None:
    """Raise ValueError if a process has trained in the folder since the plan was made."""
    newest = max(checkpoint.steps(folder / checkpoint.FOLDER), default=None)
    if newest != (None if plan.resumed is None else plan.resumed.newest):
        raise ValueError(f"{folder} was trained in while this launch was being prepared; it must be started again")


def _run(plan: Plan, folder: Path, signals: Signals) -> None:
    seconds = _begin(plan, folder)
    listening = loggers.make(plan.settings.logger, folder, resuming.plain(plan.given))
    if plan.schedule.num_updates < FEW_UPDATES:
        _tell(listening, _few_updates(plan))
    try:
        _train(plan, folder, listening, seconds, signals)
        if plan.settings.evaluation.enabled:
            _tell(listening, f"trained {plan.schedule.num_updates} updates; comparing with the heuristics")
            _evaluate(plan, folder, listening)
    except DivergedError as error:
        _tell(listening, str(error))
        raise
    except StoppedError as error:
        _tell(listening, f"{error}; {_how_to_go_on(plan, folder)}")
        raise
    finally:
        newest = _newest(folder)
        for logger in listening:
            logger.close(newest)


def _begin(plan: Plan, folder: Path) -> float:
    """Bring the folder to where training begins, and return the seconds that it has taken so far.

    What is later than the step that is resumed, and what a process that was killed left half-written, goes.
    """
    step = 0 if plan.resumed is None else plan.resumed.step
    for path in writing.partials(folder):
        path.unlink()
    checkpoint.set_aside_after(folder / checkpoint.FOLDER, step, folder / SET_ASIDE)
    metrics_file.cut_after(folder, step)
    compose.save(plan.given, folder)
    _tell_provenance(plan, folder)
    return max((row["seconds"] for row in metrics_file.read(folder)), default=0.0)


def _how_to_go_on(plan: Plan, folder: Path) -> str:
    saved = "" if _newest(folder) is not None else "nothing was saved yet"
    if plan.automatic:
        return "; ".join(filter(None, [saved, "to go on: the same command line"]))
    return saved or f"to go on: python -m train resume={folder}"


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


def _train(plan: Plan, folder: Path, listening: Sequence[loggers.Logger], seconds: float, signals: Signals) -> None:
    population = plan.population
    shared = getattr(population.learner.config, "share_parameters", True)
    game, found_as = plan.scenario.game, plan.settings.game.name
    about = checkpoint.describe(game, plan.network, shared, population.num_seeds, found_as=found_as)
    state = population.init() if plan.resumed is None else plan.resumed.state
    held_out = None
    if plan.settings.evaluation.held_out_episodes != 0:
        held_out = HeldOut(plan.scenario, plan.network, shared, population.num_seeds, plan.settings.evaluation)
    with signals.deferred(), checkpoint.Writer(folder / checkpoint.FOLDER, about) as writer:
        try:
            loop.train(population, state, plan.schedule, writer, listening, seconds, held_out, signals)
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
    about = {comparison.TRAINING: plan.agent_rounds}
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
    saved = compose.from_run(folder, [], config.Settings)
    given = compose.from_run(folder, rest, config.Settings)
    resuming.check_same(resuming.plain(saved), resuming.plain(given))
    return given, rest
