"""A slot of time on every node: who is admitted, who runs how fast, who is done, and what that takes."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from jaxdlb.games.cluster.sums import by_class, over_slots
from jaxdlb.games.cluster.types import EMPTY, RUNNING, WAITING, Params, Slots, State
from jaxdlb.mechanics.loops import while_any

FITTING = 1e-6  # GB by which memory may be exceeded, for rounding
_CLASS = 2**29  # tasks of one class that are told apart in the order of admission
_LAST = 2**31 - 1
_LEAST = 1e-9  # divisors are at least that


@struct.dataclass
class Passed:
    """What a slot of time came to; sums over tasks are by class."""

    use: Float[Array, " N"]  # of the cores of each node, as a share
    energy: Float[Array, " N"]  # J
    completions: Float[Array, " 3"]
    on_time: Float[Array, " 3"]
    missed: Float[Array, " 3"]
    completion_time: Float[Array, " 3"]  # of those completed, s
    presence: Float[Array, " 3"]  # s
    dynamic_energy: Float[Array, " 3"]  # what tasks add to the energy of idle nodes, J


def asleep(state: State, params: Params) -> Bool[Array, " N"]:
    """Which nodes sleep: those that have had no task for long enough."""
    return (state.idle_for >= params.sleep_after) & jnp.all(state.status == EMPTY, axis=1)


def shares(running_cores: Float[Array, " N"], params: Params) -> Float[Array, " N"]:
    """min(1, C/D): what each running task gets of the cores that it wants, D being those that all want."""
    return jnp.minimum(1.0, params.cores / jnp.maximum(running_cores, _LEAST))


def admit(slots: Slots, next_number: Int[Array, ""], may: Bool[Array, ""], params: Params) -> Int[Array, "N Q"]:
    """The status after admission: of the waiting that are there in time, the longest prefix that fits into memory.

    Their order is that of (class, number). Each turn admits the first of every node, if it fits, until none did.
    Numbers count from that of the next task to be placed, so that they stay in order where counters wrap around.
    """
    is_there = (slots.status == WAITING) & (slots.arrives < params.slot) & may
    order = jnp.where(is_there, slots.task_class * _CLASS + (slots.number - next_number), _LAST)
    used = over_slots(jnp.where(slots.status == RUNNING, slots.task_memory, 0.0))
    given = slots.task_memory, params.memory + FITTING
    order, _, _ = while_any(_any_fitted, _admit_first, given, (order, used, jnp.any(is_there, axis=1)))
    return jnp.where(is_there & (order == _LAST), RUNNING, slots.status)


Given = tuple[Float[Array, "N Q"], Float[Array, " N"]]  # memory of tasks and of nodes
Queue = tuple[Int[Array, "N Q"], Float[Array, " N"], Bool[Array, " N"]]  # order, memory used, whether the last fitted


def _any_fitted(given: Given, queue: Queue) -> Bool[Array, ""]:
    return jnp.any(queue[2])


def _admit_first(given: Given, queue: Queue) -> Queue:
    memory, room = given
    order, used, _ = queue
    first = jnp.min(order, axis=1)
    is_first = order == first[:, None]
    after = used + over_slots(jnp.where(is_first, memory, 0.0))
    fits = (first < _LAST) & (after <= room)
    return jnp.where(is_first & fits[:, None], _LAST, order), jnp.where(fits, after, used), fits


def run(
    slots: Slots, wake_in: Float[Array, " N"], was_asleep: Bool[Array, " N"], params: Params
) -> tuple[Slots, Passed]:
    """The slots after a slot of time in which those that run get their shares, and what it came to."""
    slot, is_task, is_running = params.slot, slots.status != EMPTY, slots.status == RUNNING
    share = shares(over_slots(jnp.where(is_running, slots.task_cores, 0.0)), params)
    rate = (params.speed * share)[:, None]
    begins = jnp.clip(jnp.maximum(wake_in[:, None], slots.arrives), 0.0, slot)
    done = is_running & (slots.left <= rate * (slot - begins))
    ends = jnp.where(done, begins + slots.left / rate, slot)
    is_ahead = is_task & (slots.due >= 0)

    core_seconds = jnp.where(is_running, slots.task_cores * (ends - begins), 0.0) * share[:, None]
    use = over_slots(core_seconds) / (params.cores * slot)
    power = params.idle_power * jnp.where(was_asleep, params.sleep_power, 1.0) + params.dynamic_power * use
    passed = Passed(
        use=use,
        energy=power * slot,
        **by_class(
            slots.task_class,
            completions=done,
            on_time=done & is_ahead & (ends <= slots.due),
            missed=is_ahead & (ends > slots.due),
            completion_time=jnp.where(done, slots.age + ends, 0.0),
            presence=jnp.where(is_task, ends, 0.0),
            dynamic_energy=core_seconds * (params.dynamic_power / params.cores)[:, None],
        ),
    )
    after = dataclasses.replace(
        slots,
        left=jnp.where(is_running, slots.left - rate * (slot - begins), slots.left),
        age=slots.age + slot,
        due=slots.due - slot,
        arrives=slots.arrives - slot,
    )
    return only(is_task & ~done, after), passed


def only(where: Bool[Array, "N Q"], slots: Slots) -> Slots:
    """The tasks `where` there are to be any; all other slots are empty, which is 0 throughout."""
    return jax.tree.map(lambda each: jnp.where(where, each, jnp.zeros_like(each)), slots)
