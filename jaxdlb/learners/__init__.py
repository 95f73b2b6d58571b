"""Learners: pure functions over a single state pytree, and the registry that finds them by name."""

from jaxdlb.learners.config import Hyperparameters, IPPOConfig, MAPPOConfig
from jaxdlb.learners.consensus import Consensus, ConsensusConfig
from jaxdlb.learners.ddpg import DDPGConfig
from jaxdlb.learners.dqn import DQNConfig
from jaxdlb.learners.mappo import MAPPO, LearnerState
from jaxdlb.learners.off_policy import OffPolicy, OffPolicyState
from jaxdlb.learners.population import Evolution, PopulationBasedTraining
from jaxdlb.learners.registry import LEARNERS, LearnerEntry, check_suits
from jaxdlb.learners.rollout import Rollout, Steps
from jaxdlb.learners.sac import SACConfig
from jaxdlb.learners.td3 import TD3Config
from jaxdlb.learners.training import make, train

__all__ = [
    "LEARNERS",
    "MAPPO",
    "Consensus",
    "ConsensusConfig",
    "DDPGConfig",
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
    "SACConfig",
    "Steps",
    "TD3Config",
    "check_suits",
    "make",
    "train",
]
