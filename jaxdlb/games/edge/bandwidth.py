"""How the bandwidth of links varies, as a factor on each link's mean: one class for each law.

Each law has `start(key, num_nodes)`, its state at reset; `factors(key, state, step) -> float32 [N, N]`, the factors in
that step, with a key of its own for every step; and `validate()`, which checks it on the host. Both directions of a
link vary alike, so factors are symmetric, and 1 on the diagonal. Laws differ in the class of the pytree, so a game
calls these methods and never asks which law it has. `LAWS` names them.

What is drawn for a link depends on the key and on the link alone, not on how many nodes there are. Both directions draw
it: two hashes that run side by side take less time than one of which the number is looked up.
"""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxdlb import parameters
from jaxdlb.checks import AMOUNT, PROBABILITY, SWITCH
from jaxdlb.mechanics import chance, cycles
from jaxdlb.parameters import parameter

Scalar = Float[Array, ""] | float
Switch = Bool[Array, ""] | bool


@runtime_checkable
class BandwidthLaw(Protocol):
    """A law by which the bandwidth of links varies; every implementation is a frozen pytree of arrays."""

    def start(self, key: PRNGKeyArray, num_nodes: int) -> Any:
        """The state at reset: a pytree, whose structure and shapes depend on the law and on N alone."""
        ...

    def factors(self, key: PRNGKeyArray, state: Any, step: Int[Array, ""]) -> Float[Array, "N N"]:
        """What the mean bandwidth of each link is multiplied by in the `step` from 0, ≥ 0."""
        ...

    def validate(self) -> None:
        """Raise ValueError, which begins with the bare field, unless every field is of its shape and within its range.

        This is for one law, not for a batch, on the host.
        """
        ...


class _Declared:
    """`validate` for laws whose declarations say all that there is to check."""

    def validate(self) -> None:
        parameters.check(self)


@struct.dataclass
class Links:
    """The state of a law that remembers nothing of its links but how many nodes they join."""

    num_nodes: int = struct.field(pytree_node=False)


@struct.dataclass
class Steady(_Declared):
    """Bandwidth does not vary."""

    def start(self, key: PRNGKeyArray, num_nodes: int) -> Links:
        return Links(num_nodes)

    def factors(self, key: PRNGKeyArray, state: Links, step: Int[Array, ""]) -> Float[Array, "N N"]:
        return jnp.ones((state.num_nodes, state.num_nodes), jnp.float32)


@struct.dataclass
class Phases:
    """What an episode of `Wave` draws at its start."""

    phase: Float[Array, "N N"]  # ψ, in turns


@struct.dataclass
class Wave(_Declared):
    """max(1 + amplitude · sin(2π (step / period + ψ)) + noise · z, 0), each link out of phase with the others.

    ψ is uniform in [0, 1) for each link, z standard normal for each link and step.
    """

    amplitude: Scalar = parameter(PROBABILITY, 0.3)  # a: amplitude of the oscillation around 1
    period: Scalar = parameter(cycles.PERIOD, 96.0)  # P: period, in steps
    noise: Scalar = parameter(AMOUNT, 0.1)  # s: standard deviation of the noise

    def start(self, key: PRNGKeyArray, num_nodes: int) -> Phases:
        (phase,) = _uniforms(key, 1, num_nodes)
        return Phases(phase)

    def factors(self, key: PRNGKeyArray, state: Phases, step: Int[Array, ""]) -> Float[Array, "N N"]:
        (u,) = _uniforms(key, 1, state.phase.shape[0])
        turns = cycles.turns(step, self.period) + state.phase
        wave = jnp.sin(2 * jnp.pi * (turns - jnp.floor(turns)))
        return _between(jnp.maximum(1 + self.amplitude * wave + self.noise * chance.standard_normal(u), 0))


class _OfSamples(_Declared):
    """`validate` for laws that have a record."""

    samples: Float[Array, " L"]

    def validate(self) -> None:
        super().validate()
        if not np.any(np.asarray(self.samples)):
            raise ValueError("samples are all 0; at least one must be above 0")


@struct.dataclass(kw_only=True)
class Resampled(_OfSamples):
    """A sample of a record, drawn anew for each link and step, times 1 + a number uniform in ±noise."""

    samples: Float[Array, " L"] = parameter(AMOUNT)  # the record, with mean 1
    noise: Scalar = parameter(PROBABILITY, 0.1)  # the most that a sample is off, as a share of it

    def start(self, key: PRNGKeyArray, num_nodes: int) -> Links:
        return Links(num_nodes)

    def factors(self, key: PRNGKeyArray, state: Links, step: Int[Array, ""]) -> Float[Array, "N N"]:
        place, noise = _uniforms(key, 2, state.num_nodes)
        sample = self.samples[_index(place, self.samples.shape[0])]
        return _between(sample * (1 + self.noise * (2 * noise - 1)))


@struct.dataclass
class Offsets:
    """What an episode of `Played` draws at its start."""

    offset: Int[Array, "N N"]  # the first sample of each link


@struct.dataclass(kw_only=True)
class Played(_OfSamples):
    """A record that repeats, a sample a step; each link begins anywhere with `random_start`, else at the first."""

    samples: Float[Array, " L"] = parameter(AMOUNT)  # the record, with mean 1
    random_start: Switch = parameter(SWITCH, True)  # start each link at a random sample

    def start(self, key: PRNGKeyArray, num_nodes: int) -> Offsets:
        (place,) = _uniforms(key, 1, num_nodes)
        return Offsets(jnp.where(self.random_start, _index(place, self.samples.shape[0]), 0))

    def factors(self, key: PRNGKeyArray, state: Offsets, step: Int[Array, ""]) -> Float[Array, "N N"]:
        return _between(self.samples[cycles.place(state.offset, step, self.samples.shape[0])])


def _uniforms(key: PRNGKeyArray, num: int, num_nodes: int) -> list[Float[Array, "N N"]]:
    """`num` uniform numbers for each link, the same in both directions.

    Links are counted pair by pair, (0, 1), (0, 2), (1, 2), (0, 3), …, in an order that goes on where there are more.
    """
    i, j = np.indices((num_nodes, num_nodes))
    low, high = np.minimum(i, j), np.maximum(i, j)
    return chance.uniforms_of(key, num, np.where(i == j, 0, 1 + high * (high - 1) // 2 + low))


def _between(factors: Float[Array, "N N"]) -> Float[Array, "N N"]:
    """The factors between nodes, and 1 on the diagonal."""
    return jnp.where(jnp.eye(factors.shape[0], dtype=bool), 1.0, factors)


def _index(u: Float[Array, "N N"], length: int) -> Int[Array, "N N"]:
    """A place in a record from each number uniform in [0, 1)."""
    return jnp.floor(u * length).astype(jnp.int32)


LAWS: Mapping[str, type[BandwidthLaw]] = {
    "steady": Steady,
    "wave": Wave,
    "resampled": Resampled,
    "played": Played,
}
