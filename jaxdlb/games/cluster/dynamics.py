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


def able(memory: Float[Array, "*M"], free: Int[Array, " N"], params: Params) -> Bool[Array, "*M N"]:
    """Which nodes can take a task of so much memory: those that are large enough and have an empty slot."""
    return (params.memory >= memory[..., None]) & (free > 0)


def free_slots(status: Int[Array, "N Q"]) -> Int[Array, " N"]:
    """How many slots of each node are empty."""
    return jnp.sum(status == EMPTY, axis=1, dtype=jnp.int32)


def choose(state: State, action: Action, params: Params) -> Placed:
    """1. Which node and slot each task at hand comes to, dispatcher after dispatcher.

    That is the chosen candidate if it is able now, else the first able one of the list, else the able node of lowest
    index. The task takes the empty slot of lowest index.
    """
    window, has, before = state.window, at_hand(state.window), free_slots(state.status)
    num_nodes, num_slots = state.status.shape
    num_tasks, num_choices = window.candidates.shape
    choices, all_nodes = jnp.arange(num_choices), jnp.arange(num_nodes)

    def turn(j: Any, now: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        free, node, rank = now
        are_able, listed = able(window.memory[j], free, params), window.candidates[j]
        is_able = are_able[listed]
        is_chosen = is_able & (choices == action[j])
        first = jnp.argmax(jnp.where(jnp.any(is_chosen), is_chosen, is_able))
        anywhere = jnp.min(jnp.where(are_able, all_nodes, num_nodes))
        found = jnp.where(jnp.any(is_able), listed[first], anywhere)
        is_it = has[j] & (all_nodes == found)
        taken = jnp.sum(jnp.where(is_it, before - free, 0), dtype=jnp.int32)
        return free - is_it, node.at[j].set(jnp.where(has[j], found, num_nodes)), rank.at[j].set(taken)

    nothing = jnp.zeros(num_tasks, jnp.int32)
    _, node, rank = jax.lax.fori_loop(0, num_tasks, turn, (before, nothing, nothing))
    slot = _empty_slot(state.status[jnp.minimum(node, num_nodes - 1)], rank)
    return Placed(at_hand=has, node=node, slot=jnp.where(node < num_nodes, slot, num_slots))


def _empty_slot(status: Int[Array, "M Q"], rank: Int[Array, " M"]) -> Int[Array, " M"]:
    """For each row the empty slot before which there are so many others."""
    is_empty = status == EMPTY
    before = jnp.cumsum(is_empty, axis=1, dtype=jnp.int32) - is_empty
    return jnp.argmax(is_empty & (before == rank[:, None]), axis=1).astype(jnp.int32)


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
        arrives=params.network_delay[placed.node] + params.transfer_time[placed.node] * window.memory,
        number=number,
    )
    where = placed.node, placed.slot
    put = {
        field.name: getattr(state, field.name).at[where].set(getattr(tasks, field.name), mode="drop")
        for field in dataclasses.fields(Slots)
    }
    is_placed_on = jnp.any(placed.node[:, None] == jnp.arange(num_nodes), axis=0)
    wakes = is_placed_on & nodes.asleep(state, params)
    return dataclasses.replace(
        state,
        **put,
        idle_for=jnp.where(is_placed_on, 0.0, state.idle_for),
        wake_in=jnp.where(wakes, params.wake_time, state.wake_in),
    )


def pass_time(state: State, passes: Bool[Array, ""], params: Params) -> tuple[State, nodes.Passed]:
    """2. The state after a slot of time, and what that came to; as it was, and nothing, unless time `passes`."""
    was_asleep = nodes.asleep(state, params)
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
