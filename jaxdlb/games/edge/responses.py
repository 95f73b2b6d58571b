"""Response times as a distribution on a logarithmic grid, 3% wide."""

import math

import numpy as np
from jaxtyping import Float

LEAST, MOST, NUM_TIMES = 1e-4, 1e3, 512  # seconds
TIMES = np.geomspace(LEAST, MOST, NUM_TIMES)  # float64 [NUM_TIMES]


def percentile(took_at_most: Float[np.ndarray, " 512"], total: float, percent: float) -> float:
    """The time (s) within which `percent`% of `total` requests were served, of which so many took at most `TIMES`.

    It is linear in the logarithm of the time within a cell; `LEAST` if it is shorter, infinite if it is longer than
    `MOST`, and NaN if there were no requests.
    """
    if not total > 0:
        return math.nan
    wanted = percent / 100 * total
    place = int(np.searchsorted(took_at_most, wanted))
    if place in (0, NUM_TIMES):
        return LEAST if place == 0 else math.inf
    below, above = took_at_most[place - 1 : place + 1]
    share = (wanted - below) / (above - below)
    return float(TIMES[place - 1] ** (1 - share) * TIMES[place] ** share)
