"""Decentralised serverless computing at the network's edge, after DFaaS, as pure functions."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray, Shaped

from jaxdlb import parameters
from jaxdlb.checks import COUNT, POSITIVE_COUNT
from jaxdlb.game import Column, TimeStep, Verdict, mean_of
from jaxdlb.games.edge import dynamics, generator, responses
from jaxdlb.games.edge.node_metrics import node_metrics
from jaxdlb.games.edge.types import Action, Params, State
from jaxdlb.games.edge.views import Observation, Own, Peer, global_state, observe, true_observation
from jaxdlb.mechanics import heartbeats
from jaxdlb.parameters import parameter
from jaxdlb.spaces import Simplex

METRICS = {
    "input": "requests per second that came to some node",
    "local": "requests per second that stayed at the node they came to",
    "forwarded": "requests per second forwarded to a neighbour",
    "refused": "requests per second that agents refused",
    "local_rejected": "requests per second that stayed and found no instance",
    "forward_rejected": "requests per second that were forwarded and found no instance",
    "served": "requests per second served",
    "cold": "requests per second served by a new instance",
    "late": "requests per second served beyond the deadline",
    "response_seconds": "requests in the system, served in the end: response times by requests per second",
    "network_seconds": "requests on links: round trips of forwarded requests by requests per second",
    "busy_instances": "instances that serve, by Little's law",
    "warm_instances": "instances, busy or idle",
    "instances": "instances that nodes can hold",
    "utility": "utility per request, at most 1",
}


@dataclasses.dataclass(frozen=True)
class Edge:
    """Serverless functions at the edge: N nodes on a graph, each with one agent (`dynamics` has the eight stages).

    In each step, nominally five minutes, requests for one function come to every node, and its agent splits them:
    process here, forward to this or that neighbour, refuse. A node keeps a pool of warm instances; a request that finds
    none idle starts one, and is rejected where memory holds no more. Nothing queues from one step to the next.

    State: `State`. Requests are requests per second, averaged over the step, in whole numbers.

    Observation (`views.Observation`), with the agent as the leading axis: `own` float32 [N, 11] (columns `Own`),
    `peers` float32 [N, N, 9] (columns `Peer`), and `legal` bool [N, N + 1]: itself, its neighbours, and refusal.

    Action: shares float32 [N, N + 1]; [i, j] goes to node j, [i, N] is refused. Any numbers can be played: what is not
    a number or negative counts as 0, and what is not legal stays at home.

    Reward: float32 [N], (1 − κ) · u + κ · u_i, where u_i is the utility of node i per request that came to it, and u
    that of all nodes per request.

    Termination: none. `last` is true when `params.horizon` steps are played; `discount` stays 1.

    Raises:
        ValueError: a size below its minimum, or an unknown `rejections` or `service_times`.
    """

    num_nodes: int = parameter(POSITIVE_COUNT, 8)  # N: nodes, each with one agent
    max_instances: int = parameter(POSITIVE_COUNT, 48)  # K: the most instances that any node can hold
    max_delay: int = parameter(COUNT, 2)  # D: the longest heartbeat delay that the state can represent
    rejections: str = parameter(("expected", "rounded"), "expected")  # in the mean, or in whole requests
    # the law of service times behind lateness and percentiles
    service_times: str = parameter(("exponential", "deterministic"), "exponential")

    name = "edge"

    def __post_init__(self) -> None:
        parameters.check(self)

    @property
    def num_agents(self) -> int:
        return self.num_nodes

    @property
    def dims(self) -> Mapping[str, int]:
        return {"N": self.num_nodes, "D": self.max_delay}

    @property
    def action_space(self) -> Simplex:
        return Simplex(self.num_nodes + 1, over_agents=True)

    @property
    def observation_shapes(self) -> Observation:
        nodes = self.num_nodes
        own: Any = jax.ShapeDtypeStruct((nodes, len(Own)), jnp.float32)
        peers: Any = jax.ShapeDtypeStruct((nodes, nodes, len(Peer)), jnp.float32)
        legal: Any = jax.ShapeDtypeStruct((nodes, nodes + 1), jnp.bool_)
        visible: Any = jax.ShapeDtypeStruct((nodes, nodes), jnp.bool_)
        return Observation(own=own, peers=peers, legal=legal, visible=visible)

    @property
    def metrics(self) -> Mapping[str, str]:
        return METRICS

    @property
    def columns(self) -> Mapping[str, Column]:
        return COLUMNS

    def default_params(self, **fields: Any) -> Params:
        """The reference network at this size, with `fields` replaced; see `generator.make_params`."""
        return generator.make_params(self, **fields)

    def validate(self, params: Params) -> None:
        """Check every field of `params` (for one network, not a batch) on the host.

        Raises:
            ValueError: names the field, the offending entry and the allowed range.
        """
        generator.validate(params, self)

    def reset(self, key: PRNGKeyArray, params: Params) -> tuple[State, TimeStep[Observation]]:
        """The start of a day: nothing has happened, links are idle, and what comes first is known to all who hear."""
        nodes, pairs = self.num_nodes, (self.num_nodes, self.num_nodes)
        inputs, input_rate, bandwidth, bandwidth_now = dynamics.first_conditions(key, params)
        none, nothing, no_flow = jnp.zeros(nodes, jnp.int32), jnp.zeros(nodes), jnp.zeros(pairs, jnp.int32)
        there, back = dynamics.carry(no_flow, bandwidth_now, params)
        state = State(
            input_rate=input_rate,
            previous_input=none,
            flow=no_flow,
            refused=none,
            rejected=jnp.zeros(pairs),
            expected=nothing,
            cold_share=nothing,
            service_time=nothing,
            warm_instances=nothing,
            late=nothing,
            reward=nothing,
            there=there,
            back=back,
            bandwidth_now=bandwidth_now,
            heard_input=jnp.where(params.heartbeat_period > 0, input_rate, 0),
            heard_load=none,
            heard_age=none,
            heartbeats_in_flight=jnp.full((2, self.max_delay, nodes), heartbeats.NOTHING_SENT, jnp.int32),
            inputs=inputs,
            bandwidth=bandwidth,
            step=jnp.int32(0),
        )
        return state, self._timestep(state, params, jnp.float32(0.0))

    def step(
        self, key: PRNGKeyArray, state: State, action: Action, params: Params
    ) -> tuple[State, TimeStep[Observation]]:
        """One step: weigh, split, serve, reject, carry, utility, what comes next, heartbeats."""
        weight = dynamics.weigh(action, params.adjacency)
        flow, refused = dynamics.share_out(state.input_rate, weight)
        load = jnp.sum(flow, axis=0)
        served = dynamics.serve(load, self.max_instances, params)
        rejected = dynamics.reject(flow, served, self.rejections)
        there, back = dynamics.carry(flow, state.bandwidth_now, params)
        exceeded = dynamics.exceed(self.service_times, params.deadline, there + back, served.cold_share, params)
        late = jnp.sum((flow - rejected) * exceeded, axis=1)
        each, utility = dynamics.utilities(state.input_rate, flow, refused, rejected, late, params)
        step = state.step + 1
        inputs, input_rate, bandwidth, bandwidth_now = dynamics.next_conditions(key, state, step, params)
        heard_input, heard_load, heard_age, in_flight = dynamics.hear(state, input_rate, load, params)
        state = State(
            input_rate=input_rate,
            previous_input=state.input_rate,
            flow=flow,
            refused=refused,
            rejected=rejected,
            expected=served.expected,
            cold_share=served.cold_share,
            service_time=served.service_time,
            warm_instances=served.pool_size,
            late=late,
            reward=(1 - params.selfishness) * utility + params.selfishness * each,
            there=there,
            back=back,
            bandwidth_now=bandwidth_now,
            heard_input=heard_input,
            heard_load=heard_load,
            heard_age=heard_age,
            heartbeats_in_flight=in_flight,
            inputs=inputs,
            bandwidth=bandwidth,
            step=step,
        )
        return state, self._timestep(state, params, utility)

    def global_state(self, state: State, params: Params) -> Float[Array, " G"]:
        """The whole network as a centralised critic sees it in training; see `views.global_state`."""
        return global_state(state, params)

    def true_observation(self, state: State, params: Params) -> Observation:
        """The observation with every neighbour's present inputs and load, for oracles."""
        return true_observation(state, params)

    def response_cdf(self, state: State, params: Params, times: Float[Array, " T"]) -> Float[Array, " T"]:
        """How many of the last step's served requests, per second, took at most each of `times` (s), which rise."""
        served, round_trip = state.flow - state.rejected, state.there + state.back
        return responses.cumulative(self.service_times, served, round_trip, state.cold_share, params, times)

    def measured(self, state: State, params: Params) -> dict[str, Float[Array, " 512"]]:
        """For evaluations alone: `took_at_most`, the same at `responses.TIMES`."""
        return {"took_at_most": self.response_cdf(state, params, jnp.asarray(responses.TIMES, jnp.float32))}

    def node_metrics(self, state: State, params: Params) -> dict[str, Shaped[Array, "N ..."]]:
        """What each node and each link did in the last step, by name; see `node_metrics.node_metrics`."""
        return node_metrics(state, params)

    def links(self, params: Params) -> Bool[Array, "N N"]:
        """[i, j]: whether node i may forward to node j."""
        return params.adjacency

    def _timestep(self, state: State, params: Params, utility: Float[Array, ""]) -> TimeStep[Observation]:
        return TimeStep(
            observation=observe(state, params),
            reward=state.reward,
            discount=jnp.float32(1.0),
            last=state.step >= params.horizon,
            elapsed=jnp.float32(1.0),
            metrics=_metrics(state) | {"instances": jnp.sum(params.instances), "utility": utility},
        )


