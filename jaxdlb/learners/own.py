"""What each agent has of its own, as metrics of an update: the learning curve of every single agent."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdlb.game import TimeStep

MOST_AGENTS = 16  # of more, nobody would look at each


def metrics(timestep: TimeStep) -> dict[str, Float[Array, ""]]:
    """For each of N agents the mean over E environments, from what a step reports of all of them, [E, N].

    `utility/agent_<i>` is its own utility, in games that state these, elsewhere `reward/agent_<i>` its reward. There is
    nothing to tell apart of a single agent, and nothing is told of more than `MOST_AGENTS`.
    """
    name, each = ("reward", timestep.reward) if timestep.utilities is None else ("utility", timestep.utilities)
    means = jnp.mean(each, axis=0)
    if not 1 < len(means) <= MOST_AGENTS:
        return {}
    return {f"{name}/agent_{agent}": means[agent] for agent in range(len(means))}
