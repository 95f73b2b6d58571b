"""How much each of N nodes is asked for over time: one class for each law, which gives a factor on each node's rate.

Each law has `start(key, num_nodes)`, its state at reset; `advance(key, state, step)`, its state in that step, from the
one in the step before; `factor(state, step) -> float32 [N]`, the factors in that step; `peak(num_nodes)`, the greatest
of them that there may be; and `validate(num_nodes)`, which checks the law on the host. A state may differ from law to
law, but not in the course of an episode. Laws differ in the class of the pytree, so a game calls these methods and
never asks which law it has. `LAWS` names them.

Steps count from 0. A counter that goes on past int32 is read as uint32, and is right until step 2³², where laws begin
anew. What is drawn for node i depends on the key and on i alone, not on how many nodes there are, except in `Shares`,
where nodes share out what there is.
"""

import types
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxdlb import parameters
from jaxdlb.checks import AMOUNT, FINITE, POSITIVE_COUNT, PROBABILITY, SWITCH
from jaxdlb.mechanics import chance, cycles
from jaxdlb.parameters import parameter

Scalar = Float[Array, ""] | float
Count = Int[Array, ""] | int
Switch = Bool[Array, ""] | bool

_LEAST_EXPONENTIAL = 2.0**-25  # the middle of the lowest cell of uniform numbers: a sum of some is never 0
_USUAL_PEAK = 4.0  # of `Shares`


@runtime_checkable
class Demand(Protocol):
    """A law by which the demand of each node varies; every implementation is a frozen pytree of arrays."""

    def start(self, key: PRNGKeyArray, num_nodes: int) -> Any:
        """The state at step 0: a pytree, whose structure and shapes depend on the law and on N alone."""
        ...

    def advance(self, key: PRNGKeyArray, state: Any, step: Int[Array, ""]) -> Any:
        """The state in `step`, which is about to be played, from the state in the step before."""
        ...

    def factor(self, state: Any, step: Int[Array, ""]) -> Float[Array, " N"]:
        """The factor on each node's rate in `step`, at least 0."""
        ...

    def peak(self, num_nodes: int) -> Float[Array, ""]:
        """The greatest factor that a node may meet; it may be traced. Of `Shares`, as far as its docstring says."""
        ...

    def validate(self, num_nodes: int) -> None:
        """Raise ValueError, which begins with the bare field, unless every field is of its shape and within its range.

        This is for one law, not for a batch, on the host.
        """
        ...


class _Declared:
    """`validate` for laws whose declarations say all that there is to check."""

    def validate(self, num_nodes: int) -> None:
        parameters.check(self, types.SimpleNamespace(dims={"N": num_nodes}))


@struct.dataclass
class Shares(_Declared):
    """Nodes share out a total of N, and do so anew every `period` steps: N · E_i / Σ E_j, where E ~ Exp(1).

    So the shares are uniform among all that add up to N: of mean 1 and variance (N − 1) / (N + 1). The state holds the
    factors, float32 [N]. `peak` is exact up to N = 4; above, a share is greater with probability (1 − 4/N)^(N−1), which
    is less than 2%.
    """

    period: Count = parameter(POSITIVE_COUNT, 20)  # steps from one sharing to the next

    def start(self, key: PRNGKeyArray, num_nodes: int) -> Float[Array, " N"]:
        (u,) = chance.uniforms(key, 1, num_nodes)
        exponential = jnp.maximum(-jnp.log1p(-u), _LEAST_EXPONENTIAL)
        return num_nodes * (exponential / jnp.sum(exponential))

    def advance(self, key: PRNGKeyArray, state: Float[Array, " N"], step: Int[Array, ""]) -> Float[Array, " N"]:
        return jnp.where(_is_multiple(step, self.period), self.start(key, state.shape[0]), state)

    def factor(self, state: Float[Array, " N"], step: Int[Array, ""]) -> Float[Array, " N"]:
        return state

    def peak(self, num_nodes: int) -> Float[Array, ""]:
        return jnp.float32(min(num_nodes, _USUAL_PEAK))


@struct.dataclass
class Constant(_Declared):
    """Demand does not vary: the state is the factors, float32 [N], all 1."""

    def start(self, key: PRNGKeyArray, num_nodes: int) -> Float[Array, " N"]:
        return jnp.ones(num_nodes)

    def advance(self, key: PRNGKeyArray, state: Float[Array, " N"], step: Int[Array, ""]) -> Float[Array, " N"]:
        return state

    def factor(self, state: Float[Array, " N"], step: Int[Array, ""]) -> Float[Array, " N"]:
        return state

    def peak(self, num_nodes: int) -> Float[Array, ""]:
        return jnp.float32(1)


@struct.dataclass
class Sinusoidal(_Declared):
    """1 + amplitude · sin(2π (step + phase_i) / period), like day and night."""

    amplitude: Scalar = parameter(PROBABILITY, 0.5)  # amplitude of the oscillation around 1
    period: Scalar = parameter(cycles.PERIOD, 60.0)  # period, in steps
    phase: Float[Array, " N"] = parameter(FINITE, 0.0)  # shift of each node in time, in steps

    def start(self, key: PRNGKeyArray, num_nodes: int) -> tuple[()]:
        return ()

    def advance(self, key: PRNGKeyArray, state: tuple[()], step: Int[Array, ""]) -> tuple[()]:
        return state

    def factor(self, state: tuple[()], step: Int[Array, ""]) -> Float[Array, " N"]:
        turns = cycles.turns(step, self.period) + self.phase / self.period
        return 1 + self.amplitude * jnp.sin(2 * jnp.pi * (turns - jnp.floor(turns)))

    def peak(self, num_nodes: int) -> Float[Array, ""]:
        return jnp.asarray(1 + self.amplitude, jnp.float32)


