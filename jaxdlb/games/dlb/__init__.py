"""The distributed load-balancing (DLB) Markov game."""

from jaxdlb.game import Entry, Lengths
from jaxdlb.games.dlb.common import CommonInformation
from jaxdlb.games.dlb.game import DLB
from jaxdlb.games.dlb.generator import SHORTHANDS, with_fresh_news
from jaxdlb.games.dlb.recorded import Recorded
from jaxdlb.games.dlb.types import Params, State
from jaxdlb.mechanics.peer_view import Action, Observation
from jaxdlb.policies.heuristics import NODE_HEURISTICS
from jaxdlb.recording import Viewer


def _viewer() -> Viewer:
    from jaxdlb.games.dlb import viewer

    return viewer


def _is_own_business(game: DLB, params: Params) -> bool:
    """Whether what a task does to its node shows in that node's utility.

    The range of drain times is everybody's utility alike. And a node that is sent one more task sends another on: that
    evens out the imbalance, but a task present costs as much wherever it is.
    """
    return game.imbalance != "range" and bool(params.imbalance_weight >= params.holding_weight)


ENTRY = Entry(
    game=DLB,
    params=Params,
    heuristics=NODE_HEURISTICS,
    shorthands=SHORTHANDS,
    recorded=Recorded,
    viewer=_viewer,
    lengths=Lengths(2000, warmup=200),
    stays_with_chosen=_is_own_business,
    common=CommonInformation,
    fresh=with_fresh_news,
    baseline="local",
)

__all__ = ["DLB", "ENTRY", "Action", "Observation", "Params", "Recorded", "State"]
