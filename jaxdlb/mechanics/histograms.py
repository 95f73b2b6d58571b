"""Histograms on a logarithmic grid, fine enough that percentiles are within 1%."""

import dataclasses
import functools
import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

_ROUNDING = 1e-12  # 99.9 / 100 · 1000 is above 999


@dataclasses.dataclass(frozen=True)
class Bins:
    """`num` bins from `least` on, each so many times as wide as it is far from 0; the first and the last are open."""

    least: float
    num: int
    growth: float  # of one edge over the one before; at most 1.02 for percentiles within 1%

    @functools.cached_property
    def edges(self) -> Float[np.ndarray, " E"]:
        """The ends of all bins, as if the first and the last were closed: float64."""
        return self.least * np.exp(np.arange(self.num + 1) * math.log(self.growth))

    def none(self) -> Int[Array, " B"]:
        """A histogram of nothing."""
        return jnp.zeros(self.num, jnp.int32)

    def count(
        self, histogram: Int[Array, " B"], values: Float[Array, "*S"], counts: Bool[Array, "*S"]
    ) -> Int[Array, " B"]:
        """`histogram` with those values that count."""
        per_unit = 1 / math.log(self.growth)
        place = jnp.floor(jnp.log(jnp.maximum(values, self.least) / self.least) * per_unit).astype(jnp.int32)
        place = jnp.where(counts, jnp.minimum(place, self.num - 1), self.num)
        return histogram.at[place.ravel()].add(1, mode="drop")

    def percentile(self, histogram: np.ndarray, percent: float) -> float:
        """The value that `percent`% of those in the histogram do not exceed; NaN if it is empty.

        Wherever in its bin that value is, the harmonic mean of the bin's edges is within 1% of it.
        """
        up_to = np.cumsum(np.asarray(histogram, np.float64))
        if up_to[-1] == 0:
            return math.nan
        place = int(np.searchsorted(up_to, percent / 100 * up_to[-1] * (1 - _ROUNDING)))
        return float(2 / (1 / self.edges[place] + 1 / self.edges[place + 1]))
