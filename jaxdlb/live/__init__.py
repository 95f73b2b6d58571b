"""Policies in running systems: agents that are told of states and choose, and processes that compute what they chose.

`algorithm` is the interface of an agent; `PolicyAlgorithm` and `LearnerAlgorithm` make agents of policies and of
learners, for any system. `engine` runs functions on worker processes, which needs the extra `live`; it is imported on
its own.
"""

from jaxdlb.live.algorithm import ActorState, LearningAlgorithm, Team
from jaxdlb.live.learner_team import LearnerAlgorithm
from jaxdlb.live.policy_team import PolicyAlgorithm

__all__ = ["ActorState", "LearnerAlgorithm", "LearningAlgorithm", "PolicyAlgorithm", "Team"]
