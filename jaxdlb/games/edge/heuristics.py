"""The heuristics of the edge: each says how much of its input a node sends on, and in proportion to what."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jaxdlb.checks import AMOUNT, POSITIVE, PROBABILITY
from jaxdlb.game import Game
from jaxdlb.games.edge.best_response import Memory, best_response
from jaxdlb.games.edge.optimum import LossTable, optimum, shares_of
from jaxdlb.games.edge.types import Action
from jaxdlb.games.edge.views import Observation, Own, Peer
from jaxdlb.mechanics import chance
from jaxdlb.policies import Family, Policy
from jaxdlb.policies.options import labelled, numbers, tried

Spill = tuple[Float[Array, " N"], Float[Array, "N N"]]  # of each node: what it sends on, and weights of where to
Rule = Callable[..., tuple[Any, Spill]]  # (memory, observation, **options) → (memory, spill)

_LEAST_DRAW = 2.0**-25  # stands for 0 where shares are drawn, so that some share is positive


def shares(observation: Observation, spill: Spill) -> Action:
    """Amounts as shares of the input: what goes out in proportion to weights, everything else stays at home.

    Where all weights of a node are 0, and where nothing comes to it, all stays at home. Weights of nodes that are
    neither the agent nor a neighbour must be 0. Nothing is refused.
    """
    amount, weights = spill
    inputs, whole = observation.own[:, Own.INPUT], jnp.sum(weights, axis=1)
    out = (amount / jnp.where(whole > 0, whole, 1.0))[:, None] * weights
    share = out / jnp.maximum(inputs, 1.0)[:, None]
    kept = jnp.maximum(1.0 - jnp.sum(share, axis=1), 0.0)
    to_nodes = share + jnp.where(_itself(observation), kept[:, None], 0.0)
    return jnp.concatenate([to_nodes, jnp.zeros_like(to_nodes[:, :1])], axis=1)


def _itself(observation: Observation) -> Bool[Array, "N N"]:
    return observation.peers[..., Peer.IS_SELF] > 0


def _neighbours(observation: Observation) -> Bool[Array, "N N"]:
    return observation.peers[..., Peer.IS_NEIGHBOUR] > 0


def _beyond(observation: Observation, kept: Float[Array, " N"]) -> Float[Array, " N"]:
    """What is left of each node's input when it keeps up to so much."""
    inputs = observation.own[:, Own.INPUT]
    return inputs - jnp.minimum(inputs, kept)


def _free(observation: Observation, room: Float[Array, "N N"]) -> Float[Array, "N N"]:
    """Of the `room` that nodes have in all, what the inputs of neighbours, as heard, leave."""
    return jnp.where(_neighbours(observation), jnp.maximum(room - observation.peers[..., Peer.HEARD_INPUT], 0.0), 0.0)


def _local(memory: Any, observation: Observation) -> tuple[Any, Spill]:
    """All stays at home."""
    return memory, (jnp.zeros_like(observation.own[:, Own.INPUT]), jnp.zeros_like(observation.peers[..., 0]))


def _spread(memory: Any, observation: Observation) -> tuple[Any, Spill]:
    """Equal parts for itself and its neighbours."""
    among = _itself(observation) | _neighbours(observation)
    return memory, (observation.own[:, Own.INPUT], among.astype(jnp.float32))


def _proportional(memory: Any, observation: Observation) -> tuple[Any, Spill]:
    """In proportion to capacities, for itself and its neighbours."""
    return memory, (observation.own[:, Own.INPUT], observation.peers[..., Peer.CAPACITY])


def _local_first(memory: Any, observation: Observation, headroom: Any) -> tuple[Any, Spill]:
    """Keep up to φ of the capacity; the rest in proportion to capacities, for itself and its neighbours."""
    rest = _beyond(observation, headroom * observation.own[:, Own.CAPACITY])
    return memory, (rest, observation.peers[..., Peer.CAPACITY])


