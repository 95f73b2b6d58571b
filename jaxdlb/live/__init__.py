"""Policies in running systems: agents that are told of states and choose, and processes that compute what they chose.

`algorithm` is the interface of an agent; `PolicyAlgorithm` and `LearnerAlgorithm` make agents of policies and of
learners, for any system. `LiveFarm` runs a function on worker processes, in chunks whose sizes they choose; that needs
the extra `live`, which is looked for when `Workers` are made.
"""

from jaxdlb.live.algorithm import ActorState, LearningAlgorithm, Team
from jaxdlb.live.calibration import Calibration
from jaxdlb.live.engine import Workers
from jaxdlb.live.learner_team import LearnerAlgorithm
from jaxdlb.live.policy_team import PolicyAlgorithm
from jaxdlb.live.run import LiveFarm, NobodyThereError, TaskFailedError, calibrate

__all__ = [
    "ActorState",
    "Calibration",
    "LearnerAlgorithm",
    "LearningAlgorithm",
    "LiveFarm",
    "NobodyThereError",
    "PolicyAlgorithm",
    "TaskFailedError",
    "Team",
    "Workers",
    "calibrate",
]
