"""How the part that a policy plays in an evaluation is marked in tables, figures and the report: the one list of it."""

import dataclasses

from jaxdlb.drawing.style import BLUE, GREEN, GREY, PURPLE, VERMILION
from jaxdlb.evaluation.results import Evaluation, PolicyResult


@dataclasses.dataclass(frozen=True)
class Role:
    """How a role is marked."""

    mark: str  # before a name in a table of text: one character
    meaning: str  # in legends
    badge: str  # behind a name in the report; "" for none
    colour: str
    marker: str  # matplotlib's
    filled: bool  # whether the marker is
    bold: bool  # whether names and numbers are

    @property
    def is_marked(self) -> bool:
        """Whether a table of text marks it, and so explains the mark."""
        return bool(self.mark.strip())


# In the order of legends. "best" is the best heuristic; the others are kinds of policy, `policies.KINDS`.
ROLES = {
    "learned": Role("»", "learned", "learned", VERMILION, "D", filled=True, bold=True),
    "best": Role("*", "the best heuristic", "best heuristic", BLUE, "o", filled=True, bold=True),
    "heuristic": Role(" ", "a heuristic", "", GREY, "o", filled=True, bold=False),
    "oracle": Role("†", "an oracle: sees the true state", "oracle", GREEN, "s", filled=False, bold=False),
    "optimal": Role("=", "optimal", "optimal", PURPLE, "^", filled=False, bold=False),
}


def role_name(result: PolicyResult, evaluation: Evaluation) -> str:
    """The key in `ROLES` of a policy's role."""
    return "best" if result.name == evaluation.best_heuristic else result.kind


def role_of(result: PolicyResult, evaluation: Evaluation) -> Role:
    """How a policy is marked."""
    return ROLES[role_name(result, evaluation)]


def present(evaluation: Evaluation) -> list[Role]:
    """The roles that some policy of the evaluation plays, in the order of legends."""
    played = {role_name(result, evaluation) for result in evaluation.results}
    return [role for name, role in ROLES.items() if name in played]
