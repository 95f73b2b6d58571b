"""A rack of servers, simulated task by task."""

from jaxdlb.game import Entry, Lengths
from jaxdlb.games.rack.game import Rack
from jaxdlb.games.rack.generator import SHORTHANDS
from jaxdlb.games.rack.recorded import Recorded
from jaxdlb.games.rack.types import Params, State
from jaxdlb.mechanics.peer_view import Action, Observation
from jaxdlb.policies.heuristics import NODE_HEURISTICS

ENTRY = Entry(
    game=Rack,
    params=Params,
    heuristics=NODE_HEURISTICS,
    shorthands=SHORTHANDS,
    recorded=Recorded,
    lengths=Lengths(4000, warmup=1000),
)

__all__ = ["ENTRY", "Action", "Observation", "Params", "Rack", "Recorded", "State"]
