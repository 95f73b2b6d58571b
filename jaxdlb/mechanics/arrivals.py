"""How the arrival probability varies with time: a multiplier of p, one pytree class for each law of variation.

Each law has `start(key) -> int32 ()`, the state at reset; `advance(key, state) -> int32 ()`, the state one round
later; and `factor(state, round) -> float32 ()`, the multiplier in that round. The laws differ as data (the class of the
pytree), so a game calls these three and never asks which law it has. `LAWS` names them.
"""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxdlb.checks import COUNT, FINITE, NON_NEGATIVE, POSITIVE, POSITIVE_COUNT, PROBABILITY, SWITCH
from jaxdlb.parameters import parameter

Scalar = Float[Array, ""] | float
Count = Int[Array, ""] | int
Switch = Bool[Array, ""] | bool


@runtime_checkable
class Modulation(Protocol):
    """A law by which arrivals vary with time; every implementation is a frozen pytree of arrays."""

    def start(self, key: PRNGKeyArray) -> Int[Array, ""]: ...

    def advance(self, key: PRNGKeyArray, state: Int[Array, ""]) -> Int[Array, ""]: ...

    def factor(self, state: Int[Array, ""], round: Int[Array, ""]) -> Float[Array, ""]: ...


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


@struct.dataclass
class Sinusoidal(_Stateless):
    """1 + amplitude · sin(2π (round + phase) / period): a day and its night. Rounds; amplitude within [0, 1]."""

    amplitude: Scalar = parameter(PROBABILITY, 0.5)  # of the oscillation around 1
    period: Scalar = parameter(POSITIVE, 1000.0)  # rounds
    phase: Scalar = parameter(FINITE, 0.0)  # rounds

    def factor(self, state: Int[Array, ""], round: Int[Array, ""]) -> Float[Array, ""]:
        angle = 2 * jnp.pi * (round + self.phase) / self.period
        return jnp.asarray(1.0 + self.amplitude * jnp.sin(angle), jnp.float32)


@struct.dataclass
class Step(_Stateless):
    """`before` until round `at`, `after` from that round on."""

    at: Count = parameter(COUNT, 250)  # the round of the step
    before: Scalar = parameter(NON_NEGATIVE, 1.0)  # the factor until then
    after: Scalar = parameter(NON_NEGATIVE, 1.0)  # the factor from then on

    def factor(self, state: Int[Array, ""], round: Int[Array, ""]) -> Float[Array, ""]:
        return jnp.asarray(jnp.where(round < self.at, self.before, self.after), jnp.float32)


@struct.dataclass
class MarkovModulated:
    """Two regimes, calm (state 0) and busy (state 1), left with the given probabilities each round; starts calm."""

    calm: Scalar = parameter(NON_NEGATIVE, 0.5)  # the factor while calm
    busy: Scalar = parameter(NON_NEGATIVE, 1.5)  # the factor while busy
    calm_to_busy: Scalar = parameter(PROBABILITY, 0.01)  # probability of leaving calm in a round
    busy_to_calm: Scalar = parameter(PROBABILITY, 0.01)  # probability of leaving busy in a round

    def start(self, key: PRNGKeyArray) -> Int[Array, ""]:
        return jnp.int32(0)

    def advance(self, key: PRNGKeyArray, state: Int[Array, ""]) -> Int[Array, ""]:
        leaves = jax.random.uniform(key) < jnp.where(state == 0, self.calm_to_busy, self.busy_to_calm)
        return jnp.where(leaves, 1 - state, state)

    def factor(self, state: Int[Array, ""], round: Int[Array, ""]) -> Float[Array, ""]:
        return jnp.asarray(jnp.where(state == 0, self.calm, self.busy), jnp.float32)


@struct.dataclass
class Trace:
    """A recorded workload: `factors[k]` holds for `rounds_per_sample` rounds, and the record begins anew at its end.

    With `random_start` an episode begins at a random sample of the record (the state is its index), else at the first.
    """

    factors: Float[Array, " K"] = parameter(NON_NEGATIVE)  # of each sample
    rounds_per_sample: Count = parameter(POSITIVE_COUNT, 1)  # rounds that a sample lasts
    random_start: Switch = parameter(SWITCH, True)  # begin at a random sample

    def start(self, key: PRNGKeyArray) -> Int[Array, ""]:
        start = jax.random.randint(key, (), 0, self.factors.shape[0], dtype=jnp.int32)
        return jnp.where(self.random_start, start, 0)

    def advance(self, key: PRNGKeyArray, state: Int[Array, ""]) -> Int[Array, ""]:
        return state

    def factor(self, state: Int[Array, ""], round: Int[Array, ""]) -> Float[Array, ""]:
        sample = (state + round // self.rounds_per_sample) % self.factors.shape[0]
        return self.factors[sample]


LAWS: Mapping[str, type[Modulation]] = {
    "constant": Constant,
    "sinusoidal": Sinusoidal,
    "step": Step,
    "markov": MarkovModulated,
    "trace": Trace,
}
