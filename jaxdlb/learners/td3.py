"""The settings of TD3 (Fujimoto, van Hoof and Meger 2018, arXiv:1802.09477), as `deterministic` has them by default."""

import dataclasses

from jaxdlb.learners.deterministic import DeterministicConfig


@dataclasses.dataclass(frozen=True)
class TD3Config(DeterministicConfig):
    """Two critics, of which the least value counts; smoothed target actions; an actor that moves every second step."""
