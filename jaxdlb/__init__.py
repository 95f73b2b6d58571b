"""jaxdlb: Markov games of distributed load balancing in JAX, the learners that train in them, and proofs of both."""

from jaxdlb import games
from jaxdlb.checkpoint import load_policy
from jaxdlb.games import heuristic, make, randomised

__version__ = "0.1.0"

__all__ = ["__version__", "games", "heuristic", "load_policy", "make", "randomised"]