def _metrics(state: State) -> dict[str, Array]:
    """What happened in the last step, over all nodes."""
    served, round_trip = state.flow - state.rejected, state.there + state.back
    local, local_rejected = jnp.trace(state.flow), jnp.trace(state.rejected)
    served_at = jnp.sum(served, axis=0)
    busy = jnp.sum(served_at * state.service_time)
    return {
        "input": jnp.sum(state.previous_input),
        "local": local,
        "forwarded": jnp.sum(state.flow) - local,
        "refused": jnp.sum(state.refused),
        "local_rejected": local_rejected,
        "forward_rejected": jnp.sum(state.rejected) - local_rejected,
        "served": jnp.sum(served_at),
        "cold": jnp.sum(served_at * state.cold_share),
        "late": jnp.sum(state.late),
        "response_seconds": jnp.sum(served * round_trip) + busy,
        "network_seconds": jnp.sum(state.flow * round_trip),
        "busy_instances": busy,
        "warm_instances": jnp.sum(state.warm_instances),
    }


def _percentile(percent: int) -> Column:
    return Column(
        f"p{percent}, s",
        f"the response time that {percent}% of served requests do not exceed",
        lambda sums: responses.percentile(sums["took_at_most"], sums["served"], percent),
        Verdict(better="faster at p99", worse="slower at p99") if percent == 99 else None,
    )


