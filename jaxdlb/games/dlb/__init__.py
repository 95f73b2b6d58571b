"""The distributed load-balancing (DLB) Markov game."""

from jaxdlb.game import Entry, Lengths
from jaxdlb.games.dlb.game import DLB
from jaxdlb.games.dlb.generator import SHORTHANDS
from jaxdlb.games.dlb.recorded import Recorded
from jaxdlb.games.dlb.types import Params, State
from jaxdlb.mechanics.peer_view import Action, Observation
from jaxdlb.policies.heuristics import NODE_HEURISTICS
from jaxdlb.recording import Viewer


def _viewer() -> Viewer:
    from jaxdlb.games.dlb import viewer

    return viewer


ENTRY = Entry(
    game=DLB,
    params=Params,
    heuristics=NODE_HEURISTICS,
    shorthands=SHORTHANDS,
    recorded=Recorded,
    viewer=_viewer,
    lengths=Lengths(2000, warmup=200),
)

__all__ = ["DLB", "ENTRY", "Action", "Observation", "Params", "Recorded", "State"]
