"""The only list of learners: for each, its settings with their defaults and the function that makes it from them."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from jaxdlb import spaces
from jaxdlb.catalogue import Catalogue
from jaxdlb.game import Entry, Game
from jaxdlb.learners import consensus, deterministic, dqn, mappo, sac
from jaxdlb.learners.config import IPPOConfig, MAPPOConfig
from jaxdlb.learners.consensus import ConsensusConfig
from jaxdlb.learners.ddpg import DDPGConfig
from jaxdlb.learners.dqn import DQNConfig
from jaxdlb.learners.sac import SACConfig
from jaxdlb.learners.td3 import TD3Config


@dataclasses.dataclass(frozen=True)
class LearnerEntry:
    """What the registry holds for a learner."""

    config: type  # its settings, with defaults
    make: Callable[..., Any]  # makes it from game, network, config and sample_params
    # settings that launchers choose by a game's entry, the game and its params, unless they are given
    by_game: Mapping[str, Callable[[Entry, Game, Any], Any]] = dataclasses.field(default_factory=dict)
    # settings that are policies: launchers take the name of one of the game's heuristics, or {name: …} with options
    policies: tuple[str, ...] = ()
    acts_in: tuple[type, ...] = ()  # the kinds of `spaces` that its actions may be in; (): all

    def suits(self, game: Game) -> bool:
        """Whether it can learn to act in `game`."""
        return not self.acts_in or all(isinstance(space, self.acts_in) for space in spaces.leaves(game.action_space))


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
        "dqn": LearnerEntry(DQNConfig, dqn.make, acts_in=(spaces.Discrete,)),
        "ddpg": LearnerEntry(DDPGConfig, deterministic.make, acts_in=(spaces.Box,)),
        "td3": LearnerEntry(TD3Config, deterministic.make, acts_in=(spaces.Box,)),
        "sac": LearnerEntry(SACConfig, sac.make, acts_in=(spaces.Box,)),
    },
    group="jaxdlb.learners",
    of=LearnerEntry,
)


def check_suits(entry: LearnerEntry, game: Game) -> None:
    """Raise ValueError, with the names of the learners that fit, if a learner's actions are of another kind."""
    if entry.suits(game):
        return
    name = next((name for name, each in LEARNERS.items() if each is entry), entry.config.__name__)
    fitting = ", ".join(other for other, each in LEARNERS.items() if each.suits(game))
    found = " and ".join(dict.fromkeys(type(space).__name__ for space in spaces.leaves(game.action_space)))
    raise ValueError(
        f"learner is {name!r}; it must be one of {fitting} in {game.name}, whose actions are in a {found}, "
        f"not in a {' or '.join(each.__name__ for each in entry.acts_in)}"
    )
