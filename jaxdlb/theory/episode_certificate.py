"""How far each policy is from the best that can be done in an episode that is certain and ends.

The optimum is solved for. A policy is played: what draws nothing gets the same in every episode, and of what draws, the
mean is told with its 95% interval.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxdlb.evaluation import evaluate_all
from jaxdlb.evaluation.roles import ROLES
from jaxdlb.evaluation.rollouts import Samples
from jaxdlb.evaluation.statistics import Estimate, estimate
from jaxdlb.policies import Policy
from jaxdlb.theory import deterministic
from jaxdlb.theory.certificate import finite, near, percent
from jaxdlb.theory.deterministic import Moves, OpenLoop, Optimum

_ROUNDING = 1e-6  # of a utility: a gap below this share of it is none
_WIDTH = 18  # of a column of the table


@dataclasses.dataclass(frozen=True)
class Line:
    """One policy: what it gets in an episode, and how far that is from the optimum."""

    name: str
    kind: str  # one of `policies.KINDS`
    columns: Mapping[str, Estimate]  # all of the game's
    gap: float  # how much less its utility is than the optimum, as a share of that


@dataclasses.dataclass(frozen=True)
class EpisodeCertificate:
    """What is known of one episode and of the policies that play it, best first."""

    instance: Mapping[str, Any]  # sizes and parameters
    num_states: int
    num_moves: int
    utility: float  # of the optimum, as solved
    elapsed: float  # the time that it takes, in the unit of the game's `elapsed`
    actions: Any  # an optimal sequence, of all agents, as lists
    headers: Mapping[str, str]  # of the columns by which policies are judged
    lines: tuple[Line, ...]
    num_episodes: int  # that each policy played

    def line(self, name: str) -> Line:
        """The line of the policy of that name."""
        return next(line for line in self.lines if line.name == name)


def certify(
    moves: Moves,
    policies: Sequence[Policy],
    instance: Mapping[str, Any],
    *,
    num_episodes: int,
    num_rounds: int,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[EpisodeCertificate, list[OpenLoop]]:
    """The certificate of these policies; and the optimal policies, that without any restriction first.

    `progress` hears how many optima of how many are found.

    Raises:
        ValueError: sizes that `evaluate_all` refuses.
    """
    episode, restricted = moves.episode, moves.episode.restricted
    best = deterministic.optimum(moves)
    optimal = [best.policy()]
    for what, without in restricted.items():
        progress(len(optimal), 1 + len(restricted))
        optimal.append(deterministic.optimum(moves, without).policy(f"{deterministic.NAME}, {what}"))
    everyone, params = [*optimal, *policies], episode.params
    sizes: Any = {"num_episodes": num_episodes, "num_rounds": num_rounds, "warmup": 0}
    played = evaluate_all(episode.game, everyone, lambda key: params, jax.random.key(seed), **sizes)
    lines = [_line(each, samples, best) for each, samples in zip(everyone, played, strict=True)]
    columns = episode.game.columns
    certificate = EpisodeCertificate(
        instance=dict(instance),
        num_states=moves.num_states,
        num_moves=moves.num_moves,
        utility=best.value,
        elapsed=best.elapsed,
        actions=jax.tree.map(lambda leaf: np.asarray(leaf).tolist(), best.actions),
        headers={name: each.header for name, each in columns.items() if name == "utility" or each.verdict is not None},
        lines=tuple(sorted(lines, key=lambda line: (line.gap, line.kind != "optimal"))),
        num_episodes=num_episodes,
    )
    return certificate, optimal


def to_text(certificate: EpisodeCertificate) -> str:
    """The certificate for people."""
    width = max(len(line.name) for line in certificate.lines) + 4
    headers = [*certificate.headers.values(), "behind the optimum"]
    rows = [f"{'  policy':<{width}}" + "".join(f"{header:>{_width(header)}}" for header in headers)]
    for line in certificate.lines:
        cells = [*(_cell(line.columns[name]) for name in certificate.headers), percent(line.gap)]
        shown = "".join(f"{cell:>{_width(header)}}" for cell, header in zip(cells, headers, strict=True))
        rows.append(f"{f'{ROLES[line.kind].mark} {line.name}':<{width}}{shown}")
    kinds = {line.kind for line in certificate.lines}
    marks = [f"{role.mark} {role.meaning}" for kind, role in ROLES.items() if kind in kinds and role.is_marked]
    prose = [_about(certificate), *(_verdict(line) for line in certificate.lines if line.kind == "learned")]
    return "\n".join([*rows, "   ".join(marks), "", *prose])


def to_json(certificate: EpisodeCertificate) -> dict[str, Any]:
    """The certificate as JSON-compatible data; what is not finite becomes null."""
    plain: dict[str, Any] = finite(dataclasses.asdict(certificate))
    return plain


def _line(policy: Policy, samples: Samples, best: Optimum) -> Line:
    columns = {name: _estimate(values) for name, values in samples.items()}
    short = best.value - columns["utility"].mean
    gap = short / abs(best.value) if best.value else float(short > 0) * np.inf
    return Line(policy.name, policy.kind, columns, 0.0 if abs(gap) < _ROUNDING else gap)


def _estimate(samples: np.ndarray) -> Estimate:
    """The mean with its interval; without one where all are the same but for rounding."""
    value = float(np.mean(samples))
    if np.ptp(samples) <= _ROUNDING * abs(value):
        return Estimate(value, value, value)
    return estimate(samples)


def _about(certificate: EpisodeCertificate) -> str:
    drawing = any(line.columns["utility"].half_width > 0 for line in certificate.lines)
    mean = f" ± is half of the 95% interval of what draws, in {certificate.num_episodes} episodes." if drawing else ""
    return (
        f"The optimum is that over all that can happen: {certificate.num_states:,} states and "
        f"{certificate.num_moves:,} moves between them.{mean}"
    )


def _verdict(line: Line) -> str:
    return f"{line.name} is {near(line.gap)}, {percent(line.gap)} behind the optimum."


def _cell(value: Estimate) -> str:
    return f"{value.mean:.4f} ± {value.half_width:.4f}" if value.half_width > 0 else f"{value.mean:.4f}"


def _width(header: str) -> int:
    return max(_WIDTH, len(header)) + 3
