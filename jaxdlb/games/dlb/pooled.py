"""The pooled queue: an easier game than DLB, in which no policy of the agents can do better than nobody does here.

All tasks wait in one queue that every node serves: in each round with M tasks present, the min(M, N) fastest of the
nodes that are up have one each. Nothing travels, nothing is stale, nothing is dropped, and whoever is served may be
moved to a faster node at any time. Arrivals, failures and the chances of completion are drawn as in DLB.

**What it bounds.** For every policy of DLB that drops no task, every cluster and every round, the expected number of
tasks present (at nodes and in transit), given all arrivals and failures, is at least the pooled queue's. So is
therefore its response time by Little's law, whose denominator, the arrivals, is the same; and w_H times the tasks
present, per node, is the least that the utility can lose. (A policy that drops tasks is bound in the same way if every
task that it ever dropped counts as present from then on.)

**Why.** By coupling. Let V_1, …, V_N be a round's independent uniform numbers, and let a policy have M tasks present
(dropped ones included). Its busy nodes, those that are up and hold a task, number at most min(M, N). Give V_k to the
k-th fastest of them, instead of the number that the node itself would draw: busy nodes are known before the numbers are
drawn and idle nodes use none, so the law of the game stays the same. The k-th fastest busy node is no faster than the
k-th fastest node that is up, so each completion of the policy is one of the pooled queue with as many tasks. And the
pooled queue with more tasks stays ahead in tasks: one task more is at most one completion more. So if it has no more
tasks than the policy before a round it has none more after it, and both begin with the same.
Sample-path arguments of this kind for pooled servers are those of Smith and Whitt, *Resource sharing for efficiency in
traffic systems*, Bell System Technical Journal 60(1), 1981.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxdlb.game import Column, TimeStep, mean_of
from jaxdlb.games.dlb import dynamics
from jaxdlb.games.dlb.types import Params


@struct.dataclass
class PooledState:
    """One pooled queue between two rounds."""

    present: Int[Array, ""]  # tasks
    arrived: Int[Array, ""]  # events of the coming round, over all nodes
    completed: Int[Array, ""]
    alive: Bool[Array, " N"]
    round: Int[Array, ""]
    modulation: Int[Array, ""]  # state of the law by which arrivals vary


@dataclasses.dataclass(frozen=True)
class PooledQueue:
    """The pooled queue of a DLB game, as a game without choices: its actions and observations are ()."""

    played: Any  # the DLB game whose arrivals, failures and chances of completion it shares

    name = "pooled queue"

    @property
    def num_agents(self) -> int:
        return int(self.played.num_agents)

    @property
    def dims(self) -> Mapping[str, int]:
        return dict(self.played.dims)

    @property
    def action_space(self) -> tuple[()]:
        return ()

    @property
    def observation_shapes(self) -> tuple[()]:
        return ()

    @property
    def metrics(self) -> Mapping[str, str]:
        return {
            "arrivals": "tasks that arrived at some node this round",
            "completions": "tasks completed this round",
            "present": "tasks present after the round",
            "utility": "the least that the tasks present cost, averaged over nodes, ≤ 0",
        }

    @property
    def columns(self) -> Mapping[str, Column]:
        return {
            "utility": Column(
                "utility",
                "the most that it can be, where tasks present cost something",
                lambda sums: sums["utility"] / sums["steps"] if sums["utility"] else float("nan"),
            ),
            "response_time": Column(
                "response time, rounds",
                "from a task's arrival to its completion, by Little's law",
                lambda sums: sums["present"] / sums["arrivals"],
            ),
            "present": Column("tasks present, tasks", "mean over rounds", mean_of("present")),
        }

    def default_params(self, **fields: Any) -> Params:
        """As of the game whose pooled queue this is."""
        return self.played.default_params(**fields)

    def validate(self, params: Params) -> None:
        """As the game whose pooled queue this is does."""
        self.played.validate(params)

    def reset(self, key: PRNGKeyArray, params: Params) -> tuple[PooledState, TimeStep[tuple[()]]]:
        """All initial tasks in one queue, all nodes up, events drawn with the numbers that DLB draws them with."""
        alive = jnp.ones(params.completion_prob.shape, bool)
        present = jnp.sum(params.initial_load, dtype=jnp.int32)
        serving = serves(present, alive, params.completion_prob)
        modulation, arrived, completed = dynamics.first_events(key, serving, alive, params)
        state = PooledState(
            present=present,
            arrived=jnp.sum(arrived, dtype=jnp.int32),
            completed=jnp.sum(completed, dtype=jnp.int32),
            alive=alive,
            round=jnp.int32(0),
            modulation=modulation,
        )
        return state, _timestep(state, jnp.int32(0), jnp.int32(0), params)

    def step(
        self, key: PRNGKeyArray, state: PooledState, action: tuple[()], params: Params
    ) -> tuple[PooledState, TimeStep[tuple[()]]]:
        """One round: complete, arrive, churn, next events."""
        present = state.present - state.completed + state.arrived
        alive = dynamics.fail_and_repair(key, state.alive, params)
        serving = serves(present, alive, params.completion_prob)
        round = state.round + 1
        modulation, arrived, completed = dynamics.next_events(key, state.modulation, round, serving, alive, params)
        after = PooledState(
            present=present,
            arrived=jnp.sum(arrived, dtype=jnp.int32),
            completed=jnp.sum(completed, dtype=jnp.int32),
            alive=alive,
            round=round,
            modulation=modulation,
        )
        return after, _timestep(after, state.arrived, state.completed, params)

    def global_state(self, state: PooledState, params: Params) -> Float[Array, " G"]:
        """The tasks present, float32 [1]."""
        return state.present[None].astype(jnp.float32)

    def true_observation(self, state: PooledState, params: Params) -> tuple[()]:
        """Nobody acts, and nobody sees."""
        return ()


def serves(present: Int[Array, ""], alive: Bool[Array, " N"], rate: Float[Array, " N"]) -> Int[Array, " N"]:
    """How many tasks each node serves, 0 or 1: the fastest nodes that are up one each, as far as they go: int32 [N]."""
    fastest_first = jnp.argsort(jnp.where(alive, -rate, jnp.inf))
    place = jnp.argsort(fastest_first)
    return (alive & (place < present)).astype(jnp.int32)


def _timestep(
    state: PooledState, arrivals: Int[Array, ""], completions: Int[Array, ""], params: Params
) -> TimeStep[tuple[()]]:
    num_nodes = state.alive.shape[0]
    utility = -params.holding_weight * state.present / num_nodes
    return TimeStep(
        observation=(),
        reward=jnp.broadcast_to(utility, (num_nodes,)),
        discount=jnp.float32(1.0),
        last=state.round >= params.horizon,
        elapsed=jnp.float32(1.0),
        metrics={"arrivals": arrivals, "completions": completions, "present": state.present, "utility": utility},
    )
