"""A rack of servers, task by task, after Malcolm's nodes (doi 10.1145/3570611), as pure functions."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxdlb import parameters
from jaxdlb.checks import COUNT, POSITIVE_COUNT
from jaxdlb.game import Column, TimeStep, Verdict, mean_of, mixed_rewards
from jaxdlb.games.rack import dynamics, generator, lines, responses, views
from jaxdlb.games.rack.types import Params, Requests, State, Tasks
from jaxdlb.mechanics import heartbeats, peer_view, utility
from jaxdlb.mechanics.peer_view import Action, Observation
from jaxdlb.parameters import parameter

METRICS = {
    "arrivals": "tasks that the central load balancer dealt in this slice",
    "completions": "tasks completed in this slice",
    "migrations": "arrived tasks sent to another node",
    "steal_requests": "requests for a task, granted or not",
    "steals": "tasks stolen, which is also the number of requests granted",
    "drops": "tasks that found no free slot",
    "total_load": "tasks present at all nodes after the slice",
    "total_in_transit": "tasks travelling between nodes after the slice",
    "imbalance": "imbalance of drain times, travelling tasks included, mean over nodes: slices² (variance) or slices",
    "utility": "utility averaged over nodes, ≤ 0",
    "nodes_up": "nodes that are up",
    "time": "ms that the slice lasts",
    "cpu_utilisation": "share of core time that is used in this slice, per node",
    "io_utilisation": "share of I/O time that is used in this slice, per node",
    "cpu_queue": "tasks waiting for a core after the slice, per node",
    "io_queue": "tasks waiting for I/O after the slice, per node",
    "completed": "tasks completed in this slice, per node",
    "latency_sum": "sum of the response times of these tasks, ms, per node",
    "responses": "tasks completed in this slice by response time, on a logarithmic grid",
}


@dataclasses.dataclass(frozen=True)
class Rack:
    """A rack of N servers with one agent each, played in slices of `dt` ms (`dynamics`).

    Tasks have work for a core, I/O, and a payload; nodes have cores, I/O and a network interface. Within a slice,
    everything happens at its exact time.

    State (`State`): the tasks in `max_tasks` slots, and the waiting lines that they form.

    Observation and action (`Observation`, `Action`) are those of nodes that dispatch and steal on stale news. An agent
    sees the tasks present at its node, whether tasks arrive at it in the coming slice, whether it may steal, and its
    expected performance (tasks a slice); of peers, their load as last heard, its age in slices, and their performance.
    `dispatch` applies to every task that arrives at the node in the slice. A node may `steal` if it waits for no
    answer, and has completed a task in the last slice or has an idle core.

    Reward: float32 [N], (1 − κ) · u + κ · u_i, where u_i ≤ 0 is the node's utility in the slice and u is their mean.

    Termination: none. `last` is true from slice `params.horizon` on; `discount` stays 1, since the game could continue
    and the episode is only cut off.

    Raises:
        ValueError: a size below its minimum, or an unknown `imbalance` or `heartbeats`.
    """

    num_nodes: int = parameter(POSITIVE_COUNT, 8)  # N: nodes, each with one agent
    max_cores: int = parameter(POSITIVE_COUNT, 4)  # C: the most cores of a node
    max_io_cores: int = parameter(POSITIVE_COUNT, 4)  # J: the most I/O operations at once
    max_tasks: int = parameter(POSITIVE_COUNT, 512)  # M: slots for tasks in the whole rack
    max_arrivals: int = parameter(POSITIVE_COUNT, 24)  # A: the most tasks dealt in a slice; more wait for the next
    max_delay: int = parameter(COUNT, 8)  # D: the most slices that a heartbeat travels
    imbalance: str = parameter(tuple(utility.IMBALANCES), "variance")  # how imbalance is measured
    heartbeats: str = parameter(("shared", "per_link"), "shared")  # same for all, or lost per link

    name = "rack"

    def __post_init__(self) -> None:
        parameters.check(self)

    @property
    def num_agents(self) -> int:
        return self.num_nodes

    @property
    def dims(self) -> Mapping[str, int]:
        return {"N": self.num_nodes}

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
        return COLUMNS

    def default_params(self, **fields: Any) -> Params:
        """The reference rack at this size, with `fields` replaced; see `generator.make_params`."""
        return generator.make_params(self, **fields)

    def validate(self, params: Params) -> None:
        """Check every field of `params` (for one rack, not a batch) on the host.

        Raises:
            ValueError: names the field, the offending entry and the allowed range.
        """
        generator.validate(params, self)

    def reset(self, key: PRNGKeyArray, params: Params) -> tuple[State, TimeStep[Observation]]:
        """The start of an episode: an empty rack, nothing on its way, all up, the first arrivals drawn."""
        nodes, none = (self.num_nodes,), jnp.zeros(self.num_nodes, jnp.int32)
        views_ = nodes if self.heartbeats == "shared" else (self.num_nodes, self.num_nodes)
        rows = jnp.full((self.max_delay, self.num_nodes), heartbeats.NOTHING_SENT, jnp.int32)
        itself = jnp.arange(self.num_nodes, dtype=jnp.int32)
        never = jnp.full(nodes, jnp.inf, jnp.float32)
        state = State(
            tasks=Tasks(
                **{name: jnp.zeros(self.max_tasks, jnp.float32) for name in dynamics.FACTS},
                bound_for=jnp.zeros(self.max_tasks, jnp.int32),
                following=jnp.full(self.max_tasks, lines.NOBODY, jnp.int32),
                free=jnp.arange(self.max_tasks, dtype=jnp.int32)[::-1],
                num_free=jnp.int32(self.max_tasks),
            ),
            links=lines.empty(self.num_nodes, self.num_nodes),
            outputs=lines.empty(self.num_nodes, self.max_cores),
            core_free=_servers(self.max_cores, params.cores),
            io_free=_servers(self.max_io_cores, params.io_cores),
            io_response=jnp.zeros((self.num_nodes, self.max_io_cores), jnp.float32),
            interface_free=jnp.zeros(nodes, jnp.float32),
            bound=none,
            landing=none,
            cpu_queue=none,
            io_queue=none,
            completed=none,
            generator=generator.first_arrivals(key, self.max_arrivals, params),
            requests=Requests(victim=itself, heard=never, answered=never),
            heard_load=jnp.zeros(views_, jnp.int32),
            heard_age=jnp.zeros(views_, jnp.int32),
            heartbeats_in_flight=rows,
            ages_in_flight=rows,
            alive=jnp.ones(nodes, bool),
            slice=jnp.int32(0),
        )
        counts = dict.fromkeys(("arrivals", "migrations", "steal_requests", "steals", "drops"), none)
        return state, self._timestep(state, params, counts, jnp.zeros(nodes), _nothing_done(self.num_nodes))

    def step(
        self, key: PRNGKeyArray, state: State, action: Action, params: Params
    ) -> tuple[State, TimeStep[Observation]]:
        """One slice: requests, dispatch, work on cores, I/O, churn, heartbeats, utility, next arrivals."""
        action = peer_view.play_legal(action, views.may_dispatch(state), views.may_steal(state, params))
        outbox, requests, granted = dynamics.answer_requests(state, params)
        outbox, requests, asked = dynamics.ask(outbox, requests, action, params)
        outbox, dealt, migrated, drops = dynamics.dispatch(outbox, state.generator.arrivals, action, params)
        links, tasks, interface_free, bound = outbox
        cpu = dynamics.compute(tasks, links, state.outputs, state.core_free, state.alive, params)
        io = dynamics.finish(tasks, cpu.outcome.outputs, cpu.outcome.done, cpu.following, state, params)
        done: dynamics.Finished = io.outcome

        tasks = dynamics.pass_time(tasks, cpu.outcome.done)
        tasks = dataclasses.replace(tasks, following=io.following, free=done.free, num_free=done.num_free)
        loads = dynamics.count(state, tasks, bound, cpu, io)

        alive = dynamics.fail_and_repair(key, state.alive, params)
        news = dynamics.News(state.heard_load, state.heard_age, state.heartbeats_in_flight, state.ages_in_flight)
        news, interface_free = dynamics.hear(key, news, interface_free - 1, loads.present, alive, state.slice, params)
        uneven = utility.imbalance(self.imbalance, loads.bound, generator.expected_performance(params))
        responding = generator.responding(loads.bound, params)
        utilities = utility.utilities(uneven, responding, migrated, asked, drops, params)
        slice = state.slice + 1
        after = State(
            tasks=tasks,
            links=dataclasses.replace(links, head=cpu.head.slot),
            outputs=dataclasses.replace(cpu.outcome.outputs, head=io.head.slot),
            core_free=cpu.free - 1,
            io_free=io.free - 1,
            io_response=done.response,
            interface_free=interface_free,
            bound=loads.bound,
            landing=loads.landing,
            cpu_queue=loads.cpu_queue,
            io_queue=loads.io_queue,
            completed=done.completed,
            generator=generator.next_arrivals(key, state.generator, slice, self.max_arrivals, params),
            requests=Requests(requests.victim, requests.heard - 1, requests.answered - 1),
            heard_load=news.heard_load,
            heard_age=news.heard_age,
            heartbeats_in_flight=news.in_flight,
            ages_in_flight=news.ages,
            alive=alive,
            slice=slice,
        )
        counts = {
            "arrivals": dealt,
            "migrations": migrated,
            "steal_requests": asked,
            "steals": granted,
            "drops": drops,
        }
        work = {
            "cpu_utilisation": cpu.busy / params.cores,
            "io_utilisation": io.busy / params.io_cores,
            "latency_sum": done.response_sum,
            "responses": done.histogram,
        }
        return after, self._timestep(after, params, counts, utilities, work)

    def global_state(self, state: State, params: Params) -> Float[Array, " G"]:
        """The whole rack as a centralised critic sees it in training; see `views.global_state`."""
        return views.global_state(state, params)

    def true_observation(self, state: State, params: Params) -> Observation:
        """The observation with every node's true load at age 0, for oracles."""
        return views.true_observation(state, params)

    def _timestep(
        self,
        state: State,
        params: Params,
        counts: dict[str, Int[Array, " N"]],
        utilities: Float[Array, " N"],
        work: dict[str, Array],
    ) -> TimeStep[Observation]:
        uneven = utility.imbalance(self.imbalance, state.bound, generator.expected_performance(params))
        metrics = {name: jnp.sum(count, dtype=jnp.int32) for name, count in counts.items()}
        metrics |= work
        metrics |= {
            "completions": jnp.sum(state.completed),
            "total_load": jnp.sum(views.load(state)),
            "total_in_transit": jnp.sum(state.landing),
            "imbalance": jnp.mean(uneven),
            "utility": jnp.mean(utilities),
            "nodes_up": jnp.sum(state.alive),
            "time": params.dt,
            "cpu_queue": state.cpu_queue,
            "io_queue": state.io_queue,
            "completed": state.completed,
        }
        return TimeStep(
            observation=views.observe(state, params),
            reward=mixed_rewards(utilities, params.selfishness),
            discount=jnp.float32(1.0),
            last=state.slice >= params.horizon,
            elapsed=jnp.float32(1.0),
            metrics=metrics,
            utilities=utilities,
            selfishness=params.selfishness,
        )


