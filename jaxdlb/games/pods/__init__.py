"""In-place vertical scaling: CPU limits of pods, set while they run, under a shared budget."""

from jaxdlb.game import Entry, Lengths
from jaxdlb.games.pods.game import Pods
from jaxdlb.games.pods.generator import SHORTHANDS
from jaxdlb.games.pods.heuristics import HEURISTICS
from jaxdlb.games.pods.recorded import Recorded
from jaxdlb.games.pods.types import Action, Params, State
from jaxdlb.games.pods.views import Observation
from jaxdlb.recording import Viewer


def _viewer() -> Viewer:
    from jaxdlb.games.pods import viewer

    return viewer


ENTRY = Entry(
    game=Pods,
    params=Params,
    heuristics=HEURISTICS,
    shorthands=SHORTHANDS,
    recorded=Recorded,
    viewer=_viewer,
    lengths=Lengths(60, recorded=60),  # an episode, all of which counts
)

__all__ = ["ENTRY", "Action", "Observation", "Params", "Pods", "Recorded", "State"]
