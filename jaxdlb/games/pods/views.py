"""Who sees what of the pods: the agents, a centralised critic, and an oracle."""

import enum

import jax.numpy as jnp
from flax import struct
from jax.scipy.special import gammaln
from jaxtyping import Array, Bool, Float, Int

from jaxdlb.games.pods import dynamics
from jaxdlb.games.pods.types import Params, State


class Row(enum.IntEnum):
    """Columns of a row of the history: the seven numbers of MARLISE, unscaled; CPU in mc, usage / limit a ratio."""

    LIMIT = 0
    USAGE = 1
    AVAILABLE = 2  # of the budget
    RATIO = 3  # own usage / limit
    OTHERS_RATIO = 4  # the mean over the others present; 0 where there are none
    PRIORITY = 5
    OTHERS_PRIORITY = 6  # likewise


class Facts(enum.IntEnum):
    """Columns of `Observation.own` behind the history, counted from their first."""

    PRESENT = 0
    MIN_LIMIT = 1
    MAX_LIMIT = 2
    SLO = 3
    PODS_PRESENT = 4


class Demand(enum.IntEnum):
    """Columns of `TrueObservation.demand`."""

    RATE = 0  # λ of the coming step, requests a second
    WORK_MEAN = 1  # CPU-ms
    WORK_SQUARE = 2  # second moment of the work
    WORK_HELD = 3


@struct.dataclass
class Observation:
    """What each of N agents knows; the leading axis is the agent. Values are raw, and 0 of an absent pod."""

    own: Float[Array, "N F"]  # the history, oldest row first, columns `Row`; then `Facts`
    legal: Bool[Array, "N ..."]  # Box: whether it is present; choices: all, or of an absent pod "keep" alone


@struct.dataclass
class TrueObservation(Observation):
    """And what an oracle knows of each pod, which on a live cluster nobody does."""

    demand: Float[Array, "N 4"]  # columns: `Demand`


def newest(own: Float[Array, "N F"]) -> Float[Array, "N 7"]:
    """The last row of the history."""
    return own[:, -len(Facts) - len(Row) : -len(Facts)]


def histories(own: Float[Array, "N F"]) -> Float[Array, "N H 7"]:
    """The rows of the history, oldest first."""
    return own[:, : -len(Facts)].reshape(own.shape[0], -1, len(Row))


def facts(own: Float[Array, "N F"]) -> Float[Array, "N 5"]:
    """What stands behind the history; columns `Facts`."""
    return own[:, -len(Facts) :]


def row(
    limit: Float[Array, " N"],
    usage: Float[Array, " N"],
    percent: Float[Array, " N"],
    present: Bool[Array, " N"],
    params: Params,
) -> Float[Array, "N 7"]:
    """What agents see of this moment; 0 of absent pods."""
    ratio = percent / 100
    available = jnp.maximum(params.budget - jnp.sum(limit), 0.0)
    columns = [
        limit,
        usage,
        jnp.broadcast_to(available, limit.shape),
        ratio,
        _mean_of_others(ratio, present),
        params.priority,
        _mean_of_others(params.priority, present),
    ]
    return jnp.where(present[:, None], jnp.stack(columns, axis=-1), 0.0)


def _mean_of_others(each: Float[Array, " N"], present: Bool[Array, " N"]) -> Float[Array, " N"]:
    counted = jnp.where(present, each, 0.0)
    others = jnp.maximum(jnp.sum(present) - present, 1)
    return jnp.where(jnp.sum(present) > 1, (jnp.sum(counted) - counted) / others, 0.0)


def remember(
    history: Float[Array, "N H 7"],
    limit: Float[Array, " N"],
    usage: Float[Array, " N"],
    percent: Float[Array, " N"],
    present: Bool[Array, " N"],
    joined: Bool[Array, " N"],
    params: Params,
) -> Float[Array, "N H 7"]:
    """9. The history with the row of this moment, which fills that of a pod that joined, or is absent."""
    newest = row(limit, usage, percent, present, params)[:, None]
    rolled = jnp.concatenate([history[:, 1:], newest], axis=1)
    return jnp.where((joined | ~present)[:, None, None], newest, rolled)


def observe(
    history: Float[Array, "N H 7"], present: Bool[Array, " N"], params: Params, num_choices: int | None
) -> Observation:
    """What each agent knows; `num_choices` is None where its action lies in a Box."""
    known = [present, params.min_limit, params.max_limit, params.slo, jnp.broadcast_to(jnp.sum(present), present.shape)]
    behind = jnp.where(present[:, None], jnp.stack(known, axis=-1, dtype=jnp.float32), 0.0)
    own = jnp.concatenate([history.reshape(history.shape[0], -1), behind], axis=1)
    return Observation(own=own, legal=legal(present, num_choices))


def legal(present: Bool[Array, " N"], num_choices: int | None) -> Bool[Array, "N ..."]:
    """Who may act; of choices, an absent pod may only "keep"."""
    if num_choices is None:
        return present
    return present[:, None] | (jnp.arange(num_choices) == dynamics.keep_choice(num_choices))


def work_square(params: Params) -> Float[Array, " N"]:
    """The second moment of the work of a request, w̄² Γ(1 + 2θ) / Γ(1 + θ)²."""
    shape = params.work_shape
    return params.work_mean**2 * jnp.exp(gammaln(1 + 2 * shape) - 2 * gammaln(1 + shape))


def true_observation(observation: Observation, state: State, params: Params) -> TrueObservation:
    """The observation, and of each pod the demand of the coming step."""
    held = jnp.sum(state.work, axis=1)
    columns = [dynamics.rates(state, params), params.work_mean, work_square(params), held]
    demand = jnp.where(state.present[:, None], jnp.stack(columns, axis=-1), 0.0)
    return TrueObservation(own=observation.own, legal=observation.legal, demand=demand)


def _of_pods(state: State, params: Params) -> Float[Array, "N 14"]:
    """What a critic may know of each pod; 0 of absent ones."""
    columns = [
        state.present,
        state.limit,
        state.tokens,
        jnp.sum(state.work, axis=1),
        state.held,
        state.age[:, 0],
        dynamics.rates(state, params),
        params.work_mean,
        params.slo,
        params.priority,
        params.min_limit,
        params.max_limit,
        state.usage,
        state.percent / 100,
    ]
    return jnp.where(state.present[:, None], jnp.stack(columns, axis=-1, dtype=jnp.float32), 0.0)


def _of_all(state: State, params: Params) -> Float[Array, " 8"]:
    columns: list[Float[Array, ""] | Int[Array, ""]] = [
        params.budget,
        params.budget - jnp.sum(state.limit),
        params.cpu_cost,
        params.violation_cost,
        params.change_cost,
        params.step_size,
        params.interval,
        jnp.sum(state.present),
    ]
    return jnp.stack(columns, dtype=jnp.float32)


def full(state: State, params: Params) -> Float[Array, " G"]:
    """The whole cluster, pod by pod, and what they share: float32 [G] with G = 14 N + 8."""
    return jnp.concatenate([_of_pods(state, params).ravel(), _of_all(state, params)])


def summary(state: State, params: Params) -> Float[Array, " 50"]:
    """Sum, mean and greatest of what there is to know of each pod, over those present, and what they share.

    Its size does not depend on N.
    """
    pods, count = _of_pods(state, params), jnp.maximum(jnp.sum(state.present), 1)
    total = jnp.sum(pods, axis=0)
    return jnp.concatenate([total, total / count, jnp.max(pods, axis=0), _of_all(state, params)])


GLOBAL_VIEWS = {"full": full, "summary": summary}
