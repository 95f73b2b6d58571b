"""Certificates of games that end and in which nothing is left to chance: an episode is solved, and all play it."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from jaxdlb.policies import Policy
from jaxdlb.theory import deterministic
from jaxdlb.theory import episode_certificate as certificates
from jaxdlb.theory.deterministic import Moves
from jaxdlb.theory.episode_certificate import EpisodeCertificate

from . import build, comparison
from .build import Scenario
from .countdown import Countdown


@dataclasses.dataclass(frozen=True)
class Certified:
    """What is written of a certificate."""

    text: str
    data: dict[str, Any]  # JSON-compatible
    figures: comparison.Figures


def moves(settings: Any, scenario: Scenario) -> Moves:
    """Everything that may happen in an episode of the game.

    Raises:
        ValueError: names what is left to chance, or how many states there are.
    """
    assert scenario.entry.episode is not None
    with build.named("game.params", settings.game.params):
        episode = scenario.entry.episode(scenario.game, scenario.params)
    return deterministic.explore(episode)


def certified(
    found: Moves, policies: Sequence[Policy], about: dict[str, Any], scenario: Scenario, evaluation: Any
) -> Certified:
    """The certificate of these policies, which play the episodes of an evaluation."""
    certificate, (optimum, *_) = certificates.certify(
        found,
        policies,
        about,
        num_episodes=evaluation.num_episodes,
        num_rounds=build.lengths(evaluation, scenario.entry).num_rounds,
        seed=evaluation.seed,
        progress=Countdown(f"certifying in {found.num_states:,} states"),
    )
    shown = [optimum, *_best(certificate, policies)]
    figures = _figures(certificate) | comparison.of_game(scenario, evaluation, shown)
    return Certified(certificates.to_text(certificate), certificates.to_json(certificate), figures)


def _best(certificate: EpisodeCertificate, policies: Sequence[Policy]) -> list[Policy]:
    """The best learned policy, and the best heuristic."""
    by_name = {policy.name: policy for policy in policies}
    kinds = ("learned", "heuristic")
    best = [next((line.name for line in certificate.lines if line.kind == kind), None) for kind in kinds]
    return [by_name[name] for name in best if name is not None]


def _figures(certificate: EpisodeCertificate) -> dict[str, tuple[str, Any]]:
    from jaxdlb.theory import certificate_plot

    return {"gaps": ("How far behind the optimum each policy is", certificate_plot.behind(certificate))}
