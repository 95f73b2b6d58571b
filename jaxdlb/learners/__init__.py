"""Learners: pure functions over one state pytree."""

from jaxdlb.learners.config import Hyperparameters, MAPPOConfig
from jaxdlb.learners.mappo import MAPPO, LearnerState
from jaxdlb.learners.rollout import Rollout, Steps
from jaxdlb.learners.training import make, train

__all__ = ["MAPPO", "Hyperparameters", "LearnerState", "MAPPOConfig", "Rollout", "Steps", "make", "train"]
