"""Means of independent episodes with 95% confidence intervals."""

import dataclasses
import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import special  # type: ignore[import-untyped]

from jaxdlb.checks import as_numbers

CONFIDENCE = 0.95


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A mean and the ends of its confidence interval; all NaN if there is nothing to average."""

    mean: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        return (self.high - self.low) / 2


def t_quantile(degrees_of_freedom: int, confidence: float = CONFIDENCE) -> float:
    """How many standard errors a two-sided interval by Student's t distribution extends to either side."""
    return float(special.stdtrit(degrees_of_freedom, (1 + confidence) / 2))


def estimate(samples: ArrayLike) -> Estimate:
    """The mean of independent `samples` [n] with its 95% t-interval; all NaN if any sample is NaN.

    Raises:
        ValueError: `samples` is not a list of at least 2 numbers.
    """
    values = as_numbers("samples", samples)
    if values.ndim != 1 or values.size < 2:
        raise ValueError(f"samples has shape {values.shape}; an interval needs a list of at least 2 samples")
    mean = float(np.mean(values))
    half_width = t_quantile(values.size - 1) * float(np.std(values, ddof=1)) / math.sqrt(values.size)
    return Estimate(mean=mean, low=mean - half_width, high=mean + half_width)


def crossed(samples: ArrayLike) -> Estimate:
    """The mean of `samples` [k, n], of k drawn training seeds in the same n drawn episodes.

    The half width is √(a² + b²), where a is that of the seeds' means and b that of the episodes' means, each by
    `estimate`. In the model of two crossed random effects, the variance of the mean is σ_s²/k + σ_e²/n + σ_se²/(kn);
    a² and b² estimate one of the first two terms and the last, which is counted twice, so the interval is somewhat too
    wide (most of all with two seeds). All NaN if any sample is NaN.

    Raises:
        ValueError: `samples` is not a table of at least 2 by 2 numbers.
    """
    values = as_numbers("samples", samples)
    if values.ndim != 2:
        raise ValueError(f"samples has shape {values.shape}; it must have an axis of seeds and one of episodes")
    of_seeds, of_episodes = estimate(values.mean(axis=1)), estimate(values.mean(axis=0))
    mean, half_width = of_seeds.mean, math.hypot(of_seeds.half_width, of_episodes.half_width)
    return Estimate(mean=mean, low=mean - half_width, high=mean + half_width)


def paired_difference(a: ArrayLike, b: ArrayLike) -> Estimate:
    """The mean of a − b with its 95% t-interval, where `a[k]` and `b[k]` come from the same episode.

    Common random numbers make the differences vary less than `a` and `b` do.

    Raises:
        ValueError: the shapes differ, or are not those of a list of at least 2 numbers.
    """
    if np.shape(a) != np.shape(b):
        raise ValueError(f"a has shape {np.shape(a)} and b {np.shape(b)}; paired samples need equal shapes")
    return estimate(as_numbers("a", a) - as_numbers("b", b))
