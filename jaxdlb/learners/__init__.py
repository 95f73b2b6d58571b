"""Learners: pure functions over a single state pytree, and the registry that finds them by name."""

from jaxdlb.learners.config import Hyperparameters, IPPOConfig, MAPPOConfig
from jaxdlb.learners.consensus import Consensus, ConsensusConfig
from jaxdlb.learners.dqn import DQNConfig
from jaxdlb.learners.mappo import MAPPO, LearnerState
from jaxdlb.learners.off_policy import OffPolicy, OffPolicyState
from jaxdlb.learners.population import Evolution, PopulationBasedTraining
from jaxdlb.learners.registry import LEARNERS, LearnerEntry, check_suits
from jaxdlb.learners.rollout import Rollout, Steps
from jaxdlb.learners.training import make, train

__all__ = [
    "LEARNERS",
    "MAPPO",
    "Consensus",
    "ConsensusConfig",
    "DQNConfig",
    "Evolution",
    "Hyperparameters",
    "IPPOConfig",
    "LearnerEntry",
    "LearnerState",
    "MAPPOConfig",
    "OffPolicy",
    "OffPolicyState",
    "PopulationBasedTraining",
    "Rollout",
    "Steps",
    "check_suits",
    "make",
    "train",
]
