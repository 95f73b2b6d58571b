"""Master–worker chunk self-scheduling: how many tasks a worker takes, while workers differ, drift, come and go."""

from jaxdlb.game import Entry, Lengths
from jaxdlb.games.farm.game import Farm
from jaxdlb.games.farm.heuristics import HEURISTICS
from jaxdlb.games.farm.master import Master
from jaxdlb.games.farm.types import Action, Params, State
from jaxdlb.games.farm.views import Observation

ENTRY = Entry(
    game=Farm,
    params=Params,
    heuristics=HEURISTICS,
    lengths=Lengths(1_000_000),  # jobs end by themselves
    master=Master,
)

__all__ = ["ENTRY", "Action", "Farm", "Observation", "Params", "State"]
