"""Flax networks: torsos, one distribution for each kind of action space, actors and critics over all agents."""

from jaxdlb.networks.actor_critic import (
    Actor,
    ActorCritic,
    ActorCriticParams,
    Memories,
    Views,
    build,
    build_actor,
    build_critic,
    features,
    suited,
)
from jaxdlb.networks.autoregressive import Autoregressive, Distribution
from jaxdlb.networks.config import NetworkConfig
from jaxdlb.networks.distributions import ActionDistribution
from jaxdlb.networks.head_sets import HEAD_SETS, STOCHASTIC, check_heads
from jaxdlb.networks.heads import HEADS, Categorical, Dirichlet, SquashedNormal

__all__ = [
    "HEADS",
    "HEAD_SETS",
    "STOCHASTIC",
    "ActionDistribution",
    "Actor",
    "ActorCritic",
    "ActorCriticParams",
    "Autoregressive",
    "Categorical",
    "Dirichlet",
    "Distribution",
    "Memories",
    "NetworkConfig",
    "SquashedNormal",
    "Views",
    "build",
    "build_actor",
    "build_critic",
    "check_heads",
    "features",
    "suited",
]
