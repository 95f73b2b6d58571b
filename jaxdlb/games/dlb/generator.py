"""Parameters of clusters: the reference cluster, with any of its fields replaced."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxdlb import parameters
from jaxdlb.checks import NON_NEGATIVE, check_type
from jaxdlb.games.dlb.types import Params
from jaxdlb.parameters import Shorthand

FRESH_NEWS = {"heartbeat_period": 1, "heartbeat_delay": 0, "heartbeat_loss": 0}  # fields with which no news is stale


def with_load(params: Params, load: Float[Array, ""]) -> Params:
    """p_i = load · mean(q) at every node, at most 1, as if a dispatcher spread tasks evenly over uneven nodes."""
    arrival_prob = jnp.minimum(load * jnp.mean(params.completion_prob), 1.0)
    return dataclasses.replace(params, arrival_prob=jnp.full_like(params.completion_prob, arrival_prob))


def with_fresh_news(params: Params) -> Params:
    """The same cluster, where every node that is up sends a heartbeat in every round, which all hear at once."""
    stale = {name: getattr(params, name) for name in FRESH_NEWS}
    fresh: Any = {name: np.full(jnp.shape(each), FRESH_NEWS[name], each.dtype) for name, each in stale.items()}
    return dataclasses.replace(params, **fresh)


SHORTHANDS = {
    "load": Shorthand(
        allowed=NON_NEGATIVE,
        default=0.9,
        sets=("arrival_prob",),
        apply=with_load,
        bound=lambda params: 1 / float(jnp.mean(params.completion_prob)),  # beyond this, some p would exceed 1
        meaning="offered load: p_i = load · mean(q) at every node",
    )
}


def make_params(game: Any, **fields: Any) -> Params:
    """The reference cluster at the sizes of `game`, with `fields` replaced; see `parameters.make`.

    Give `load` or `arrival_prob`, not both; if neither is given, the load is 0.9.

    Raises:
        ValueError: an unknown field, an entry out of range or of the wrong length, a `load` that implies arrival
            probabilities above 1, or anything else that `validate` refuses.
    """
    params = parameters.make(Params, game, fields, SHORTHANDS)
    validate(params, game)
    return params


def validate(params: Params, game: Any) -> None:
    """Check every field of one cluster's `params`; raises ValueError with the field, the entry and the range."""
    check_type("params", params, Params, "the Params of dlb")
    parameters.check(params, game)
    if game.heartbeats == "shared" and float(params.heartbeat_loss) > 0:
        raise ValueError(
            f"heartbeat_loss is {float(params.heartbeat_loss):g}; it must be 0 with heartbeats=shared, "
            "where all receivers hear the same heartbeats (use heartbeats=per_link)"
        )
