"""The distributed load-balancing Markov game of Malcolm as a pure function (doi 10.1145/3570611)."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxdlb.checks import check_choice, check_size
from jaxdlb.game import TimeStep
from jaxdlb.games.dlb import dynamics, generator, utility
from jaxdlb.games.dlb.types import Params, State
from jaxdlb.games.dlb.views import global_state, observe, true_observation
from jaxdlb.mechanics import chance, heartbeats, peer_view, transit
from jaxdlb.mechanics.churn import churn
from jaxdlb.mechanics.indexing import count_each
from jaxdlb.mechanics.peer_view import Action, Observation

METRICS = {
    "arrivals": "tasks that arrived at some node this round",
    "completions": "tasks completed this round",
    "migrations": "arrived tasks sent to another node",
    "steal_requests": "requests for a task, granted or not",
    "steals": "tasks stolen, that is requests granted",
    "drops": "tasks dropped at full nodes",
    "total_load": "tasks held by all nodes after the round",
    "total_in_transit": "tasks under way after the round",
    "imbalance": "mean over nodes of the imbalance of drain times: rounds² (variance) or rounds",
    "utility": "mean over nodes of the utility, ≤ 0",
    "nodes_up": "nodes that are up",
}

_FLAGS = ("arrivals", "completions", "migrations", "steal_requests", "steals")  # metrics that count nodes
_HEARTBEATS, _MODULATION = 0, 1  # what a round's key is folded with for chances that few clusters have


@dataclasses.dataclass(frozen=True)
class DLB:
    """The distributed load-balancing game: N nodes, one agent a node, played in rounds.

    Action (`mechanics.peer_view.Action`): `dispatch` int32 [N], `steal` int32 [N].
    Observation (`mechanics.peer_view.Observation`): `own` float32 [N, 5], `peers` float32 [N, N, 4], `legal` masks.
    Reward: float32 [N], (1 − κ) · mean utility + κ · own utility, per round.
    Episode: `params.horizon` rounds; `discount` stays 1, since the game goes on and the episode is only cut.

    Raises:
        ValueError: a size below its least value, or an unknown `imbalance` or `heartbeats`.
    """

    num_nodes: int = 8  # N
    capacity: int = 64  # K, the most tasks a node holds
    max_delay: int = 4  # D, the longest transfer or heartbeat delay that the state can represent
    imbalance: str = "variance"  # or mean_absolute, range
    heartbeats: str = "shared"  # or per_link: receivers may lose heartbeats independently

    name = "dlb"

    def __post_init__(self) -> None:
        check_size("num_nodes", self.num_nodes, 1)
        check_size("capacity", self.capacity, 1)
        check_size("max_delay", self.max_delay, 0)
        check_choice("imbalance", self.imbalance, tuple(utility.IMBALANCES))
        check_choice("heartbeats", self.heartbeats, ("shared", "per_link"))

    @property
    def num_agents(self) -> int:
        return self.num_nodes

    @property
    def action_space(self) -> Action:
        return peer_view.action_space(self.num_nodes)

    @property
    def metrics(self) -> Mapping[str, str]:
        return METRICS

    def default_params(self, **fields: Any) -> Params:
        """The reference cluster at this size, with `fields` replaced; see `generator.make_params`."""
        return generator.make_params(self.num_nodes, **fields)

    def validate(self, params: Params) -> None:
        """Check every field of `params` (of one cluster, not a batch) on the host.

        Raises:
            ValueError: names the field, the offending entry and the allowed range.
        """
        generator.validate(params, self.num_nodes, self.capacity, self.max_delay, self.heartbeats)

    def reset(self, key: PRNGKeyArray, params: Params) -> tuple[State, TimeStep[Observation]]:
        """An episode's start: loads as given, nothing under way, initial loads heard, all nodes up, events drawn."""
        nodes, rows = (self.num_nodes,), (self.max_delay, self.num_nodes)
        load = jnp.asarray(params.initial_load, jnp.int32)
        alive = jnp.ones(nodes, bool)
        modulation = params.arrival_modulation.start(chance.fold_in(key, _MODULATION))
        factor = params.arrival_modulation.factor(modulation, jnp.int32(0))
        numbers = chance.uniforms(key, 2, self.num_nodes)
        arrived, completed = dynamics.next_events(numbers, load, alive, factor, params)
        views = nodes if self.heartbeats == "shared" else (self.num_nodes, self.num_nodes)
        state = State(
            load=load,
            arrived=arrived,
            completed=completed,
            in_transit=jnp.zeros(rows, jnp.int32),
            heard_load=jnp.broadcast_to(load, views),
            heard_age=jnp.zeros(views, jnp.int32),
            heartbeats_in_flight=jnp.full(rows, heartbeats.NOTHING_SENT, jnp.int32),
            alive=alive,
            round=jnp.int32(0),
            modulation=modulation,
        )
        nothing = dict.fromkeys(_FLAGS, jnp.zeros(nodes, bool))
        return state, self._timestep(state, params, nothing, jnp.zeros(nodes, jnp.int32), jnp.zeros(nodes))

    def step(
        self, key: PRNGKeyArray, state: State, action: Action, params: Params
    ) -> tuple[State, TimeStep[Observation]]:
        """One round: complete, steal, dispatch, land, churn, heartbeats, utility, next events."""
        arrival_number, completion_number = chance.uniforms(key, 2, self.num_nodes)
        action = dynamics.play_legal(state, action, self.num_nodes)
        load = dynamics.complete(state.load, state.completed)
        load, asked, granted = dynamics.steal(load, action, state.alive, state.round)
        kept, sent_to, migrated = dynamics.dispatch(state.arrived, action, granted)
        landing, in_transit = transit.advance(state.in_transit, sent_to, params.transfer_delay)
        load, drops = dynamics.land(load, landing + kept, self.capacity)
        alive, arrival_number = churn(arrival_number, state.alive, params.failure_prob, params.repair_prob)
        heartbeat_key, modulation_key = (chance.fold_in(key, stream) for stream in (_HEARTBEATS, _MODULATION))
        heard_load, heard_age, in_flight = dynamics.hear(heartbeat_key, state, load, alive, params)
        utilities = utility.utilities(
            utility.imbalance(self.imbalance, load, params), load, migrated, asked, drops, params
        )
        modulation, factor = dynamics.vary_arrivals(
            modulation_key, params.arrival_modulation, state.modulation, state.round + 1
        )
        arrived, completed = dynamics.next_events([arrival_number, completion_number], load, alive, factor, params)
        flags = dict(zip(_FLAGS, (state.arrived, state.completed, migrated, asked, granted), strict=True))
        state = State(
            load=load,
            arrived=arrived,
            completed=completed,
            in_transit=in_transit,
            heard_load=heard_load,
            heard_age=heard_age,
            heartbeats_in_flight=in_flight,
            alive=alive,
            round=state.round + 1,
            modulation=modulation,
        )
        return state, self._timestep(state, params, flags, drops, utilities)

    def global_state(self, state: State, params: Params) -> Float[Array, " G"]:
        """The whole cluster as a centralised critic sees it in training; see `views.global_state`."""
        return global_state(state, params)

    def true_observation(self, state: State, params: Params) -> Observation:
        """The observation with everybody's true load at age 0, for `oracle_…` policies."""
        return true_observation(state, params)

    def _timestep(
        self,
        state: State,
        params: Params,
        flags: dict[str, Bool[Array, " N"]],
        drops: Int[Array, " N"],
        utilities: Float[Array, " N"],
    ) -> TimeStep[Observation]:
        flags = flags | {"nodes_up": state.alive}
        metrics = dict(zip(flags, count_each(list(flags.values())), strict=True))
        metrics |= {
            "drops": jnp.sum(drops),
            "total_load": jnp.sum(state.load),
            "total_in_transit": jnp.sum(state.in_transit),
            "imbalance": jnp.mean(utility.imbalance(self.imbalance, state.load, params)),
            "utility": jnp.mean(utilities),
        }
        return TimeStep(
            observation=observe(state, params),
            reward=utility.rewards(utilities, params),
            discount=jnp.float32(1.0),
            last=state.round >= params.horizon,
            elapsed=jnp.float32(1.0),
            metrics=metrics,
        )
