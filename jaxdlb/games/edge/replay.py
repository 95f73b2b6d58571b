"""A recorded network in the terms of a picture: what the game's own functions say of its states."""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxdlb.games.edge import dynamics
from jaxdlb.games.edge.game import COLUMNS, Edge
from jaxdlb.games.edge.node_metrics import node_metrics
from jaxdlb.games.edge.types import Params, State
from jaxdlb.games.edge.views import capacity
from jaxdlb.recording import Recording

_LAWS = ("exponential", "deterministic")


@dataclasses.dataclass(frozen=True)
class Replay:
    """T steps of a recorded network; requests are requests per second."""

    adjacency: Bool[np.ndarray, "N N"]
    capacity: Float[np.ndarray, " N"]  # requests that a node can serve when all its instances are warm
    input_rate: Int[np.ndarray, "T N"]
    load: Int[np.ndarray, "T N"]  # requests at a node, those of its neighbours included
    rejected: Float[np.ndarray, "T N"]  # of the load
    refused: Int[np.ndarray, "T N"]  # by the node's own agent
    forwarded: Int[np.ndarray, "T N N"]  # from i to j; what stays at home is 0
    bandwidth: Float[np.ndarray, "T N N"]  # Mbit/s

    @property
    def num_nodes(self) -> int:
        return self.load.shape[1]

    @property
    def num_steps(self) -> int:
        return len(self.load)

    @property
    def served(self) -> Float[np.ndarray, "T N"]:
        return self.load - self.rejected

    @property
    def lost(self) -> Float[np.ndarray, "T N"]:
        return self.rejected + self.refused


def replay(recording: Recording) -> Replay:
    """The recording as `node_metrics` describes each of its steps."""
    params = recording.params
    steps = jax.tree.map(lambda leaf: leaf[1:], recording.states)
    capacities, nodes = jax.device_get(_node_metrics(steps, params))
    away = ~np.eye(nodes["load"].shape[1], dtype=bool)
    return Replay(
        adjacency=np.asarray(params.adjacency),
        capacity=capacities,
        input_rate=nodes["input_rate"],
        load=nodes["load"],
        rejected=nodes["rejected_here"],
        refused=nodes["refused"],
        forwarded=nodes["flow"] * away,
        bandwidth=np.asarray(recording.states.bandwidth_now[:-1]),
    )


@jax.jit
def _node_metrics(states: State, params: Params) -> tuple[Array, dict[str, Array]]:
    return capacity(params), jax.vmap(partial(node_metrics, params=params))(states)


def lost_share(recording: Recording, steps: slice = slice(None)) -> float:
    """The share of the requests of these steps that were lost, as evaluation computes it; NaN if there were none."""
    sums = {name: np.sum(series[steps], dtype=np.float64) for name, series in recording.timesteps.metrics.items()}
    with np.errstate(invalid="ignore"):
        return float(COLUMNS["reject_share"].of(sums))


def game_of(recording: Recording) -> Edge:
    """A game in which the recording could have been played, equal in all that a picture asks of it.

    Its sizes are those of the states and parameters. Of its laws of service times it has the one under which as many
    requests are late as were; if that is so under both, which it is where none or all are, the exponential one.
    """
    states, params = recording.states, recording.params
    law = min(_LAWS, key=lambda law: float(_late_otherwise(law, states, params)))
    return Edge(
        num_nodes=len(params.instances),
        max_instances=max(int(np.max(params.instances)), 1),
        max_delay=states.heartbeats_in_flight.shape[2],
        service_times=law,
    )


@partial(jax.jit, static_argnums=0)
def _late_otherwise(law: str, states: State, params: Params) -> Float[Array, ""]:
    """By how much the requests that are late under a law of service times differ from those that were, all told."""

    def difference(state: State) -> Float[Array, ""]:
        exceeded = dynamics.exceed(law, params.deadline, state.there + state.back, state.cold_share, params)
        late = jnp.sum((state.flow - state.rejected) * exceeded, axis=1)
        return jnp.sum(jnp.abs(late - state.late))

    return jnp.sum(jax.lax.map(difference, states))


def took_at_most(recording: Recording, times: Float[np.ndarray, " K"]) -> Float[np.ndarray, " K"]:
    """How many of all served requests, per second, took at most each of `times`, in seconds, summed over the steps."""
    states = jax.tree.map(lambda leaf: leaf[1:], recording.states)
    return np.asarray(_summed_cdf(game_of(recording), states, recording.params, jnp.asarray(times, jnp.float32)))


@partial(jax.jit, static_argnums=0)
def _summed_cdf(game: Edge, states: State, params: Params, times: Float[Array, " K"]) -> Float[Array, " K"]:
    """One step at a time: all at once would take [T, K, N, N]."""

    def add(total: Float[Array, " K"], state: State) -> tuple[Float[Array, " K"], Any]:
        return total + game.response_cdf(state, params, times), None

    return jax.lax.scan(add, jnp.zeros_like(times), states)[0]
