"""Rules and policies on real processes: `python -m train.live_farm policies=[…] [checkpoint=<run>] [key=value …]`.

A master hands out a job of many tasks in chunks to worker processes (of dask.distributed, the extra `live`); a policy
says how many tasks a worker gets. First some tasks measure workers, tasks and master; then each policy does the same
job in turn, `repetitions` times over, on the same workers. `policies` is a list of rules, each a name or {name: …} with
options; with a checkpoint, `learned` may be among them. Tasks are what keeps a processor busy for so long as chance
says. `kill` ends so many worker processes in the middle of each job, and `join` starts some; every task's result is
accepted once all the same, and that is checked. Prints makespans with their intervals, and by how much they differ from
the best rule's in the same repetitions, and writes them (live.md, live.json), with calibration.json, into `output`.

Exit status: 0 when all went well; 1 when workers were gone for good; 2 when something given is wrong; 130 or 143 when
SIGINT (Ctrl-C) or SIGTERM asked to stop. One line on stderr says what, nothing has been written then, and no process
that was started is left.
"""

import contextlib
import dataclasses
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import MISSING, OmegaConf

from jaxdlb import checkpoint, compilation
from jaxdlb.checks import COUNT, POSITIVE, POSITIVE_COUNT, Interval, check_array, check_whole
from jaxdlb.live import PolicyAlgorithm, calibration, engine, run
from jaxdlb.live import master as masters
from jaxdlb.live.calibration import Calibration, TooFewError
from jaxdlb.live.engine import Workers
from jaxdlb.live.run import LiveFarm, NobodyThereError, Outcome, TaskFailedError
from jaxdlb.live.speeds import AS_THEY_ARE, ByQuota, ByWork, Speeds
from jaxdlb.parameters import declarations
from jaxdlb.policies import Policy
from jaxdlb.writing import write_whole

from . import build, cli, compose, errors, live_table, players, provenance, run_folder, signals

QUOTAS = "cgroup"
_RATIOS = (1.0, 2.0, 3.0, 5.0)  # of quotas, where nothing is said
_MOMENTS = (0.1, 0.8)  # the part of a job in which workers are killed, or join
_MEASURED = 12  # tasks for each worker, by which it is measured
_ENTRY = next(iter(masters.playable().values()))


@dataclasses.dataclass
class LiveSettings:
    """Settings of jobs, of who does them, and of what befalls them."""

    policies: Any = MISSING  # rules, each a name or {name: …} with options, and learned, in a list
    checkpoint: str | None = None  # a run's folder, its checkpoints folder or that of one step, for learned
    step: int | None = None  # which checkpoint; null: the best in episodes held out
    greedy: bool = True  # learned takes the likeliest choice, else it draws
    workers: Any = 4  # processes to start on this machine, or the address of a scheduler that has some
    job: int = 2000  # tasks of a job
    repetitions: int = 20  # jobs of each policy
    kill: int = 0  # worker processes that are ended by SIGKILL in each job; others take their place
    join: int = 0  # workers that join in each job
    # a list of speeds, by as many turns of each task, or cgroup, by shares of the processors, or {cgroup: [1,2,3,5]}
    speeds: Any = None
    task_seconds: float = 0.05  # that a task keeps a processor busy in the mean, on a worker of speed 1
    task_cv: float = 1.0  # coefficient of variation of it
    calibration: str | None = None  # a calibration.json; null: it is measured
    seed: int = 0  # of tasks, moments and draws
    output: str | None = None  # a new or empty folder; null: one by time in runs


@dataclasses.dataclass(frozen=True)
class Plan:
    """Jobs that have been found right in everything."""

    settings: LiveSettings
    policies: list[Policy]
    game: Any  # with a seat for each worker
    speeds: Speeds
    calibration: Calibration | None
    folder: Path  # to be made
    command: str


def prepare(arguments: Sequence[str]) -> Plan:
    """Check everything and load the policy; writes nothing.

    Raises:
        ValueError, OmegaConfBaseException: something given is wrong, or the engine is not installed.
    """
    for text in arguments:
        if "=" not in text:
            raise ValueError(f"{text} is no key with its value; it must be one, as in job=2000")
    given = OmegaConf.from_dotlist(compose.understood(arguments, LiveSettings))
    settings: Any = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(LiveSettings), given))
    if not engine.is_installed():
        raise ValueError(engine.EXTRA)
    _check(settings)
    game = _game(settings)
    policies = _policies(settings, game)
    saved = None if settings.calibration is None else calibration.load(settings.calibration)
    named = f"{run_folder.stamp()}_live_farm"
    folder = Path("runs") / named if settings.output is None else Path(settings.output)
    run_folder.check_new("output", folder)
    speeds = _speeds(settings)
    return Plan(settings, policies, game, speeds, saved, folder, provenance.command("train.live_farm", arguments))


