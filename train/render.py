"""Draw a game: `python -m train.render [checkpoint=<run>] [policy=learned] [output=game.gif] [key=value …]`.

An animated GIF of one cluster of the game. `policy` is `learned`, or the name of a heuristic, which is tuned as in the
tables, or {name: …} with its options; a list of several shows them side by side, on the same scales, meeting the same
chances. With a checkpoint the settings are those of the run, as in train.evaluate; else those of python -m train.

Exit status: 0 when all went well; 2 when something given is wrong, of which one line on stderr says what, and then
nothing has been written.
"""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxdlb.checks import check_size
from jaxdlb.policies import Policy

from . import build, cli, comparison, players, writable
from .build import Scenario
from .settings import Settings


@dataclasses.dataclass
class RenderSettings(Settings):
    """Settings of a run, and what to draw of it."""

    step: int | None = None  # which checkpoint; null: the best in episodes held out
    checkpoint: str | None = None  # a run's folder, its checkpoints folder or that of one step; a rule needs none
    output: str = "game.gif"  # the file, in a folder that exists
    policy: Any = None  # learned, a heuristic's name, {name: …} with options, or a list; null: learned, if it can be
    seed_index: int = 0  # which of several seeds
    rounds: int = 25  # rounds to draw
    first_round: int = 100  # rounds played before
    frames_per_round: int = 4  # pictures a round


@dataclasses.dataclass(frozen=True)
class Plan:
    """A drawing that has been found right in everything."""

    settings: Any
    scenario: Scenario
    wanted: list[Any]  # entries of `policy`
    learned: Policy | None


def prepare(overrides: Sequence[str]) -> Plan:
    """Check everything and load the policy; writes nothing.

    Raises:
        ValueError, OmegaConfBaseException: something given is wrong.
    """
    _, settings, located = players.settings(overrides, RenderSettings)
    build.check(settings)
    for name, least in {"rounds": 1, "first_round": 0, "frames_per_round": 1}.items():
        check_size(name, getattr(settings, name), least)
    output = Path(settings.output)
    if output.suffix != ".gif" or not output.absolute().parent.is_dir() or output.is_dir():
        raise ValueError(f"output is {settings.output!r}; it must be a file named ….gif in a folder that exists")
    writable.check_file("output", output)
    scenario = build.scenario(settings.game)
    if scenario.entry.viewer is None:
        raise ValueError(f"game.name is {settings.game.name!r}; it must be a game that can be drawn")
    wanted = players.entries(settings.policy, scenario)
    learned = players.learned(settings, scenario, located) if players.LEARNED in wanted else None
    return Plan(settings, scenario, wanted, learned)


def execute(plan: Plan) -> None:
    """Play, draw and write."""
    settings, scenario = plan.settings, plan.scenario
    num_rounds = settings.first_round + settings.rounds
    recordings = {
        policy.name: comparison.record(scenario, policy, settings.evaluation.seed, num_rounds)
        for policy in players.policies(plan.wanted, plan.learned, scenario, settings.evaluation, tune=True)
    }
    assert scenario.entry.viewer is not None
    scenario.entry.viewer().animation(
        recordings,
        settings.output,
        first_round=settings.first_round,
        num_frames=settings.rounds * settings.frames_per_round,
        frames_per_round=settings.frames_per_round,
    )
    print(f"written to {settings.output}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (without the program's name), and return the exit status."""
    return cli.main(__doc__, RenderSettings, prepare, execute, arguments)


if __name__ == "__main__":
    cli.tune()
    sys.exit(main())
