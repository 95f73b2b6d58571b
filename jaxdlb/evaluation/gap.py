"""How much of what there is to gain policies gain: the share of the gap between a baseline and the optimum."""

import math
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from jaxdlb.evaluation.aggregates import RESAMPLES, interval, means, resampled_seeds, resampled_shares
from jaxdlb.evaluation.results import Gap
from jaxdlb.evaluation.rollouts import Samples
from jaxdlb.evaluation.seeds import Seeds
from jaxdlb.evaluation.statistics import Estimate

_SEED = 0  # of the resamples: the same samples have the same intervals
_LEAST = 1e-6  # of the utilities: a smaller gap is rounding
_DIGITS = 9  # of percent: what is closed in full is 100, without an interval of rounding
_UNKNOWN = Estimate(math.nan, math.nan, math.nan)


def gap(samples: Mapping[str, Samples], kinds: Mapping[str, str], seeds: Seeds, baseline: str | None) -> Gap | None:
    """The share of the gap that every policy and every row over training seeds closes, from the `samples` of policies.

    The gap is that from the policy named `baseline` to the best of the kind `optimal`; None where either is missing.
    """
    optima = [name for name in samples if kinds[name] == "optimal"]
    if baseline is None or baseline not in samples or not optima:
        return None
    utilities = {name: each["utility"] for name, each in samples.items()}
    best = max(optima, key=lambda name: float(np.mean(utilities[name])))
    rows = {name: [name] for name in samples} | {row: list(members) for row, members in seeds.items()}
    shares = {
        row: closed(np.stack([utilities[each] for each in members]), utilities[baseline], utilities[best])
        for row, members in rows.items()
    }
    return Gap(baseline=baseline, optimum=best, closed=shares)


def closed(
    ours: Float[np.ndarray, "S E"], baseline: Float[np.ndarray, " E"], optimum: Float[np.ndarray, " E"]
) -> Estimate:
    """100 · (u − u_baseline) / (u_optimum − u_baseline), of means over S training seeds and the same E episodes.

    The interval is a bootstrap's, as `aggregates.interquartile` has it: of episodes, all utilities of one together, and
    of seeds where there are several. All NaN where a sample is NaN, or where in some resample there is no gap to close.
    """
    every = np.concatenate([ours, baseline[None], optimum[None]])
    if np.isnan(every).any():
        return _UNKNOWN
    random = np.random.default_rng(_SEED)
    episodes = resampled_shares(random, every.shape[1], RESAMPLES)
    low, high = means(every[-2:], episodes).T
    if np.min(high - low) <= _LEAST * np.max(np.abs(every[-2:])):
        return _UNKNOWN
    drawn = np.mean(resampled_seeds(random, means(ours, episodes)), axis=1)
    share = np.mean(ours - baseline) / np.mean(optimum - baseline)
    shares = 100 * (drawn - low) / (high - low)
    return interval(round(100 * share, _DIGITS), np.round(shares, _DIGITS))
