"""Certify policies of a small game: `python -m train.certify [checkpoint=<run>] [game=<small game>] [key=value …]`.

Solves the game exactly, without any training or sampling: the best that one controller, and that the agents, could get;
how far below that each policy is, of heuristics and of the run; and what any agent would gain by deviating. Of a game
that ends, and in which nothing is left to chance, an episode is solved instead: the best that can be done in it, and
how far behind each policy is. With a checkpoint the settings are those of the run, as in train.evaluate; if its game is
too large, or none that an exact solution covers, a small one is made of its first nodes, with their rates and fresh
news, or taken from conf/, and the keys that make it are told. A game named on the command line is refused then, with
the same keys. Without a checkpoint the settings are those of python -m train with game=dlb_certified. Prints the
certificate, and writes it (certificate.txt, certificate.json), figures, config.yaml and provenance.json into `output`,
or a new folder in the run's, or in `runs_dir`.

Exit status: 0 when all went well; 2 when something given is wrong, of which one line on stderr says what, and then
nothing has been written.
"""

import dataclasses
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from jaxdlb.policies import Policy
from jaxdlb.theory import certificate as certificates
from jaxdlb.theory import chain as chains
from jaxdlb.theory import table
from jaxdlb.theory.certificate import Certificate
from jaxdlb.theory.chain import Chain, Common
from jaxdlb.theory.deterministic import Moves
from jaxdlb.writing import write_whole

from . import build, cli, comparison, compose, episodes, players, provenance, run_folder, small, writable
from .build import Scenario
from .countdown import Countdown
from .episodes import Certified
from .settings import Settings

FOLDER = "certificates"  # in a run's folder


@dataclasses.dataclass
class CertifySettings(Settings):
    """Settings of a run, and which of its policies to certify."""

    checkpoint: str | None = None  # a run's folder, its checkpoints folder or that of one step; null: heuristics alone
    step: int | None = None  # which checkpoint; null: the best in episodes held out
    output: str | None = None  # a new or empty folder; null: <run>/certificates/<date_time>, or one in runs_dir


@dataclasses.dataclass(frozen=True)
class Plan:
    """A certificate that has been found right in everything."""

    given: DictConfig
    settings: Any
    scenario: Scenario
    exact: Common | Moves  # what is solved: a chain, or everything that may happen in an episode
    learned: list[Policy]
    step: int | None  # of the checkpoint
    folder: Path  # to be made
    command: str
    cut: list[str]  # keys that made a small game of the run's own; none where that is small


def prepare(overrides: Sequence[str]) -> Plan:
    """Check everything and load the policies; writes nothing.

    Raises:
        ValueError, OmegaConfBaseException: something given is wrong.
    """
    has_game = any(text.startswith(("checkpoint=", "game=", "game.name=")) for text in overrides)
    chosen = [*overrides] if has_game else [_small(), *overrides]
    given, settings, located = players.settings(chosen, CertifySettings)
    build.check(settings)
    cut = [] if located is None or _names_game(overrides) else _cut(settings)
    if cut:
        given, settings, located = players.settings([*chosen, *cut], CertifySettings)
    scenario = build.scenario(settings.game)
    exact = _exact(settings, scenario)
    learned = [] if located is None else _learned(scenario, settings, located)
    step = None if located is None else comparison.step_of(located)
    if settings.output is not None:
        folder = Path(settings.output)
        run_folder.check_new("output", folder)
    elif located is not None:
        folder = located.folder.parent / FOLDER / run_folder.stamp()
        writable.check_folder("output is not given, and the folder", folder)
    else:
        run_folder.check(dataclasses.replace(settings, run_dir=None))
        folder = Path(settings.runs_dir) / f"{run_folder.stamp()}_{settings.game.name}_certified"
    command = provenance.command("train.certify", overrides)
    return Plan(given, settings, scenario, exact, learned, step, folder, command, cut)


def _names_game(overrides: Sequence[str]) -> bool:
    """Whether the command line says anything of the game."""
    return any(text.lstrip("+~").partition("=")[0].partition(".")[0] == "game" for text in overrides)


def _cut(settings: Any) -> list[str]:
    """The keys that make a small game of a run's own; none where it is small, or cannot be made so."""
    scenario = build.scenario(settings.game)
    try:
        _exact(settings, scenario)
    except ValueError:
        return shlex.split(small.overrides(settings.game, scenario))
    return []


