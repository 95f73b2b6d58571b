"""The only list of learners: for each, its settings with their defaults and the function that makes it from them."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

from jaxdlb.catalogue import Catalogue
from jaxdlb.game import Entry, Game
from jaxdlb.learners import mappo
from jaxdlb.learners.config import IPPOConfig, MAPPOConfig


@dataclasses.dataclass(frozen=True)
class LearnerEntry:
    """What the registry holds for a learner."""

    config: type  # its settings, with defaults
    make: Callable[..., Any]  # makes it from game, network, config and sample_params
    # settings that launchers choose by a game's entry, the game and its params, unless they are given
    by_game: Mapping[str, Callable[[Entry, Game, Any], Any]] = dataclasses.field(default_factory=dict)


_MINIBATCHES = 16  # where the number of environments does not matter
_AGENTS = 512  # that play side by side, however many are in a cluster: an update costs about as much at any N


def _num_envs(entry: Entry, game: Game, params: Any) -> int:
    return 4 * max(1, round(_AGENTS / (4 * game.num_agents)))


def _num_minibatches(entry: Entry, game: Game, params: Any) -> int:
    """Such that a learner with memory, whose minibatches are of whole environments, can divide these."""
    return math.gcd(_MINIBATCHES, _num_envs(entry, game, params))


def _credit(entry: Entry, game: Game, params: Any) -> str:
    return "auto" if entry.stays_with_chosen(params) else "whole"


_SIZES = {"num_envs": _num_envs, "num_minibatches": _num_minibatches}
_SIZES_AND_CREDIT = _SIZES | {"credit": _credit}

LEARNERS: Catalogue[LearnerEntry] = Catalogue(
    "learner",
    {
        "mappo": LearnerEntry(MAPPOConfig, mappo.make, _SIZES_AND_CREDIT),
        "ippo": LearnerEntry(IPPOConfig, mappo.make, _SIZES),
    },
    group="jaxdlb.learners",
    of=LearnerEntry,
)
