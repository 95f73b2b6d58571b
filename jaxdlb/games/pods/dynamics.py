"""The stages of a step of the pods but for rewards and views; each is a pure function on arrays."""

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxdlb.games.pods import server
from jaxdlb.games.pods.types import Action, Params, State
from jaxdlb.mechanics import chance
from jaxdlb.mechanics.batches import in_one_row
from jaxdlb.mechanics.churn import churn

_DEMAND, _CHURN = range(2)  # folded into a step's key
_LEAST = 1e-15  # mc; its square too is a number, as derivatives need


def factors(num_choices: int) -> Float[Array, " n"]:
    """f_k = −1 + 2k / (n − 1), evenly from −1 to 1 and exactly 0 in the middle."""
    half = num_choices // 2
    return jnp.arange(-half, half + 1) / half


def keep_choice(num_choices: int) -> int:
    """The choice that keeps a limit as it is."""
    return num_choices // 2


def _delta(action: Float[Array, "N 1"], limit: Float[Array, " N"], params: Params, num_choices: int) -> Array:
    return limit + params.step_size * jnp.clip(action[:, 0], -1, 1)


def _instant(action: Float[Array, "N 1"], limit: Float[Array, " N"], params: Params, num_choices: int) -> Array:
    return jnp.clip(action[:, 0], 0, 1) * params.max_limit


def _discrete(action: Int[Array, " N"], limit: Float[Array, " N"], params: Params, num_choices: int) -> Array:
    return limit + factors(num_choices)[action] * params.step_size


def _levels(action: Int[Array, " N"], limit: Float[Array, " N"], params: Params, num_choices: int) -> Array:
    return jnp.where(action == keep_choice(num_choices), limit, factors(num_choices)[action] * params.max_limit)


ACTIONS: Mapping[str, Callable[..., Float[Array, " N"]]] = {
    "delta": _delta,
    "instant": _instant,
    "discrete": _discrete,
    "levels": _levels,
}


def ask(
    kind: str,
    action: Action,
    limit: Float[Array, " N"],
    present: Bool[Array, " N"],
    params: Params,
    num_choices: int,
) -> Float[Array, " N"]:
    """1. The limits that pods desire, within their bounds; what no space contains is played as "keep"."""
    if action.ndim == 1:
        playable = (action >= 0) & (action < num_choices)
        action = jnp.where(playable, action, keep_choice(num_choices))
    else:
        playable = jnp.isfinite(action[:, 0])
        action = jnp.where(playable[:, None], action, 0.0)
    desired = jnp.clip(ACTIONS[kind](action, limit, params, num_choices), params.min_limit, params.max_limit)
    return jnp.where(playable & present, desired, limit)


def _proportional(
    asked: Float[Array, " N"], free: Float[Array, ""], step: Int[Array, ""], params: Params
) -> Float[Array, " N"]:
    return asked * (free / jnp.maximum(jnp.sum(asked), _LEAST))


def _by_priority(
    asked: Float[Array, " N"], free: Float[Array, ""], step: Int[Array, ""], params: Params
) -> Float[Array, " N"]:
    order = _cyclic_order(step, asked.shape[0])
    return _in_order(asked, free, order[jnp.argsort(-params.priority[order], stable=True)])


def _cyclic(
    asked: Float[Array, " N"], free: Float[Array, ""], step: Int[Array, ""], params: Params
) -> Float[Array, " N"]:
    return _in_order(asked, free, _cyclic_order(step, asked.shape[0]))


def _cyclic_order(step: Int[Array, ""], num_pods: int) -> Int[Array, " N"]:
    """All pods by index, the first of them another one in every step."""
    return (jnp.arange(num_pods) + step % num_pods) % num_pods


def _in_order(asked: Float[Array, " N"], free: Float[Array, ""], order: Int[Array, " N"]) -> Float[Array, " N"]:
    """To each in that order what it asks for, or what is left."""
    in_order = jnp.minimum(asked[order], free)  # beside numbers far above the budget, its digits would be lost
    before = jnp.cumsum(in_order) - in_order
    return jnp.zeros_like(asked).at[order].set(jnp.clip(free - before, 0.0, in_order))