def _small() -> str:
    """The choice of the small game that is called after the one that `python -m train` plays."""
    return f"game={small.named(compose.from_conf([], CertifySettings).game.name)}"


def execute(plan: Plan) -> None:
    """Solve, print and write."""
    rules = comparison.heuristics(plan.scenario, plan.settings.evaluation)
    instance = provenance.resolved(plan.settings, plan.scenario)
    about = {"game": instance["game"], "parameters": instance["parameters"], "cut": plan.cut}
    policies, exact = [*rules, *plan.learned], plan.exact
    if isinstance(exact, Moves):
        made = episodes.certified(exact, policies, about, plan.scenario, plan.settings.evaluation)
    else:
        made = _of_chain(exact, policies, about)
    folder = plan.folder if plan.settings.output else run_folder.create_new(plan.folder)
    text = "\n".join([made.text, *_told(plan.cut)])
    comparison.write_figures(folder, made.figures)
    write_whole(folder / "certificate.txt", text + "\n")
    write_whole(folder / "certificate.json", json.dumps(made.data, indent=2) + "\n")
    compose.save(plan.given, folder)
    provenance.write(folder, plan.settings, plan.scenario, plan.command, update=plan.step)
    print(text)
    print(f"written to {folder}")


def _of_chain(common: Common, policies: Sequence[Policy], about: dict[str, Any]) -> Certified:
    chain = chains.build(common)
    progress = Countdown(f"certifying in {chain.num_states:,} states")
    certificate, optimum = certificates.certify(chain, policies, about, progress)
    figures = _figures(chain, certificate, optimum[0], policies)
    return Certified(certificates.to_text(certificate), certificates.to_json(certificate), figures)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (without the program's name), and return the exit status."""
    return cli.main(__doc__, CertifySettings, prepare, execute, arguments)


def _told(cut: Sequence[str]) -> list[str]:
    """How the game that is certified differs from the run's."""
    return [f"The run played another game, {small.whence(cut)}: {shlex.join(cut)}"] if cut else []


def _exact(settings: Any, scenario: Scenario) -> Common | Moves:
    """What is to be solved of the game, if it can be and is not too large.

    Raises:
        ValueError: names what an exact solution does not cover, or the number of states; and the keys that would make
            it small enough.
    """
    entry = scenario.entry
    if entry.common is None and entry.episode is None:
        raise ValueError(f"game.name is {settings.game.name!r}; it must be a game that can be solved exactly")
    if entry.common is not None and scenario.game.num_agents < 2:
        raise ValueError(
            "game.num_nodes is 1; it must be at least 2 for a certificate, since one alone chooses nothing"
        )
    try:
        if not scenario.is_one:
            raise ValueError("game.randomise is given; it must not be for an exact solution, which is of one cluster")
        return episodes.moves(settings, scenario) if entry.common is None else _common(settings, scenario)
    except ValueError as error:
        raise ValueError(f"{error}{small.hint(settings.game, scenario)}") from None


def _common(settings: Any, scenario: Scenario) -> Common:
    """The game's one cluster as a chain on what all agents know; raises ValueError as `_exact` does."""
    assert scenario.entry.common is not None
    with build.named("game.params", settings.game.params):
        common: Common = scenario.entry.common(scenario.game, scenario.params)
    with build.named("game", settings.game):
        chains.check_size(scenario.game.num_agents, common.most)
    return common


def _learned(scenario: Scenario, settings: Any, located: Any) -> list[Policy]:
    """The policies of all training seeds, in every way to act."""
    found = comparison.learned(located.folder, scenario, settings.evaluation, located.step)
    return [policy for seeds in found.values() for policy in seeds]


def _figures(chain: Chain, certificate: Certificate, optimum: Any, policies: Sequence[Policy]) -> comparison.Figures:
    """The switching curves of the optimum, the best learned policy and the best heuristic; and all gaps."""
    from jaxdlb.theory import certificate_plot

    by_name = {policy.name: policy for policy in policies}
    shown = {table.NAME: optimum}
    for kind in ("learned", "heuristic"):
        best = next((line.name for line in certificate.lines if line.kind == kind), None)
        if best is not None:
            shown[best] = chain.weights(by_name[best])[0]
    return certificate_plot.figures(chain, certificate, shown)


if __name__ == "__main__":
    cli.tune()
    sys.exit(main())
