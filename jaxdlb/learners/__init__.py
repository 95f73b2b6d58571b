"""Learners: pure functions over one state pytree."""

from jaxdlb.learners.config import Hyperparameters, MAPPOConfig
from jaxdlb.learners.mappo import MAPPO, LearnerState

__all__ = ["MAPPO", "Hyperparameters", "LearnerState", "MAPPOConfig"]
