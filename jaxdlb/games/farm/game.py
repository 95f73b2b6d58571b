"""Master–worker chunk self-scheduling, after Marlon (doi 10.1145/3297280.3297413), as pure functions."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from jaxdlb import parameters
from jaxdlb.checks import POSITIVE, POSITIVE_COUNT, Interval
from jaxdlb.game import Column, TimeStep, mixed_rewards
from jaxdlb.games.farm import chances, columns, dynamics, foresight, generator, utility, views
from jaxdlb.games.farm.bound import Unhindered, makespan_bound
from jaxdlb.games.farm.costs import LAWS, Costs
from jaxdlb.games.farm.dynamics import Event
from jaxdlb.games.farm.types import Action, Params, Phase, State
from jaxdlb.games.farm.views import Observation, Row
from jaxdlb.mechanics import chance
from jaxdlb.parameters import parameter
from jaxdlb.spaces import Discrete

SIZES = Interval(4, 1000, integer=True)


@dataclasses.dataclass(frozen=True)
class Farm:
    """A master hands out a job of many tasks in chunks to N workers, each with one agent that says how many it takes.

    A step leads from one event at the master to the next: it serves the next request, a worker fails, or one joins. The
    master is busy with every request; a worker gets its chunk, computes, sends the results and asks again.

    State: `State`. Time is in the unit of `task_time`, and `elapsed` in task times.

    Observation (`views.Observation`), with the worker as the leading axis: `own` float32 [N, 18], columns `Row`;
    `legal` bool [N, A].

    Action, int32 [N], of which that of the worker whose request is served counts: 0 declines, 1 takes one task, k takes
    a share of what remains (`dynamics.sizes`). A code of A or more is no choice of an agent's but can be played: it
    takes code − A + 1 tasks. Anything else that is not legal takes one.

    Reward, float32 [N]: (1 − κ) · u + κ · u_i, where u is the mean of the u_i; by `objective`, u_i is minus the time
    that passed, or that worker i lost of it, as a share of the makespan of an ideal farm.

    Termination: when all tasks are done (`discount` 0); `last` is true then, and when `params.horizon` steps are played
    (`discount` 1). A state that is over stays as it is.

    Raises:
        ValueError: a size below its minimum, an unknown `objective` or `task_law`, a trace that cannot be read or is
            given with another law.
    """

    num_workers: int = parameter(POSITIVE_COUNT, 8)  # N: each with one agent
    num_sizes: int = parameter(SIZES, 16)  # A: choices of an agent
    objective: str = parameter(utility.OBJECTIVES, "makespan")  # what is to be short: the job, or the time workers lose
    task_law: str = parameter(LAWS, "lognormal")  # how the costs of tasks are distributed
    task_cv: float = parameter(POSITIVE, 1.0)  # coefficient of variation of `lognormal` costs
    trace: str | None = parameter(None, None)  # of the law `trace`: a CSV file with a row a task and a column `cost`

    name = "farm"

    def __post_init__(self) -> None:
        parameters.check(self)
        _ = self.costs

    @property
    def num_agents(self) -> int:
        return self.num_workers

    @property
    def max_deciders(self) -> int:
        """One request is served at a time."""
        return 1

    @property
    def dims(self) -> Mapping[str, int]:
        return {"N": self.num_workers}

    @property
    def costs(self) -> Costs:
        """What tasks cost."""
        return Costs(self.task_law, self.task_cv, self.trace)

    @property
    def action_space(self) -> Discrete:
        return Discrete(self.num_sizes, has_codes=True)

    @property
    def observation_shapes(self) -> Observation:
        own: Any = jax.ShapeDtypeStruct((self.num_workers, len(Row)), jnp.float32)
        legal: Any = jax.ShapeDtypeStruct((self.num_workers, self.num_sizes), jnp.bool_)
        return Observation(own=own, legal=legal)

    @property
    def metrics(self) -> Mapping[str, str]:
        return columns.METRICS

    @property
    def columns(self) -> Mapping[str, Column]:
        names = ("utility", "makespan") if self.objective == "makespan" else ("makespan",)
        return columns.bounded(names, Unhindered(self))

    def default_params(self, **fields: Any) -> Params:
        """The reference farm at this size, with `fields` replaced; see `generator.make_params`."""
        return generator.make_params(self, **fields)

    def validate(self, params: Params) -> None:
        """Check every field of `params` (for one farm, not a batch) on the host.

        Raises:
            ValueError: names the field, the offending entry and the allowed range.
        """
        generator.validate(params, self)

    def reset(self, key: PRNGKeyArray, params: Params) -> tuple[State, TimeStep[Observation]]:
        """The start of an episode: who is there waits by index, and the first of them decides."""
        place_key, workers_key = chance.fold_in(key, 0), chance.fold_in(key, 1)
        nothing, none = jnp.zeros(self.num_workers), jnp.zeros(self.num_workers, jnp.int32)
        waits = params.join_time == 0
        until_failure = chances.until_change(workers_key, jnp.arange(self.num_workers), none, params.failure_rate)
        state = State(
            time=jnp.float32(0),
            remaining=params.job,
            next_task=jnp.int32(0),
            returned=jnp.zeros((2 * self.num_workers, 2), jnp.int32),
            phase=jnp.where(waits, Phase.WAITING, Phase.ABSENT).astype(jnp.int32),
            until_start=nothing,
            until_back=nothing,
            compute_time=nothing,
            chunk_start=none,
            chunk_size=none,
            waited=nothing,
            told_wait=jnp.where(waits, params.comm_time * (jnp.cumsum(waits) - 1), 0.0),
            until_change=jnp.where(waits, until_failure, params.join_time),
            changes=none,
            speed=chances.speeds(workers_key, jnp.float32(0), params),
            weighted_time=nothing,
            weighted_size=nothing,
            chunks_done=none,
            last_size=none,
            last_time=nothing,
            until_free=jnp.float32(0),
            chunks=jnp.int32(0),
            decider=jnp.where(jnp.any(waits), jnp.argmax(waits), self.num_workers).astype(jnp.int32),
            start=jax.random.randint(place_key, (), 0, len(self.costs.table)),
            over=jnp.bool_(False),
            step=jnp.int32(0),
            key=workers_key,
        )
        metrics = {name: jnp.int32(0) if name in columns.INTEGERS else jnp.float32(0) for name in self.metrics}
        return state, self._timestep(state, jnp.float32(0), nothing, metrics, params)

    def step(
        self, key: PRNGKeyArray, state: State, action: Action, params: Params
    ) -> tuple[State, TimeStep[Observation]]:
        """From one event to the next. Nothing is drawn with `key`: what happens follows from that of the reset."""
        decision = dynamics.decide(state, action, params, self.num_sizes, self.costs)
        elapsed, event = dynamics.next_event(decision.state)
        passed = dynamics.pass_time(decision.state, elapsed, params)
        after = dynamics.happen(passed, event, params)
        after = dataclasses.replace(after, speed=chances.speeds(after.key, after.time, params), step=state.step + 1)
        spent = utility.spent(decision.state, elapsed)
        own = utility.own_utilities(self.objective, elapsed, spent, params)
        metrics = {
            "time": elapsed,
            "chunks": (decision.tasks > 0).astype(jnp.int32),
            "declines": decision.declined.astype(jnp.int32),
            "tasks_done": jnp.sum(decision.state.chunk_size - passed.chunk_size),
            "tasks_returned": after.remaining - passed.remaining,
            "failures": (event == Event.FAIL).astype(jnp.int32),
            "joins": (event == Event.JOIN).astype(jnp.int32),
            "compute_time": jnp.sum(spent.computing),
            "comm_time": jnp.sum(spent.communicating),
            "idle_time": jnp.sum(spent.idle),
            "remaining": after.remaining.astype(jnp.float32),
            "outstanding": jnp.sum(after.chunk_size).astype(jnp.float32),
            "present": jnp.sum(after.present).astype(jnp.float32),
            "utility": jnp.mean(own),
        }
        # A state that is over stays as it is, and nothing more is reported.
        after = jax.tree.map(lambda new, old: jnp.where(state.over, old, new), after, state)
        elapsed, own, metrics = jax.tree.map(
            lambda each: jnp.where(state.over, jnp.zeros_like(each), each), (elapsed, own, metrics)
        )
        return after, self._timestep(after, elapsed, own, metrics, params)

    def measured(self, state: State, params: Params) -> dict[str, Array]:
        """The bound on the makespan, at the first step alone; 0 where workers come and go, since there is none then."""
        constant = jnp.all(params.failure_rate == 0) & jnp.all(params.join_time == 0)
        bound = makespan_bound(params, self.costs.of_chunk(state.start, params.job, params.noise))
        return {"bound": jnp.where(constant & (state.step == 1), bound, 0.0)}

    def task_costs(self, state: State, params: Params) -> Float[Array, " 65536"]:
        """The costs of the episode's tasks, in their order."""
        return self.costs.of_each(state.start, params.noise)

    def global_state(self, state: State, params: Params) -> Float[Array, " G"]:
        """The farm as a centralised critic sees it in training, float32 [12 N + 13]; see `views.global_state`."""
        return views.global_state(state, params, self.costs)

    def potential(self, state: State, params: Params) -> Float[Array, " N"]:
        """What everybody still earns as far as it is foreseen; 0 where idle time counts."""
        if self.objective != "makespan":
            return jnp.zeros(self.num_workers)
        return jnp.broadcast_to(foresight.potential(state, params, self.costs), self.num_workers)

    def true_observation(self, state: State, params: Params) -> Observation:
        """The observation with the speeds that workers have now, for oracles."""
        return views.true_observation(state, params, self.num_sizes)

    def _timestep(
        self,
        state: State,
        elapsed: Float[Array, ""],
        own: Float[Array, " N"],
        metrics: dict[str, Array],
        params: Params,
    ) -> TimeStep[Observation]:
        return TimeStep(
            observation=views.observe(state, params, self.num_sizes),
            reward=mixed_rewards(own, params.selfishness),
            discount=jnp.where(state.over, 0.0, 1.0),
            last=state.over | (state.step >= params.horizon),
            elapsed=elapsed / params.task_time,
            metrics=metrics,
            utilities=own,
            selfishness=params.selfishness,
        )
