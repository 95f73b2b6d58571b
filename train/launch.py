"""A run from settings to table: planned first (`planning`), then trained, evaluated and written."""

import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxtyping import PyTree
from omegaconf import DictConfig, OmegaConf

from jaxdlb import checkpoint, evaluation, writing
from jaxdlb.networks import STOCHASTIC
from jaxdlb.policies.fixed import Fixed, find

from . import (
    build,
    cli,
    comparison,
    compose,
    distributed,
    errors,
    fresh_news,
    launchers,
    lineage,
    loggers,
    loop,
    memory,
    pareto,
    provenance,
    resuming,
    run_folder,
    run_lock,
    sweep,
    tradeoff,
)
from .distributed import Group
from .held_out import HeldOut
from .loggers import metrics_file
from .loop import DivergedError
from .planning import Plan, prepare
from .settings import DistributedSettings
from .signals import Signals, StoppedError

FEW_UPDATES = 100
SET_ASIDE = "set_aside"  # in a run's folder: steps later than the one resumed


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


def execute(plan: Plan) -> Path:
    """Train as planned, evaluate, print the table, and return the run's folder, where all is written.

    What does not fit the device is refused before the folder is made: the training program is compiled first.

    Raises:
        errors.Refusal: training takes more memory than there is, or another process trains in the folder, or has done
            so since the plan was made.
        DivergedError: a metric became NaN or infinite; the message names the last good checkpoint.
        StoppedError: a signal asked to stop; during training a checkpoint was saved.
        OSError: a file could not be written; the last whole checkpoint is kept.
    """
    if plan.resumed is not None and plan.finished:
        folder, num_updates = plan.resumed.folder, plan.schedule.num_updates
        print(f"the run in {folder} has finished, after update {num_updates}; nothing is left to do")
        return folder
    program = _program(plan)
    folder = run_folder.create(plan.settings) if plan.resumed is None else plan.resumed.folder
    with contextlib.ExitStack() as stack:
        signals = stack.enter_context(Signals())
        with errors.refusals():
            stack.enter_context(run_lock.held(folder, plan.folder_key))
            _check_untouched(plan, folder)
        _run(plan, folder, signals, program)
    print(f"the run is in {folder}")
    return folder


def take_part(plan: Plan) -> None:
    """Train as planned beside the process that executes the plan, and write nothing.

    Raises:
        DivergedError, StoppedError: as in `execute`.
    """
    if plan.finished:
        return
    programs = [(plan, _program(plan)), *([] if plan.fresh is None else [(plan.fresh, None)])]
    with Signals() as signals, signals.deferred(), plan.group.training(lambda: ""):
        for each, program in programs:
            heard: dict[str, Any] = {"signals": signals, "program": program, **_spread(each)}
            loop.train(each.population, _start(each), each.schedule, None, [], **heard)


def _program(plan: Plan) -> loop.Program | None:
    """The training program, compiled, if it fits the devices of all processes; None if all is trained."""
    if plan.resumed is not None and plan.resumed.step == plan.schedule.num_updates:
        return None
    return plan.group.together(lambda: memory.program(plan), [], "memory")


def _check_untouched(plan: Plan, folder: Path) -> None:
    """Raise ValueError if a process has trained in the folder since the plan was made."""
    newest = max(checkpoint.steps(folder / checkpoint.FOLDER), default=None)
    if newest != (None if plan.resumed is None else plan.resumed.newest):
        raise ValueError(f"{folder} was trained in while this launch was being prepared; it must be started again")


def _run(plan: Plan, folder: Path, signals: Signals, program: loop.Program | None) -> None:
    if plan.resumed is not None and plan.resumed.told is not None:
        print(plan.resumed.told, file=sys.stderr)
    seconds = _begin(plan, folder)
    listening = loggers.make(plan.settings.logger, folder, resuming.plain(plan.given))
    if plan.schedule.num_updates < FEW_UPDATES:
        _tell(listening, _few_updates(plan))
    try:
        heard = {"seconds_before": seconds, "signals": signals, "program": program, **_spread(plan)}
        _train(plan, folder, listening, heard)
        trained = f"trained {plan.schedule.num_updates} updates"
        if plan.fresh is not None:
            _tell(listening, f"{trained}; training the same learner with fresh news")
            _train_with_fresh_news(plan.fresh, folder, signals)
        if plan.settings.evaluation.enabled:
            _tell(listening, f"{trained}; comparing with the heuristics")
            if plan.settings.across.over is None:
                _evaluate(plan, folder, listening)
            else:
                tradeoff.execute(plan.settings, plan.scenario, folder, plan.cost)
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
    """Bring the run's folder to where training begins, and return the seconds that it has taken so far."""
    seconds = _cut(plan, folder)
    compose.save(_without_place(plan.given), folder)
    _tell_provenance(plan, folder)
    return seconds


def _cut(plan: Plan, folder: Path) -> float:
    """Rid the folder of training of all that is later, and return the seconds that it has taken so far.

    What is later than the step that is resumed, and what a process that was killed left half-written, goes.
    """
    step = 0 if plan.resumed is None else plan.resumed.step
    for path in writing.partials(folder):
        path.unlink()
    checkpoint.set_aside_after(folder / checkpoint.FOLDER, step, folder / SET_ASIDE)
    metrics_file.cut_after(folder, step)
    return max((row["seconds"] for row in metrics_file.read(folder)), default=0.0)


