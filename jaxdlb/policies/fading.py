"""Rules that let old news fade: what was heard long ago counts little beside what is usual, and choices are soft."""

from typing import Any

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float

from jaxdlb.mechanics.peer_view import Observation, Own, Peer
from jaxdlb.policies.choice import pick_softly
from jaxdlb.policies.rules import Choice, Numbers, Plain

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
class Fading(Plain):
    """To node j with P ∝ q_j^β · exp(−((v̂_ij + 1)/q_j − m·[j = i])/τ)."""

    memory: Number  # φ, 1/rounds
    temperature: Number  # τ, rounds
    inertia: Number  # m, rounds: how much longer than elsewhere a task may take before it is sent away
    speed_exponent: Number  # β
    prior: Number  # a, tasks

    @property
    def options(self) -> tuple[str, ...]:
        symbols = {"φ": self.memory, "τ": self.temperature, "m": self.inertia, "β": self.speed_exponent}
        return tuple(f"{symbol}={float(value):g}" for symbol, value in (symbols | {"a": self.prior}).items())

    def choose(self, numbers: Numbers, memory: Any, observation: Observation, among: Bool[Array, "N N"]) -> Choice:
        rate = observation.peers[..., Peer.RATE]
        delay = (believed_load(observation.peers, self.memory, self.prior) + 1) / rate
        saved = self.inertia * observation.peers[..., Peer.IS_SELF] - delay
        return memory, pick_softly(numbers[:, 0], self.speed_exponent * jnp.log(rate) + saved / self.temperature, among)


@struct.dataclass
class FadingStealing(Plain):
    """At every completion: ask peer j with P ∝ exp((v̂_ij/q_j − (x_i + 1)/q_i − m)/τ), nobody with weight 1."""

    memory: Number  # φ, 1/rounds
    temperature: Number  # τ, rounds
    inertia: Number  # m, rounds: by how much the peer's drain time must exceed the own
    prior: Number  # a, tasks

    @property
    def options(self) -> tuple[str, ...]:
        symbols = {"φs": self.memory, "τs": self.temperature, "ms": self.inertia, "as": self.prior}
        return tuple(f"{symbol}={float(value):g}" for symbol, value in symbols.items())

    def choose(self, numbers: Numbers, memory: Any, observation: Observation, among: Bool[Array, "N N"]) -> Choice:
        peers, own = observation.peers, observation.own
        drain_time = believed_load(peers, self.memory, self.prior) / peers[..., Peer.RATE]
        own_delay = (own[:, Own.LOAD] + 1) / own[:, Own.RATE]
        gain = (drain_time - own_delay[:, None] - self.inertia) / self.temperature
        nobody = peers[..., Peer.IS_SELF] > 0
        return memory, pick_softly(numbers[:, 0], jnp.where(nobody, 0.0, gain), among)
