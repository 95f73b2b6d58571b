"""How the arrival probability varies with time: a multiplier of p, one pytree class for each law of variation.

Each law has `start(key) -> int32 ()`, the state at reset; `advance(key, state) -> int32 ()`, the state one round
later; and `factor(state, round) -> float32 ()`, the multiplier in that round. The laws differ as data (the class of the
pytree), so a game calls these three and never asks which law it has.
"""

import dataclasses
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxdlb.checks import (
    COUNT,
    NON_NEGATIVE,
    POSITIVE_COUNT,
    PROBABILITY,
    Interval,
    check_array,
)

Scalar = Float[Array, ""] | float
Count = Int[Array, ""] | int
Switch = Bool[Array, ""] | bool


@runtime_checkable
class Modulation(Protocol):
    """A law by which arrivals vary with time; every implementation is a frozen pytree of arrays."""

    def start(self, key: PRNGKeyArray) -> Int[Array, ""]: ...

    def advance(self, key: PRNGKeyArray, state: Int[Array, ""]) -> Int[Array, ""]: ...

    def factor(self, state: Int[Array, ""], round: Int[Array, ""]) -> Float[Array, ""]: ...

    def validate(self) -> None:
        """Raise ValueError with the field, the offending entry and the allowed range."""
        ...


class _Stateless:
    """Start and advance for laws that depend on the round alone."""

    def start(self, key: PRNGKeyArray) -> Int[Array, ""]:
        return jnp.int32(0)

    def advance(self, key: PRNGKeyArray, state: Int[Array, ""]) -> Int[Array, ""]:
        return state


@struct.dataclass
class Constant(_Stateless):
    """p does not vary."""

    def factor(self, state: Int[Array, ""], round: Int[Array, ""]) -> Float[Array, ""]:
        return jnp.float32(1.0)

    def validate(self) -> None:
        return None


@struct.dataclass
class Sinusoidal(_Stateless):
    """1 + amplitude · sin(2π (round + phase) / period): a day and its night. Rounds; amplitude within [0, 1]."""

    amplitude: Scalar = 0.5
    period: Scalar = 1000.0
    phase: Scalar = 0.0

    def factor(self, state: Int[Array, ""], round: Int[Array, ""]) -> Float[Array, ""]:
        angle = 2 * jnp.pi * (round + self.phase) / self.period
        return jnp.asarray(1.0 + self.amplitude * jnp.sin(angle), jnp.float32)

    def validate(self) -> None:
        check_array("arrival_modulation.amplitude", self.amplitude, (), PROBABILITY)
        check_array("arrival_modulation.period", self.period, (), Interval(0, low_open=True))
        check_array("arrival_modulation.phase", self.phase, (), Interval(-jnp.inf))


@struct.dataclass
class Step(_Stateless):
    """`before` until round `at`, `after` from that round on."""

    at: Count = 250
    before: Scalar = 1.0
    after: Scalar = 1.0

    def factor(self, state: Int[Array, ""], round: Int[Array, ""]) -> Float[Array, ""]:
        return jnp.asarray(jnp.where(round < self.at, self.before, self.after), jnp.float32)

    def validate(self) -> None:
        check_array("arrival_modulation.at", self.at, (), COUNT)
        check_array("arrival_modulation.before", self.before, (), NON_NEGATIVE)
        check_array("arrival_modulation.after", self.after, (), NON_NEGATIVE)


@struct.dataclass
class MarkovModulated:
    """Two regimes, calm (state 0) and busy (state 1), left with the given probabilities each round; starts calm."""

    calm: Scalar = 0.5
    busy: Scalar = 1.5
    calm_to_busy: Scalar = 0.01
    busy_to_calm: Scalar = 0.01

    def start(self, key: PRNGKeyArray) -> Int[Array, ""]:
        return jnp.int32(0)

    def advance(self, key: PRNGKeyArray, state: Int[Array, ""]) -> Int[Array, ""]:
        leaves = jax.random.uniform(key) < jnp.where(state == 0, self.calm_to_busy, self.busy_to_calm)
        return jnp.where(leaves, 1 - state, state)

    def factor(self, state: Int[Array, ""], round: Int[Array, ""]) -> Float[Array, ""]:
        return jnp.asarray(jnp.where(state == 0, self.calm, self.busy), jnp.float32)

    def validate(self) -> None:
        check_array("arrival_modulation.calm", self.calm, (), NON_NEGATIVE)
        check_array("arrival_modulation.busy", self.busy, (), NON_NEGATIVE)
        check_array("arrival_modulation.calm_to_busy", self.calm_to_busy, (), PROBABILITY)
        check_array("arrival_modulation.busy_to_calm", self.busy_to_calm, (), PROBABILITY)


@struct.dataclass
class Trace:
    """A recorded workload: `factors[k]` holds for `rounds_per_sample` rounds, and the record begins anew at its end.

    With `random_start` an episode begins at a random sample of the record (the state is its index), else at the first.
    """

    factors: Float[Array, " K"]
    rounds_per_sample: Count = 1
    random_start: Switch = True

    def start(self, key: PRNGKeyArray) -> Int[Array, ""]:
        start = jax.random.randint(key, (), 0, self.factors.shape[0], dtype=jnp.int32)
        return jnp.where(self.random_start, start, 0)

    def advance(self, key: PRNGKeyArray, state: Int[Array, ""]) -> Int[Array, ""]:
        return state

    def factor(self, state: Int[Array, ""], round: Int[Array, ""]) -> Float[Array, ""]:
        sample = (state + round // self.rounds_per_sample) % self.factors.shape[0]
        return self.factors[sample]

    def validate(self) -> None:
        size = np.size(self.factors)
        if size == 0:
            raise ValueError("arrival_modulation.factors is empty; it must hold at least one sample")
        check_array("arrival_modulation.factors", self.factors, (size,), NON_NEGATIVE)
        check_array("arrival_modulation.rounds_per_sample", self.rounds_per_sample, (), POSITIVE_COUNT)
        check_array("arrival_modulation.random_start", self.random_start, (), PROBABILITY)


_DTYPES: dict[Any, Any] = {Count: jnp.int32, Switch: jnp.bool_}


def as_arrays(modulation: Any) -> Any:
    """The same law with every field an array, so that `vmap` reaches it: int32, bool or float32 by its annotation."""
    fields = dataclasses.fields(modulation)
    arrays = {f.name: jnp.asarray(getattr(modulation, f.name), _DTYPES.get(f.type, jnp.float32)) for f in fields}
    return dataclasses.replace(modulation, **arrays)
