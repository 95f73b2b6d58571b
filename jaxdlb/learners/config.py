"""The settings of MAPPO and IPPO: those that may be swept as arrays, and those that fix shapes."""

import dataclasses
from typing import ClassVar

import jax

from jaxdlb import parameters
from jaxdlb.checks import COUNT, NON_NEGATIVE, POSITIVE, POSITIVE_COUNT, PROBABILITY, SWITCH
from jaxdlb.learners.hyper import Scalar, sweepable
from jaxdlb.parameters import parameter
from jaxdlb.policies import Policy


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Hyperparameters:
    """Numbers in which members of a population may differ; as arrays in the learner's state, they may be vmapped."""

    learning_rate: Scalar = parameter(NON_NEGATIVE, 3e-3)  # at the first update
    final_learning_rate: Scalar = parameter(NON_NEGATIVE, 1e-4)  # at the end of the schedule
    entropy_coef: Scalar = parameter(NON_NEGATIVE, 0.003)  # weight of the entropy, at the first update
    final_entropy_coef: Scalar = parameter(NON_NEGATIVE, 0.0)  # at the end of the schedule
    # power of what is left of the schedule, by which the weight of the entropy falls; 1: linearly, more: early
    entropy_decay: Scalar = parameter(POSITIVE, 1.0)
    schedule_updates: Scalar = parameter(POSITIVE, 500)  # updates over which both change from first to last
    gamma: Scalar = parameter(PROBABILITY, 0.9)  # γ: discount for one unit of the game's time
    gae_lambda: Scalar = parameter(PROBABILITY, 0.9)  # λ: decay of the advantage estimation
    clip_epsilon: Scalar = parameter(POSITIVE, 0.2)  # ε: how far a probability ratio may move
    value_clip: Scalar = parameter(POSITIVE, 0.5)  # how far a value may move, in standard deviations of the return
    value_coef: Scalar = parameter(NON_NEGATIVE, 0.5)  # weight of the value loss
    max_grad_norm: Scalar = parameter(POSITIVE, 0.5)  # global norm to which gradients are clipped

    # by a population, unless told otherwise: both ends of a schedule, since late in it the first no longer matters
    explored: ClassVar = ("learning_rate", "final_learning_rate", "entropy_coef")


@dataclasses.dataclass(frozen=True)
class MAPPOConfig(Hyperparameters):
    """All settings of MAPPO: the hyper-parameters plus static sizes and choices.

    Raises:
        ValueError: names the setting, its value and what is allowed.
    """

    num_envs: int = parameter(POSITIVE_COUNT, 64)  # clusters played side by side
    rollout_length: int = parameter(POSITIVE_COUNT, 32)  # rounds that each of them plays in an update
    stagger: int = parameter(COUNT, 500)  # rounds; first episodes are cut at random below it, lest all end in one round
    num_epochs: int = parameter(POSITIVE_COUNT, 1)  # passes over a rollout
    # must divide num_envs · rollout_length, with memory num_envs; null: the largest divisor up to 16
    num_minibatches: int | None = parameter(POSITIVE_COUNT, None)
    critic: str = parameter(("global_state", "observation"), "global_state")  # what the critic sees in training
    # whether rewards are shaped by the potential that the game states: it must state one, and the critic see all
    shape_rewards: bool = parameter(SWITCH, False)
    # what an action answers for: the agent's whole reward, or the own utilities of itself and of those it chose; auto:
    # chosen where the game states what that takes
    credit: str = parameter(("auto", "chosen", "whole"), "auto")
    # indices of agents that do not learn: fixed_policy plays them all along, here and wherever the policy plays later
    fixed_agents: tuple[int, ...] = parameter(COUNT, ())
    # who plays them, a policy; for launchers a heuristic of the game: its name, or {name: …} with options
    fixed_policy: Policy | None = parameter(None, None)
    share_parameters: bool = parameter(SWITCH, True)  # one set of parameters for all agents, or one for each
    normalise_observations: bool = parameter(SWITCH, True)  # to mean 0 and variance 1, by running statistics
    normalise_values: bool = parameter(SWITCH, True)  # the critic's returns, by running statistics
    normalise_advantages: bool = parameter(SWITCH, True)  # to mean 0 and variance 1, in each minibatch

    def __post_init__(self) -> None:
        parameters.check(self)


@dataclasses.dataclass(frozen=True)
class IPPOConfig(MAPPOConfig):
    """MAPPO with a critic that sees no more than its agent does, and credit for nothing but the own reward."""

    critic: str = parameter(("observation", "global_state"), "observation")  # what the critic sees in training
    credit: str = parameter(("whole", "auto", "chosen"), "whole")  # what an action answers for; here its own reward


def hyperparameters(config: MAPPOConfig) -> Hyperparameters:
    """The sweepable part of `config` as float32 scalars."""
    return sweepable(config, Hyperparameters)
