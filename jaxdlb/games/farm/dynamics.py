"""What happens from one event at the master to the next: the decision, the time that passes, and the event."""

import dataclasses
import enum
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from jaxdlb.games.farm import chances
from jaxdlb.games.farm.costs import Costs
from jaxdlb.games.farm.types import Params, Phase, State
from jaxdlb.mechanics.rounding import settled

ROUNDING = 1e-3  # taken off a size before it is rounded up, so that float32 does not add a task


class Event(enum.IntEnum):
    """What a step leads to; of those at the same instant, the first."""

    FAIL = 0
    JOIN = 1
    SERVE = 2  # the next request, or the end of the job


def sizes(state: State, num_sizes: int) -> Int[Array, " A"]:
    """The tasks that each choice gives to the decider: none, one, and shares of R / P in steps of √2.

    Choice k ≥ 2 gives ⌈2^((k − A + 5) / 2) · R / P − 10⁻³⌉, at least 1 and at most L; the last 4 · R / P.
    """
    return _size_of(np.arange(num_sizes), state, num_sizes)


def _size_of(choice: Int[np.ndarray, " A"], state: State, num_sizes: int) -> Int[Array, " A"]:
    fair = state.remaining / jnp.maximum(jnp.sum(state.present), 1)
    _, most = state.interval
    cut = jnp.clip(jnp.ceil(shares(choice, num_sizes) * fair - ROUNDING), 1, jnp.maximum(most, 1)).astype(jnp.int32)
    return jnp.where(choice < 2, choice, cut)


def shares(choice: Int[np.ndarray, " A"], num_sizes: int) -> Float[np.ndarray, " A"]:
    """What choices beyond 1 take of the fair share R / P: the last 4, each by √2 less than the next."""
    return np.exp2((choice - num_sizes + 5) / 2).astype(np.float32)


def legal(state: State, num_sizes: int) -> Bool[Array, "N A"]:
    """What each worker may choose; who does not decide has choice 0 alone.

    The decider may take one task, whatever gives more than the choice before it and, while another worker has a chunk
    in hand, nothing.
    """
    choice = np.arange(num_sizes)
    more = _size_of(choice, state, num_sizes) > _size_of(choice - 1, state, num_sizes)
    may = jnp.where(choice == 0, jnp.any(state.holds_chunk), more)
    decides = jnp.arange(state.phase.shape[0]) == state.decider
    return jnp.where(decides[:, None], may, choice == 0)


def tasks_for(code: Int[Array, ""], state: State, num_sizes: int) -> Int[Array, ""]:
    """How many tasks the decider gets for what it plays; 0: it declines.

    A code of `num_sizes` or more stands for code − num_sizes + 1 tasks; what is not legal, for one.
    """
    _, most = state.interval
    each = sizes(state, num_sizes)
    choice = jnp.clip(code, 0, num_sizes - 1)
    gives_more = each[choice] > each[jnp.maximum(choice - 1, 0)]
    by_choice = jnp.where((code == choice) & (choice > 0) & gives_more, each[choice], 1)
    declines = (code == 0) & jnp.any(state.holds_chunk)
    exactly = jnp.minimum(most, code - num_sizes + 1)
    return jnp.where(declines, 0, jnp.where(code >= num_sizes, exactly, by_choice))


@struct.dataclass
class Decision:
    """What the master did with a request."""

    state: State
    tasks: Int[Array, ""]  # handed out
    declined: Bool[Array, ""]


