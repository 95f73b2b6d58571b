"""The heuristics of nodes that dispatch and steal, and the ratio rule of the system that the rack follows."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float

from jaxdlb.checks import POSITIVE_PROBABILITY, check_array
from jaxdlb.game import Game
from jaxdlb.mechanics.peer_view import Observation, Own, Peer
from jaxdlb.policies import NODE_HEURISTICS, Family, Heuristic
from jaxdlb.policies.choice import pick_weighted
from jaxdlb.policies.rules import Choice, Itself, Numbers, Plain, is_self

STEPS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)


@struct.dataclass
class Ratio(Plain):
    """Keep a share of what arrives, which falls while the node is loaded above the mean, and rises while below.

    Loads are in units of what nodes complete, x_i / q_i; the mean is over all nodes as heard, itself included. Each
    slice the share falls or rises by `step` η, within [0, 1]; what is not kept goes to a peer chosen uniformly.
    """

    step: float | Float[Array, ""] | None  # η; None: 1/N²

    @property
    def num_draws(self) -> int:
        return 2

    @property
    def options(self) -> tuple[str, ...]:
        return () if self.step is None else (f"η={float(self.step):g}",)

    def start(self, num_nodes: int) -> Float[Array, " N"]:
        return jnp.ones(num_nodes, jnp.float32)  # of what arrives, the share that each node keeps

    def choose(
        self, numbers: Numbers, memory: Float[Array, " N"], observation: Observation, among: Bool[Array, "N N"]
    ) -> Choice:
        num_nodes = among.shape[0]
        step = 1 / num_nodes**2 if self.step is None else self.step
        own = observation.own[:, Own.LOAD] / observation.own[:, Own.RATE]
        mean = jnp.mean(observation.peers[..., Peer.LOAD] / observation.peers[..., Peer.RATE], axis=-1)
        share = jnp.clip(memory + step * jnp.sign(mean - own), 0.0, 1.0)
        peers = among & ~is_self(among)
        keeps = (numbers[:, 0] < share) | ~jnp.any(peers, axis=-1)
        return share, pick_weighted(numbers[:, 1], jnp.where(keeps[:, None], is_self(among), peers))


def _make(step: Any = None) -> Heuristic:
    if step is not None:
        step = float(check_array("step", step, (), POSITIVE_PROBABILITY))
    return Heuristic(family="ratio_rule", dispatch=Ratio(step), steal=Itself())


def _steps(game: Game) -> Mapping[str, Sequence[Any]]:
    """The rule's own step, and others around it."""
    return {"step": (1 / game.num_agents**2, *STEPS)}


HEURISTICS: Mapping[str, Family] = {**NODE_HEURISTICS, "ratio_rule": Family(_make, grid=_steps)}
