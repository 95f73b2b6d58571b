"""Parameters of farms: the reference farm, with any of its fields replaced."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from jaxdlb import parameters
from jaxdlb.checks import LARGEST_INT, SPEED, Interval, check_type
from jaxdlb.games.farm.types import TIME, Params
from jaxdlb.parameters import Shorthand

_OF_WORKERS = ("latency", "speed", "failure_rate", "rejoin_rate", "join_time")
_MOST_ORDERS = 2**24 - 1  # which float32 tells apart
_NO_SPEED = 2 * SPEED.low  # of a worker that never joins


def with_workers(params: Params, workers: Any) -> Params:
    """The first so many workers alone: the others never join, and their speeds count for nothing.

    So farms of any number of workers, up to the size of the game, are played in one program.
    """
    is_one = jnp.arange(params.speed.shape[0]) < jnp.floor(jnp.asarray(workers))
    return dataclasses.replace(
        params,
        join_time=jnp.where(is_one, 0.0, TIME.high).astype(jnp.float32),
        speed=jnp.where(is_one, params.speed, _NO_SPEED).astype(jnp.float32),
        failure_rate=jnp.where(is_one, params.failure_rate, 0.0),
        rejoin_rate=jnp.where(is_one, params.rejoin_rate, 0.0),
    )


def _draw_workers(key: PRNGKeyArray, params: Params, low: float, high: float) -> Params:
    """Of any order of magnitude between `low` and `high`, both included."""
    drawn = jnp.exp(jax.random.uniform(key, minval=np.log(low), maxval=np.log(high + 1)))
    return with_workers(params, jnp.minimum(drawn, high))


def with_order(params: Params, order: Any) -> Params:
    """The workers shuffled, by one of as many orders as there are numbers.

    Requests at the start are served by index, so that a worker can tell from its wait which one it is. Policies that
    are trained on a farm with uneven workers in one order learn that order by heart.
    """
    places = jax.random.permutation(jax.random.key(jnp.asarray(order).astype(jnp.uint32)), params.speed.shape[0])
    return dataclasses.replace(params, **{name: getattr(params, name)[places] for name in _OF_WORKERS})


def _draw_order(key: PRNGKeyArray, params: Params, low: float, high: float) -> Params:
    return with_order(params, jax.random.randint(key, (), int(low), int(high) + 1))


SHORTHANDS = {
    "order": Shorthand(
        allowed=Interval(0, _MOST_ORDERS, integer=True),
        default=0,
        sets=(),
        apply=with_order,
        draw=_draw_order,
        optional=True,
        meaning="the number of an order in which the workers stand, with all that is theirs",
    ),
    "workers": Shorthand(
        allowed=Interval(1, LARGEST_INT, integer=True),
        default=1,
        sets=("join_time",),
        apply=with_workers,
        draw=_draw_workers,
        optional=True,
        bound=lambda params: params.speed.shape[0],
        meaning="the first so many workers alone; the others never join, and their speeds count for nothing",
    ),
}


def make_params(game: Any, **fields: Any) -> Params:
    """The reference farm at the size of `game`, with `fields` replaced; see `parameters.make`.

    Raises:
        ValueError: an unknown field, an entry out of range or of the wrong length, or anything else that `validate`
            refuses.
    """
    params = parameters.make(Params, game, fields, SHORTHANDS)
    validate(params, game)
    return params


def validate(params: Params, game: Any) -> None:
    """Check every field of one farm's `params`; raises ValueError with the field, the entry and the range."""
    check_type("params", params, Params, "the Params of farm")
    parameters.check(params, game)
    fails, joins = np.asarray(params.failure_rate), np.asarray(params.rejoin_rate)
    if np.all((fails > 0) & (joins == 0)):
        raise ValueError(
            "failure_rate is positive and rejoin_rate 0 for every worker; at least one must have failure_rate 0 or "
            "rejoin_rate above 0, else a job may never end"
        )
