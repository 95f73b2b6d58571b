"""What a step is worth to each pod: its cost, or one of the rewards of MARLISE (arXiv 2507.07671)."""

import dataclasses
from collections.abc import Callable, Mapping

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from jaxdlb.games.pods.types import Params

_SLOWEST = 2.0  # seconds: responses beyond count as this in the rewards of MARLISE


@struct.dataclass
class Step:
    """What rewards are made of."""

    present: Bool[Array, " N"]
    limit: Float[Array, " N"]  # x′, mc
    change: Float[Array, " N"]  # |x′ − x|, mc
    violations: Int[Array, " N"]
    percent: Float[Array, " N"]
    percent_before: Float[Array, " N"]  # of the step before
    response: Float[Array, " N"]  # mean of those complete, else age of the oldest held, else 0; s


def _cost(step: Step, params: Params) -> tuple[Float[Array, " N"], Float[Array, ""]]:
    """(1 − κ) u + κ u_i, u_i = −(w_c · x′_i/1000 · Δ + w_v · ϖ_i · violations_i + w_r · |x′_i − x_i|/1000); and u."""
    cores = params.cpu_cost * params.interval * step.limit / 1000 + params.change_cost * step.change / 1000
    own = jnp.where(step.present, -cores - params.violation_cost * params.priority * step.violations, 0.0)
    utility = _mean(own, step.present)
    return (1 - params.selfishness) * utility + params.selfishness * own, utility


def _mean(each: Float[Array, " N"], present: Bool[Array, " N"]) -> Float[Array, ""]:
    return jnp.sum(jnp.where(present, each, 0.0)) / jnp.maximum(jnp.sum(present), 1)


def _not_idle(step: Step, params: Params) -> Float[Array, " N"]:
    return jnp.where(step.percent <= params.lower_usage, -1.0, 0.0)


def _rising(step: Step, params: Params) -> Float[Array, " N"]:
    """Below the band, what usage rose by."""
    rise = jnp.clip((step.percent - step.percent_before) / 10, -1, 1)
    return jnp.where(step.percent < params.lower_usage, rise, 0.0)


def _in_band(step: Step, params: Params) -> Float[Array, " N"]:
    """More for a higher usage within the band; below it, what usage rose by."""
    is_within = (step.percent >= params.lower_usage) & (step.percent <= params.upper_usage)
    within = 1 + step.percent / (params.upper_usage - params.lower_usage)
    return jnp.where(is_within, within, _rising(step, params))


def _weighted(step: Step, params: Params) -> Float[Array, ""]:
    return 1 - params.response_weight * (_total((1 + params.priority) * step.response, step.present) - 0.01)


def _total(each: Float[Array, " N"], present: Bool[Array, " N"]) -> Float[Array, ""]:
    return jnp.sum(jnp.where(present, each, 0.0))


def _one_less_mean(step: Step, params: Params) -> Float[Array, ""]:
    return 1 - 10 * _mean(step.response, step.present)


def _minus_mean(step: Step, params: Params) -> Float[Array, ""]:
    return -10 * _mean(step.response, step.present)


def _marlise(
    own: Callable[[Step, Params], Float[Array, " N"]], shared: Callable[[Step, Params], Float[Array, ""]]
) -> Callable[[Step, Params], tuple[Float[Array, " N"], Float[Array, ""]]]:
    """Half the own part, which absent pods have none of, plus what all share; and the mean over pods present."""

    def reward(step: Step, params: Params) -> tuple[Float[Array, " N"], Float[Array, ""]]:
        capped = dataclasses.replace(step, response=jnp.minimum(step.response, _SLOWEST))
        each = jnp.where(step.present, own(capped, params) / 2, 0.0) + shared(capped, params)
        return each, _mean(each, step.present)

    return reward


REWARDS: Mapping[str, Callable[[Step, Params], tuple[Float[Array, " N"], Float[Array, ""]]]] = {
    "cost": _cost,
    "marlise_1": _marlise(_not_idle, _weighted),
    "marlise_2": _marlise(_in_band, _weighted),
    "marlise_3": _marlise(_in_band, _one_less_mean),
    "marlise_4": _marlise(_rising, _minus_mean),
    "marlise_5": _marlise(_rising, _one_less_mean),
}
