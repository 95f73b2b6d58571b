"""Nodes of three tiers, after the source's (cores, memory, power); the speeds are this game's own."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

TIERS = ("high", "medium", "low")
DRAWN = ("cores", "memory", "speed", "idle_power", "dynamic_power")  # what `drawn` draws

# From low to high, by tier.
RANGES: dict[str, tuple[tuple[float, float], ...]] = {
    "cores": ((24, 32), (8, 16), (2, 8)),
    "memory": ((96, 128), (32, 64), (8, 32)),  # GB
    "speed": ((1.2, 1.6), (0.8, 1.2), (0.4, 0.8)),
    "idle_power": ((150, 200), (50, 80), (15, 30)),  # W
    "dynamic_power": ((200, 300), (60, 120), (20, 50)),  # W
    "network_delay": ((0.02, 0.02), (0.02, 0.02), (0.1, 0.1)),  # s
}


def tiers(num_nodes: int) -> Int[np.ndarray, " N"]:
    """Which tier each node is of: a fifth are high, half are medium, and those that remain are low."""
    high, medium = num_nodes // 5, num_nodes // 2
    return np.repeat(np.arange(3), [high, medium, num_nodes - high - medium])


def nodes(num_nodes: int) -> dict[str, Any]:
    """The reference nodes: node k of n of its tier is at (k + ½)/n of every range."""
    tier = tiers(num_nodes)
    counts = np.bincount(tier, minlength=3)
    place = (np.concatenate([np.arange(count) for count in counts]) + 0.5) / counts[tier]
    columns = {name: np.asarray(ranges, np.float64)[tier].T for name, ranges in RANGES.items()}
    return {name: low + (high - low) * place for name, (low, high) in columns.items()} | {"tier": tier}


def drawn(key: PRNGKeyArray, tier: Int[Array, " N"]) -> dict[str, Float[Array, " N"]]:
    """Nodes of these tiers, of which every entry in `DRAWN` is uniform within its range, independently."""
    place = jax.random.uniform(key, (len(DRAWN), *tier.shape))
    ends = {name: jnp.asarray(RANGES[name], jnp.float32)[tier].T for name in DRAWN}
    return {name: low + (high - low) * place[i] for i, (name, (low, high)) in enumerate(ends.items())}
