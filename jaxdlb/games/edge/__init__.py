"""Serverless functions at the network's edge: shares of requests to process, forward and refuse."""

from jaxdlb.game import Entry, Lengths
from jaxdlb.games.edge.game import Edge
from jaxdlb.games.edge.generator import SHORTHANDS, with_fresh_news
from jaxdlb.games.edge.heuristics import HEURISTICS
from jaxdlb.games.edge.node import Node
from jaxdlb.games.edge.recorded import Recorded
from jaxdlb.games.edge.types import Action, Params, State
from jaxdlb.games.edge.views import Observation
from jaxdlb.recording import Viewer


def _viewer() -> Viewer:
    from jaxdlb.games.edge import viewer

    return viewer


ENTRY = Entry(
    game=Edge,
    params=Params,
    heuristics=HEURISTICS,
    shorthands=SHORTHANDS,
    recorded=Recorded,
    viewer=_viewer,
    lengths=Lengths(288, recorded=288),  # a day, all of which counts
    fresh=with_fresh_news,
    baseline="local",
    inputs=lambda state: state.input_rate,
    node=Node,
)

__all__ = ["ENTRY", "Action", "Edge", "Observation", "Params", "Recorded", "State"]