def decide(state: State, code: Int[Array, " N"], params: Params, num_sizes: int, costs: Costs) -> Decision:
    """1. Hand out a chunk to the decider, if there is one, or let it decline."""
    num_workers = state.phase.shape[0]
    is_decider = jnp.arange(num_workers) == state.decider
    somebody = state.decider < num_workers
    asked = tasks_for(code[jnp.minimum(state.decider, num_workers - 1)], state, num_sizes)
    first, most = state.interval
    is_full = (state.rows_used > 0) & (state.rows_used + jnp.sum(state.holds_chunk) >= 2 * num_workers)
    declined = somebody & (asked == 0)
    tasks = jnp.where(somebody & ~declined, jnp.where(is_full, most, asked), 0)
    gets = is_decider & (tasks > 0)

    held = params.comm_time + settled(params.comm_per_task * tasks, tasks)
    until_start = held + params.latency
    cost = costs.of_chunk(state.start + first, tasks, params.noise)
    compute_time = params.task_time * cost / state.speed
    decided = dataclasses.replace(
        state,
        remaining=state.remaining - tasks,
        next_task=jnp.where(state.rows_used > 0, state.next_task, state.next_task + tasks),
        returned=_cut(state.returned, tasks),
        phase=jnp.where(gets, Phase.BUSY, jnp.where(is_decider & declined, Phase.DECLINED, state.phase)),
        until_start=jnp.where(gets, until_start, state.until_start),
        until_back=jnp.where(gets, until_start + compute_time + params.latency, state.until_back),
        compute_time=jnp.where(gets, compute_time, state.compute_time),
        chunk_start=jnp.where(gets, first, state.chunk_start),
        chunk_size=jnp.where(gets, tasks, state.chunk_size),
        until_free=jnp.where(tasks > 0, held, state.until_free),
        chunks=state.chunks + (tasks > 0),
    )
    return Decision(state=decided, tasks=tasks, declined=declined)


def _cut(returned: Int[Array, "M 2"], tasks: Int[Array, ""]) -> Int[Array, "M 2"]:
    """The chunks that came back once `tasks` are taken off the first; all of them move up if it is used up."""
    first, count = returned[0]
    cut = jnp.where(count > tasks, jnp.stack([first + tasks, count - tasks]), 0)
    left = returned.at[0].set(jnp.where(count > 0, cut, 0))
    moved = jnp.concatenate([returned[1:], jnp.zeros_like(returned[:1])])
    return jnp.where((count > 0) & (count == tasks), moved, left)


def next_event(state: State) -> tuple[Float[Array, ""], Int[Array, ""]]:
    """2. How long until the next event, and which `Event` it is."""
    fail = _least(state.until_change, state.present)
    join = _least(state.until_change, ~state.present)
    first_back = jnp.where(jnp.any(state.waiting), 0.0, _least(state.until_back, state.busy))
    end = jnp.max(jnp.where(state.busy, state.until_back, 0.0))
    serve = jnp.where(state.remaining > 0, jnp.maximum(state.until_free, first_back), end)
    least = jnp.minimum(jnp.minimum(fail, join), serve)
    event = jnp.where(fail == least, Event.FAIL, jnp.where(join == least, Event.JOIN, Event.SERVE))
    return jnp.maximum(least, 0.0), event


def _least(each: Float[Array, " N"], among: Bool[Array, " N"]) -> Float[Array, ""]:
    return jnp.min(jnp.where(among, each, jnp.inf))


def pass_time(state: State, elapsed: Float[Array, ""], params: Params) -> State:
    """3. Move all clocks on; whoever's results reach the master asks for more, and is told how long it will wait."""
    busy, until_free = state.busy, state.until_free - elapsed
    until_back = jnp.where(busy, state.until_back - elapsed, state.until_back)
    is_back = busy & (until_back <= 0)
    waiting = state.waiting | is_back
    waited = jnp.where(is_back, jnp.abs(until_back), jnp.where(state.waiting, state.waited + elapsed, state.waited))
    told = jnp.maximum(until_free + waited, 0.0) + params.comm_time * ahead(waiting, waited)
    chunks_done = state.chunks_done + is_back
    weight = jnp.where(is_back, chunks_done, 0)
    return dataclasses.replace(
        state,
        time=state.time + elapsed,
        phase=jnp.where(is_back, Phase.WAITING, state.phase),
        until_start=jnp.where(busy, state.until_start - elapsed, state.until_start),
        until_back=until_back,
        until_change=state.until_change - elapsed,
        until_free=jnp.maximum(until_free, 0.0),
        waited=waited,
        told_wait=jnp.where(is_back, told, state.told_wait),
        chunks_done=chunks_done,
        weighted_time=state.weighted_time + weight * state.compute_time,
        weighted_size=state.weighted_size + weight * state.chunk_size,
        last_size=jnp.where(is_back, state.chunk_size, state.last_size),
        last_time=jnp.where(is_back, state.compute_time, state.last_time),
        chunk_size=jnp.where(is_back, 0, state.chunk_size),
    )


