"""What plays the games: heuristics, and learned policies, behind one interface."""

from jaxdlb.policies.heuristics import HEURISTICS, Heuristic, heuristic, options_of
from jaxdlb.policies.policy import Policy

__all__ = ["HEURISTICS", "Heuristic", "Policy", "heuristic", "options_of"]