def _spare_capacity(memory: Any, observation: Observation, headroom: Any) -> tuple[Any, Spill]:
    """Keep up to φ of the capacity; the rest to neighbours, in proportion to what they have free of φ of theirs."""
    rest = _beyond(observation, headroom * observation.own[:, Own.CAPACITY])
    return memory, (rest, _free(observation, headroom * observation.peers[..., Peer.CAPACITY]))


def _water_level(memory: Any, observation: Observation) -> tuple[Any, Spill]:
    """Keep up to the level ℓ at which the node and its neighbours, as heard, would stand together; the rest below it.

    ℓ is the sum of their inputs over that of their capacities.
    """
    own, peers = observation.own, observation.peers
    inputs, capacity = jnp.sum(peers[..., Peer.HEARD_INPUT], axis=1), jnp.sum(peers[..., Peer.CAPACITY], axis=1)
    level = inputs / jnp.where(capacity > 0, capacity, 1.0)
    rest = _beyond(observation, level * own[:, Own.CAPACITY])
    return memory, (rest, _free(observation, level[:, None] * peers[..., Peer.CAPACITY]))


def _aimd(
    limit: Float[Array, "N N"], observation: Observation, headroom: Any, increase: Any, decrease: Any, tolerance: Any
) -> tuple[Float[Array, "N N"], Spill]:
    """Keep up to φ of the capacity; the rest to neighbours up to a limit for each, which probes what they can take.

    Additive increase, multiplicative decrease (Chiu and Jain, Computer Networks and ISDN Systems 17, 1989): a limit
    falls where more than a tolerated share of what was sent was rejected, and rises where it was not.
    """
    sent, rejected = observation.peers[..., Peer.SENT], observation.peers[..., Peer.REJECTED]
    answered = jnp.where(rejected > tolerance * sent, limit * decrease, limit + increase)
    limit = jnp.where(_neighbours(observation) & (sent > 0), answered, limit)
    room = jnp.where(_neighbours(observation), limit, 0.0)
    rest = _beyond(observation, headroom * observation.own[:, Own.CAPACITY])
    return limit, (jnp.minimum(rest, jnp.sum(room, axis=1)), room)


@struct.dataclass
class Heuristic:
    """A rule with options, which says what each node sends on; see `shares`."""

    family: str = struct.field(pytree_node=False)  # the name in the catalogue, without options
    rule: Rule = struct.field(pytree_node=False)
    options: dict[str, Any] = struct.field(default_factory=dict)
    kind: str = struct.field(pytree_node=False, default="heuristic")  # or oracle, which is given the truth

    @property
    def name(self) -> str:
        return labelled(self.family, self.options)

    def init(self, game: Game) -> Any:
        """Nothing to remember."""
        return ()

    def act(self, key: PRNGKeyArray, carry: Any, observation: Observation, params: Any) -> tuple[Any, Action]:
        """Shares float32 [N, N + 1]; ignores `key` and `params`."""
        carry, spill = self.rule(carry, observation, **self.options)
        return carry, shares(observation, spill)


@struct.dataclass
class Aimd(Heuristic):
    """The same, with a memory: the most requests that each node sends to each neighbour."""

    def init(self, game: Game) -> Float[Array, "N N"]:
        """The limits, float32 [N, N]: at first the `increase`."""
        return jnp.full((game.num_agents, game.num_agents), self.options["increase"], jnp.float32)


@struct.dataclass
class BestResponse(Heuristic):
    """The same, with a memory of what was heard and done."""

    def init(self, game: Game) -> Memory:
        """Nothing heard, and everything kept."""
        return Memory.empty(game.num_agents)


@struct.dataclass
class Random:
    """Shares uniform over the simplex of the legal entries, Dirichlet(1, …, 1), anew in every step; it may refuse."""

    name, kind = "random", "heuristic"

    def init(self, game: Game) -> tuple[()]:
        """Nothing to remember."""
        return ()

    def act(self, key: PRNGKeyArray, carry: tuple[()], observation: Observation, params: Any) -> tuple[tuple, Action]:
        """Independent exponential numbers over their sum, float32 [N, N + 1]; consumes `key`, ignores `params`.

        What node i draws for node j does not depend on how many nodes there are.
        """
        num_nodes = observation.own.shape[0]
        refusal, *nodes = chance.uniform_rows(key, num_nodes + 1, num_nodes)
        draws = jnp.maximum(-jnp.log1p(-jnp.stack([*nodes, refusal], axis=1)), _LEAST_DRAW)
        weights = jnp.where(observation.legal, draws, 0.0)
        return (), weights / jnp.sum(weights, axis=1, keepdims=True)


