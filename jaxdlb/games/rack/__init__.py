"""A rack of servers, simulated task by task."""

from jaxdlb.game import Entry, Lengths
from jaxdlb.games.rack.game import Rack
from jaxdlb.games.rack.generator import SHORTHANDS
from jaxdlb.games.rack.heuristics import HEURISTICS
from jaxdlb.games.rack.recorded import Recorded
from jaxdlb.games.rack.types import Params, State
from jaxdlb.mechanics.peer_view import Action, Observation
from jaxdlb.recording import Viewer


def _viewer() -> Viewer:
    from jaxdlb.games.rack import viewer

    return viewer


def _is_own_business(game: Rack, params: Params) -> bool:
    """Whether what a task does to its node shows in that node's utility: all but the range of drain times does.

    A task that has landed stays, unless it is stolen, and so its waiting counts where it was sent.
    """
    return game.imbalance != "range"


ENTRY = Entry(
    game=Rack,
    params=Params,
    heuristics=HEURISTICS,
    shorthands=SHORTHANDS,
    recorded=Recorded,
    viewer=_viewer,
    lengths=Lengths(3000, warmup=1000),
    stays_with_chosen=_is_own_business,
)

__all__ = ["ENTRY", "Action", "Observation", "Params", "Rack", "Recorded", "State"]
