"""Flax networks: torsos, one distribution for each kind of action space, actors and critics over all agents."""

from jaxdlb.networks.actor_critic import (
    Actor,
    ActorCritic,
    ActorCriticParams,
    Memories,
    Views,
    build,
    build_actor,
    features,
    suited,
)
from jaxdlb.networks.autoregressive import Autoregressive, Distribution
from jaxdlb.networks.config import NetworkConfig
from jaxdlb.networks.distributions import ActionDistribution
from jaxdlb.networks.heads import HEADS, Categorical, Dirichlet, SquashedNormal

__all__ = [
    "HEADS",
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
    "features",
    "suited",
]