@struct.dataclass
class Switching(_Declared):
    """Each node on its own is calm or busy, which changes with the given probabilities.

    It starts from the stationary law: busy with probability calm_to_busy / (calm_to_busy + busy_to_calm), and calm if
    neither is ever left. The state says who is busy, bool [N].
    """

    calm: Scalar = parameter(AMOUNT, 0.5)  # the factor while calm
    busy: Scalar = parameter(AMOUNT, 2.0)  # the factor while busy
    calm_to_busy: Scalar = parameter(PROBABILITY, 0.02)  # probability, per step, that calm turns busy
    busy_to_calm: Scalar = parameter(PROBABILITY, 0.06)  # probability, per step, that busy turns calm

    def start(self, key: PRNGKeyArray, num_nodes: int) -> Bool[Array, " N"]:
        (u,) = chance.uniforms(key, 1, num_nodes)
        return u * (self.calm_to_busy + self.busy_to_calm) < self.calm_to_busy

    def advance(self, key: PRNGKeyArray, state: Bool[Array, " N"], step: Int[Array, ""]) -> Bool[Array, " N"]:
        (u,) = chance.uniforms(key, 1, state.shape[0])
        return state ^ (u < jnp.where(state, self.busy_to_calm, self.calm_to_busy))

    def factor(self, state: Bool[Array, " N"], step: Int[Array, ""]) -> Float[Array, " N"]:
        return jnp.asarray(jnp.where(state, self.busy, self.calm), jnp.float32)

    def peak(self, num_nodes: int) -> Float[Array, ""]:
        return jnp.asarray(jnp.maximum(self.calm, self.busy), jnp.float32)


@struct.dataclass
class Levels(_Declared):
    """Each node draws its factor anew every `period` steps, uniform in [low, high].

    A period longer than an episode means: drawn at reset, and held. The state holds the factors, float32 [N].
    """

    low: Scalar = parameter(AMOUNT, 0.0)  # the least factor
    high: Scalar = parameter(AMOUNT, 2.0)  # the greatest factor
    period: Count = parameter(POSITIVE_COUNT, 20)  # steps from one draw to the next

    def start(self, key: PRNGKeyArray, num_nodes: int) -> Float[Array, " N"]:
        (u,) = chance.uniforms(key, 1, num_nodes)
        drawn = self.low + (self.high - self.low) * u
        return jnp.minimum(drawn, self.high)  # which rounding may exceed

    def advance(self, key: PRNGKeyArray, state: Float[Array, " N"], step: Int[Array, ""]) -> Float[Array, " N"]:
        return jnp.where(_is_multiple(step, self.period), self.start(key, state.shape[0]), state)

    def factor(self, state: Float[Array, " N"], step: Int[Array, ""]) -> Float[Array, " N"]:
        return state

    def peak(self, num_nodes: int) -> Float[Array, ""]:
        return jnp.asarray(self.high, jnp.float32)

    def validate(self, num_nodes: int) -> None:
        super().validate(num_nodes)
        least, most = float(self.low), float(self.high)
        if least > most:
            raise ValueError(f"low is {least:g}; it must be at most high, which is {most:g}")


@struct.dataclass(kw_only=True)
class Trace(_Declared):
    """A recorded demand: each row of `factors` applies for `steps_per_row` steps, and the record repeats.

    With `random_start`, an episode starts at a random row (the state is its index, int32 ()); otherwise, at the first.
    """

    factors: Float[Array, "T N"] = parameter(AMOUNT)  # T rows, in each the factor of every node
    steps_per_row: Count = parameter(POSITIVE_COUNT, 1)  # steps that a row lasts
    random_start: Switch = parameter(SWITCH, False)  # start at a random row

    def start(self, key: PRNGKeyArray, num_nodes: int) -> Int[Array, ""]:
        (u,) = chance.uniforms(key, 1, 1)
        row = jnp.floor(u[0] * self.factors.shape[0]).astype(jnp.int32)
        return jnp.where(self.random_start, row, 0)

    def advance(self, key: PRNGKeyArray, state: Int[Array, ""], step: Int[Array, ""]) -> Int[Array, ""]:
        return state

    def factor(self, state: Int[Array, ""], step: Int[Array, ""]) -> Float[Array, " N"]:
        return self.factors[cycles.place(state, step, self.factors.shape[0], self.steps_per_row)]

    def peak(self, num_nodes: int) -> Float[Array, ""]:
        return jnp.max(self.factors)


def _is_multiple(step: Int[Array, ""], period: Count) -> Bool[Array, ""]:
    return cycles.counted(step) % cycles.counted(period) == 0


LAWS: Mapping[str, type[Demand]] = {
    "shares": Shares,
    "constant": Constant,
    "sinusoidal": Sinusoidal,
    "switching": Switching,
    "levels": Levels,
    "trace": Trace,
}
