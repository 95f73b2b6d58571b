"""How far each policy of a small game is from the best that agents can do, and what any of them would gain by leaving.

Everything in a certificate is computed, and nothing in it is sampled.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxdlb.evaluation.roles import ROLES
from jaxdlb.policies import Policy
from jaxdlb.theory import equilibrium, optimal, table
from jaxdlb.theory.chain import Chain, Weights, evaluate

NEAR = 0.01  # a gap below this share of the team optimum, or of a reward, is called near


@dataclasses.dataclass(frozen=True)
class Line:
    """One policy: its exact mean utility, how far below the team optimum that is, and what deviating would bring."""

    name: str
    kind: str  # one of `policies.KINDS`
    utility: float
    gap: float  # share of the team optimum's size
    nash_gap: float  # the most that any agent would gain by deviating, as a share of what it gets


@dataclasses.dataclass(frozen=True)
class Certificate:
    """What is known of one small cluster and of the policies that play it, best first."""

    instance: Mapping[str, Any]  # sizes and rates
    num_states: int
    centralised: tuple[float, float]  # between these lies what a controller that sees all events gets
    team: tuple[float, float]  # and what agents that see their own events can get together
    lines: tuple[Line, ...]
    left_out: Mapping[str, str]  # policies that cannot be certified, and why not
    selfishness: float
    is_potential: bool | None  # whether the game has an exact potential; None where neither proof nor counterexample
    price_of_anarchy: float  # the team optimum to the worst equilibrium that was found; NaN where none was
    num_equilibria: int

    def line(self, name: str) -> Line:
        """The line of the policy of that name."""
        return next(line for line in self.lines if line.name == name)


def certify(
    chain: Chain,
    policies: Sequence[Policy],
    instance: Mapping[str, Any],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Certificate, list[Weights]]:
    """The certificate of these policies, and the weights of the team optimum; oracles see no more than others here.

    Equilibria are looked for from every policy, by best responses in turn. `progress` hears how many policies of how
    many are done.

    Raises:
        ArithmeticError: an optimum was not found in a hundred improvements.
    """
    selfishness = float(chain.common.params.selfishness)
    best, weights = optimal.team(chain)
    whole = optimal.centralised(chain)
    known, left_out = _known(chain, policies)
    everyone = [(table.NAME, "optimal", weights), *((each.name, each.kind, own) for each, own in known)]
    lines, found = [], []
    for name, kind, own in everyone:
        lines.append(_line(chain, name, kind, own, best.average, selfishness))
        found.append(equilibrium.respond_in_turn(chain, own, selfishness))
        progress(len(lines), len(everyone))
    certificate = Certificate(
        instance=dict(instance),
        num_states=chain.num_states,
        centralised=(whole.low, whole.high),
        team=(best.low, best.high),
        lines=tuple(sorted(lines, key=lambda line: -line.utility)),
        left_out=left_out,
        selfishness=selfishness,
        is_potential=equilibrium.check_potential(chain, selfishness).holds,
        price_of_anarchy=equilibrium.price_of_anarchy(found, best),
        num_equilibria=sum(each.is_equilibrium for each in found),
    )
    return certificate, weights


def to_text(certificate: Certificate) -> str:
    """The certificate for people."""
    width = max(len(line.name) for line in certificate.lines) + 4
    rows = [f"{'  policy':<{width}}{'utility':>12}{'below the team optimum':>26}{'gain by deviating':>22}"]
    for line in certificate.lines:
        shown = f"{ROLES[line.kind].mark} {line.name}"
        rows.append(f"{shown:<{width}}{line.utility:>12.5f}{percent(line.gap):>26}{percent(line.nash_gap):>22}")
    learned = [line for line in certificate.lines if line.kind == "learned"]
    prose = [
        f"In the long run, one controller that saw the events of all agents would get "
        f"{_between(certificate.centralised)} a round, and agents that see their own can get "
        f"{_between(certificate.team)} together. Nothing here is sampled.",
        _about_equilibria(certificate),
        *(verdict(line) for line in learned),
        *(f"Not certified: {name} ({reason})." for name, reason in certificate.left_out.items()),
    ]
    kinds = {line.kind for line in certificate.lines}
    marks = [f"{role.mark} {role.meaning}" for kind, role in ROLES.items() if kind in kinds and role.is_marked]
    return "\n".join([*rows, "   ".join(marks), "", *prose])


def verdict(line: Line) -> str:
    """What the two gaps of a policy come to, in a sentence."""
    stable = "a near-equilibrium" if line.nash_gap < NEAR else "no near-equilibrium"
    return (
        f"{line.name} is {near(line.gap)}, {percent(line.gap)} below the team optimum, and {stable}: deviating alone "
        f"would bring no agent more than {percent(line.nash_gap)}."
    )


def near(gap: float) -> str:
    """What a gap to the optimum comes to."""
    return "near-optimal" if gap < NEAR else "not near-optimal"


def to_json(certificate: Certificate) -> dict[str, Any]:
    """The certificate as JSON-compatible data; what is not finite becomes null."""
    plain: dict[str, Any] = finite(dataclasses.asdict(certificate))
    return plain


def finite(value: Any) -> Any:
    """Data in which null stands for numbers that are not finite."""
    if isinstance(value, Mapping):
        return {name: finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def migrates(chain: Chain, weights: Weights, agent: int) -> Float[np.ndarray, " S"]:
    """In each common state, the probability that an agent sends a task away that arrived while none completed."""
    group = chain.choices.groups[1]
    own = weights[:, group]
    away = chain.choices.dispatch[agent, group] != agent
    return own[:, away].sum(axis=1) / own.sum(axis=1)


def _known(chain: Chain, policies: Sequence[Policy]) -> tuple[list[tuple[Policy, list[Weights]]], dict[str, str]]:
    """The policies whose probabilities are known, with their weights; and why those of others are not."""
    known, left_out = [], {}
    for policy in policies:
        try:
            known.append((policy, chain.weights(policy)))
        except ValueError as error:
            left_out[policy.name] = str(error).partition("; ")[2]
    return known, left_out


def _line(chain: Chain, name: str, kind: str, weights: Sequence[Weights], best: float, selfishness: float) -> Line:
    (values,) = evaluate(chain, chain.joint(weights))
    gains = [each.relative_gain for each in equilibrium.deviations(chain, weights, selfishness)]
    gap = 0.0 if values.average >= best else (best - values.average) / abs(best) if best else math.inf
    return Line(name, kind, values.average, gap, max(gains))


def _about_equilibria(certificate: Certificate) -> str:
    potential = {
        True: "all agents share one utility, which is an exact potential",
        False: "the game has no exact potential",
        None: "no closed path of deviations was found that speaks against an exact potential",
    }[certificate.is_potential]
    if math.isnan(certificate.price_of_anarchy):
        return f"At κ = {certificate.selfishness:g} {potential}; best responses ended in no equilibrium."
    return (
        f"At κ = {certificate.selfishness:g} {potential}; best responses in turn ended in equilibria from "
        f"{certificate.num_equilibria} starts, of which the worst costs {certificate.price_of_anarchy:.4g} times as "
        "much as the team optimum."
    )


def _between(ends: tuple[float, float]) -> str:
    """The common digits of both ends, which stand for each other to a millionth and better."""
    return f"{sum(ends) / 2:.6f}"


def percent(share: float) -> str:
    """A gap for people."""
    return f"{100 * share:.3f}%" if share < 10 else f"{share:,.0f} times"
