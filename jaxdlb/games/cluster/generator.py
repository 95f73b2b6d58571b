"""Parameters of clusters: the reference cluster, with any of its fields replaced; random nodes."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from jaxdlb import parameters, ranges
from jaxdlb.checks import Interval, check_type
from jaxdlb.games.cluster import reference
from jaxdlb.games.cluster.types import CLASSES, SCALE, SECONDS, Params
from jaxdlb.games.cluster.workload import Replay
from jaxdlb.parameters import Shorthand

_ROUNDING = 1e-6  # of shares that sum to 1
_MOST_CLUSTERS = 2**24 - 1  # whole numbers that float32 tells apart
_SLEEPS_AFTER, _NEVER = 20.0, 1e9  # s


def with_random_nodes(params: Params, number: Any) -> Params:
    """The cluster of that number: every entry of its nodes is uniform within the range of its tier, independently."""
    drawn: dict[str, Any] = {**reference.drawn(jax.random.key(jnp.asarray(number, jnp.int32)), params.tier)}
    return dataclasses.replace(params, **drawn)


def _draw_random_nodes(key: PRNGKeyArray, params: Params, low: float, high: float) -> Params:
    return with_random_nodes(params, ranges.draw_numbers(key, (), low, high, jnp.int32))


def with_rate_per_node(params: Params, rate: Float[Array, ""]) -> Params:
    """λ is so much for each node."""
    return dataclasses.replace(params, arrival_rate=jnp.float32(rate * params.cores.shape[0]))


def with_cloud_delay(params: Params, delay: Float[Array, ""]) -> Params:
    """Nodes of the high tier are so far away, those of the others a tenth of that."""
    return dataclasses.replace(params, network_delay=jnp.where(params.tier == 0, delay, 0.1 * delay))


def with_sleep(params: Params, sleeps: Any) -> Params:
    """Idle nodes sleep as in the reference, or never."""
    after = jnp.where(jnp.asarray(sleeps) > 0, _SLEEPS_AFTER, _NEVER).astype(jnp.float32)
    return dataclasses.replace(params, sleep_after=after)


def _draw_sleep(key: PRNGKeyArray, params: Params, low: float, high: float) -> Params:
    return with_sleep(params, ranges.draw_numbers(key, (), low, high, jnp.int32))


SHORTHANDS = {
    "random_clusters": Shorthand(
        allowed=Interval(0, _MOST_CLUSTERS, integer=True),
        default=0,
        sets=reference.DRAWN,
        apply=with_random_nodes,
        draw=_draw_random_nodes,
        optional=True,
        meaning="the number of a random cluster: each node is drawn within the ranges of its tier",
    ),
    "rate_per_node": Shorthand(
        allowed=SCALE,
        default=0.275,
        sets=("arrival_rate",),
        apply=with_rate_per_node,
        optional=True,
        meaning="λ over the number of nodes, tasks a second",
    ),
    "cloud_delay": Shorthand(
        allowed=SECONDS,
        default=0.5,
        sets=("network_delay",),
        apply=with_cloud_delay,
        optional=True,
        meaning="network delay of the high tier, s, as of a distant cloud; that of the others is a tenth of it",
    ),
    "sleeps": Shorthand(
        allowed=Interval(0, 1, integer=True),
        default=1,
        sets=("sleep_after",),
        apply=with_sleep,
        draw=_draw_sleep,
        optional=True,
        meaning="1: a node without tasks sleeps after 20 s; 0: never",
    ),
}


def make_params(game: Any, **fields: Any) -> Params:
    """The reference cluster at the sizes of `game`, with `fields` replaced; see `parameters.make`.

    Raises:
        ValueError: an unknown field, an entry out of range or of the wrong length, or anything else that `validate`
            refuses.
    """
    params = parameters.make(Params, game, fields, SHORTHANDS)
    validate(params, game)
    return params


def validate(params: Params, game: Any) -> None:
    """Check every field of one cluster's `params`; raises ValueError with the field, the entry and the range."""
    check_type("params", params, Params, "the Params of cluster")
    parameters.check(params, game)
    for name in ("cores_law", "memory_law"):
        _check_law(name, np.asarray(getattr(params, name), np.float64))
    _check_shares(np.asarray(params.class_share, np.float64))
    least, cap = float(params.exec_least), float(params.exec_cap)
    if cap < least:
        raise ValueError(f"exec_cap is {cap:.7g}; it must be at least exec_least, which is {least:.7g}")
    if isinstance(params.workload, Replay):
        _check_record(params.workload)
    _check_memory(params)


def _check_record(record: Replay) -> None:
    length = record.gap.shape[0]
    for field in ("run_time", "cores", "memory", "task_class"):
        found = getattr(record, field).shape[0]
        if found != length:
            raise ValueError(f"workload.{field} has {found} entries; it must have {length}, as workload.gap has")
    if not np.any(np.asarray(record.gap) > 0):
        raise ValueError("workload.gap is 0 in all entries; it must be more in one, since otherwise no time passes")


def _check_law(name: str, law: np.ndarray) -> None:
    _, sigma, low, high = law
    if sigma < 0:
        raise ValueError(f"{name}[1] is {sigma:g}; it must be a σ ≥ 0, of μ, σ, low, high")
    if low < SCALE.low:
        raise ValueError(f"{name}[2] is {low:g}; it must be a low end ≥ {SCALE.low:g}, of μ, σ, low, high")
    if not low <= high <= SCALE.high:
        raise ValueError(
            f"{name}[3] is {high:g}; it must be a high end from the low end, which is {low:g}, to {SCALE.high:g}"
        )


def _check_shares(shares: np.ndarray) -> None:
    if abs(np.sum(shares) - 1) > _ROUNDING:
        raise ValueError(
            f"class_share sums to {np.sum(shares):.7g}; it must sum to 1 over the classes {', '.join(CLASSES)}"
        )


def _check_memory(params: Params) -> None:
    largest, most = float(params.workload.largest_memory(params)), float(np.max(params.memory))
    if most < largest:
        raise ValueError(
            f"memory is at most {most:.7g}; it must be at least {largest:.7g} at one node, which the largest task of "
            f"the workload wants"
        )
