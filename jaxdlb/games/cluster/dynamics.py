"""The stages of a step of the cluster: tasks are placed, and time passes."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from jaxdlb.games.cluster import nodes
from jaxdlb.games.cluster.sums import by_class
from jaxdlb.games.cluster.types import EMPTY, WAITING, Action, Params, Slots, State, Window
from jaxdlb.games.cluster.window import at_hand


@struct.dataclass
class Placed:
    """What became of the tasks of the window that were at hand; nodes and slots are N and Q where it has none."""

    at_hand: Bool[Array, " M"]
    node: Int[Array, " M"]
    slot: Int[Array, " M"]


@struct.dataclass
class Tally:
    """What became of the tasks at hand, by class."""

    arrived: Float[Array, " 3"]  # tasks
    dropped: Float[Array, " 3"]
    waited: Float[Array, " 3"]  # s that those placed had waited for it


def able(
    memory: Float[Array, "*M"], free: Int[Array, " N"], node: Int[Array, "*M K"], params: Params
) -> Bool[Array, "*M K"]:
    """Which of these nodes can take a task of so much memory: those that are large enough and have an empty slot."""
    return (params.memory[node] >= memory[..., None]) & (free[node] > 0)


def free_slots(status: Int[Array, "N Q"]) -> Int[Array, " N"]:
    """How many slots of each node are empty."""
    return jnp.sum(status == EMPTY, axis=1, dtype=jnp.int32)


def choose(state: State, action: Action, params: Params) -> Placed:
    """1. Which node and slot each task at hand comes to, dispatcher after dispatcher.

    That is the chosen candidate if it is able now, else the first able one of the list, else the able node of lowest
    index. The task takes the empty slot of lowest index.
    """
    window, has = state.window, at_hand(state.window)
    num_tasks, num_choices = window.candidates.shape
    num_nodes, num_slots = state.status.shape
    all_nodes = jnp.arange(num_nodes)
    before = free_slots(state.status)

    def place(j: Any, now: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        free, node, rank = now
        listed = window.candidates[j]
        is_able = able(window.memory[j], free, listed, params)
        is_chosen = jnp.arange(num_choices) == action[j]
        among = jnp.where(jnp.any(is_able & is_chosen), is_chosen, is_able)
        anywhere = jnp.min(jnp.where((params.memory >= window.memory[j]) & (free > 0), all_nodes, num_nodes))
        found = jnp.where(jnp.any(is_able), listed[jnp.argmax(among)], anywhere)
        found = jnp.where(has[j], found, num_nodes).astype(jnp.int32)
        is_it = all_nodes == found
        taken = jnp.sum(jnp.where(is_it, before - free, 0), dtype=jnp.int32)
        return free - is_it, node.at[j].set(found), rank.at[j].set(taken)

    nothing = jnp.zeros(num_tasks, jnp.int32)
    _, node, rank = jax.lax.fori_loop(0, num_tasks, place, (before, nothing, nothing))
    is_empty = state.status[jnp.minimum(node, num_nodes - 1)] == EMPTY
    is_slot = is_empty & (jnp.cumsum(is_empty, axis=1, dtype=jnp.int32) == rank[:, None] + 1)
    slot = jnp.where(node < num_nodes, jnp.argmax(is_slot, axis=1), num_slots).astype(jnp.int32)
    return Placed(at_hand=has, node=node, slot=slot)


def place(state: State, placed: Placed, params: Params) -> State:
    """The state with the tasks where they were placed; nodes that slept begin to wake."""
    window, num_nodes = state.window, state.status.shape[0]
    number = state.index + jnp.arange(window.arrives.shape[0], dtype=jnp.int32)
    age = -window.arrives
    tasks = Slots(
        status=jnp.full_like(number, WAITING),
        left=window.run_time,
        task_cores=window.cores,
        task_memory=window.memory,
        task_class=window.task_class,
        age=age,
        due=jnp.maximum(params.deadline_factor[window.task_class] * window.run_time - age, 0.0),
        arrives=delay(window.memory, placed.node, params),
        number=number,
    )
    where = placed.node, placed.slot
    put = {
        field.name: getattr(state, field.name).at[where].set(getattr(tasks, field.name), mode="drop")
        for field in dataclasses.fields(Slots)
    }
    is_placed_on = jnp.any(placed.node[:, None] == jnp.arange(num_nodes), axis=0)
    wakes = is_placed_on & nodes.asleep(state.idle_for, params)
    return dataclasses.replace(
        state,
        **put,
        idle_for=jnp.where(is_placed_on, 0.0, state.idle_for),
        wake_in=jnp.where(wakes, params.wake_time, state.wake_in),
    )


def delay(memory: Float[Array, "*M"], node: Int[Array, "*M K"] | Int[Array, "*M"], params: Params) -> Array:
    """How long a task of so much memory travels to each node, s."""
    memory = memory[(...,) + (None,) * (node.ndim - memory.ndim)]
    return params.network_delay[node] + params.transfer_time[node] * memory


def pass_time(state: State, passes: Bool[Array, ""], params: Params) -> tuple[State, nodes.Passed]:
    """2. The state after a slot of time, and what that came to; as it was, and nothing, unless time `passes`."""
    was_asleep = nodes.asleep(state.idle_for, params)
    had_tasks = jnp.any(state.status != EMPTY, axis=1)
    before = only_slots(state)
    admitted = dataclasses.replace(before, status=nodes.admit(before, state.index, passes, params))
    after, passed = nodes.run(admitted, state.wake_in, was_asleep, params)
    slots = jax.tree.map(lambda new, old: jnp.where(passes, new, old), after, before)
    slot = jnp.where(passes, params.slot, 0.0)
    window = state.window
    return (
        dataclasses.replace(
            state,
            **vars(slots),
            idle_for=jnp.where(had_tasks & passes, 0.0, state.idle_for + slot),
            wake_in=jnp.maximum(state.wake_in - slot, 0.0),
            window=dataclasses.replace(window, arrives=window.arrives - slot),
            clock=state.clock + passes,
        ),
        jax.tree.map(lambda each: jnp.where(passes, each, 0.0), passed),
    )


def only_slots(state: State) -> Slots:
    """The tasks on the nodes alone."""
    return Slots(**{field.name: getattr(state, field.name) for field in dataclasses.fields(Slots)})


def tally(window: Window, placed: Placed, num_nodes: int) -> Tally:
    """What became of the tasks of a window."""
    is_dropped = placed.at_hand & (placed.node == num_nodes)
    waited = jnp.where(placed.at_hand & ~is_dropped, -window.arrives, 0.0)
    return Tally(**by_class(window.task_class, arrived=placed.at_hand, dropped=is_dropped, waited=waited))
