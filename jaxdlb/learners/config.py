"""The settings of a learner: what may be swept as arrays, and what fixes shapes."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from jaxdlb.checks import NON_NEGATIVE, PROBABILITY, Interval, check_array, check_choice, check_size

_POSITIVE = Interval(0, low_open=True)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Hyperparameters:
    """Numbers that a population may differ in; as arrays they are part of the learner's state and may be vmapped."""

    learning_rate: Any = 3e-3
    final_learning_rate: Any = 1e-4
    entropy_coef: Any = 0.003
    final_entropy_coef: Any = 0.0
    schedule_updates: Any = 500  # updates over which both schedules run, linearly
    gamma: Any = 0.95
    gae_lambda: Any = 0.9
    clip_epsilon: Any = 0.2
    value_clip: Any = 0.5  # in deviations of the return
    value_coef: Any = 0.5
    max_grad_norm: Any = 0.5


_ALLOWED = {
    "learning_rate": NON_NEGATIVE,
    "final_learning_rate": NON_NEGATIVE,
    "entropy_coef": NON_NEGATIVE,
    "final_entropy_coef": NON_NEGATIVE,
    "schedule_updates": _POSITIVE,
    "gamma": PROBABILITY,
    "gae_lambda": PROBABILITY,
    "clip_epsilon": _POSITIVE,
    "value_clip": _POSITIVE,
    "value_coef": NON_NEGATIVE,
    "max_grad_norm": _POSITIVE,
}


@dataclasses.dataclass(frozen=True)
class MAPPOConfig(Hyperparameters):
    """All settings of MAPPO: the hyper-parameters, and the static sizes and choices.

    Raises:
        ValueError: names the setting, its value and what is allowed.
    """

    num_envs: int = 64
    rollout_length: int = 32
    num_epochs: int = 4
    num_minibatches: int = 4
    critic: str = "global_state"  # or observation: IPPO
    share_parameters: bool = True  # one set for all agents, or one each
    normalise_observations: bool = True
    normalise_values: bool = True
    normalise_advantages: bool = True

    def __post_init__(self) -> None:
        for name in ("num_envs", "rollout_length", "num_epochs", "num_minibatches"):
            check_size(name, getattr(self, name), 1)
        check_choice("critic", self.critic, ("global_state", "observation"))
        for name, allowed in _ALLOWED.items():
            check_array(name, getattr(self, name), (), allowed)


def hyperparameters(config: MAPPOConfig) -> Hyperparameters:
    """The sweepable part of `config` as float32 scalars."""
    names = [field.name for field in dataclasses.fields(Hyperparameters)]
    return Hyperparameters(**{name: jnp.float32(getattr(config, name)) for name in names})
