"""Draw a game: `python -m train.render checkpoint=<run> [policy=learned] [output=game.gif] [rounds=25] [key=value …]`.

An animated GIF of one cluster: nodes as bars, tasks that move, the age of heartbeats. `policy` is `learned` or the name
of a heuristic, or {name: …} with its options; the settings are those of the run, as in train.evaluate.

Exit status: 0 when all went well; 2 when something given is wrong, of which one line on stderr says what, and then
nothing has been written.
"""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxdlb import compilation
from jaxdlb.checks import check_size
from train import build, cli, comparison, evaluate, launch
from train.build import Scenario

LEARNED = "learned"


@dataclasses.dataclass
class RenderSettings(evaluate.EvaluateSettings):
    """Settings of a run, and what to draw of it."""

    output: str = "game.gif"
    policy: Any = LEARNED
    seed_index: int = 0  # which of several seeds
    rounds: int = 25
    first_round: int = 100
    frames_per_round: int = 4


@dataclasses.dataclass(frozen=True)
class Plan:
    """A drawing that has been found right in everything."""

    settings: Any
    scenario: Scenario
    policy: Any


def prepare(overrides: Sequence[str]) -> Plan:
    """Check everything and load the policy; writes nothing.

    Raises:
        ValueError, OmegaConfBaseException: something given is wrong.
    """
    _, settings, located = evaluate.from_run(overrides, RenderSettings)
    build.check(settings)
    for name, least in {"rounds": 1, "first_round": 0, "frames_per_round": 1}.items():
        check_size(name, getattr(settings, name), least)
    output = Path(settings.output)
    if output.suffix != ".gif" or not output.absolute().parent.is_dir() or output.is_dir():
        raise ValueError(f"output is {settings.output!r}; it must be a file named ….gif in a folder that exists")
    scenario = build.scenario(settings.game)
    if settings.policy != LEARNED:
        return Plan(settings, scenario, build.heuristic(settings.policy, "policy"))
    greedy = settings.evaluation.greedy
    learned = comparison.learned_policies(located.folder, scenario.game, step=located.step, greedy=greedy)
    if not 0 <= settings.seed_index < len(learned):
        raise ValueError(f"seed_index is {settings.seed_index}; it must be an integer in [0, {len(learned) - 1}]")
    return Plan(settings, scenario, learned[settings.seed_index])


def execute(plan: Plan) -> None:
    """Play, draw and write."""
    from jaxdlb.evaluation import plots

    settings = plan.settings
    num_rounds = settings.first_round + settings.rounds
    recording = comparison.record(plan.scenario, plan.policy, settings.evaluation.seed, num_rounds)
    plots.animation(
        recording,
        settings.output,
        title=plan.policy.name,
        first_round=settings.first_round,
        num_frames=settings.rounds * settings.frames_per_round,
        frames_per_round=settings.frames_per_round,
    )
    print(f"written to {settings.output}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (without the program's name), and return the exit status."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if {"-h", "--help"} & set(arguments):
        print(__doc__)
        return 0
    return cli.run(lambda: prepare(arguments), execute, arguments)


if __name__ == "__main__":
    compilation.tune_for_cpu()
    launch.use_compilation_cache()
    sys.exit(main())