def _servers(most: int, num: Int[Array, " N"]) -> Float[Array, "N C"]:
    """Servers that are free, and ∞ for those beyond the number that a node has."""
    return jnp.where(jnp.arange(most) < num[:, None], 0.0, jnp.inf).astype(jnp.float32)


def _nothing_done(num_nodes: int) -> dict[str, Array]:
    none = jnp.zeros(num_nodes, jnp.float32)
    return {"cpu_utilisation": none, "io_utilisation": none, "latency_sum": none, "responses": responses.none()}


def _percentile(percent: float) -> Column:
    return Column(
        f"p{percent:g}, ms",
        f"the response time that {percent:g}% of the completed tasks do not exceed",
        lambda sums: responses.percentile(sums["responses"], percent),
        Verdict(better="faster at p99", worse="slower at p99") if percent == 99 else None,
    )


COLUMNS = {
    "utility": Column("utility", "mean over nodes and slices; 0 means nothing to do at no cost", mean_of("utility")),
    "response_time": Column(
        "response time, ms",
        "mean time from a task's arrival in the rack to its completion",
        lambda sums: sums["latency_sum"].sum() / sums["completions"],
    ),
    **{f"p{str(percent).replace('.', '_')}": _percentile(percent) for percent in (50, 95, 99, 99.9)},
    "throughput": Column(
        "throughput, tasks/ms", "tasks completed per ms", lambda sums: sums["completions"] / sums["time"]
    ),
    "cpu_utilisation": Column(
        "CPU utilisation",
        "share of core time that is used, mean over nodes",
        lambda sums: sums["cpu_utilisation"].mean() / sums["steps"],
    ),
    "migrations_per_arrival": Column(
        "migrations per arrival",
        "the share of arrived tasks that are sent to another node",
        lambda sums: sums["migrations"] / sums["arrivals"],
    ),
    "drop_share": Column(
        "dropped share",
        "the share of arrived tasks that found no free slot",
        lambda sums: sums["drops"] / sums["arrivals"],
    ),
}
