"""The settings of DDPG (Lillicrap et al. 2016, arXiv:1509.02971)."""

import dataclasses

from jaxdlb.checks import NON_NEGATIVE, POSITIVE_COUNT, PROBABILITY, Interval
from jaxdlb.learners import exploration
from jaxdlb.learners.deterministic import DeterministicConfig
from jaxdlb.learners.hyper import Scalar
from jaxdlb.learners.off_policy import LEARNING_RATE
from jaxdlb.parameters import parameter


@dataclasses.dataclass(frozen=True)
class DDPGConfig(DeterministicConfig):
    """One critic, target actions as they are, an actor that moves in every step, and correlated noise."""

    tau: Scalar = parameter(PROBABILITY, 0.01)  # τ: share of the way that slow copies go in a step
    actor_learning_rate: Scalar = parameter(LEARNING_RATE, 3e-4)  # of Adam
    noise_scale: Scalar = parameter(NON_NEGATIVE, 0.25)  # σ: of the noise that explores, at the first update
    final_noise_scale: Scalar = parameter(NON_NEGATIVE, 0.01)  # at the end of the schedule
    target_noise: Scalar = parameter(NON_NEGATIVE, 0.0)  # standard deviation of the noise on actions in targets
    num_critics: int = parameter(Interval(1, 16, integer=True), 1)  # of which the least value counts in targets
    actor_delay: int = parameter(POSITIVE_COUNT, 1)  # steps of the critics for each of the actor and of slow copies
    noise: str = parameter(
        tuple(exploration.NOISES), "ou"
    )  # that explores; ou: Ornstein–Uhlenbeck, which is correlated
