"""jaxdlb: Markov games of distributed load balancing in JAX, the learners that train in them, and proofs of both."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxdlb import games
    from jaxdlb.checkpoint import load_policy
    from jaxdlb.games import heuristic, make, randomised

__version__ = "0.1.0"

__all__ = ["__version__", "games", "heuristic", "load_policy", "make", "randomised"]

# Loaded when first asked for: what needs no JAX, such as a launcher that refuses a command line, does not wait for it.
_HOMES = {"heuristic": "games", "load_policy": "checkpoint", "make": "games", "randomised": "games"}


def __getattr__(name: str) -> Any:
    if name == "games":
        return importlib.import_module("jaxdlb.games")
    if name not in _HOMES:
        raise AttributeError(f"module 'jaxdlb' has no attribute {name!r}")
    return getattr(importlib.import_module(f"jaxdlb.{_HOMES[name]}"), name)
