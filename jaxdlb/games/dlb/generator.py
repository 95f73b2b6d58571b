"""Clusters to play on: the reference cluster, one given field by field, and random ones drawn from ranges."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from jaxdlb.checks import (
    COUNT,
    NON_NEGATIVE,
    POSITIVE_COUNT,
    POSITIVE_PROBABILITY,
    PROBABILITY,
    Interval,
    broadcast_array,
    check_array,
)
from jaxdlb.games.dlb.types import Params
from jaxdlb.mechanics.arrivals import Constant, Modulation, as_arrays

# What is allowed, and whether a field has an entry a node; the game's sizes bound delays and initial loads further.
_PER_NODE = {
    "arrival_prob": PROBABILITY,
    "completion_prob": POSITIVE_PROBABILITY,
    "heartbeat_phase": COUNT,
    "failure_prob": PROBABILITY,
    "repair_prob": PROBABILITY,
    "initial_load": COUNT,
}
_SCALAR = {
    "migration_cost": NON_NEGATIVE,
    "steal_cost": NON_NEGATIVE,
    "imbalance_weight": NON_NEGATIVE,
    "holding_weight": NON_NEGATIVE,
    "drop_cost": NON_NEGATIVE,
    "transfer_delay": COUNT,
    "heartbeat_period": POSITIVE_COUNT,
    "heartbeat_delay": COUNT,
    "heartbeat_loss": Interval(0, 1, high_open=True),
    "selfishness": PROBABILITY,
    "horizon": POSITIVE_COUNT,
}
_REFERENCE = {
    "migration_cost": 0.1,
    "steal_cost": 0.1,
    "imbalance_weight": 1.0,
    "holding_weight": 0.0,
    "drop_cost": 10.0,
    "transfer_delay": 1,
    "heartbeat_period": 10,
    "heartbeat_phase": 0,
    "heartbeat_delay": 0,
    "heartbeat_loss": 0.0,
    "failure_prob": 0.0,
    "repair_prob": 0.0,
    "selfishness": 0.0,
    "horizon": 500,
    "initial_load": 0,
}
REFERENCE_LOAD = 0.9


def make_params(
    num_nodes: int,
    *,
    load: float | None = None,
    arrival_prob: Any = None,
    completion_prob: Any = None,
    arrival_modulation: Modulation | None = None,
    **fields: Any,
) -> Params:
    """The reference cluster with some fields replaced; a single number stands for all entries of a per-node field.

    `load` is the offered load: p_i = load · mean(q) for every node, as an outer dispatcher that deals tasks evenly.
    Give it or `arrival_prob`, not both; without either it is 0.9. `completion_prob` defaults to linspace(0.2, 0.9, N).

    Raises:
        ValueError: an unknown field, an entry out of range or of the wrong length, or a `load` that asks for
            arrival probabilities above 1.
    """
    if load is not None and arrival_prob is not None:
        raise ValueError(
            f"load is {load} and arrival_prob is given too; give one of them, since load sets arrival_prob"
        )
    unknown = sorted(set(fields) - set(_REFERENCE))
    if unknown:
        known = ", ".join(field.name for field in dataclasses.fields(Params))
        raise ValueError(f"{unknown[0]} is not a parameter of dlb; the parameters are load, {known}")
    if completion_prob is None:
        completion_prob = np.linspace(0.2, 0.9, num_nodes)
    completion_prob = broadcast_array("completion_prob", completion_prob, (num_nodes,), POSITIVE_PROBABILITY)
    if arrival_prob is None:
        arrival_prob = arrival_prob_for(REFERENCE_LOAD if load is None else load, completion_prob)
    values = _REFERENCE | {k: v for k, v in fields.items() if v is not None}
    values |= {"arrival_prob": arrival_prob, "completion_prob": completion_prob}
    arrays = {name: broadcast_array(name, values[name], (num_nodes,), rule) for name, rule in _PER_NODE.items()}
    arrays |= {name: check_array(name, values[name], (), rule) for name, rule in _SCALAR.items()}
    typed = {
        name: jnp.asarray(array, jnp.int32 if _rule(name).integer else jnp.float32) for name, array in arrays.items()
    }
    modulation = arrival_modulation or Constant()
    modulation.validate()
    return Params(arrival_modulation=as_arrays(modulation), **typed)


def arrival_prob_for(load: float, completion_prob: np.ndarray) -> float:
    """p = load · mean(q), the arrival probability of every node at an offered `load`.

    Raises:
        ValueError: a load below 0 or so high that p would exceed 1.
    """
    mean_rate = float(np.mean(completion_prob))
    check_array("load", load, (), Interval(0, 1 / mean_rate))
    return min(float(load) * mean_rate, 1.0)


def validate(params: Params, num_nodes: int, capacity: int, max_delay: int, heartbeats: str) -> None:
    """Check every field of one cluster's `params`; raises ValueError with the field, the entry and the range."""
    delay = dataclasses.replace(COUNT, high=max_delay)
    bounded = {"transfer_delay": delay, "heartbeat_delay": delay}
    bounded["initial_load"] = dataclasses.replace(COUNT, high=capacity)
    for name, rule in _PER_NODE.items():
        check_array(name, getattr(params, name), (num_nodes,), bounded.get(name, rule))
    for name, rule in _SCALAR.items():
        check_array(name, getattr(params, name), (), bounded.get(name, rule))
    if heartbeats == "shared" and float(params.heartbeat_loss) > 0:
        raise ValueError(
            f"heartbeat_loss is {float(params.heartbeat_loss):g}; it must be 0 with heartbeats=shared, "
            "where all receivers hear the same (use heartbeats=per_link)"
        )
    params.arrival_modulation.validate()