@struct.dataclass
class OracleOptimal:
    """Plays the optimum of each step (`optimum`), from the parameters and the inputs of all nodes."""

    name, kind = "oracle_optimal", "optimal"

    def init(self, game: Any) -> LossTable:
        """The rejections of nodes by load, which the first step works out."""
        return LossTable.empty(game.num_nodes, game.max_instances)

    def act(self, key: PRNGKeyArray, carry: LossTable, observation: Observation, params: Any) -> tuple[Any, Action]:
        """The table of these nodes' rejections, and shares float32 [N, N + 1]; ignores `key`."""
        table = carry.fitted(params)
        inputs = observation.own[:, Own.INPUT].astype(jnp.int32)
        return table, shares_of(optimum(inputs, table, params))


_ALLOWED = {
    "headroom": AMOUNT,
    "increase": AMOUNT,
    "decrease": PROBABILITY,
    "tolerance": PROBABILITY,
    "width": POSITIVE,
    "price": AMOUNT,
    "step": PROBABILITY,
}


_numbers = functools.partial(numbers, _ALLOWED)


def _make_local() -> Policy:
    return Heuristic("local", _local)


def _make_spread() -> Policy:
    return Heuristic("spread", _spread)


def _make_proportional() -> Policy:
    return Heuristic("proportional", _proportional)


def _make_local_first(headroom: Any = 0.4) -> Policy:
    return Heuristic("local_first", _local_first, _numbers(headroom=headroom))


def _make_spare_capacity(headroom: Any = 0.8) -> Policy:
    return Heuristic("spare_capacity", _spare_capacity, _numbers(headroom=headroom))


def _make_oracle_spare_capacity(headroom: Any = 0.8) -> Policy:
    return Heuristic("oracle_spare_capacity", _spare_capacity, _numbers(headroom=headroom), kind="oracle")


def _make_water_level() -> Policy:
    return Heuristic("water_level", _water_level)


def _make_aimd(headroom: Any = 0.6, increase: Any = 10.0, decrease: Any = 0.9, tolerance: Any = 0.05) -> Policy:
    options = _numbers(headroom=headroom, increase=increase, decrease=decrease, tolerance=tolerance)
    return Aimd("aimd", _aimd, options)


def _make_best_response(headroom: Any = 0.9, width: Any = 0.03, price: Any = 0.08, step: Any = 0.2) -> Policy:
    options = _numbers(headroom=headroom, width=width, price=price, step=step)
    return BestResponse("best_response", best_response, options)


_HEADROOMS = (0.6, 0.7, 0.8, 0.9, 1.0)

HEURISTICS: Mapping[str, Family] = {
    "local": Family(_make_local),
    "random": Family(Random),
    "spread": Family(_make_spread),
    "proportional": Family(_make_proportional),
    "local_first": Family(_make_local_first, grid=tried(headroom=(0.0, 0.2, 0.4, 0.6, 0.8, 1.0))),
    "spare_capacity": Family(_make_spare_capacity, grid=tried(headroom=_HEADROOMS)),
    "water_level": Family(_make_water_level),
    "aimd": Family(_make_aimd, grid=tried(headroom=(0.4, 0.6, 0.8), increase=(5.0, 10.0), decrease=(0.5, 0.8, 0.9))),
    "best_response": Family(
        _make_best_response,
        grid=tried(headroom=(0.8, 0.9, 1.0), width=(0.03, 0.08), price=(0.0, 0.08), step=(0.2, 0.5)),
    ),
    "oracle_spare_capacity": Family(_make_oracle_spare_capacity, grid=tried(headroom=_HEADROOMS)),
    "oracle_optimal": Family(OracleOptimal),
}
