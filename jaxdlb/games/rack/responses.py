"""Response times as a histogram on a logarithmic grid, fine enough for percentiles within 1%."""

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

LEAST, MOST = 1e-4, 1e6  # ms; what lies beyond counts as the first or last bin
NUM_BINS = 1152
_PER_UNIT = NUM_BINS / math.log(MOST / LEAST)  # bins per unit of the logarithm: neighbours differ by 2%
_ROUNDING = 1e-12  # 99.9 / 100 · 1000 is above 999
EDGES = np.exp(np.arange(NUM_BINS + 1) / _PER_UNIT) * LEAST  # float64 [NUM_BINS + 1], ms


def none() -> Int[Array, " B"]:
    """A histogram of nothing."""
    return jnp.zeros(NUM_BINS, jnp.int32)


def count(histogram: Int[Array, " B"], response: Float[Array, "*S"], counts: Bool[Array, "*S"]) -> Int[Array, " B"]:
    """`histogram` with those response times (ms) that count."""
    place = jnp.floor(jnp.log(jnp.maximum(response, LEAST) / LEAST) * _PER_UNIT).astype(jnp.int32)
    place = jnp.where(counts, jnp.minimum(place, NUM_BINS - 1), NUM_BINS)
    return histogram.at[place.ravel()].add(1, mode="drop")


def percentile(histogram: np.ndarray, percent: float) -> float:
    """The response time (ms) that `percent`% of those in the histogram do not exceed; NaN if it is empty.

    Wherever in its bin that response time is, the harmonic mean of the bin's edges is within 1% of it.
    """
    up_to = np.cumsum(np.asarray(histogram, np.float64))
    if up_to[-1] == 0:
        return math.nan
    place = int(np.searchsorted(up_to, percent / 100 * up_to[-1] * (1 - _ROUNDING)))
    return float(2 / (1 / EDGES[place] + 1 / EDGES[place + 1]))
