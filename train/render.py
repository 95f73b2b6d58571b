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
from jaxdlb.game import Lengths
from jaxdlb.policies import Policy

from . import build, cli, comparison, errors, players, writable
from .build import Scenario
from .settings import Settings

_FIRST, _DRAWN = 100, 25  # rounds of an episode that does not end by itself: those before, and those that are drawn


@dataclasses.dataclass
class RenderSettings(Settings):
    """Settings of a run, and what to draw of it."""

    step: int | None = None  # which checkpoint; null: the best in episodes held out
    checkpoint: str | None = None  # a run's folder, its checkpoints folder or that of one step; a rule needs none
    output: str = "game.gif"  # the file, in a folder that exists
    policy: Any = None  # learned, a heuristic's name, {name: …} with options, or a list; null: learned, if it can be
    seed_index: int = 0  # which of several seeds
    rounds: int | None = None  # rounds to draw; null: 25, or all of an episode that ends by itself
    first_round: int | None = None  # rounds played before; null: 100, or none where episodes end by themselves
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
        if getattr(settings, name) is not None:
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
    first_round, rounds = _shown(settings, scenario.entry.lengths)
    recordings = {
        policy.name: comparison.record(scenario, policy, settings.evaluation.seed, first_round + rounds)
        for policy in players.policies(plan.wanted, plan.learned, scenario, settings.evaluation, tune=True)
    }
    shortest = min(each.num_rounds for each in recordings.values())
    if first_round >= shortest:
        raise errors.Refusal(f"first_round is {first_round}; it must be below {shortest}, where an episode ends")
    assert scenario.entry.viewer is not None
    scenario.entry.viewer().animation(
        recordings,
        settings.output,
        first_round=first_round,
        num_frames=rounds * settings.frames_per_round,
        frames_per_round=settings.frames_per_round,
    )
    print(f"written to {settings.output}")


def _shown(settings: Any, lengths: Lengths) -> tuple[int, int]:
    """The first round that is drawn, and how many are: as asked for, or as the game's episodes are long."""
    first_round, rounds = (0, lengths.recorded) if lengths.ends else (_FIRST, _DRAWN)
    return (
        first_round if settings.first_round is None else settings.first_round,
        rounds if settings.rounds is None else settings.rounds,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (without the program's name), and return the exit status."""
    return cli.main(__doc__, RenderSettings, prepare, execute, arguments)


if __name__ == "__main__":
    cli.tune()
    sys.exit(main())
