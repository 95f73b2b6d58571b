"""What befalls a farm next, whatever anybody does: what a critic may know in training, and no worker does.

How long a job takes is mostly luck: which tasks cost much, how speeds drift, who fails when. All of it follows from the
reset key, so a value that knows it is still a value of what workers do, and their advantages are told apart from their
luck (Mao et al. 2019, "Variance reduction for reinforcement learning in input-driven environments", arXiv 1807.02264).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxdlb.games.farm import chances
from jaxdlb.games.farm.costs import Costs
from jaxdlb.games.farm.types import Params, State
from jaxdlb.games.farm.utility import ideal_makespan

_PERIODS = 6  # of drift that are foreseen; in all later ones speeds stay as they are in the last
_NEWTON_STEPS = 8  # exact for some hundred workers
_HORIZON = 1e3  # task times: the longest that failures and joins are foreseen


def foresee(state: State, params: Params, costs: Costs) -> Float[Array, " F"]:
    """Three numbers of each worker, then six of the farm; F = 3 N + 6.

    Of a worker: the time until it fails or joins, its speed in the next period of drift, and its mean speed over the
    periods that are foreseen. Of the farm: the ideal makespan, in which rewards are counted; the work that is left, at
    what it costs; the time that those present take for it at their present speeds, and at those that are foreseen; the
    latter in ideal makespans; and the mean cost of a fair share of the tasks that are cut next.
    """
    speeds = _speeds(state, params)
    each = [
        jnp.minimum(state.until_change, _HORIZON * params.task_time),
        speeds[1],
        jnp.mean(speeds, axis=0),
    ]

    work = _rest(state, params, costs) + jnp.sum(jnp.where(state.busy, state.until_back * state.speed, 0.0))
    capacity = jnp.sum(jnp.where(state.present, speeds, 0.0), axis=1)
    now = work / jnp.maximum(capacity[0], _least(params))
    ends = _starts(state, params) + params.drift_period - state.time
    foreseen = _time_for(work, capacity, ends, params)
    first, most = state.interval
    share = jnp.clip(state.remaining // jnp.maximum(jnp.sum(state.present), 1), 1, jnp.maximum(most, 1))
    ideal = ideal_makespan(params)
    farm = [
        ideal,
        work,
        now,
        foreseen,
        foreseen / ideal,
        costs.of_chunk(state.start + first, share, params.noise) / share,
    ]
    return jnp.concatenate([jnp.stack(each, axis=-1).ravel(), jnp.stack(farm)])


def _time_for(
    work: Float[Array, ""], capacity: Float[Array, " K"], ends: Float[Array, " K"], params: Params
) -> Float[Array, ""]:
    """How long `work` takes at the capacity of each period, of which the last lasts until all is done."""
    lengths = jnp.diff(ends, prepend=0.0)
    before = jnp.concatenate([jnp.zeros(1), jnp.cumsum(capacity * lengths)[:-1]])
    needed = jnp.maximum(work - before, 0.0) / jnp.maximum(capacity, _least(params))
    return jnp.sum(jnp.minimum(needed, lengths.at[-1].set(jnp.inf)))


def potential(state: State, params: Params, costs: Costs) -> Float[Array, ""]:
    """Minus the time until all is done, in ideal makespans, as far as it is foreseen; 0 once it is."""
    return jnp.where(state.over, 0.0, -_end(state, params, costs) / ideal_makespan(params))


def _end(state: State, params: Params, costs: Costs) -> Float[Array, ""]:
    """The time until all is done if what is not in hand is shared in the best way, in chunks as small as one likes.

    Workers are free for it at the times b, and it ends at the T of Σ speed · max(T − b, 0) = work, unless a chunk ends
    later; speeds are the means of those foreseen. T is found by Newton's method from above, as the sum is convex: who
    is not free by then takes no part. A chunk whose worker fails before it is done is not in hand.
    """
    lost = state.busy & (state.until_change < state.until_back)
    free_in = jnp.where(state.busy, state.until_back, jnp.where(state.present, 0.0, state.until_change))
    takes_part = ~lost & jnp.isfinite(free_in)
    speed = jnp.mean(_speeds(state, params), axis=0)
    rate, free_in = jnp.where(takes_part, speed, 0.0), jnp.where(takes_part, free_in, 0.0)
    work = _rest(state, params, costs) + jnp.sum(jnp.where(lost, state.chunk_size, 0)) * params.task_time

    def shared_by(workers: Bool[Array, " N"]) -> Float[Array, ""]:
        taken = jnp.sum(jnp.where(workers, rate * free_in, 0.0))
        return (work + taken) / jnp.maximum(jnp.sum(jnp.where(workers, rate, 0.0)), _least(params))

    end = shared_by(takes_part)
    for _ in range(_NEWTON_STEPS):
        end = shared_by(free_in < end)
    last = jnp.max(jnp.where(state.busy & ~lost, state.until_back, 0.0))
    return jnp.maximum(jnp.where(work > 0, end, 0.0), last)


def _speeds(state: State, params: Params) -> Float[Array, "K N"]:
    """Of all workers in the periods of drift that are foreseen, the present one first."""
    # in the middle of each period, where rounding cannot take it for another
    return jax.vmap(lambda start: chances.speeds(state.key, start + params.drift_period / 2, params))(
        _starts(state, params)
    )


def _starts(state: State, params: Params) -> Float[Array, " K"]:
    """When these periods begin, since the start."""
    return (jnp.floor(state.time / params.drift_period) + jnp.arange(_PERIODS)) * params.drift_period


def _rest(state: State, params: Params, costs: Costs) -> Float[Array, ""]:
    """The work that is not in hand, at what it costs; chunks that came back as if their tasks cost the mean."""
    returned = jnp.sum(state.returned[:, 1])
    fresh = costs.of_chunk(state.start + state.next_task, state.remaining - returned, params.noise)
    return (fresh + returned) * params.task_time


def _least(params: Params) -> Float[Array, ""]:
    """What capacity counts as where nobody is there: a hundredth of all that there can be."""
    return jnp.sum(params.speed) / 100
