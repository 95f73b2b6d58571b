"""Malcolm's distributed load-balancing Markov game (doi 10.1145/3570611) as pure functions."""

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxdlb import parameters
from jaxdlb.checks import COUNT, POSITIVE_COUNT
from jaxdlb.game import Bound, Column, TimeStep, Verdict, mean_of, mixed_rewards
from jaxdlb.games.dlb import dynamics, generator
from jaxdlb.games.dlb.pooled import PooledQueue
from jaxdlb.games.dlb.types import Params, State
from jaxdlb.games.dlb.views import global_state, observe, true_observation
from jaxdlb.mechanics import heartbeats, peer_view, utility
from jaxdlb.mechanics.peer_view import Action, Observation
from jaxdlb.parameters import parameter

METRICS = {
    "arrivals": "tasks that arrived at some node this round",
    "completions": "tasks completed this round",
    "migrations": "arrived tasks sent to another node",
    "steal_requests": "requests for a task, granted or not",
    "steals": "tasks stolen, which is also the number of requests granted",
    "drops": "tasks dropped at full nodes",
    "total_load": "tasks held by all nodes after the round",
    "total_in_transit": "tasks in transit after the round",
    "imbalance": "imbalance of drain times, tasks in transit included, mean over nodes: rounds² (variance) or rounds",
    "utility": "utility averaged over nodes, ≤ 0",
    "nodes_up": "nodes that are up",
}

_FLAGS = ("arrivals", "completions", "migrations", "steal_requests", "steals")  # metrics that count nodes


@dataclasses.dataclass(frozen=True)
class DLB:
    """The distributed load-balancing game: N nodes with one agent each, played in rounds of eight stages (`dynamics`).

    State (`State`); D is `max_delay`, and I is empty with `shared` heartbeats and N with `per_link` heartbeats:

    - `load` int32 [N]: tasks at each node, 0 … K.
    - `arrived` bool [N]: a task has arrived and awaits dispatch; drawn at the end of the previous round.
    - `completed` bool [N]: a task completes, which allows a steal request; drawn likewise.
    - `in_transit` int32 [D, N]: [k, j] tasks land at node j in the (k+1)-th round from now.
    - `heard_load` int32 [*I, N]: [i, j] is j's load as i last heard it; if shared, [j] is the news that all have of j.
    - `heard_age` int32 [*I, N]: the age of that news, in rounds.
    - `heartbeats_in_flight` int32 [D, N]: [k, j] is the load in j's heartbeat that is heard in the (k+1)-th round from
      now, or −1 where there is none.
    - `alive` bool [N]: the node is up.
    - `round` int32 (): rounds played in this episode.
    - `modulation` int32 (): state of the law by which arrivals vary.

    Observation (`Observation`), with the agent as the leading axis; tasks, rounds and probabilities are not scaled:

    - `own` float32 [N, 5]: the agent's own load, arrived, completed, rate q, alive (columns `Own`).
    - `peers` float32 [N, N, 4]: [i, j] is j's load as i last heard it, its age, j's rate, and whether j is i (columns
      `Peer`); an agent knows the truth about itself, at age 0.
    - `legal.dispatch`, `legal.steal` bool [N, N]: [i, k] says that agent i may choose k. With an arrival (or a
      completion), any node is legal; otherwise only the agent itself.

    Action (`Action`), node indices; an illegal choice is played as the agent's own index:

    - `dispatch` int32 [N]: where the arrived task goes; the agent's own index keeps it.
    - `steal` int32 [N]: whom to ask for a task; the agent's own index asks nobody.

    Reward: float32 [N], (1 − κ) · u + κ · u_i, where u_i ≤ 0 is the node's utility in the round and u is their mean.

    Termination: none. `last` is true from round `params.horizon` on; `discount` stays 1, since the game could continue
    and the episode is only cut off.

    Raises:
        ValueError: a size below its minimum, or an unknown `imbalance` or `heartbeats`.
    """

    num_nodes: int = parameter(POSITIVE_COUNT, 8)  # N: nodes, each with one agent
    capacity: int = parameter(POSITIVE_COUNT, 64)  # K: the most tasks that a node can hold
    max_delay: int = parameter(COUNT, 4)  # D: the longest transfer or heartbeat delay that the state can represent
    imbalance: str = parameter(tuple(utility.IMBALANCES), "variance")  # how imbalance is measured
    heartbeats: str = parameter(("shared", "per_link"), "shared")  # same for all, or lost per link

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
        return columns(self.num_nodes, PooledQueue(self))

    def default_params(self, **fields: Any) -> Params:
        """The reference cluster at this size, with `fields` replaced; see `generator.make_params`."""
        return generator.make_params(self, **fields)

    def validate(self, params: Params) -> None:
        """Check every field of `params` (for one cluster, not a batch) on the host.

        Raises:
            ValueError: names the field, the offending entry and the allowed range.
        """
        generator.validate(params, self)

    def reset(self, key: PRNGKeyArray, params: Params) -> tuple[State, TimeStep[Observation]]:
        """The start of an episode: loads as given, nothing in transit, initial loads heard, all up, events drawn."""
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
        action = dynamics.play_legal(state, action)
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
        """The observation with every node's true load at age 0, for oracles."""
        return true_observation(state, params)

    def _timestep(
        self,
        state: State,
        params: Params,
        flags: dict[str, Bool[Array, " N"]],
        drops: Int[Array, " N"],
        utilities: Float[Array, " N"],
    ) -> TimeStep[Observation]:
        bound = dynamics.bound_for(state.load, state.in_transit)
        metrics = {name: jnp.sum(flag) for name, flag in flags.items()}
        metrics |= {
            "nodes_up": jnp.sum(state.alive),
            "drops": jnp.sum(drops),
            "total_load": jnp.sum(state.load),
            "total_in_transit": jnp.sum(state.in_transit),
            "imbalance": jnp.mean(utility.imbalance(self.imbalance, bound, params.completion_prob)),
            "utility": jnp.mean(utilities),
        }
        return TimeStep(
            observation=observe(state, params),
            reward=mixed_rewards(utilities, params.selfishness),
            discount=jnp.float32(1.0),
            last=state.round >= params.horizon,
            elapsed=jnp.float32(1.0),
            metrics=metrics,
            utilities=utilities,
            selfishness=params.selfishness,
        )


