"""Play a game, without any training: `python -m train.simulate policy=<rule> duration=<time> [key=value …]`.

Plays `evaluation.num_episodes` clusters for the `duration`, counted in the game's own unit of time (rounds, where every
step takes one); none need be given where episodes end by themselves. `policy` is the name of a heuristic, {name: …}
with its options, or a list; all meet the same chances.
With a checkpoint `learned` plays too, and the settings are those of the run, as in train.evaluate; else those of python
-m train. Prints the table, and writes it (table.txt, table.csv, evaluation.json, samples.csv), one of the clusters over
time (series.csv and, where a game tells of its agents one by one, series_agents.csv), figures, config.yaml and
provenance.json into `output`, or a new folder in `runs_dir`.

Exit status: 0 when all went well; 2 when something given is wrong, of which one line on stderr says what, and then
nothing has been written.
"""

import dataclasses
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from omegaconf import MISSING, DictConfig

from jaxdlb import checkpoint, evaluation
from jaxdlb.checks import NON_NEGATIVE, POSITIVE, check_array
from jaxdlb.evaluation import Evaluation, series
from jaxdlb.evaluation.series import Series
from jaxdlb.game import Lengths
from jaxdlb.policies import Policy
from jaxdlb.writing import write_whole

from . import build, cli, comparison, compose, errors, node_statistics, players, provenance, run_folder
from .build import Scenario
from .settings import Settings

MOST_DRAWN = 3  # policies in the game's own figures, which show the first `evaluation.recorded_rounds`
_IN_ROUNDS = ("evaluation.num_rounds", "evaluation.warmup")  # what `duration` and `warmup` stand for here


@dataclasses.dataclass
class SimulateSettings(Settings):
    """Settings of a game, who plays it, and for how long."""

    policy: Any = MISSING  # a heuristic's name, {name: …} with options, learned, or a list
    # of each cluster, in the game's own unit of time, and a step counts if it begins before; null: to the end of its
    # own that an episode comes to, in games in which it does
    duration: float | None = None
    warmup: float | None = None  # time at the start that the table leaves out; null: the share that the game asks for
    tune: bool = False  # search the best options of heuristics that are named without any; false: their defaults
    output: str | None = None  # a new or empty folder; null: one by time and game in runs_dir
    statistics: bool = False  # write what every agent did in every step of every episode
    checkpoint: str | None = None  # a run's folder, its checkpoints folder or that of one step, for policy=learned
    step: int | None = None  # which checkpoint; null: the best in episodes held out
    seed_index: int = 0  # which of several training seeds


@dataclasses.dataclass(frozen=True)
class Plan:
    """A simulation that has been found right in everything."""

    given: DictConfig
    settings: Any
    scenario: Scenario
    wanted: list[Any]  # entries of `policy`
    learned: Policy | None
    step: int | None  # of the checkpoint
    warmup: float
    folder: Path  # to be made
    command: str

    @property
    def length(self) -> dict[str, Any]:
        """How long is played: for the duration or, where none is given, as many rounds as an episode can have."""
        if self.settings.duration is None:
            return {"num_rounds": self.scenario.entry.lengths.num_rounds}
        return {"num_rounds": self.settings.duration, "by_time": True}


def prepare(overrides: Sequence[str]) -> Plan:
    """Check everything and load the policy; writes nothing.

    Raises:
        ValueError, OmegaConfBaseException: something given is wrong.
    """
    given, settings, located = players.settings(overrides, SimulateSettings)
    for key in _IN_ROUNDS:
        if any(text.lstrip("+").partition("=")[0] == key for text in overrides):
            raise ValueError(f"{key} is given; it must not be, since duration and warmup say how long is played")
    build.check(settings)
    scenario = build.scenario(settings.game)
    warmup = _warmup(settings, scenario.entry.lengths)
    wanted = players.entries(settings.policy, scenario)
    _check_names(wanted, scenario)
    if settings.statistics:
        node_statistics.check(scenario)
    learned = players.learned(settings, scenario, located) if players.LEARNED in wanted else None
    folder = run_folder.asked_for(settings, "simulated")
    command = provenance.command("train.simulate", overrides)
    return Plan(given, settings, scenario, wanted, learned, _step(learned, located), warmup, folder, command)


