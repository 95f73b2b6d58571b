"""Master–worker chunk self-scheduling: how many tasks a worker takes, while workers differ, drift, come and go."""

from jaxdlb.game import Entry, Lengths
from jaxdlb.games.farm.exact import certain_job
from jaxdlb.games.farm.game import Farm
from jaxdlb.games.farm.generator import SHORTHANDS
from jaxdlb.games.farm.heuristics import HEURISTICS
from jaxdlb.games.farm.master import Master
from jaxdlb.games.farm.types import Action, Params, State
from jaxdlb.games.farm.views import Observation
from jaxdlb.recording import Viewer


def _viewer() -> Viewer:
    from jaxdlb.games.farm import viewer

    return viewer


ENTRY = Entry(
    game=Farm,
    params=Params,
    heuristics=HEURISTICS,
    shorthands=SHORTHANDS,
    viewer=_viewer,
    lengths=Lengths(1_000_000, recorded=20_000, ends=True),
    episode=certain_job,
    baseline="static",
    master=Master,
)

__all__ = ["ENTRY", "Action", "Farm", "Observation", "Params", "State"]
