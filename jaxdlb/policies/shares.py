"""Rules that share work out in proportion: to what a peer would save, or to the speed that it has to spare."""

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from jaxdlb.mechanics.peer_view import Observation, Own, Peer
from jaxdlb.policies.choice import pick_weighted
from jaxdlb.policies.rules import Drawn, Numbers, Plain, Weights, expected_delay, is_self

Number = float | Float[Array, ""]


@struct.dataclass
class Proportional(Drawn):
    """To peer j with P ∝ (ℓ_ii − ℓ_ij − margin)⁺ · q_j; keep where all of them are 0."""

    margin: Number  # rounds

    @property
    def options(self) -> tuple[str, ...]:
        return (f"margin={float(self.margin):g}",)

    def weights(self, observation: Observation, among: Bool[Array, "N N"]) -> Weights:
        delay = expected_delay(observation.peers)
        saved = jnp.maximum(jnp.diagonal(delay)[:, None] - delay - self.margin, 0.0)
        return _peer_or_itself(saved * observation.peers[..., Peer.RATE], among)


@struct.dataclass
class ProportionalStealing(Drawn):
    """At every completion from peer j with P ∝ (v_ij/q_j − x_i/q_i − margin)⁺; from nobody where all of them are 0."""

    margin: Number  # rounds

    @property
    def options(self) -> tuple[str, ...]:
        return (f"steal_margin={float(self.margin):g}",)

    def weights(self, observation: Observation, among: Bool[Array, "N N"]) -> Weights:
        drain_time = observation.peers[..., Peer.LOAD] / observation.peers[..., Peer.RATE]
        excess = jnp.maximum(drain_time - jnp.diagonal(drain_time)[:, None] - self.margin, 0.0)
        return _peer_or_itself(excess, among)


Counts = tuple[Int[Array, " N"], Int[Array, " N"]]  # of each node: its arrivals, and the rounds that it was up


@struct.dataclass
class SurplusSplit(Plain):
    """Keep what the node itself can serve, and share the rest in proportion to the speed that others have to spare.

    p̂_i is the share of rounds in which a task arrived at node i, counted by itself while it is up. A task goes away
    with probability (p̂_i − u·q_i)⁺/p̂_i, and then to peer j with P ∝ (u·q_j − p̂_i)⁺: of others' arrivals a node knows
    nothing, and takes them to be like its own. It stays where nobody has speed to spare. With u = 1 a slow node is busy
    all the time, and its queue grows with luck; with less it has some air.
    """

    utilisation: Number  # u: the share of its speed that a node is given work for

    @property
    def options(self) -> tuple[str, ...]:
        return (f"utilisation={float(self.utilisation):g}",)

    @property
    def num_draws(self) -> int:
        return 2

    def start(self, num_nodes: int) -> Counts:
        return jnp.zeros(num_nodes, jnp.int32), jnp.zeros(num_nodes, jnp.int32)

    def choose(
        self, numbers: Numbers, memory: Counts, observation: Observation, among: Bool[Array, "N N"]
    ) -> tuple[Counts, Int[Array, " N"]]:
        own, alive = observation.own, observation.own[:, Own.ALIVE] > 0
        arrivals = memory[0] + (alive & (own[:, Own.ARRIVED] > 0))
        rounds = memory[1] + alive
        arrival_prob = arrivals / jnp.maximum(rounds, 1)
        surplus = jnp.maximum(arrival_prob - self.utilisation * own[:, Own.RATE], 0.0)
        goes = numbers[:, 1] * arrival_prob < surplus
        spare = jnp.maximum(self.utilisation * observation.peers[..., Peer.RATE] - arrival_prob[:, None], 0.0)
        weights = _peer_or_itself(jnp.where(goes[:, None], spare, 0.0), among)
        return (arrivals, rounds), pick_weighted(numbers[:, 0], weights)


def _peer_or_itself(weights: Float[Array, "N N"], among: Bool[Array, "N N"]) -> Float[Array, "N N"]:
    """The weights of peers alone; the node itself has one where no peer has any."""
    weights = jnp.where(among & ~is_self(among), weights, 0.0)
    nobody = ~jnp.any(weights > 0, axis=-1, keepdims=True)
    return weights + (nobody & is_self(among))
