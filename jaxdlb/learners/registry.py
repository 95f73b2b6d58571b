"""The one list of learners: for each its settings, with defaults, and what makes it of them."""

import dataclasses
from collections.abc import Callable
from typing import Any

from jaxdlb.catalogue import Catalogue
from jaxdlb.learners import mappo
from jaxdlb.learners.config import IPPOConfig, MAPPOConfig


@dataclasses.dataclass(frozen=True)
class LearnerEntry:
    """What the registry holds of a learner."""

    config: type  # its settings, with defaults
    make: Callable[..., Any]  # from game, network, config and sample_params


LEARNERS: Catalogue[LearnerEntry] = Catalogue(
    "learner",
    {"mappo": LearnerEntry(MAPPOConfig, mappo.make), "ippo": LearnerEntry(IPPOConfig, mappo.make)},
    group="jaxdlb.learners",
    of=LearnerEntry,
)
