"""The network subsystem: one sending interface a node, first in, first out; receivers have no limit."""

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from jaxdlb.games.rack.types import Params

HEARTBEAT = 256.0  # bytes
REQUEST = 64.0  # bytes of a steal request, and of its refusal
_BITS_PER_BYTE = 8.0
_MS_PER_S = 1000.0


def time_to_send(
    payload: Float[Array, "*S"] | float,
    bandwidth: Float[Array, "*S"],
    overhead: Float[Array, "*S"],
    dt: Float[Array, ""],
) -> Float[Array, "*S"]:
    """Slices for which a packet occupies its sender's interface."""
    return (payload + overhead) * _BITS_PER_BYTE / bandwidth * _MS_PER_S / dt


def latency(params: Params) -> Float[Array, " N"]:
    """Slices from a packet's last bit sent to its arrival."""
    return params.latency / params.dt


def send(
    interface_free: Float[Array, " N"], payload: Float[Array, " N"] | float, sends: Bool[Array, " N"], params: Params
) -> tuple[Float[Array, " N"], Float[Array, " N"]]:
    """One packet of each node that `sends`, at the start of a slice: when it arrives, and when interfaces are free."""
    occupied = time_to_send(payload, params.bandwidth, params.packet_overhead, params.dt)
    left = jnp.maximum(interface_free, 0.0) + occupied
    return left + latency(params), jnp.where(sends, left, interface_free)


@struct.dataclass
class Queue:
    """What nodes send of A tasks in the order of time."""

    same: Bool[Array, "A A"]  # [k, l]: task l is at the node of task k, and before it (or k itself)
    sent: Bool[Array, " A"]
    node: Int[Array, " A"]


def send_in_turn(
    interface_free: Float[Array, " N"],
    instant: Float[Array, " A"],
    payload: Float[Array, " A"],
    queue: Queue,
    params: Params,
) -> tuple[Float[Array, " A"], Float[Array, " N"]]:
    """When A tasks arrive that are handed to their nodes' interfaces at their instants, and when these are free then.

    Task k has left at max over l ≤ k of the same node of (instant_l + time to send l … k), and no sooner than the
    interface has sent everything older: Lindley's recursion, unrolled.
    """
    node = queue.node
    occupied = time_to_send(payload, params.bandwidth[node], params.packet_overhead[node], params.dt)
    occupied = jnp.where(queue.sent, occupied, 0.0)
    until = jnp.sum(jnp.where(queue.same, occupied, 0.0), axis=1)  # to send everything up to task k
    waits_for = queue.same & queue.sent
    latest = jnp.max(jnp.where(waits_for, instant - (until - occupied), -jnp.inf), axis=1)
    left = until + jnp.maximum(latest, interface_free[node])
    num_nodes = interface_free.shape[0]
    own = (node == jnp.arange(num_nodes)[:, None]) & queue.sent
    last = jnp.max(jnp.where(own, left, -jnp.inf), axis=1)
    return left + latency(params)[node], jnp.maximum(interface_free, last)