def execute(plan: Plan) -> None:
    """Play, print and write.

    Raises:
        Refusal: the duration cannot be reached, or statistics are asked for where steps vary in time.
    """
    scenario, settings = plan.scenario, plan.settings
    policies = players.policies(plan.wanted, plan.learned, scenario, settings.evaluation, tune=settings.tune)
    policies = list({policy.name: policy for policy in policies}.values())  # what is tuned may be what is given besides
    try:
        played = comparison.over_time(scenario, policies, settings.evaluation.seed, **plan.length)
    except series.EndlessError as error:
        raise errors.Refusal(f"duration is {settings.duration:g}; it must be what can be reached: {error}") from None
    if settings.statistics and not all(each.in_rounds for each in played.values()):
        raise errors.Refusal(
            "statistics is true; it must be false in a game whose steps do not all take 1 unit of time"
        )
    result = measure(plan, policies)
    ranked = {each.name: played[each.name] for each in result.results}
    folder = plan.folder if settings.output else run_folder.create_new(plan.folder)
    drawn = comparison.timelines(scenario, ranked, plan.warmup)
    if settings.statistics:
        node_statistics.write(folder, scenario, settings.evaluation, policies, math.ceil(settings.duration))
    best = [each for name in [*ranked][:MOST_DRAWN] for each in policies if each.name == name]
    drawn |= comparison.of_game(scenario, settings.evaluation, best)
    comparison.write_table_and_figures(folder, result, drawn)
    write_whole(folder / "table.csv", evaluation.to_table_csv(result))
    _write_series(folder, ranked)
    compose.save(plan.given, folder)
    told = provenance.resolved(settings, scenario)["evaluation"]
    told |= {"policies": [each.name for each in policies], "duration": settings.duration, "warmup": plan.warmup}
    del told["num_rounds"]
    further = {"evaluation": told}
    provenance.write(folder, settings, scenario, plan.command, update=plan.step, further=further)
    print(evaluation.to_text(result))
    print(f"written to {folder}")


def measure(plan: Plan, policies: Sequence[Policy]) -> Evaluation:
    """The table: every policy on the clusters to evaluate on, for the duration."""
    judged = len(policies) > 1 and any(policy.kind == "heuristic" for policy in policies)
    return evaluation.compare(
        plan.scenario.game,
        policies,
        plan.scenario.test,
        jax.random.key(plan.settings.evaluation.seed),
        num_episodes=plan.settings.evaluation.num_episodes,
        warmup=plan.warmup,
        **plan.length,
        judged=judged,
        baseline=plan.scenario.entry.baseline,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (without the program's name), and return the exit status."""
    return cli.main(__doc__, SimulateSettings, prepare, execute, arguments)


def _warmup(settings: Any, lengths: Lengths) -> float:
    """The warm-up that is given, or the game's share of the duration.

    Raises:
        ValueError: no duration where episodes do not end by themselves or something else asks for one, one that is not
            above 0, or a warm-up that leaves nothing of it.
    """
    if settings.duration is None:
        return _warmup_to_the_end(settings, lengths)
    check_array("duration", settings.duration, (), POSITIVE)
    if settings.warmup is None:
        return float(settings.duration * lengths.warmup / lengths.num_rounds)
    check_array("warmup", settings.warmup, (), NON_NEGATIVE)
    if settings.warmup >= settings.duration:
        raise ValueError(f"warmup is {settings.warmup:g}; it must be below duration, which is {settings.duration:g}")
    return float(settings.warmup)


def _warmup_to_the_end(settings: Any, lengths: Lengths) -> float:
    """The game's own, in rounds; raises ValueError where a duration is needed."""
    asking = [name for name in ("warmup", "statistics") if getattr(settings, name)]
    if not lengths.ends or asking:
        raise ValueError(f"duration is not given; it must be, as duration=…{f' with {asking[0]}' if asking else ''}")
    return lengths.warmup


def _check_names(wanted: Sequence[Any], scenario: Scenario) -> None:
    """Raise ValueError for a policy that is asked for twice."""
    families = scenario.entry.heuristics
    names = [each if each == players.LEARNED else build.heuristic(each, "policy", families).name for each in wanted]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"policy holds {name!r} twice; every policy must have a name of its own")


def _step(learned: Policy | None, located: checkpoint.Location | None) -> int | None:
    """The checkpoint of the policy that plays; None where nothing learned does."""
    if learned is None or located is None:
        return None
    return comparison.step_of(located)


def _write_series(folder: Path, played: dict[str, Series]) -> None:
    """Write series.csv and, where there is something to tell of single agents, series_agents.csv."""
    write_whole(folder / "series.csv", series.to_csv(played))
    agents = series.agents_to_csv(played)
    if agents:
        write_whole(folder / "series_agents.csv", agents)


if __name__ == "__main__":
    cli.tune()
    sys.exit(main())