SHARINGS: Mapping[str, Callable[..., Float[Array, " N"]]] = {
    "proportional": _proportional,
    "priority": _by_priority,
    "cyclic": _cyclic,
}


def grant(
    sharing: str,
    desired: Float[Array, " N"],
    limit: Float[Array, " N"],
    step: Int[Array, ""],
    params: Params,
) -> tuple[Float[Array, " N"], Float[Array, ""]]:
    """2. The limits that pods get, and how much was denied: lowerings first, raises out of what is then free."""
    lowered, asked = jnp.minimum(limit, desired), jnp.maximum(desired - limit, 0.0)
    free = jnp.maximum(params.budget - jnp.sum(lowered), 0.0)
    is_enough = jnp.sum(asked) <= free
    granted = jnp.where(is_enough, asked, SHARINGS[sharing](asked, free, step, params))
    return lowered + granted, jnp.sum(asked - granted)


def rates(state: State, params: Params) -> Float[Array, " N"]:
    """λ: the requests a second that come to each pod in the coming step, 0 of those absent."""
    wanted = params.demand.factor(state.demand, state.step) * params.rate - params.feedback * state.held
    return jnp.where(state.present, jnp.maximum(wanted, 0.0), 0.0)


def serve(
    key: PRNGKeyArray, state: State, limit: Float[Array, " N"], params: Params, max_arrivals: int
) -> server.Outcome:
    """3 to 6. What comes, is served, kept or dropped, and violates; see `server.play`."""
    num_pods = limit.shape[0]

    def each(number: Array) -> Array:
        return jnp.broadcast_to(number, (num_pods,))

    pods = server.Pods(
        rate=rates(state, params),
        work_mean=params.work_mean,
        work_shape=params.work_shape,
        limit=limit,
        max_usage=params.max_usage,
        burst=each(params.burst),
        tokens=state.tokens,
        slo=params.slo,
        interval=each(params.interval),
        held=state.held,
        age=state.age.T,
        work=state.work.T,
    )
    first, second = chance.key_words(key)
    index = jnp.arange(num_pods)
    return in_one_row(
        lambda first, second, index, pods: server.play((first, second), index, pods, max_arrivals),
        each(first),
        each(second),
        index,
        pods,
    )


def is_scheduled(step: Int[Array, ""], params: Params) -> Bool[Array, " N"]:
    """Which pods are to be there in a step, as far as they run."""
    return (params.joins_at <= step) & (step < params.leaves_at)


def stay(
    key: PRNGKeyArray, running: Bool[Array, " N"], step: Int[Array, ""], params: Params
) -> tuple[Bool[Array, " N"], Bool[Array, " N"]]:
    """8. Which pods run, and which of them are present, in the coming `step`."""
    (number,) = chance.uniforms(chance.fold_in(key, _CHURN), 1, running.shape[0])
    running = churn(number, running, params.leave_prob, params.join_prob)
    return running, running & is_scheduled(step, params)


def fit(limit: Float[Array, " N"], present: Bool[Array, " N"], params: Params) -> Float[Array, " N"]:
    """Limits whose sum is within the budget: what exceeds it is given up in proportion to what is above the least.

    Those of absent pods are 0. Since the budget covers the least of all, no pod falls below its own. What is left to
    each is computed, not what is taken, which may be many times the budget and then has not all of its digits.
    """
    limit, least = (jnp.where(present, each, 0.0) for each in (limit, params.min_limit))
    above = jnp.maximum(limit - least, 0.0)
    left = jnp.maximum(params.budget - jnp.sum(least), 0.0) / jnp.maximum(jnp.sum(above), _LEAST)
    return jnp.where(jnp.sum(limit) > params.budget, least + above * left, limit)


def start_demand(key: PRNGKeyArray, num_pods: int, params: Params) -> Any:
    """The state of the law of demand at reset."""
    return params.demand.start(chance.fold_in(key, _DEMAND), num_pods)


def advance_demand(key: PRNGKeyArray, state: State, step: Int[Array, ""], params: Params) -> Any:
    """Its state in the coming `step`."""
    return params.demand.advance(chance.fold_in(key, _DEMAND), state.demand, step)
