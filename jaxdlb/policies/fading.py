"""Rules that choose softly, and let old news fade: what was heard long ago counts little beside what is usual."""

from collections.abc import Mapping

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float

from jaxdlb.mechanics.peer_view import Observation, Own, Peer
from jaxdlb.policies.choice import softly
from jaxdlb.policies.rules import Drawn, Weights

Number = float | Float[Array, ""]


def believed_load(peers: Float[Array, "N P 4"], memory: Number, prior: Number) -> Float[Array, "N P"]:
    """v̂_ij = e^(−φ·age_ij)·v_ij + (1 − e^(−φ·age_ij))·a·q_j/mean q, in tasks; the own load, of age 0, is exact.

    `memory` φ says how fast news fades, in 1/rounds; `prior` a is the load, in tasks, that a node of mean speed is
    believed to have where nothing is known of it.
    """
    rate = peers[..., Peer.RATE]
    usual = prior * rate / jnp.mean(rate, axis=-1, keepdims=True)
    trust = jnp.exp(-memory * peers[..., Peer.AGE])
    return trust * peers[..., Peer.LOAD] + (1 - trust) * usual


@struct.dataclass
class Soft(Drawn):
    """To node j with P ∝ q_j^β · exp(−((v_ij + 1)/q_j − m·[j = i])/τ): every load is believed as it was heard."""

    temperature: Number  # τ, rounds
    inertia: Number  # m, rounds: how much longer than elsewhere a task may take before it is sent away
    speed_exponent: Number  # β

    @property
    def options(self) -> tuple[str, ...]:
        return _written({"τ": self.temperature, "m": self.inertia, "β": self.speed_exponent})

    def weights(self, observation: Observation, among: Bool[Array, "N N"]) -> Weights:
        return self.send(observation.peers[..., Peer.LOAD], observation, among)

    def send(self, load: Float[Array, "N N"], observation: Observation, among: Bool[Array, "N N"]) -> Weights:
        """The weights by the formula, with `load` [i, j] in place of v_ij."""
        rate = observation.peers[..., Peer.RATE]
        saved = self.inertia * observation.peers[..., Peer.IS_SELF] - (load + 1) / rate
        return softly(self.speed_exponent * jnp.log(rate) + saved / self.temperature, among)


@struct.dataclass
class Fading(Soft):
    """As `Soft`, with the believed load v̂_ij in place of v_ij."""

    memory: Number  # φ, 1/rounds
    prior: Number  # a, tasks

    @property
    def options(self) -> tuple[str, ...]:
        return (*_written({"φ": self.memory}), *super().options, *_written({"a": self.prior}))

    def weights(self, observation: Observation, among: Bool[Array, "N N"]) -> Weights:
        return self.send(believed_load(observation.peers, self.memory, self.prior), observation, among)


@struct.dataclass
class SoftStealing(Drawn):
    """At every completion: ask peer j with P ∝ exp((v_ij/q_j − (x_i + 1)/q_i − m)/τ), nobody with weight 1."""

    temperature: Number  # τ, rounds
    inertia: Number  # m, rounds: by how much the peer's drain time must exceed the own

    @property
    def options(self) -> tuple[str, ...]:
        return _written({"τs": self.temperature, "ms": self.inertia})

    def weights(self, observation: Observation, among: Bool[Array, "N N"]) -> Weights:
        return self.ask(observation.peers[..., Peer.LOAD], observation, among)

    def ask(self, load: Float[Array, "N N"], observation: Observation, among: Bool[Array, "N N"]) -> Weights:
        """The weights by the formula, with `load` [i, j] in place of v_ij."""
        peers, own = observation.peers, observation.own
        own_delay = (own[:, Own.LOAD] + 1) / own[:, Own.RATE]
        gain = (load / peers[..., Peer.RATE] - own_delay[:, None] - self.inertia) / self.temperature
        nobody = peers[..., Peer.IS_SELF] > 0
        return softly(jnp.where(nobody, 0.0, gain), among)


@struct.dataclass
class FadingStealing(SoftStealing):
    """As `SoftStealing`, with the believed load v̂_ij in place of v_ij."""

    memory: Number  # φ, 1/rounds
    prior: Number  # a, tasks

    @property
    def options(self) -> tuple[str, ...]:
        return (*_written({"φs": self.memory}), *super().options, *_written({"as": self.prior}))

    def weights(self, observation: Observation, among: Bool[Array, "N N"]) -> Weights:
        return self.ask(believed_load(observation.peers, self.memory, self.prior), observation, among)


def _written(options: Mapping[str, Number]) -> tuple[str, ...]:
    return tuple(f"{symbol}={float(value):g}" for symbol, value in options.items())
