"""The distributed load-balancing Markov game of Malcolm as a pure function (doi 10.1145/3570611)."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxdlb import parameters
from jaxdlb.checks import COUNT, POSITIVE_COUNT
from jaxdlb.game import Column, TimeStep, Verdict, mean_of
from jaxdlb.games.dlb import dynamics, generator, utility
from jaxdlb.games.dlb.types import Params, State
from jaxdlb.games.dlb.views import global_state, observe, true_observation
from jaxdlb.mechanics import heartbeats, peer_view
from jaxdlb.mechanics.peer_view import Action, Observation
from jaxdlb.parameters import parameter

METRICS = {
    "arrivals": "tasks that arrived at some node this round",
    "completions": "tasks completed this round",
    "migrations": "arrived tasks sent to another node",
    "steal_requests": "requests for a task, granted or not",
    "steals": "tasks stolen, that is requests granted",
    "drops": "tasks dropped at full nodes",
    "total_load": "tasks held by all nodes after the round",
    "total_in_transit": "tasks under way after the round",
    "imbalance": "mean over nodes of the imbalance of drain times, with tasks under way: rounds² (variance) or rounds",
    "utility": "mean over nodes of the utility, ≤ 0",
    "nodes_up": "nodes that are up",
}

_FLAGS = ("arrivals", "completions", "migrations", "steal_requests", "steals")  # metrics that count nodes


@dataclasses.dataclass(frozen=True)
class DLB:
    """The distributed load-balancing game: N nodes, one agent a node, played in rounds of eight stages (`dynamics`).

    State (`State`); D is `max_delay`, and I is empty with `shared` heartbeats, N with heartbeats `per_link`:

    - `load` int32 [N]: tasks at each node, 0 … K.
    - `arrived` bool [N]: a task arrived, which waits for its dispatch; drawn at the end of the round before.
    - `completed` bool [N]: a task completes, which allows a steal request; drawn likewise.
    - `in_transit` int32 [D, N]: [k, j] tasks land at node j in the (k+1)-th round from now.
    - `heard_load` int32 [*I, N]: [i, j] is what i last heard of j's load; of [N], row j serves all.
    - `heard_age` int32 [*I, N]: rounds since that was so.
    - `heartbeats_in_flight` int32 [D, N]: [k, j] is the load in j's heartbeat that is heard in the (k+1)-th round from
      now, or −1 where there is none.
    - `alive` bool [N]: the node is up.
    - `round` int32 (): rounds played in this episode.
    - `modulation` int32 (): state of the law by which arrivals vary.

    Observation (`Observation`), the leading axis being the agent; tasks, rounds and probabilities as they are:

    - `own` float32 [N, 5]: own load, arrived, completed, rate q, alive (columns `Own`).
    - `peers` float32 [N, N, 4]: [i, j] is j's load as i last heard it, its age, j's rate, and whether j is i (columns
      `Peer`); of itself an agent knows the truth, at age 0.
    - `legal.dispatch`, `legal.steal` bool [N, N]: [i, k] says that agent i may choose k; all nodes where it has an
      arrival, or a completion, else itself alone.

    Action (`Action`), node indices; what is illegal is played as the own index:

    - `dispatch` int32 [N]: where the task that arrived goes; the own index keeps it.
    - `steal` int32 [N]: whom to ask for a task; the own index asks nobody.

    Reward: float32 [N], (1 − κ) · u + κ · u_i, where u_i ≤ 0 is the node's utility in the round, and u their mean.

    Termination: none. `last` is true from round `params.horizon` on; `discount` stays 1, since the game goes on and the
    episode is only cut.

    Raises:
        ValueError: a size below its least value, or an unknown `imbalance` or `heartbeats`.
    """

    num_nodes: int = parameter(POSITIVE_COUNT, 8)  # N: nodes, and so agents
    capacity: int = parameter(POSITIVE_COUNT, 64)  # K: the most tasks a node holds
    max_delay: int = parameter(COUNT, 4)  # D: the longest transfer or heartbeat delay that the state can represent
    imbalance: str = parameter(tuple(utility.IMBALANCES), "variance")  # how imbalance is measured
    heartbeats: str = parameter(("shared", "per_link"), "shared")  # whether each link may lose a heartbeat of its own

    name = "dlb"

    def __post_init__(self) -> None:
        parameters.check(self)

    @property
    def num_agents(self) -> int:
        return self.num_nodes

    @property
    def dims(self) -> Mapping[str, int]:
        return {"N": self.num_nodes, "D": self.max_delay}

    @property
    def action_space(self) -> Action:
        return peer_view.action_space(self.num_nodes)

    @property
    def observation_shapes(self) -> Observation:
        return peer_view.observation_shapes(self.num_nodes)

    @property
    def metrics(self) -> Mapping[str, str]:
        return METRICS

    @property
    def columns(self) -> Mapping[str, Column]:
        return columns(self.num_nodes)

    def default_params(self, **fields: Any) -> Params:
        """The reference cluster at this size, with `fields` replaced; see `generator.make_params`."""
        return generator.make_params(self, **fields)

    def validate(self, params: Params) -> None:
        """Check every field of `params` (of one cluster, not a batch) on the host.

        Raises:
            ValueError: names the field, the offending entry and the allowed range.
        """
        generator.validate(params, self)

    def reset(self, key: PRNGKeyArray, params: Params) -> tuple[State, TimeStep[Observation]]:
        """An episode's start: loads as given, nothing under way, initial loads heard, all nodes up, events drawn."""
        nodes, rows = (self.num_nodes,), (self.max_delay, self.num_nodes)
        load = jnp.asarray(params.initial_load, jnp.int32)
        alive = jnp.ones(nodes, bool)
        modulation, arrived, completed = dynamics.first_events(key, load, alive, params)
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
        action = dynamics.play_legal(state, action, self.num_nodes)
        load = dynamics.complete(state.load, state.completed)
        load, asked, granted = dynamics.steal(load, action, state.alive, state.round)
        kept, migrated, sent_to = dynamics.dispatch(state.arrived, action, granted)
        load, drops, in_transit = dynamics.land(load, kept, sent_to, state.in_transit, self.capacity, params)
        alive = dynamics.fail_and_repair(key, state.alive, params)
        heard_load, heard_age, heartbeats_in_flight = dynamics.hear(key, state, load, alive, params)
        utilities = dynamics.utilities(self.imbalance, load, in_transit, migrated, asked, drops, params)
        round = state.round + 1
        modulation, arrived, completed = dynamics.next_events(key, state.modulation, round, load, alive, params)
        flags = dict(zip(_FLAGS, (state.arrived, state.completed, migrated, asked, granted), strict=True))
        state = State(
            load=load,
            arrived=arrived,
            completed=completed,
            in_transit=in_transit,
            heard_load=heard_load,
            heard_age=heard_age,
            heartbeats_in_flight=heartbeats_in_flight,
            alive=alive,
            round=round,
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
        bound = utility.bound_for(state.load, state.in_transit)
        metrics = {name: jnp.sum(flag) for name, flag in flags.items()}
        metrics |= {
            "nodes_up": jnp.sum(state.alive),
            "drops": jnp.sum(drops),
            "total_load": jnp.sum(state.load),
            "total_in_transit": jnp.sum(state.in_transit),
            "imbalance": jnp.mean(utility.imbalance(self.imbalance, bound, params)),
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


def columns(num_nodes: int) -> dict[str, Column]:
    """What tables of the DLB game show."""
    return {
        "utility": Column(
            "utility",
            "mean over nodes and rounds; 0 is a perfectly balanced cluster at no cost",
            mean_of("utility"),
        ),
        "imbalance": Column(
            "imbalance",
            "of the nodes' drain times, with tasks under way: variance in rounds², or as the game is set, in rounds",
            mean_of("imbalance"),
        ),
        "response_time": Column(
            "response time, rounds",
            "from a task's arrival to its completion, by Little's law: tasks present over tasks accepted per round",
            lambda sums: (sums["total_load"] + sums["total_in_transit"]) / (sums["arrivals"] - sums["drops"]),
            Verdict(better="faster", worse="slower"),
        ),
        "queue_length": Column(
            "queue length, tasks",
            "tasks that a node holds, the one in service included",
            lambda sums: sums["total_load"] / sums["steps"] / num_nodes,
        ),
        "migrations_per_arrival": Column(
            "migrations per arrival",
            "arrived tasks sent to another node",
            lambda sums: sums["migrations"] / sums["arrivals"],
        ),
        "steal_requests_per_completion": Column(
            "steal requests per completion",
            "granted or not",
            lambda sums: sums["steal_requests"] / sums["completions"],
        ),
        "drops": Column("drops per round", "tasks dropped at full nodes, in the whole cluster", mean_of("drops")),
    }
