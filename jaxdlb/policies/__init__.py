"""What plays the games: heuristics and learned policies, behind one interface."""

from jaxdlb.policies.heuristics import NODE_HEURISTICS, Heuristic
from jaxdlb.policies.policy import KINDS, Family, Policy, Span, check_policy, find_family, is_opaque, make_heuristic

__all__ = [
    "KINDS",
    "NODE_HEURISTICS",
    "Family",
    "Heuristic",
    "Policy",
    "Span",
    "check_policy",
    "find_family",
    "is_opaque",
    "make_heuristic",
]