def _without_place(given: DictConfig) -> DictConfig:
    """The settings of the run, and not those of the machines that it happens to be trained on."""
    kept = given.copy()
    kept.distributed = OmegaConf.structured(DistributedSettings)
    return kept


def _start(plan: Plan) -> PyTree:
    """The state to train from, where it is to be."""
    if plan.placement is None:
        return plan.population.init() if plan.resumed is None else plan.resumed.state
    if plan.resumed is None:
        return plan.placement.made(plan.population.init)
    return plan.placement.placed(plan.resumed.state)


def _spread(plan: Plan) -> dict[str, Any]:
    """What training must know of devices and processes."""
    return {"placement": plan.placement, "agree": plan.group.agreed}


def _how_to_go_on(plan: Plan, folder: Path) -> str:
    saved = "" if _newest(folder) is not None else "nothing was saved yet"
    if plan.automatic:
        return "; ".join(filter(None, [saved, "to go on: the same command line"]))
    return saved or f"to go on: {_again(plan, folder)}"


def _again(plan: Plan, folder: Path) -> str:
    """The command line that goes on; a game or a learner of the user's own is imported only where it is named."""
    named = {"game.name": plan.settings.game.name, "learner.name": plan.settings.learner.name}
    own = [f" {key}={name}" for key, name in named.items() if ":" in name]
    return f"python -m train resume={folder}{''.join(own)}"


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


def _train_with_fresh_news(plan: Plan, folder: Path, signals: Signals) -> None:
    """Train as the plan of it says, in its part of the run's folder; progress is shown, and metrics go to files."""
    within = folder / plan.part
    within.mkdir(exist_ok=True)
    listening = [loggers.Console(within)]
    try:
        heard = {"seconds_before": _cut(plan, within), "signals": signals, **_spread(plan)}
        _train(plan, folder, listening, heard)
    except DivergedError as error:
        raise DivergedError(
            f"with fresh news, {error}; to compare without: {_again(plan, folder)} {fresh_news.KEY}=false"
        ) from None
    finally:
        for logger in listening:
            logger.close(None)


def _train(plan: Plan, folder: Path, listening: Sequence[loggers.Logger], heard: dict[str, Any]) -> None:
    population = plan.population
    shared = getattr(population.learner.config, "share_parameters", True)
    heads = getattr(population.learner.config, "heads", STOCHASTIC)
    game, found_as = plan.scenario.game, plan.settings.game.name
    noted = {"found_as": found_as, "fixed": build.fixed(plan.settings), "heads": heads}
    about = checkpoint.describe(game, plan.network, shared, population.num_seeds, **noted)
    held_out = None
    if plan.settings.evaluation.held_out_episodes != 0:
        evaluation = plan.settings.evaluation
        held_out = HeldOut(plan.scenario, plan.network, shared, population.size, evaluation, _fixed(plan), heads)
    within = folder / plan.part
    kept = plan.settings.kept_checkpoints
    with heard["signals"].deferred(), checkpoint.Writer(within / checkpoint.FOLDER, about, num_latest=kept) as writer:
        try:
            with plan.group.training(lambda: _last_words(plan, writer, folder)):
                loop.train(population, _start(plan), plan.schedule, writer, listening, held_out=held_out, **heard)
        except DivergedError as error:
            writer.wait()
            raise DivergedError(f"{error}; {_what_is_left(within)}") from None


def _fixed(plan: Plan) -> Fixed:
    """The agents of the run's game that do not learn."""
    config = plan.population.learner.config
    return find(plan.scenario.game, getattr(config, "fixed_agents", ()), getattr(config, "fixed_policy", None))


def _last_words(plan: Plan, writer: checkpoint.Writer, folder: Path) -> str:
    """What is left of a run that must end here, once the step that is being written is on disk."""
    writer.wait()
    left = _what_is_left(folder / plan.part)
    return f"{left}; {_how_to_go_on(plan, folder)}" if _newest(folder) else left


def _evaluate(plan: Plan, folder: Path, listening: Sequence[loggers.Logger]) -> None:
    """Compare the best policy with the heuristics; print and write the result."""
    settings, scenario = plan.settings.evaluation, plan.scenario
    best, newest = checkpoint.best_step(folder / checkpoint.FOLDER), checkpoint.steps(folder / checkpoint.FOLDER)[-1]
    if best != newest:
        _tell(listening, f"warning: update {newest} did worse than update {best}, whose policy is compared and kept")
    rules, learned = comparison.rules(scenario, settings), comparison.learned(folder, scenario, settings)
    fresh = fresh_news.rival(folder, scenario, settings) if settings.fresh_news else None
    result = comparison.compare(scenario, settings, rules, learned, plan.cost, fresh)
    everyone = comparison.everyone(rules, learned)
    curves, drawn_of_members = lineage.curves(folder, best, plan.population)
    drawn = comparison.figures(result, scenario, settings, everyone, *curves, build.plots(plan.settings))
    drawn |= drawn_of_members
    if "checkpoints" in build.plots(plan.settings):
        drawn |= comparison.of_checkpoints(folder / checkpoint.FOLDER, scenario, settings)
    drawn |= pareto.drawn(plan.settings, scenario, learned)
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
