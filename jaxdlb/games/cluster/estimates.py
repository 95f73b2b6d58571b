"""What can be said of nodes, and of a task on them, from what is there now."""

import enum

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float

from jaxdlb.games.cluster import nodes
from jaxdlb.games.cluster.sums import over_slots
from jaxdlb.games.cluster.types import RUNNING, WAITING, Params, State


class Node(enum.IntEnum):
    """Columns of `table`; running and waiting are tasks."""

    CORES = 0  # C
    MEMORY = 1  # GB
    SPEED = 2
    IDLE_POWER = 3  # W
    DYNAMIC_POWER = 4  # W
    NETWORK_DELAY = 5  # s
    TRANSFER_TIME = 6  # s/GB
    RUNNING = 7
    WAITING = 8
    RUNNING_CORES = 9  # of the running tasks
    WAITING_CORES = 10
    RUNNING_MEMORY = 11  # GB
    WAITING_MEMORY = 12
    WORK = 13  # Σ left · cores / (s · C), s
    BACKLOG = 14  # B: Σ memory · the time for which it is still wanted / memory, s
    ASLEEP = 15
    WAKE_IN = 16  # s
    IDLE_FOR = 17  # s


Nodes = Float[Array, "*B 18"]  # rows of the table


def table(state: State, params: Params) -> Float[Array, "N 18"]:
    """All nodes as they are now."""
    runs, waits = state.status == RUNNING, state.status == WAITING

    def each(of: Float[Array, "N Q"]) -> list[Float[Array, " N"]]:
        """Over the running, and over the waiting."""
        return [over_slots(jnp.where(where, of, 0.0)) for where in (runs, waits)]

    cores, held = each(state.task_cores), each(state.left * state.task_memory)
    rate = params.speed * nodes.shares(cores[0], params)
    columns = [
        params.cores,
        params.memory,
        params.speed,
        params.idle_power,
        params.dynamic_power,
        params.network_delay,
        params.transfer_time,
        *(over_slots(where.astype(jnp.float32)) for where in (runs, waits)),
        *cores,
        *each(state.task_memory),
        over_slots(state.left * state.task_cores) / (params.speed * params.cores),
        (held[0] / rate + held[1] / params.speed) / params.memory,
        nodes.asleep(state, params),
        state.wake_in,
        state.idle_for,
    ]
    return jnp.stack(columns, axis=-1, dtype=jnp.float32)


@struct.dataclass
class Estimate:
    """A task on nodes."""

    delay: Float[Array, "*B"]  # s until it is there
    fits: Bool[Array, "*B"]  # whether the node has memory for it beside all its tasks
    completion: Float[Array, "*B"]  # T̂: s until it is done
    energy: Float[Array, "*B"]  # Ê: J that it adds


def estimate(
    of: Nodes, run_time: Float[Array, "*T"], cores: Float[Array, "*T"], memory: Float[Array, "*T"], params: Params
) -> Estimate:
    """Estimates for a task of so much run time, cores and memory; shapes broadcast.

    T̂ is travel, what is left of waking, the backlog where it does not fit, and the run at the speed that it would get.
    """
    fits = of[..., Node.RUNNING_MEMORY] + of[..., Node.WAITING_MEMORY] + memory <= of[..., Node.MEMORY] + nodes.FITTING
    beside = of[..., Node.RUNNING_CORES] + jnp.where(fits, of[..., Node.WAITING_CORES], 0.0)
    share = jnp.minimum(1.0, of[..., Node.CORES] / (cores + beside))
    run = run_time / (of[..., Node.SPEED] * share)
    delay = of[..., Node.NETWORK_DELAY] + of[..., Node.TRANSFER_TIME] * memory
    sleeps = of[..., Node.ASLEEP] > 0
    wake = jnp.where(sleeps, params.wake_time, of[..., Node.WAKE_IN])
    awake = of[..., Node.IDLE_POWER] * (1 - params.sleep_power) * (params.wake_time + run)
    busy = of[..., Node.DYNAMIC_POWER] * cores / of[..., Node.CORES] * run_time / of[..., Node.SPEED]
    return Estimate(
        delay=delay,
        fits=fits,
        completion=delay + wake + jnp.where(fits, 0.0, of[..., Node.BACKLOG]) + run,
        energy=busy + jnp.where(sleeps, awake, 0.0),
    )
