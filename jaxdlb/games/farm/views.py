"""Who sees what of the farm: the workers, a centralised critic, and an oracle."""

import enum

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float

from jaxdlb.games.farm import dynamics
from jaxdlb.games.farm.costs import Costs
from jaxdlb.games.farm.foresight import foresee
from jaxdlb.games.farm.types import Params, Phase, State


class Row(enum.IntEnum):
    """Columns of `Observation.own`: what the master knows, as worker i is told of it; raw."""

    DECIDES = 0
    PRESENT = 1
    REMAINING = 2  # R: tasks not in hand and not done
    INTERVAL = 3  # L: the most that can be handed out now; 0 if R is
    OUTSTANDING = 4  # tasks in hand of all workers
    NUM_PRESENT = 5  # P
    OTHERS_WAITING = 6
    TOLD_WAIT = 7
    WAITED = 8
    MEASURED = 9  # whether it has finished a chunk
    RATE = 10  # r_i: tasks per unit of time, measured; later chunks weigh more
    TOTAL_RATE = 11  # Σ r_j over those present
    OTHERS_TIME = 12  # the longest expected time until another's chunk is computed
    LAST_SIZE = 13
    LAST_TIME = 14
    COMM_TIME = 15  # c + c₁
    SPEED = 16  # 0 but for oracles
    TOTAL_SPEED = 17  # of those present; 0 but for oracles


@struct.dataclass
class Observation:
    """What each of N workers knows; the leading axis is the agent."""

    own: Float[Array, "N 18"]  # columns: `Row`
    legal: Bool[Array, "N A"]


def rates(state: State, params: Params) -> Float[Array, " N"]:
    """r: the tasks of finished chunks over their time, of which the n-th weighs n.

    Who has not been measured counts as the mean of those present who have or, if there is none, as 1 / t₁.
    """
    measured = state.weighted_time > 0
    each = state.weighted_size / jnp.where(measured, state.weighted_time, 1.0)
    counted = measured & state.present
    mean = jnp.sum(jnp.where(counted, each, 0.0)) / jnp.maximum(jnp.sum(counted), 1)
    return jnp.where(measured, each, jnp.where(jnp.any(counted), mean, 1 / params.task_time))


def _others_time(state: State, rate: Float[Array, " N"]) -> Float[Array, " N"]:
    """The longest time until another worker's chunk is computed, as its rate lets expect; 0 if no other has one."""
    begun = jnp.maximum(-state.until_start, 0.0)
    expected = jnp.maximum(state.until_start, 0.0) + jnp.maximum(state.chunk_size / rate - begun, 0.0)
    expected = jnp.where(state.holds_chunk, expected, 0.0)
    longest = jnp.max(expected)
    is_longest = expected == longest
    second = jnp.max(jnp.where(is_longest, 0.0, expected))
    return jnp.where(is_longest & (jnp.sum(is_longest) == 1), second, longest)


def rows(state: State, params: Params) -> Float[Array, "N 18"]:
    """What each worker sees of this moment, but for speeds."""
    rate, waiting = rates(state, params), state.waiting
    _, most = state.interval
    nothing = jnp.zeros_like(rate)
    columns = {
        Row.DECIDES: jnp.arange(rate.shape[0]) == state.decider,
        Row.PRESENT: state.present,
        Row.REMAINING: state.remaining,
        Row.INTERVAL: most,
        Row.OUTSTANDING: jnp.sum(state.chunk_size),
        Row.NUM_PRESENT: jnp.sum(state.present),
        Row.OTHERS_WAITING: jnp.sum(waiting) - waiting,
        Row.TOLD_WAIT: state.told_wait,
        Row.WAITED: state.waited,
        Row.MEASURED: state.chunks_done > 0,
        Row.RATE: rate,
        Row.TOTAL_RATE: jnp.sum(jnp.where(state.present, rate, 0.0)),
        Row.OTHERS_TIME: _others_time(state, rate),
        Row.LAST_SIZE: state.last_size,
        Row.LAST_TIME: state.last_time,
        Row.COMM_TIME: params.comm_time + params.comm_per_task,
        Row.SPEED: nothing,
        Row.TOTAL_SPEED: nothing,
    }
    # transposed, since columns of one entry a row are stacked one entry at a time
    return jnp.stack([jnp.broadcast_to(columns[each], rate.shape).astype(jnp.float32) for each in Row]).T


def observe(state: State, params: Params, num_sizes: int) -> Observation:
    """What workers know."""
    return Observation(own=rows(state, params), legal=dynamics.legal(state, num_sizes))


def true_observation(state: State, params: Params, num_sizes: int) -> Observation:
    """The same, with the speeds that workers have now."""
    speeds = jnp.stack([state.speed, jnp.broadcast_to(_total_speed(state), state.speed.shape)], axis=-1)
    own = rows(state, params).at[:, Row.SPEED :].set(speeds)
    return Observation(own=own, legal=dynamics.legal(state, num_sizes))


def _total_speed(state: State) -> Float[Array, ""]:
    return jnp.sum(jnp.where(state.present, state.speed, 0.0))


def global_state(state: State, params: Params, costs: Costs) -> Float[Array, " G"]:
    """What a centralised critic may see, float32 [12 N + 13].

    Nine numbers of each worker, then seven of the farm, the last but one of which is the time that all speeds together
    need for what is not done, 0 if nobody is there; then what is foreseen (`foresight`).
    """
    busy = state.busy
    until_back = jnp.where(busy, state.until_back, 0.0)
    each = [state.phase == phase for phase in Phase]
    each += [state.chunk_size, until_back, state.speed, rates(state, params)]
    each += [jnp.arange(busy.shape[0]) == state.decider]
    total = _total_speed(state)
    work = state.remaining * params.task_time + jnp.sum(until_back * state.speed)
    left = jnp.where(total > 0, work / jnp.where(total > 0, total, 1.0), 0.0)
    farm = [
        state.remaining,
        state.until_free,
        jnp.sum(state.waiting),
        params.comm_time,
        total,
        left,
        jnp.max(until_back),
    ]
    of_workers = jnp.stack([column.astype(jnp.float32) for column in each], axis=-1).ravel()
    of_farm = jnp.stack([jnp.asarray(number, jnp.float32) for number in farm])
    return jnp.concatenate([of_workers, of_farm, foresee(state, params, costs)])
