"""Heterogeneous scheduling: tasks with deadlines and demands are placed on uneven nodes."""

from jaxdlb.game import Entry, Lengths
from jaxdlb.games.cluster.game import Cluster
from jaxdlb.games.cluster.generator import SHORTHANDS
from jaxdlb.games.cluster.heuristics import HEURISTICS
from jaxdlb.games.cluster.recorded import Recorded
from jaxdlb.games.cluster.records import nodes_from_alibaba
from jaxdlb.games.cluster.types import Action, Params, State
from jaxdlb.games.cluster.views import Observation
from jaxdlb.games.cluster.workload import Replay
from jaxdlb.recording import Viewer


def _viewer() -> Viewer:
    from jaxdlb.games.cluster import viewer

    return viewer


ENTRY = Entry(
    game=Cluster,
    params=Params,
    heuristics=HEURISTICS,
    shorthands=SHORTHANDS,
    recorded=Recorded,
    viewer=_viewer,
    lengths=Lengths(2000, warmup=400, recorded=400),
)

__all__ = ["ENTRY", "Action", "Cluster", "Observation", "Params", "Recorded", "Replay", "State", "nodes_from_alibaba"]
