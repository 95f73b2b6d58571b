"""How the arrival probability p varies over time: one pytree class for each law, which gives a factor on p.

Each law has `start(key) -> int32 ()`, the state at reset; `advance(key, state) -> int32 ()`, the state one round
later; and `factor(state, round) -> float32 ()`, the factor in that round. Laws differ in the class of the pytree, so a
game calls these three methods and never asks which law it has. `LAWS` names them.

A factor is as exact in the last round that an int32 can count as in the first. A counter that goes on wraps around to
negative numbers; read as uint32, as here, it is right until round 2³², where laws begin anew.
"""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxdlb.checks import AMOUNT, COUNT, FINITE, POSITIVE_COUNT, PROBABILITY, SWITCH
from jaxdlb.mechanics import cycles
from jaxdlb.parameters import parameter

Scalar = Float[Array, ""] | float
Count = Int[Array, ""] | int
Switch = Bool[Array, ""] | bool


@runtime_checkable
class Modulation(Protocol):
    """A law by which arrivals vary over time; every implementation is a frozen pytree of arrays."""

    def start(self, key: PRNGKeyArray) -> Int[Array, ""]: ...

    def advance(self, key: PRNGKeyArray, state: Int[Array, ""]) -> Int[Array, ""]: ...

    def factor(self, state: Int[Array, ""], round: Int[Array, ""]) -> Float[Array, ""]: ...


class _Stateless:
    """`start` and `advance` for laws that depend only on the round."""

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
    """1 + amplitude · sin(2π (round + phase) / period), like day and night; amplitude in [0, 1], the rest in rounds."""

    amplitude: Scalar = parameter(PROBABILITY, 0.5)  # amplitude of the oscillation around 1
    period: Scalar = parameter(cycles.PERIOD, 1000.0)  # period, in rounds
    phase: Scalar = parameter(FINITE, 0.0)  # shift in time, in rounds

    def factor(self, state: Int[Array, ""], round: Int[Array, ""]) -> Float[Array, ""]:
        turns = cycles.turns(round, self.period) + self.phase / self.period
        angle = 2 * jnp.pi * (turns - jnp.floor(turns))
        return jnp.asarray(1.0 + self.amplitude * jnp.sin(angle), jnp.float32)


@struct.dataclass
class Step(_Stateless):
    """The factor is `before` until round `at`, and `after` from that round on."""

    at: Count = parameter(COUNT, 250)  # the first round after the step
    before: Scalar = parameter(AMOUNT, 1.0)  # the factor before that round
    after: Scalar = parameter(AMOUNT, 1.0)  # the factor from that round on

    def factor(self, state: Int[Array, ""], round: Int[Array, ""]) -> Float[Array, ""]:
        is_before = cycles.counted(round) < cycles.counted(self.at)
        return jnp.asarray(jnp.where(is_before, self.before, self.after), jnp.float32)


@struct.dataclass
class MarkovModulated:
    """Two regimes, calm (state 0) and busy (state 1), which change with the given probabilities; starts calm."""

    calm: Scalar = parameter(AMOUNT, 0.5)  # the factor in the calm regime
    busy: Scalar = parameter(AMOUNT, 1.5)  # the factor in the busy regime
    calm_to_busy: Scalar = parameter(PROBABILITY, 0.01)  # probability, per round, that calm turns busy
    busy_to_calm: Scalar = parameter(PROBABILITY, 0.01)  # probability, per round, that busy turns calm

    def start(self, key: PRNGKeyArray) -> Int[Array, ""]:
        return jnp.int32(0)

    def advance(self, key: PRNGKeyArray, state: Int[Array, ""]) -> Int[Array, ""]:
        leaves = jax.random.uniform(key) < jnp.where(state == 0, self.calm_to_busy, self.busy_to_calm)
        return jnp.where(leaves, 1 - state, state)

    def factor(self, state: Int[Array, ""], round: Int[Array, ""]) -> Float[Array, ""]:
        return jnp.asarray(jnp.where(state == 0, self.calm, self.busy), jnp.float32)


@struct.dataclass
class Trace:
    """A recorded workload: each entry of `factors` applies for `rounds_per_sample` rounds, and the record repeats.

    With `random_start`, an episode starts at a random sample (the state is its index); otherwise, at the first one.
    """

    factors: Float[Array, " K"] = parameter(AMOUNT)  # the factor in each sample
    rounds_per_sample: Count = parameter(POSITIVE_COUNT, 1)  # rounds that a sample lasts
    random_start: Switch = parameter(SWITCH, True)  # start at a random sample

    def start(self, key: PRNGKeyArray) -> Int[Array, ""]:
        start = jax.random.randint(key, (), 0, self.factors.shape[0], dtype=jnp.int32)
        return jnp.where(self.random_start, start, 0)

    def advance(self, key: PRNGKeyArray, state: Int[Array, ""]) -> Int[Array, ""]:
        return state

    def factor(self, state: Int[Array, ""], round: Int[Array, ""]) -> Float[Array, ""]:
        return self.factors[cycles.place(state, round, self.factors.shape[0], self.rounds_per_sample)]


LAWS: Mapping[str, type[Modulation]] = {
    "constant": Constant,
    "sinusoidal": Sinusoidal,
    "step": Step,
    "markov": MarkovModulated,
    "trace": Trace,
}
