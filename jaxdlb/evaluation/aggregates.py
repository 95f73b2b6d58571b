"""Aggregates of scores over training seeds and tasks, with intervals by a stratified bootstrap.

The definitions are those of Agarwal et al. (2021), "Deep reinforcement learning at the edge of the statistical
precipice". A score is that of one training seed in one task, and more is better. Functions of scores take any leading
axes, those of resamples among them.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike

from jaxdlb.evaluation.statistics import CONFIDENCE, Estimate

Scores = Float[np.ndarray, "*R S T"]  # of S training seeds in T tasks
Aggregate = Callable[[Scores], Any]  # gives [*R]
RESAMPLES = 2000
_SEED = 0  # of the resamples: the same samples have the same intervals


def interquartile_mean(scores: Scores) -> Any:
    """The mean of the middle half of all S·T scores: of these, ⌊S·T/4⌋ are left out at either end.

    Of fewer than 4 scores it is the mean.
    """
    ranked = np.sort(_pooled(scores), axis=-1)
    cut = ranked.shape[-1] // 4
    return ranked[..., cut : ranked.shape[-1] - cut].mean(axis=-1)


def mean(scores: Scores) -> Any:
    """The mean of all scores."""
    return _pooled(scores).mean(axis=-1)


def median(scores: Scores) -> Any:
    """The median over tasks of the seeds' mean score; in a single task it is the mean."""
    return np.median(np.mean(scores, axis=-2), axis=-1)


def optimality_gap(scores: Scores) -> Any:
    """By how much scores fall short of 1 on average, where those above count as 1; less is better."""
    return 1 - np.minimum(_pooled(scores), 1).mean(axis=-1)


def profile(scores: Scores, levels: Float[np.ndarray, " L"]) -> Float[np.ndarray, "*R L"]:
    """The performance profile: the share of the S·T scores that are above each level."""
    pooled = _pooled(scores)
    return np.stack([(pooled > level).mean(axis=-1) for level in levels], axis=-1)


def probability_of_improvement(ours: Float[np.ndarray, "*R S T"], theirs: Float[np.ndarray, "*R K T"]) -> Any:
    """How likely a seed of ours scores more than a seed of theirs in the same task, averaged over tasks.

    Equal scores count half: in each task it is the statistic of Mann and Whitney, U/(S·K).
    """
    tasks = range(ours.shape[-1])
    return np.mean([_wins(ours[..., :, None, t], theirs[..., None, :, t]).mean(axis=(-2, -1)) for t in tasks], axis=0)


def _wins(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """1 where ours is more, 1/2 where both are equal, else 0."""
    return ((ours > theirs) + (ours >= theirs).astype(np.float32)) / 2


AGGREGATES: Mapping[str, Aggregate] = {
    "interquartile_mean": interquartile_mean,
    "median": median,
    "mean": mean,
    "optimality_gap": optimality_gap,
}


def interquartile(samples: ArrayLike) -> Estimate:
    """The interquartile mean over k training seeds of their means over the same n episodes, with its 95% interval.

    `samples` are [k, n]. Seeds and episodes are both resampled, so the interval covers which of either were drawn. All
    NaN if any sample is.
    """
    values = np.asarray(samples, np.float64)
    if np.isnan(values).any():
        return Estimate(math.nan, math.nan, math.nan)
    random = np.random.default_rng(_SEED)
    episodes = resampled_shares(random, values.shape[1], RESAMPLES)
    drawn = resampled_seeds(random, means(values, episodes))
    return interval(interquartile_mean(values.mean(axis=1)[:, None]), interquartile_mean(drawn[..., None]))


def means(samples: Float[np.ndarray, "S E"], episodes: Float[np.ndarray, "R E"]) -> Float[np.ndarray, "R S"]:
    """Each seed's mean over the episodes of each resample, which has the shares `episodes` of them."""
    return episodes @ samples.T


def resampled_shares(random: np.random.Generator, count: int, resamples: int) -> Float[np.ndarray, "R E"]:
    """The share that each of `count` episodes has in each resample, which draws as many with replacement."""
    return random.multinomial(count, np.full(count, 1 / count), size=resamples) / count


def resampled_seeds(random: np.random.Generator, scores: Float[np.ndarray, "R S"]) -> Float[np.ndarray, "R S"]:
    """In each resample the scores of as many seeds, drawn with replacement."""
    drawn: Int[np.ndarray, "R S"] = random.integers(scores.shape[1], size=scores.shape)
    return np.take_along_axis(scores, drawn, axis=1)


def interval(value: ArrayLike, resampled: Float[np.ndarray, " R"]) -> Estimate:
    """A value with the percentile interval of its resamples."""
    low, high = ends(resampled)
    return Estimate(mean=float(value), low=float(low), high=float(high))  # type: ignore[arg-type]


def ends(resampled: Float[np.ndarray, "R ..."]) -> Float[np.ndarray, "2 ..."]:
    """Both ends of the percentile interval."""
    tail = (1 - CONFIDENCE) / 2
    return np.quantile(resampled, [tail, 1 - tail], axis=0)


def _pooled(scores: Scores) -> Float[np.ndarray, "*R ST"]:
    scores = np.asarray(scores, np.float64)
    return scores.reshape(*scores.shape[:-2], -1)
