"""Parameters of pods: the reference cluster, with any of its fields replaced."""

import dataclasses
import math
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxdlb import parameters
from jaxdlb.checks import Interval, check_type
from jaxdlb.games.pods.types import Params
from jaxdlb.parameters import Shorthand

_ROUNDING = 1e-6  # relative, of sums in float32
_PRIORITIES = (1.0, 0.5, 0.1)  # of classes


def with_classes(params: Params, classes: Any) -> Params:
    """Pods of so many classes of priority, by turns: 1, 0.5 and 0.1."""
    place = jnp.arange(params.priority.shape[0]) % jnp.asarray(classes, jnp.int32)
    return dataclasses.replace(params, priority=jnp.asarray(_PRIORITIES)[place])


SHORTHANDS = {
    "classes": Shorthand(
        allowed=Interval(1, len(_PRIORITIES), integer=True),
        default=1,
        sets=("priority",),
        apply=with_classes,
        optional=True,
        meaning="so many classes of priority, which pods have by turns: 1, 0.5 and 0.1",
    ),
}


def make_params(game: Any, **fields: Any) -> Params:
    """The reference cluster at the sizes of `game`, with `fields` replaced; see `parameters.make`.

    Raises:
        ValueError: an unknown field, an entry out of range or of the wrong length, or anything else that `validate`
            refuses.
    """
    params = parameters.make(Params, game, fields, SHORTHANDS)
    validate(params, game)
    return params


def validate(params: Params, game: Any) -> None:
    """Check every field of one cluster's `params`; raises ValueError with the field, the entry and the range."""
    check_type("params", params, Params, "the Params of pods")
    parameters.check(params, game)
    with parameters.prefixed("demand"):
        params.demand.validate(game.num_pods)
    _check_limits(params)
    _check_band(params)
    _check_schedule(params)
    _check_arrivals(params, game)


def _check_limits(params: Params) -> None:
    least, most, initial = (np.asarray(each) for each in (params.min_limit, params.max_limit, params.initial_limit))
    for i in np.flatnonzero(least > most)[:1]:
        raise ValueError(f"min_limit[{i}] is {least[i]:g}; it must be at most max_limit[{i}], which is {most[i]:g}")
    for i in np.flatnonzero((initial < least) | (initial > most))[:1]:
        raise ValueError(
            f"initial_limit[{i}] is {initial[i]:g}; it must be between min_limit[{i}] and max_limit[{i}], "
            f"which are {least[i]:g} and {most[i]:g}"
        )
    budget, total = float(params.budget), float(np.sum(least, dtype=np.float64))
    if budget < total * (1 - _ROUNDING):
        raise ValueError(f"budget is {budget:g}; it must be at least the sum of min_limit, which is {total:g}")


def _check_band(params: Params) -> None:
    lower, upper = float(params.lower_usage), float(params.upper_usage)
    if lower >= upper:
        raise ValueError(f"lower_usage is {lower:g}; it must be below upper_usage, which is {upper:g}")


def _check_schedule(params: Params) -> None:
    joins, leaves = np.asarray(params.joins_at), np.asarray(params.leaves_at)
    for i in np.flatnonzero(joins >= leaves)[:1]:
        raise ValueError(f"joins_at[{i}] is {joins[i]}; it must be below leaves_at[{i}], which is {leaves[i]}")


def _check_arrivals(params: Params, game: Any) -> None:
    """Raise ValueError where more requests come in the mean, at the peak of demand, than the game has room for."""
    peak = float(params.demand.peak(game.num_pods))
    expected = np.asarray(params.rate, np.float64) * float(params.interval) * peak
    for i in np.flatnonzero(expected > game.max_arrivals * (1 + _ROUNDING))[:1]:
        most = game.max_arrivals / (float(params.interval) * peak)
        raise ValueError(
            f"rate[{i}] is {float(params.rate[i]):g}; it must be at most {most:g} with max_arrivals "
            f"{game.max_arrivals}, since up to {expected[i]:g} requests come in a step: max_arrivals "
            f"{math.ceil(expected[i])} would do"
        )
