"""Intervals: Student's t against another implementation, coverage, pairing."""

import math

import numpy as np
import pytest
from scipy import stats

from jaxdlb.evaluation.statistics import Estimate, estimate, paired_difference, t_quantile


@pytest.mark.parametrize("degrees", [1, 2, 5, 30, 255, 10_000])
def test_the_quantile_is_student_s(degrees):
    assert t_quantile(degrees) == pytest.approx(stats.t.ppf(0.975, degrees), rel=1e-9)


def test_the_interval_is_that_of_another_implementation():
    samples = np.random.default_rng(1).normal(3.0, 2.0, 17)
    low, high = stats.t.interval(0.95, 16, loc=samples.mean(), scale=stats.sem(samples))
    ours = estimate(samples)
    assert (ours.mean, ours.low, ours.high) == pytest.approx((samples.mean(), low, high))
    assert ours.half_width == pytest.approx((high - low) / 2)


def test_intervals_of_few_samples_hold_the_true_mean_in_95_percent_of_cases():
    samples = np.random.default_rng(2).normal(-7.0, 3.0, (4000, 5))
    held = np.mean([each.low <= -7.0 <= each.high for each in map(estimate, samples)])
    # Four standard errors of a frequency over 4,000 cases are 1.4%; 1.96 in place of Student's quantile gives 87.8%.
    assert abs(held - 0.95) < 0.014


def test_paired_differences_know_that_episodes_are_shared():
    rng = np.random.default_rng(3)
    episode = rng.normal(0, 100, 50)
    a, b = episode + rng.normal(1.0, 0.1, 50), episode + rng.normal(0.0, 0.1, 50)
    difference = paired_difference(a, b)
    reference = stats.ttest_rel(a, b).confidence_interval(0.95)
    assert (difference.low, difference.high) == pytest.approx((reference.low, reference.high))
    assert 0.9 < difference.low < difference.mean < difference.high < 1.1
    assert paired_difference(a, a) == Estimate(0.0, 0.0, 0.0)


def test_nothing_to_average_stays_nothing():
    assert all(math.isnan(x) for x in (estimate([1.0, math.nan]).mean, estimate([1.0, math.nan]).low))


@pytest.mark.parametrize("samples", [[], [1.0], 3.0, [[1.0, 2.0], [3.0, 4.0]]])
def test_too_few_or_shapeless_samples_are_refused(samples):
    with pytest.raises(ValueError, match="an interval needs a list of at least 2 samples"):
        estimate(samples)


def test_unequal_shapes_have_no_pairs():
    with pytest.raises(ValueError, match=r"a has shape \(3,\) and b \(2,\); paired samples need equal shapes"):
        paired_difference([1, 2, 3], [1, 2])
