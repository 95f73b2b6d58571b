"""The rules that heuristics are composed of: where to send a task, and whom to ask for one.

Every rule chooses for all N agents at once, from what each of them knows:
`choose(numbers, memory, observation, among) -> (memory, choice int32 [N])`. The `numbers` are uniform in [0, 1), with
`num_draws` per agent; `among` says what each agent may choose (only itself, if there is nothing to do).
`start(num_nodes)` is the memory at the start of an episode. Numeric options of a rule are pytree leaves, so that one
compiled program serves all their values; `options` lists the options as text for tables.
"""

import itertools
from typing import Any, Protocol, runtime_checkable

import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from jaxdlb.mechanics.peer_view import Observation, Own, Peer
from jaxdlb.policies.choice import least, pick_weighted, sample_peers

Numbers = Float[Array, "N draws"]
Choice = tuple[Any, Int[Array, " N"]]
Weights = Float[Array, "N N"] | Bool[Array, "N N"]


@runtime_checkable
class Rule(Protocol):
    """A rule for one head of the action; see the module's docstring."""

    @property
    def options(self) -> tuple[str, ...]: ...

    @property
    def num_draws(self) -> int: ...

    def start(self, num_nodes: int) -> Any: ...

    def choose(self, numbers: Numbers, memory: Any, observation: Observation, among: Bool[Array, "N N"]) -> Choice: ...


def expected_delay(peers: Float[Array, "*C 4"], weighted: bool | Bool[Array, ""] = True) -> Float[Array, "*C"]:
    """ℓ_ij = (v_ij + 1)/q_j, the rounds a task sent from i to j is expected to take; v_ij + 1 if not `weighted`."""
    return (peers[..., Peer.LOAD] + 1) / jnp.where(weighted, peers[..., Peer.RATE], 1.0)


class Plain:
    """What most rules have in common: no memory, no options, one draw (to break ties)."""

    @property
    def num_draws(self) -> int:
        return 1

    @property
    def options(self) -> tuple[str, ...]:
        return ()

    def start(self, num_nodes: int) -> Any:
        return ()


class Drawn(Plain):
    """A rule without memory: it draws by weights, and so its probabilities are known."""

    def weights(self, observation: Observation, among: Bool[Array, "N N"]) -> Weights:
        """What each agent's choices are drawn in proportion to: [N, N], 0 outside `among`, each row's sum positive."""
        raise NotImplementedError

    def choose(self, numbers: Numbers, memory: Any, observation: Observation, among: Bool[Array, "N N"]) -> Choice:
        return memory, pick_weighted(numbers[:, 0], self.weights(observation, among))


@struct.dataclass
class Itself(Drawn):
    """Keep the task; ask nobody."""

    @property
    def num_draws(self) -> int:
        return 0

    def weights(self, observation: Observation, among: Bool[Array, "N N"]) -> Weights:
        return is_self(among)

    def choose(self, numbers: Numbers, memory: Any, observation: Observation, among: Bool[Array, "N N"]) -> Choice:
        return memory, jnp.arange(among.shape[0], dtype=jnp.int32)


@struct.dataclass
class Random(Drawn):
    """Any node, chosen uniformly or, if `weighted`, in proportion to its speed q_j."""

    weighted: bool | Bool[Array, ""]

    def weights(self, observation: Observation, among: Bool[Array, "N N"]) -> Weights:
        return jnp.where(among, jnp.where(self.weighted, observation.peers[..., Peer.RATE], 1.0), 0.0)


@struct.dataclass
class RoundRobin(Plain):
    """Each node deals its tasks to all nodes in turn, starting with itself so that nodes do not march in step."""

    def start(self, num_nodes: int) -> Int[Array, " N"]:
        return jnp.arange(num_nodes, dtype=jnp.int32)  # for each dealer, whose turn it is

    def choose(
        self, numbers: Numbers, memory: Int[Array, " N"], observation: Observation, among: Bool[Array, "N N"]
    ) -> Choice:
        num_nodes = among.shape[0]
        wait = (jnp.arange(num_nodes, dtype=jnp.int32) - memory[:, None]) % num_nodes
        choice = jnp.argmin(jnp.where(among, wait, num_nodes), axis=-1).astype(jnp.int32)
        deals = observation.own[:, Own.ARRIVED] * observation.own[:, Own.ALIVE] > 0
        return jnp.where(deals, (choice + 1) % num_nodes, memory), choice


