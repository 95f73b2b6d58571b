"""The kinds of heads that an actor may have: for each, the head of every type of space that it covers.

Which kind a learner needs is its own affair; a checkpoint notes it, since it says what the actor's outputs mean.
"""

from collections.abc import Mapping
from typing import Any

from jaxdlb import spaces
from jaxdlb.checks import check_choice
from jaxdlb.networks.heads import HEADS, Categorical, Dirichlet, Head, SquashedNormal, StateDependentNormal
from jaxdlb.networks.sure_heads import Deterministic, DuelingValues, Values

STOCHASTIC = "stochastic"  # the default
HEAD_SETS: Mapping[str, Mapping[type, type[Head]]] = {
    STOCHASTIC: HEADS,  # a distribution for every space
    "state_dependent": {spaces.Box: StateDependentNormal},  # its spread, too, depends on what the agent sees
    "values": {spaces.Discrete: Values},  # plays the greatest legal value
    "dueling": {spaces.Discrete: DuelingValues},  # the same, with values made of the state's and of advantages
    "deterministic": {spaces.Box: Deterministic},  # plays the network's output
}
KINDS: tuple[Any, ...] = (Categorical, SquashedNormal, Dirichlet, Values, Deterministic)  # of which all heads are


def check_heads(kind: Any) -> None:
    """Raise ValueError unless `kind` is one of `HEAD_SETS`."""
    check_choice("heads", kind, tuple(HEAD_SETS))
