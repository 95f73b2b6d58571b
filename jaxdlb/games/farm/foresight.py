"""What befalls a farm next, whatever anybody does: what a critic may know in training, and no worker does.

How long a job takes is mostly luck: which tasks cost much, how speeds drift, who fails when. All of it follows from the
reset key, so a value that knows it is still a value of what workers do, and their advantages are told apart from their
luck (Mao et al. 2019, "Variance reduction for reinforcement learning in input-driven environments", arXiv 1807.02264).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdlb.games.farm import chances
from jaxdlb.games.farm.costs import Costs
from jaxdlb.games.farm.types import Params, State
from jaxdlb.games.farm.utility import ideal_makespan

_PERIODS = 6  # of drift that are foreseen; in all later ones speeds stay as they are in the last
_HORIZON = 1e3  # task times: the longest that failures and joins are foreseen


def foresee(state: State, params: Params, costs: Costs) -> Float[Array, " F"]:
    """Three numbers of each worker, then six of the farm; F = 3 N + 6.

    Of a worker: the time until it fails or joins, its speed in the next period of drift, and its mean speed over the
    periods that are foreseen. Of the farm: the ideal makespan, in which rewards are counted; the work that is left, at
    what it costs; the time that those present take for it at their present speeds, and at those that are foreseen; the
    latter in ideal makespans; and the mean cost of a fair share of the tasks that are cut next.
    """
    starts = (jnp.floor(state.time / params.drift_period) + jnp.arange(_PERIODS)) * params.drift_period
    # in the middle of each period, where rounding cannot take it for another
    speeds = jax.vmap(lambda time: chances.speeds(state.key, time, params))(starts + params.drift_period / 2)
    each = [
        jnp.minimum(state.until_change, _HORIZON * params.task_time),
        speeds[1],
        jnp.mean(speeds, axis=0),
    ]

    first, most = state.interval
    fresh = state.remaining - jnp.sum(state.returned[:, 1])
    work = costs.of_chunk(state.start + state.next_task, fresh, params.noise) + jnp.sum(state.returned[:, 1])
    work = work * params.task_time + jnp.sum(jnp.where(state.busy, state.until_back * state.speed, 0.0))
    capacity = jnp.sum(jnp.where(state.present, speeds, 0.0), axis=1)
    now = work / jnp.maximum(capacity[0], _least(params))
    foreseen = _time_for(work, capacity, starts + params.drift_period - state.time, params)
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


def _least(params: Params) -> Float[Array, ""]:
    """What capacity counts as where nobody is there: a hundredth of all that there can be."""
    return jnp.sum(params.speed) / 100