@struct.dataclass
class Least(Drawn):
    """The node heard to have the fewest tasks or, if `weighted`, with the least expected delay."""

    weighted: bool | Bool[Array, ""]

    def weights(self, observation: Observation, among: Bool[Array, "N N"]) -> Weights:
        return least(expected_delay(observation.peers, self.weighted), among)


@struct.dataclass
class LeastOfSample(Drawn):
    """Like `Least`, among itself and d ≤ width distinct peers drawn anew for each task (or all peers, if fewer)."""

    weighted: bool | Bool[Array, ""]
    d: int | Int[Array, ""]
    width: int = struct.field(pytree_node=False)  # fixes shapes: space for this many samples

    @property
    def num_draws(self) -> int:
        return 1 + self.width

    @property
    def options(self) -> tuple[str, ...]:
        return (f"d={int(self.d)}", *(["weighted"] if self.weighted else []))

    def choose(self, numbers: Numbers, memory: Any, observation: Observation, among: Bool[Array, "N N"]) -> Choice:
        num_peers = among.shape[0] - 1
        sample, tie = numbers[:, 1 : min(self.width, num_peers) + 1], numbers[:, 0]
        peers, sampled = sample_peers(sample, jnp.minimum(self.d, num_peers))
        node = jnp.arange(among.shape[0], dtype=jnp.int32)[:, None]
        candidates = jnp.concatenate([node, peers], axis=-1)
        allowed = among[node, candidates] & jnp.concatenate([jnp.ones(1, bool), sampled])
        delay = expected_delay(observation.peers[node, candidates], self.weighted)
        best = pick_weighted(tie, least(delay, allowed))
        return memory, jnp.take_along_axis(candidates, best[:, None], axis=-1)[:, 0]

    def weights(self, observation: Observation, among: Bool[Array, "N N"]) -> Weights:
        """The mean over all sets of d peers, each as likely as any other: only for few nodes, and a known d."""
        num_nodes = among.shape[0]
        delay, itself = expected_delay(observation.peers, self.weighted), is_self(among)
        sets = list(itertools.combinations(range(num_nodes - 1), min(int(self.d), num_nodes - 1)))
        total = jnp.zeros(among.shape)
        for chosen in sets:
            peers = np.array([[each + (each >= node) for each in chosen] for node in range(num_nodes)], int)
            sampled = jnp.zeros_like(among).at[np.arange(num_nodes)[:, None], peers].set(True)
            ties = least(delay, among & (sampled | itself))
            total += ties / jnp.sum(ties, axis=-1, keepdims=True)
        return total / len(sets)


@struct.dataclass
class IdlePeer(Drawn):
    """A peer that is heard to be idle; if there is none, keep the task."""

    def weights(self, observation: Observation, among: Bool[Array, "N N"]) -> Weights:
        idle = among & (observation.peers[..., Peer.LOAD] == 0) & ~is_self(among)
        nobody = ~jnp.any(idle, axis=-1, keepdims=True)
        return idle | (nobody & is_self(among))


@struct.dataclass
class LeastBeyondMargin(Drawn):
    """The least expected delay, if the node's own exceeds it by more than `margin` rounds; otherwise, keep the task."""

    margin: float | Float[Array, ""]

    @property
    def options(self) -> tuple[str, ...]:
        return (f"margin={float(self.margin):g}",)

    def weights(self, observation: Observation, among: Bool[Array, "N N"]) -> Weights:
        delay = expected_delay(observation.peers)
        shortest = jnp.min(jnp.where(among, delay, jnp.inf), axis=-1)
        worth_it = jnp.diagonal(delay) > shortest + self.margin
        return least(delay, among & (worth_it[:, None] | is_self(among)))


@struct.dataclass
class LongestWhenEmpty(Drawn):
    """Work stealing: a node with nothing left after this round's completion asks the peer with the longest queue.

    Queues are measured by the expected time to drain them: the victim is the argmax of v_ij / q_j over the peers j.
    """

    def weights(self, observation: Observation, among: Bool[Array, "N N"]) -> Weights:
        empty = observation.own[:, Own.LOAD] - observation.own[:, Own.COMPLETED] <= 0
        drain_time = observation.peers[..., Peer.LOAD] / observation.peers[..., Peer.RATE]
        victims = among & empty[:, None] & ~is_self(among)
        nobody = ~jnp.any(victims, axis=-1, keepdims=True)
        return least(-drain_time, victims | (nobody & is_self(among)))


def is_self(among: Bool[Array, "N N"]) -> Bool[Array, "N N"]:
    """Where a node's own place among its choices is: the diagonal."""
    return jnp.eye(among.shape[0], dtype=bool)