@dataclasses.dataclass(frozen=True)
class Ranges:
    """Bounds (low, high) from which each random cluster draws; None leaves a field as the base cluster has it.

    Speeds are drawn for each node, all else once a cluster; counts are drawn as integers, both bounds included.
    """

    load: tuple[float, float] | None = None
    completion_prob: tuple[float, float] | None = None
    heartbeat_period: tuple[int, int] | None = None
    heartbeat_delay: tuple[int, int] | None = None
    transfer_delay: tuple[int, int] | None = None
    migration_cost: tuple[float, float] | None = None
    steal_cost: tuple[float, float] | None = None
    heartbeat_loss: tuple[float, float] | None = None


def random_clusters(game: Any, base: Params, ranges: Ranges) -> Callable[[PRNGKeyArray], Params]:
    """A pure function from a key to a random cluster: `base` with every field in `ranges` drawn uniformly.

    Raises:
        ValueError: a range whose ends are out of order, or that holds a value `game.validate` would refuse.
    """
    given = {k: v for k, v in dataclasses.asdict(ranges).items() if v is not None}
    for name, bounds in given.items():
        _check_range(name, bounds)
    _check_extremes(game, base, given)

    def draw(key: PRNGKeyArray) -> Params:
        keys = dict(zip(given, jax.random.split(key, max(len(given), 1)), strict=False))
        drawn: dict[str, Any] = {
            name: _uniform(keys[name], name, bounds, game.num_nodes) for name, bounds in given.items()
        }
        load = drawn.pop("load", None)
        params = dataclasses.replace(base, **drawn)
        if load is not None:
            mean_rate = jnp.mean(params.completion_prob)
            arrival_prob = jnp.full(game.num_nodes, jnp.minimum(load * mean_rate, 1.0))
            params = dataclasses.replace(params, arrival_prob=arrival_prob)
        return params

    return draw


def _uniform(key: PRNGKeyArray, name: str, bounds: tuple, num_nodes: int) -> jax.Array:
    low, high = bounds
    if name != "load" and _rule(name).integer:
        return jax.random.randint(key, (), int(low), int(high) + 1, dtype=jnp.int32)
    return jax.random.uniform(key, (num_nodes,) if name in _PER_NODE else (), minval=low, maxval=high)


def _check_range(name: str, bounds: Any) -> None:
    rule = NON_NEGATIVE if name == "load" else _rule(name)
    low, high = check_array(name, bounds, (2,), rule)
    if low > high:
        raise ValueError(f"{name} has the range {low:g} to {high:g}; its low end must not exceed its high end")


def _check_extremes(game: Any, base: Params, given: dict[str, tuple]) -> None:
    """Both ends of every range must make a cluster that the game accepts."""
    for end in (0, 1):
        fields: dict[str, Any] = {
            k: jnp.broadcast_to(jnp.asarray(v[end]), getattr(base, k).shape) for k, v in given.items() if k != "load"
        }
        game.validate(dataclasses.replace(base, **fields))


def _rule(name: str) -> Interval:
    return _PER_NODE.get(name) or _SCALAR[name]