def execute(plan: Plan) -> None:
    """Do the jobs, print and write.

    Raises:
        errors.Refusal: no scheduler answers at the address that was given, or it has no workers.
        cli.FailedError: workers were gone for good, or one could not do a task.
        StoppedError: a signal asked to stop; no process is left behind.
    """
    with signals.Signals(), contextlib.ExitStack() as stack:
        with errors.refusals():
            workers = stack.enter_context(Workers(plan.settings.workers, plan.speeds))
            workers.wait_for(_wanted(plan.settings, workers))
        try:
            measured = plan.calibration or _calibrated(plan, workers)
            outcomes = _outcomes(plan, workers, measured)
        except (NobodyThereError, TaskFailedError, TooFewError, TimeoutError) as error:
            raise cli.FailedError(str(error)) from error
    _write(plan, measured, outcomes)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (without the program's name), and return the exit status."""
    compilation.run_inline()  # workers want the processors, and a decision is soon made
    return cli.main_of_keys(__doc__, LiveSettings, prepare, execute, arguments)


def burn(task: tuple[int, float]) -> int:
    """Keep a processor busy for so many seconds of its own time; the task's number."""
    number, seconds = task
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        sum(range(200))
    return number


def _check(settings: LiveSettings) -> None:
    """Raise ValueError for a number that is not allowed, or what cannot be had at a scheduler elsewhere."""
    most: Any = declarations(_ENTRY.params)["job"].allowed
    check_whole("job", settings.job, most)
    check_whole("repetitions", settings.repetitions, Interval(2, 10_000, integer=True))
    for name in ("kill", "join", "seed"):
        check_whole(name, getattr(settings, name), COUNT)
    for name in ("task_seconds", "task_cv"):
        check_array(name, getattr(settings, name), (), POSITIVE)
    if not isinstance(settings.workers, str):
        check_whole("workers", settings.workers, POSITIVE_COUNT)
        return
    engine.check_address(settings.workers)
    for name in ("kill", "join"):
        if getattr(settings, name):
            raise ValueError(f"{name} is {getattr(settings, name)}; it must be 0 where workers is an address")


def _policies(settings: LiveSettings, game: Any) -> list[Policy]:
    """Who plays; raises ValueError for a rule that is none, an oracle, one given twice, or no checkpoint to load."""
    entries = settings.policies if isinstance(settings.policies, list) else [settings.policies]
    if not entries:
        raise ValueError("policies is empty; it must hold at least one")
    found = [_policy(entry, f"policies[{index}]", settings, game) for index, entry in enumerate(entries)]
    names = [each.name for each in found]
    for policy in found:
        if policy.kind == "oracle":
            raise ValueError(f"policies holds {policy.name!r}, an oracle; nobody knows the true speeds here")
        if names.count(policy.name) > 1:
            raise ValueError(f"policies holds {policy.name!r} twice; every policy must have a name of its own")
    return found


def _policy(entry: Any, key: str, settings: LiveSettings, game: Any) -> Policy:
    if entry != players.LEARNED:
        return build.heuristic(entry, key, _ENTRY.heuristics)
    if settings.checkpoint is None:
        raise ValueError(f"checkpoint is not given; it must be where policies holds {players.LEARNED}")
    return checkpoint.load_policy(settings.checkpoint, game=game, step=settings.step, greedy=settings.greedy)


def _speeds(settings: LiveSettings) -> Speeds:
    """Raises ValueError for what is none, and for quotas that cannot be had."""
    given = settings.speeds
    if given is None:
        return AS_THEY_ARE
    if given == QUOTAS:
        return ByQuota(_RATIOS)
    if isinstance(given, Mapping) and list(given) == [QUOTAS] and isinstance(given[QUOTAS], list):
        return ByQuota(given[QUOTAS])
    if isinstance(given, list):
        return ByWork(given)
    raise ValueError(f"speeds is {given!r}; it must be a list, {QUOTAS}, {{{QUOTAS}: [1,2,3,5]}} or null")


def _game(settings: LiveSettings) -> Any:
    """With a seat for each worker; at a scheduler elsewhere as many as the game has by default."""
    kind: Any = _ENTRY.game
    return kind() if isinstance(settings.workers, str) else kind(num_workers=settings.workers + settings.join)


def _wanted(settings: LiveSettings, workers: Workers) -> int:
    """How many workers there are to be before a job: elsewhere those that are there.

    Raises:
        ValueError: there are none elsewhere.
    """
    if workers.is_local:
        return int(settings.workers)
    time.sleep(1)
    for _ in workers.events(0.001):
        pass
    if not workers.names:
        raise ValueError(f"workers is {settings.workers!r}; it must be the address of a scheduler that has some")
    return len(workers.names)


def _calibrated(plan: Plan, workers: Workers) -> Calibration:
    _say("measuring workers and tasks")
    tasks = _tasks(plan, np.random.default_rng([plan.settings.seed, 1]), _MEASURED * len(workers.names))
    return run.calibrate(tasks, burn, workers)[0]


def _tasks(plan: Plan, random: np.random.Generator, count: int) -> list[tuple[int, float]]:
    """Numbers and seconds of a turn of each task, of lognormal law."""
    settings = plan.settings
    spread = np.sqrt(np.log1p(settings.task_cv**2))
    turns = plan.speeds.turns if isinstance(plan.speeds, ByWork) else 1.0
    seconds = random.lognormal(np.log(settings.task_seconds / turns) - spread**2 / 2, spread, count)
    return list(enumerate(seconds.tolist()))


def _outcomes(plan: Plan, workers: Workers, measured: Calibration) -> Mapping[str, list[Outcome]]:
    """All jobs of each policy, by its name."""
    settings = plan.settings
    params = measured.params(plan.game, settings.job)
    teams = {each.name: PolicyAlgorithm(each, plan.game, params, settings.seed) for each in plan.policies}
    outcomes: Mapping[str, list[Outcome]] = {name: [] for name in teams}
    for repetition in range(settings.repetitions):
        for name in _turns(list(teams), repetition):
            outcome = _job(plan, repetition, teams[name], workers, measured)
            outcomes[name].append(outcome)
            _say(f"{repetition + 1} of {settings.repetitions}, {name}: {outcome.makespan:.2f} s")
    return outcomes


def _turns(names: list[str], repetition: int) -> list[str]:
    """The policies, another one first in every repetition."""
    first = repetition % len(names)
    return names[first:] + names[:first]


def _job(plan: Plan, repetition: int, team: PolicyAlgorithm, workers: Workers, measured: Calibration) -> Outcome:
    """One job; whatever chance there is depends on the repetition alone."""
    settings = plan.settings
    random = np.random.default_rng([settings.seed, 0, repetition])
    tasks = _tasks(plan, random, settings.job)
    befalls = _befalling(settings, random, workers)
    outcome = LiveFarm(tasks, burn, team, workers, calibration=measured).run(befalls)
    assert outcome.results == list(range(settings.job))
    if settings.join:
        workers.reduce(settings.workers)
    if settings.kill:
        workers.wait_for(settings.workers)
    return outcome


def _befalling(settings: LiveSettings, random: np.random.Generator, workers: Workers) -> Callable[[Outcome], None]:
    """Kills and adds workers as a job goes on, when so large a part of its tasks is done as was drawn."""
    low, high = (settings.job * part for part in _MOMENTS)
    kills = sorted(random.uniform(low, high, settings.kill), reverse=True)
    joins = sorted(random.uniform(low, high, settings.join), reverse=True)
    victims = random.integers(0, 2**31, settings.kill)

    def befall(outcome: Outcome) -> None:
        done = len(outcome.by_task)
        if kills and done >= kills[-1] and workers.names:
            names = workers.names
            with contextlib.suppress(ValueError, ProcessLookupError):  # it is gone, as will be told of
                workers.kill(names[int(victims[len(kills) - 1]) % len(names)])
                kills.pop()
        if joins and done >= joins[-1]:
            joins.pop()
            workers.add(1)

    return befall


def _write(plan: Plan, measured: Calibration, outcomes: Mapping[str, Sequence[Outcome]]) -> None:
    rules = [each.name for each in plan.policies if each.kind == "heuristic"]
    rows = live_table.rows(outcomes, rules)
    text = live_table.to_markdown(rows)
    data = {
        "command": plan.command,
        "versions": provenance.versions(),
        "settings": dataclasses.asdict(plan.settings) | {"output": None, "checkpoint": None, "calibration": None},
        "calibration": dataclasses.asdict(measured),
        "policies": live_table.to_json(rows, outcomes),
    }
    folder = plan.folder if plan.settings.output else run_folder.create_new(plan.folder)
    folder.mkdir(parents=True, exist_ok=True)
    measured.save(folder / "calibration.json")
    write_whole(folder / "live.json", json.dumps(data, indent=2) + "\n")
    write_whole(folder / "live.md", text)
    print(text)
    print(f"written to {folder}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    cli.tune()
    sys.exit(main())
