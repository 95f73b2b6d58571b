"""One node at a steady rate, as the service model has it: plain numbers in, plain numbers out."""

import dataclasses
import warnings
from collections.abc import Mapping

import jax.numpy as jnp

from jaxdlb import parameters
from jaxdlb.checks import AMOUNT, POSITIVE_AMOUNT, Interval
from jaxdlb.games.edge import service
from jaxdlb.parameters import parameter

TRUSTED_RATIO = 8  # the service model is exact enough where T_I is so many times T_c
_INSTANCES = Interval(0, 100_000, integer=True)


def check_times(warm_time: float, cold_time: float, idle_time: float, at: str = "") -> None:
    """Check the times of one node, as in "[3]" of several; warn where the service model is not to be trusted.

    Raises:
        ValueError: a cold start that takes less time than a warm one.
    """
    if cold_time < warm_time:
        raise ValueError(f"cold_time{at} is {cold_time:g}; it must be at least warm_time{at}, which is {warm_time:g}")
    if idle_time < TRUSTED_RATIO * cold_time:
        warnings.warn(
            f"idle_time{at} is {idle_time:g}; the service model is exact enough from {TRUSTED_RATIO * cold_time:g} on, "
            f"{TRUSTED_RATIO} times cold_time{at}, and below rejects too little",
            stacklevel=2,
        )


@dataclasses.dataclass
class Node:
    """A node, and the rate at which requests come to it.

    Raises:
        ValueError: a number that is not allowed.
    """

    rate: float = parameter(AMOUNT, 60.0)  # requests per second
    warm_time: float = parameter(POSITIVE_AMOUNT, 0.5)  # T_w: mean service time on a warm instance, s
    cold_time: float = parameter(POSITIVE_AMOUNT, 1.25)  # T_c ≥ T_w: mean service time with a cold start, s
    idle_time: float = parameter(POSITIVE_AMOUNT, 60.0)  # T_I: an instance idle for so long is removed, s
    instances: int = parameter(_INSTANCES, 30)  # M: the most instances

    def __post_init__(self) -> None:
        parameters.check(self)
        check_times(self.warm_time, self.cold_time, self.idle_time)

    def fares(self) -> Mapping[str, tuple[float, str]]:
        """What the service model says of the node, by name: a number and what it is."""
        rate, warm, cold, idle = map(jnp.float32, (self.rate, self.warm_time, self.cold_time, self.idle_time))
        found = service.perform(rate, warm, cold, idle, jnp.int32(self.instances), max(self.instances, 1))
        _, mean_time = service.of_served(found, warm, cold)
        reject_prob, cold_prob = float(found.reject_prob), float(found.cold_prob)
        return {
            "reject_prob": (reject_prob, "of a request"),
            "cold_prob": (cold_prob, "of a request, that it starts an instance"),
            "pool_size": (float(found.pool_size), "instances, busy or idle"),
            "service_time": (float(mean_time), "s, mean of served requests"),
            "rejections": (self.rate * reject_prob, "requests per second"),
        }
