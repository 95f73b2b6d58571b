"""The distributed load-balancing (DLB) Markov game."""

from jaxdlb.games.dlb.game import DLB
from jaxdlb.games.dlb.generator import Ranges, random_clusters
from jaxdlb.games.dlb.types import Params, State
from jaxdlb.mechanics.peer_view import Action, Observation

__all__ = ["DLB", "Action", "Observation", "Params", "Ranges", "State", "random_clusters"]
