"""Scheduling of tasks with deadlines on uneven nodes, as pure functions."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jaxdlb import parameters
from jaxdlb.checks import POSITIVE_COUNT
from jaxdlb.game import Column, TimeStep
from jaxdlb.games.cluster import columns, dynamics, generator, utility, views, window
from jaxdlb.games.cluster.types import EMPTY, Action, Params, Slots, State
from jaxdlb.games.cluster.views import Observation, Own, Peer
from jaxdlb.mechanics import chance
from jaxdlb.parameters import parameter
from jaxdlb.spaces import Discrete


@dataclasses.dataclass(frozen=True)
class Cluster:
    """N uneven nodes, and M dispatchers, the agents, each of which places one task at a time on one of K candidates.

    Tasks have a run time, cores and memory that they want, a class and a deadline. Nodes queue what does not fit into
    their memory, share their cores among what runs, sleep when idle and take time to wake. All dispatchers choose at
    once. Time passes by a slot when nobody has a task at hand; until then steps follow one another in no time.

    State: `State`; everything is 0 in an empty slot, and durations count down from now. All chance follows from the key
    of the reset, so every policy meets the same tasks.

    Observation (`views.Observation`), with the dispatcher as the leading axis: `own` float32 [M, 12] (columns `Own`);
    `peers` float32 [M, K, 23], a row a candidate (columns `Peer`); `candidates` int32 [M, K], which nodes these are;
    `legal` bool [M, K], those that can take the task.

    Action: int32 [M], which candidate takes the task at hand. Anything can be played: where the chosen node cannot take
    the task, the first candidate that can does, else any node that can, else the task is dropped.

    Reward: float32 [M], the same for all: minus the cost of deadlines missed, completion time, energy and imbalance.
    Summed over a slot it is minus the cost of a task in the mean.

    Termination: with `episode_tasks`, when the last task is done; `discount` is then 0, and the state stays as it is.
    `last` is true then, and when `params.horizon` steps are played. `elapsed` is `params.slot` where time passed,
    otherwise 0.

    Raises:
        ValueError: a size below its minimum, or more candidates than nodes.
    """

    num_nodes: int = parameter(POSITIVE_COUNT, 100)  # N: nodes
    num_dispatchers: int = parameter(POSITIVE_COUNT, 8)  # M: dispatchers; each is an agent
    num_candidates: int = parameter(POSITIVE_COUNT, 16)  # K: nodes among which a dispatcher chooses, drawn anew by task
    max_tasks: int = parameter(POSITIVE_COUNT, 32)  # Q: tasks that a node holds, waiting and running
    episode_tasks: int | None = parameter(POSITIVE_COUNT, None)  # tasks of an episode; null: they never end

    name = "cluster"

    def __post_init__(self) -> None:
        parameters.check(self)
        if self.num_candidates > self.num_nodes:
            raise ValueError(
                f"num_candidates is {self.num_candidates}; it must be at most num_nodes, which is {self.num_nodes}"
            )

    @property
    def num_agents(self) -> int:
        return self.num_dispatchers

    @property
    def dims(self) -> Mapping[str, int]:
        return {"N": self.num_nodes}

    @property
    def action_space(self) -> Discrete:
        return Discrete(self.num_candidates, over_candidates=True)

    @property
    def observation_shapes(self) -> Observation:
        rows = (self.num_dispatchers, self.num_candidates)
        own: Any = jax.ShapeDtypeStruct((self.num_dispatchers, len(Own)), jnp.float32)
        peers: Any = jax.ShapeDtypeStruct((*rows, len(Peer)), jnp.float32)
        candidates: Any = jax.ShapeDtypeStruct(rows, jnp.int32)
        legal: Any = jax.ShapeDtypeStruct(rows, jnp.bool_)
        return Observation(own=own, peers=peers, candidates=candidates, legal=legal)

    @property
    def metrics(self) -> Mapping[str, str]:
        return columns.METRICS

    @property
    def columns(self) -> Mapping[str, Column]:
        return columns.of(self.episode_tasks is not None)

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
        """The start of an episode: nodes without tasks and awake, the first tasks on their way."""
        shape, zero = (self.num_nodes, self.max_tasks), jnp.int32(0)
        integers = ("status", "task_class", "number")
        slots = {
            field.name: jnp.zeros(shape, jnp.int32 if field.name in integers else jnp.float32)
            for field in dataclasses.fields(Slots)
        }
        modulation = window.start_modulation(key, params)
        rate = window.rate(zero, modulation, params)
        state = State(
            **slots,
            idle_for=jnp.zeros(self.num_nodes),
            wake_in=jnp.zeros(self.num_nodes),
            window=window.tasks(self, key, zero, jnp.float32(0.0), rate, params),
            index=zero,
            clock=zero,
            step=zero,
            modulation=modulation,
            over=jnp.asarray(False),
            key=jnp.stack(chance.key_words(key)),
        )
        return state, self._timestep(state, jnp.float32(0.0), jnp.float32(0.0), columns.nothing(), params)

    def step(
        self, key: PRNGKeyArray, state: State, action: Action, params: Params
    ) -> tuple[State, TimeStep[Observation]]:
        """One step: place the tasks at hand, let time pass unless there are more, see whether all is done.

        Nothing is drawn from `key`.
        """
        placed = dynamics.choose(state, action, params)
        put = window.moved_on(self, dynamics.place(state, placed, params), params)
        passes = ~jnp.any(window.at_hand(put.window))
        after, passed = dynamics.pass_time(put, passes, params)
        after = dataclasses.replace(
            after,
            modulation=jnp.where(passes, window.advance_modulation(put, params), put.modulation),
            step=state.step + 1,
            over=self._is_over(after),
        )
        tally = dynamics.tally(state.window, placed, self.num_nodes)
        costs = utility.costs(tally, passed, params)
        metrics = columns.counted(after, passes, tally, passed, costs, params)
        elapsed = jnp.where(passes, params.slot, 0.0)
        if self.episode_tasks is not None:
            after = jax.tree.map(lambda new, old: jnp.where(state.over, old, new), after, state)
            metrics = jax.tree.map(lambda each: jnp.where(state.over, jnp.zeros_like(each), each), metrics)
            elapsed = jnp.where(state.over, 0.0, elapsed)
        return after, self._timestep(after, metrics["utility"], elapsed, metrics, params)

    def global_state(self, state: State, params: Params) -> Float[Array, " G"]:
        """What a centralised critic sees in training; see `views.global_state`."""
        return views.global_state(state, params)

    def true_observation(self, state: State, params: Params) -> Observation:
        """The observation, which is never stale."""
        return views.observe(state, params)

    def _is_over(self, state: State) -> Bool[Array, ""]:
        """Whether no more tasks will come, and no node has any."""
        if self.episode_tasks is None:
            return jnp.asarray(False)
        return jnp.isinf(state.window.arrives[0]) & jnp.all(state.status == EMPTY)

    def _timestep(
        self,
        state: State,
        reward: Float[Array, ""],
        elapsed: Float[Array, ""],
        metrics: dict[str, Array],
        params: Params,
    ) -> TimeStep[Observation]:
        return TimeStep(
            observation=views.observe(state, params),
            reward=jnp.broadcast_to(reward, (self.num_dispatchers,)),
            discount=jnp.where(state.over, 0.0, 1.0),
            last=state.over | (state.step >= params.horizon),
            elapsed=elapsed,
            metrics=metrics,
        )