def columns(num_nodes: int, pooled: PooledQueue) -> dict[str, Column]:
    """What the tables of the DLB game show; `pooled` is its pooled queue, which bounds some of it (`pooled`)."""
    bound = partial(Bound, pooled, "one queue that all nodes serve, the fastest first", "that drops no task")
    return {
        "utility": Column(
            "utility",
            "mean over nodes and rounds; 0 means perfect balance at no cost",
            mean_of("utility"),
            bound=bound(is_least=False),
        ),
        "imbalance": Column(
            "imbalance",
            "imbalance of drain times, tasks in transit included: variance in rounds² or, by other measures, in rounds",
            mean_of("imbalance"),
        ),
        "response_time": Column(
            "response time, rounds",
            "from a task's arrival to its completion, by Little's law: tasks present / tasks accepted per round",
            lambda sums: (sums["total_load"] + sums["total_in_transit"]) / (sums["arrivals"] - sums["drops"]),
            Verdict(better="faster", worse="slower"),
            bound(),
        ),
        "queue_length": Column(
            "queue length, tasks",
            "tasks held by a node, including the one in service",
            lambda sums: sums["total_load"] / sums["steps"] / num_nodes,
        ),
        "migrations_per_arrival": Column(
            "migrations per arrival",
            "the share of arrived tasks that are sent to another node",
            lambda sums: sums["migrations"] / sums["arrivals"],
        ),
        "steal_requests_per_completion": Column(
            "steal requests per completion",
            "requests for a task, granted or not, per completed task",
            lambda sums: sums["steal_requests"] / sums["completions"],
        ),
        "drops": Column("drops per round", "tasks dropped at full nodes, in the whole cluster", mean_of("drops")),
    }
