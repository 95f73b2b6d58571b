"""Learners: pure functions over one state pytree, and the registry that finds them by name.

`LEARNERS` is the one list of learners.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

from jaxdlb.catalogue import Catalogue
from jaxdlb.learners import mappo
from jaxdlb.learners.config import Hyperparameters, IPPOConfig, MAPPOConfig
from jaxdlb.learners.mappo import MAPPO, LearnerState


@dataclasses.dataclass(frozen=True)
class LearnerEntry:
    """What the registry holds of a learner."""

    config: type  # its settings, with defaults
    make: Callable[..., Any]  # from game, network, config and sample_params


LEARNERS: Catalogue[LearnerEntry] = Catalogue(
    "learner",
    {"mappo": LearnerEntry(MAPPOConfig, mappo.make), "ippo": LearnerEntry(IPPOConfig, mappo.make)},
    group="jaxdlb.learners",
)

__all__ = ["LEARNERS", "MAPPO", "Hyperparameters", "IPPOConfig", "LearnerEntry", "LearnerState", "MAPPOConfig"]
