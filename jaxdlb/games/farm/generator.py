"""Parameters of farms: the reference farm, with any of its fields replaced."""

from typing import Any

import numpy as np

from jaxdlb import parameters
from jaxdlb.checks import check_type
from jaxdlb.games.farm.types import Params


def make_params(game: Any, **fields: Any) -> Params:
    """The reference farm at the size of `game`, with `fields` replaced; see `parameters.make`.

    Raises:
        ValueError: an unknown field, an entry out of range or of the wrong length, or anything else that `validate`
            refuses.
    """
    params = parameters.make(Params, game, fields)
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
