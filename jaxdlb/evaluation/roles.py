"""How a policy's role in an evaluation is marked in tables, figures and the report, in one list."""

import dataclasses

from jaxdlb.drawing.style import BLUE, GREEN, GREY, OCHRE, PURPLE, VERMILION
from jaxdlb.evaluation.results import Evaluation, PolicyResult


@dataclasses.dataclass(frozen=True)
class Role:
    """How a role is marked."""

    mark: str  # the character before a name in text tables
    meaning: str  # in legends
    badge: str  # after a name in the report; "" for none
    colour: str
    marker: str  # the marker in matplotlib figures
    filled: bool  # whether that marker is filled
    bold: bool  # whether names and numbers are bold

    @property
    def is_marked(self) -> bool:
        """Whether text tables mark the role and so must explain its mark."""
        return bool(self.mark.strip())


# In the order of legends. "best" is the best heuristic, "part" a learned policy that another row speaks for; the other
# keys are the kinds of policy, `policies.KINDS`.
ROLES = {
    "learned": Role("»", "learned", "learned", VERMILION, "D", filled=True, bold=True),
    "part": Role("›", "one seed of it, or another way to act", "", VERMILION, "d", filled=False, bold=False),
    "best": Role("*", "the best heuristic", "best heuristic", BLUE, "o", filled=True, bold=True),
    "heuristic": Role(" ", "a heuristic", "", GREY, "o", filled=True, bold=False),
    "oracle": Role("†", "an oracle: sees the true state", "oracle", GREEN, "s", filled=False, bold=False),
    "fresh": Role(
        "‡",
        "learned with fresh news: nobody here sees that",
        "fresh news",
        OCHRE,
        "D",
        filled=False,
        bold=False,
    ),
    "optimal": Role("=", "optimal", "optimal", PURPLE, "^", filled=False, bold=False),
}


def role_name(result: PolicyResult, evaluation: Evaluation) -> str:
    """The key of a policy's role in `ROLES`."""
    if result.name == evaluation.best_heuristic:
        return "best"
    return "part" if result.kind == "learned" and result.part_of is not None else result.kind


def role_of(result: PolicyResult, evaluation: Evaluation) -> Role:
    """The role of a policy."""
    return ROLES[role_name(result, evaluation)]


def present(evaluation: Evaluation) -> list[Role]:
    """The roles that occur in the evaluation, in the order of legends."""
    played = {role_name(result, evaluation) for result in evaluation.results}
    return [role for name, role in ROLES.items() if name in played]