def _lost(sums: Mapping[str, Any]) -> float:
    return sums["refused"] + sums["local_rejected"] + sums["forward_rejected"]


COLUMNS = {
    "utility": Column(
        "utility", "per request, mean over steps; 1 means that all requests are served, at no cost", mean_of("utility")
    ),
    "reject_share": Column(
        "rejected",
        "the share of requests that are refused, or rejected for want of an instance",
        lambda sums: _lost(sums) / sums["input"],
        Verdict(better="fewer requests lost", worse="more requests lost"),
    ),
    "forward_share": Column(
        "forwarded", "the share of requests that are forwarded", lambda sums: sums["forwarded"] / sums["input"]
    ),
    "cold_share": Column(
        "cold starts", "the share of served requests that start an instance", lambda sums: sums["cold"] / sums["served"]
    ),
    "response_time": Column(
        "response time, s",
        "of served requests, the time on links included",
        lambda sums: sums["response_seconds"] / sums["served"],
    ),
    **{f"p{percent}": _percentile(percent) for percent in (50, 95, 99)},
    "network_time": Column(
        "network time, s",
        "of forwarded requests, there and back",
        lambda sums: sums["network_seconds"] / sums["forwarded"],
    ),
    "on_time_share": Column(
        "on time",
        "the share of requests that are served within the deadline",
        lambda sums: (sums["served"] - sums["late"]) / sums["input"],
    ),
    "utilisation": Column(
        "utilisation",
        "the share of all instances that nodes can hold that serves",
        lambda sums: sums["busy_instances"] / sums["instances"],
    ),
}
