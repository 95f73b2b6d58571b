"""The only list of learners: for each, its settings with their defaults and the function that makes it from them."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from jaxdlb.catalogue import Catalogue
from jaxdlb.game import Entry, Game
from jaxdlb.learners import consensus, mappo
from jaxdlb.learners.config import IPPOConfig, MAPPOConfig
from jaxdlb.learners.consensus import ConsensusConfig


@dataclasses.dataclass(frozen=True)
class LearnerEntry:
    """What the registry holds for a learner."""

    config: type  # its settings, with defaults
    make: Callable[..., Any]  # makes it from game, network, config and sample_params
    # settings that launchers choose by a game's entry, the game and its params, unless they are given
    by_game: Mapping[str, Callable[[Entry, Game, Any], Any]] = dataclasses.field(default_factory=dict)
    # settings that are policies: launchers take the name of one of the game's heuristics, or {name: …} with options
    policies: tuple[str, ...] = ()


_AGENTS = 512  # that play side by side, however many are in a cluster: an update costs about as much at any N


def _num_envs(entry: Entry, game: Game, params: Any) -> int:
    return 4 * max(1, round(_AGENTS / (4 * game.num_agents)))


def _credit(entry: Entry, game: Game, params: Any) -> str:
    return "auto" if entry.stays_with_chosen(game, params) else "whole"


_SIZES = {"num_envs": _num_envs}
_POLICIES = ("fixed_policy",)

LEARNERS: Catalogue[LearnerEntry] = Catalogue(
    "learner",
    {
        "mappo": LearnerEntry(MAPPOConfig, mappo.make, _SIZES | {"credit": _credit}, _POLICIES),
        "ippo": LearnerEntry(IPPOConfig, mappo.make, _SIZES, _POLICIES),
        "consensus": LearnerEntry(ConsensusConfig, consensus.make, _SIZES),
    },
    group="jaxdlb.learners",
    of=LearnerEntry,
)
