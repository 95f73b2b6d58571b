"""How the bandwidth of links varies, as a factor on each link's mean: one class for each law.

Each law has `start(key, num_nodes)`, its state at reset; `factors(key, state, step) -> float32 [N, N]`, the factors in
that step, with a key of its own for every step; and `validate()`, which checks it on the host. Both directions of a
link vary alike, so factors are symmetric, and 1 on the diagonal. Laws differ in the class of the pytree, so a game calls
these methods and never asks which law it has. `LAWS` names them.

A state holds the numbers of the E = N (N − 1) / 2 links (i, j) with i < j, link (i, j) at j (j − 1) / 2 + i: in an
order that goes on where there are more nodes. So what is drawn for a link depends on the key and on the link alone.
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
class Phases(Links):
    """What an episode of `Wave` draws at its start."""

    phase: Float[Array, " E"]  # ψ, in turns


@struct.dataclass
class Wave(_Declared):
    """max(1 + amplitude · sin(2π (step / period + ψ)) + noise · z, 0), each link out of phase with the others.

    ψ is uniform in [0, 1) for each link, z standard normal for each link and step.
    """

    amplitude: Scalar = parameter(PROBABILITY, 0.3)  # a: amplitude of the oscillation around 1
    period: Scalar = parameter(cycles.PERIOD, 96.0)  # P: period, in steps
    noise: Scalar = parameter(AMOUNT, 0.1)  # s: standard deviation of the noise

    def start(self, key: PRNGKeyArray, num_nodes: int) -> Phases:
        (phase,) = chance.uniforms(key, 1, num_links(num_nodes))
        return Phases(num_nodes, phase)

    def factors(self, key: PRNGKeyArray, state: Phases, step: Int[Array, ""]) -> Float[Array, "N N"]:
        (z,) = chance.normals(key, 1, num_links(state.num_nodes))
        turns = cycles.turns(step, self.period) + state.phase
        wave = jnp.sin(2 * jnp.pi * (turns - jnp.floor(turns)))
        return mirrored(jnp.maximum(1 + self.amplitude * wave + self.noise * z, 0), state.num_nodes)


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
        place, noise = chance.uniforms(key, 2, num_links(state.num_nodes))
        sample = self.samples[_index(place, self.samples.shape[0])]
        return mirrored(sample * (1 + self.noise * (2 * noise - 1)), state.num_nodes)


@struct.dataclass
class Offsets(Links):
    """What an episode of `Played` draws at its start."""

    offset: Int[Array, " E"]  # the first sample of each link


@struct.dataclass(kw_only=True)
class Played(_OfSamples):
    """A record, a sample a step, which repeats; with `random_start` each link begins anywhere in it, else at once."""

    samples: Float[Array, " L"] = parameter(AMOUNT)  # the record, with mean 1
    random_start: Switch = parameter(SWITCH, True)  # start each link at a random sample

    def start(self, key: PRNGKeyArray, num_nodes: int) -> Offsets:
        (place,) = chance.uniforms(key, 1, num_links(num_nodes))
        return Offsets(num_nodes, jnp.where(self.random_start, _index(place, self.samples.shape[0]), 0))

    def factors(self, key: PRNGKeyArray, state: Offsets, step: Int[Array, ""]) -> Float[Array, "N N"]:
        return mirrored(self.samples[cycles.place(state.offset, step, self.samples.shape[0])], state.num_nodes)


def num_links(num_nodes: int) -> int:
    """E, how many pairs of nodes there are."""
    return num_nodes * (num_nodes - 1) // 2


def mirrored(values: Float[Array, " E"], num_nodes: int) -> Float[Array, "N N"]:
    """The matrix with the value of each link in both directions, and 1 on the diagonal."""
    i, j = np.indices((num_nodes, num_nodes))
    low, high = np.minimum(i, j), np.maximum(i, j)
    link = np.where(i == j, 0, 1 + high * (high - 1) // 2 + low)
    return jnp.concatenate([jnp.ones(1, jnp.float32), values])[link]


def _index(u: Float[Array, " E"], length: int) -> Int[Array, " E"]:
    """A place in a record from each number uniform in [0, 1)."""
    return jnp.floor(u * length).astype(jnp.int32)


LAWS: Mapping[str, type[BandwidthLaw]] = {
    "steady": Steady,
    "wave": Wave,
    "resampled": Resampled,
    "played": Played,
}
