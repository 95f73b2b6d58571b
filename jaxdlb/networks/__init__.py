"""Flax networks: torsos, heads under legal masks, actors and critics over all agents."""

from jaxdlb.networks.actor_critic import ActorCritic, NetworkConfig, build, build_actor, features

__all__ = ["ActorCritic", "NetworkConfig", "build", "build_actor", "features"]