def ahead(waiting: Bool[Array, " N"], waited: Float[Array, " N"]) -> Int[Array, " N"]:
    """How many requests are served before that of each worker: those that came earlier, then by index."""
    worker = jnp.arange(waiting.shape[0])

    def count(other: Any, ahead: Int[Array, " N"]) -> Int[Array, " N"]:
        earlier = (waited[other] > waited) | ((waited[other] == waited) & (other < worker))
        return ahead + (waiting[other] & earlier)

    return jax.lax.fori_loop(0, waiting.shape[0], count, jnp.zeros_like(worker))  # no array of N² entries


def happen(state: State, event: Int[Array, ""], params: Params) -> State:
    """4. A worker fails or joins, or the next request is served; or the job is over."""
    num_workers = state.phase.shape[0]
    worker = jnp.arange(num_workers)
    changing = (state.until_change <= 0) & jnp.where(event == Event.FAIL, state.present, ~state.present)
    changes = (event != Event.SERVE) & (worker == _first(changing))
    fails, joins = changes & (event == Event.FAIL), changes & (event == Event.JOIN)
    lost = jnp.sum(jnp.where(fails, state.chunk_size, 0))
    asks_again = (event != Event.SERVE) & (state.phase == Phase.DECLINED) & ~fails
    in_queue = jnp.sum(state.waiting)
    phase = jnp.where(fails, Phase.ABSENT, jnp.where(joins | asks_again, Phase.WAITING, state.phase))
    drawn = _drawn_anew(state, changes, event, params)
    told = jnp.where(joins, state.until_free + params.comm_time * in_queue, state.until_free)
    longest = jnp.max(jnp.where(state.waiting, state.waited, -jnp.inf))
    head = _first(state.waiting & (state.waited == longest))
    serves = (event == Event.SERVE) & (state.remaining > 0)
    return dataclasses.replace(
        state,
        remaining=state.remaining + lost,
        returned=_put_back(state, fails, lost),
        phase=phase,
        waited=jnp.where(joins | asks_again, 0.0, state.waited),
        told_wait=jnp.where(joins | asks_again, told, state.told_wait),
        chunk_size=jnp.where(fails, 0, state.chunk_size),
        until_change=jnp.where(changes, drawn, state.until_change),
        changes=state.changes + changes,
        decider=jnp.where(serves, head, num_workers),
        over=(event == Event.SERVE) & (state.remaining == 0),
    )


def _drawn_anew(state: State, changes: Bool[Array, " N"], event: Int[Array, ""], params: Params) -> Float[Array, ""]:
    """How long the worker that `changes` now will stay as it is; drawn for it alone, since hashes are dear."""
    rate = jnp.where(event == Event.FAIL, params.rejoin_rate, params.failure_rate)
    of_it = [jnp.sum(jnp.where(changes, each, 0)) for each in (jnp.arange(rate.shape[0]), state.changes + 1, rate)]
    return chances.until_change(state.key, *of_it)


def _first(among: Bool[Array, " N"]) -> Int[Array, ""]:
    """The lowest index, N if there is none; `argmax` takes several times as long."""
    num = among.shape[0]
    return jnp.min(jnp.where(among, jnp.arange(num), num))


def _put_back(state: State, fails: Bool[Array, " N"], lost: Int[Array, ""]) -> Int[Array, "M 2"]:
    """The chunks that came back, with that of the worker that fails behind them."""
    first = jnp.sum(jnp.where(fails, state.chunk_start, 0))
    row = jnp.arange(state.returned.shape[0])[:, None]
    return jnp.where((row == state.rows_used) & (lost > 0), jnp.stack([first, lost]), state.returned)
