"""The only list of learners: for each, its settings with their defaults and the function that makes it from them."""

import dataclasses
from collections.abc import Callable
from typing import Any

from jaxdlb.catalogue import Catalogue
from jaxdlb.learners import mappo
from jaxdlb.learners.config import IPPOConfig, MAPPOConfig


@dataclasses.dataclass(frozen=True)
class LearnerEntry:
    """What the registry holds for a learner."""

    config: type  # its settings, with defaults
    make: Callable[..., Any]  # makes it from game, network, config and sample_params


LEARNERS: Catalogue[LearnerEntry] = Catalogue(
    "learner",
    {"mappo": LearnerEntry(MAPPOConfig, mappo.make), "ippo": LearnerEntry(IPPOConfig, mappo.make)},
    group="jaxdlb.learners",
    of=LearnerEntry,
)
