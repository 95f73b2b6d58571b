"""How a node with warm instances serves requests: cold starts, rejections, and the size of its pool.

The model of Mahmoudi and Khazaei, Performance Modeling of Serverless Computing Platforms, IEEE Transactions on Cloud
Computing, 2020 (doi 10.1109/TCC.2020.3033373): a birth–death chain over the number m = 0 … M of warm instances at
Poisson rate λ. Requests go to the newest idle instance, so that B_m, the probability that all of m instances are busy,
is Erlang's, and the m-th gets L_m = λ(B_{m−1} − B_m). An instance is removed when it has been idle for T_I. It holds
where T_I ≥ 8 · T_c; below, the model lets cold starts run without bound.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int

from jaxdlb.mechanics import batches

_LONGEST = 60.0  # L · T_I beyond this gives a life without end anyhow
_LEAST_SERVED = 1e-6  # a node that serves a smaller share of its requests serves none
_NONE_EXPECTED = 1e-30  # requests within T; at 0 the mean gap between them is 0 / 0


@struct.dataclass
class Service:
    """How a node fares at some rate of requests."""

    reject_prob: Float[Array, "*B"]  # of a request
    cold_prob: Float[Array, "*B"]  # of a request: that it starts an instance
    pool_size: Float[Array, "*B"]  # warm instances, busy or idle, in the mean


Number = Float[Array, "*B"]


def perform(
    rate: Float[Array, "*B"],
    warm_time: Float[Array, "*B"],
    cold_time: Float[Array, "*B"],
    idle_time: Float[Array, "*B"],
    instances: Int[Array, "*B"],
    most: int,
) -> Service:
    """How nodes with at most `instances` ≤ `most` serve `rate` requests per second; times in seconds.

    One pass over m = 1 … `most`. Weights of the stationary law are relative to the likeliest state so far: growth falls
    and removal rises with m, so the law has one peak. Both probabilities are within 10⁻⁶ of float64.
    """
    nodes = jnp.broadcast_arrays(rate, warm_time, cold_time, idle_time, instances)
    fares = batches.in_one_row(functools.partial(_walk, most), *(each.ravel() for each in nodes))
    return jax.tree.map(lambda each: each.reshape(nodes[0].shape), fares)


def _walk(most: int, rate: Number, warm_time: Number, cold_time: Number, idle_time: Number, instances: Any) -> Service:
    """`perform` of nodes in one row."""
    traffic, time = rate * warm_time, idle_time + warm_time

    def visit(walk: "_Walk", m: Float[Array, ""]) -> tuple["_Walk", None]:
        return walk.on_to(m, m <= instances, rate, traffic, time, cold_time, idle_time), None

    numbers = jnp.arange(1, most + 1, dtype=jnp.float32)
    end, _ = jax.lax.scan(visit, _Walk.start(rate, cold_time), numbers)
    return Service(end.lost / end.total, end.cold / end.total, end.size / end.total)


def of_served(fares: Service, warm_time: Number, cold_time: Number) -> tuple[Number, Number]:
    """The share of served requests that start an instance, and the mean service time; 0 where none are served."""
    served = 1 - fares.reject_prob
    serves = served > _LEAST_SERVED
    cold = jnp.where(serves, fares.cold_prob / jnp.where(serves, served, 1.0), 0.0)
    return cold, jnp.where(serves, cold * cold_time + (1 - cold) * warm_time, 0.0)


@struct.dataclass
class _Walk:
    """What is known after m instances."""

    busy: Any  # B_m: all m are busy
    idle: Any  # C_m = 1 − B_m, kept apart since the difference would cancel
    removal: Any  # k_m: instances removed per second
    growth: Any  # g_m: instances started per second
    weight: Any  # of state m, relative to the likeliest so far
    total: Any  # Σ of weights, and of weights times B_m, m
    cold: Any
    size: Any
    lost: Any  # the weight of the last state times B_M

    @classmethod
    def start(cls, rate: Number, cold_time: Number) -> "_Walk":
        zero, one = jnp.zeros_like(rate), jnp.ones_like(rate)
        return cls(one, zero, zero, rate / (1 + rate * cold_time), one, one, zero, zero, one)

    def on_to(
        self,
        m: Float[Array, ""],
        exists: Any,
        rate: Number,
        traffic: Number,
        time: Number,
        cold_time: Number,
        idle_time: Number,
    ) -> "_Walk":
        """The walk one instance further; sums stay as they are where the node has no such instance."""
        share = 1 / (m + traffic * self.busy)
        requests = rate * self.busy * (m - traffic * self.idle) * share  # L_m
        busy, idle = traffic * self.busy * share, m * share
        stretch = jnp.exp(jnp.minimum(requests * idle_time, _LONGEST)) - 1
        removal = self.removal + 1 / (idle_time + stretch * time * _parted(requests * time))
        peak = self.growth >= removal
        ratio = jnp.minimum(self.growth, removal) / jnp.maximum(self.growth, removal)
        shrink, weight = jnp.where(peak, ratio, 1.0), jnp.where(peak, 1.0, self.weight * ratio)
        growth = rate * busy / (1 + rate * busy * cold_time)

        def kept(new: Number, old: Number) -> Number:
            return jnp.where(exists, new, old)

        return _Walk(
            busy=busy,
            idle=idle,
            removal=removal,
            growth=growth,
            weight=kept(weight, self.weight),
            total=kept(self.total * shrink + weight, self.total),
            cold=kept((self.cold + self.weight * self.busy) * shrink, self.cold),
            size=kept(self.size * shrink + weight * m, self.size),
            lost=kept(weight * busy, self.lost),
        )


def _parted(y: Number) -> Number:
    """(1 − e^{−y})/y − e^{−y}: the mean gap of at most T between requests at y per T, times its probability, over T.

    Where y is small the difference cancels, but then it stands beside 1 in a life.
    """
    y = jnp.maximum(y, _NONE_EXPECTED)
    none_comes = jnp.exp(-y)
    return (1 - none_comes) / y - none_comes
