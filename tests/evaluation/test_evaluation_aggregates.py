"""Aggregates over seeds and tasks: by hand, against scipy, and how often their intervals hold what they should."""

import numpy as np
import pytest
from scipy import stats

from jaxdlb.evaluation.aggregates import (
    interquartile,
    interquartile_mean,
    mean,
    median,
    optimality_gap,
    probability_of_improvement,
    profile,
)

# Four seeds in two tasks; what is expected of them below is worked out on paper.
SCORES = np.array([[0.0, 1.0], [0.2, 1.2], [0.4, 1.4], [1.0, 8.0]])


def test_the_aggregates_of_a_small_table_are_those_worked_out_by_hand():
    assert interquartile_mean(SCORES) == pytest.approx((0.4 + 1.0 + 1.0 + 1.2) / 4)  # of 8, 2 are left out at each end
    assert mean(SCORES) == pytest.approx(13.2 / 8)
    assert median(SCORES) == pytest.approx((0.4 + 2.9) / 2)  # between the means of the two tasks
    assert optimality_gap(SCORES) == pytest.approx((1.0 + 0.8 + 0.6) / 8)
    assert profile(SCORES, np.array([-1.0, 0.0, 0.3, 1.0, 9.0])) == pytest.approx([1.0, 7 / 8, 6 / 8, 3 / 8, 0.0])


def test_the_probability_of_improvement_of_a_small_table_is_that_worked_out_by_hand():
    ours, theirs = np.array([[1.0, 5.0], [2.0, 5.0]]), np.array([[1.0, 4.0], [3.0, 6.0], [0.0, 5.0]])
    # first task: 1 is above 0 and equals 1, 2 is above 1 and 0; second: 5 is above 4 and equals 5, twice
    assert probability_of_improvement(ours, theirs) == pytest.approx(((1.5 + 2) / 6 + (1.5 + 1.5) / 6) / 2)
    assert probability_of_improvement(ours, theirs) + probability_of_improvement(theirs, ours) == pytest.approx(1)


@pytest.mark.parametrize("shape", [(1, 1), (2, 1), (3, 1), (5, 1), (4, 3), (7, 5), (10, 26)])
def test_the_interquartile_mean_is_scipy_s_trimmed_mean(shape):
    scores = np.random.default_rng(0).standard_t(2, size=(6, *shape))
    assert interquartile_mean(scores) == pytest.approx([stats.trim_mean(each, 0.25, axis=None) for each in scores])


def test_the_probability_of_improvement_is_mann_and_whitney_s_statistic_averaged_over_tasks():
    random = np.random.default_rng(1)
    ours, theirs = random.integers(5, size=(6, 3)) * 1.0, random.integers(6, size=(9, 3)) * 1.0  # with ties
    by_task = [stats.mannwhitneyu(ours[:, t], theirs[:, t]).statistic / 54 for t in range(3)]
    assert probability_of_improvement(ours, theirs) == pytest.approx(np.mean(by_task))


def test_the_profile_is_one_minus_the_empirical_distribution():
    scores = np.random.default_rng(2).normal(size=(5, 4))
    levels = np.linspace(-2, 2, 9)
    assert profile(scores, levels) == pytest.approx(1 - stats.ecdf(scores.ravel()).cdf.evaluate(levels))


def test_the_area_below_a_profile_is_the_mean_and_above_it_up_to_1_the_optimality_gap():
    scores = np.random.default_rng(3).uniform(0, 2, size=(6, 3))
    levels = np.linspace(0, 2, 20_001)
    assert profile(scores, levels).mean() * 2 == pytest.approx(mean(scores), abs=1e-3)
    assert (1 - profile(scores, levels[levels <= 1])).mean() == pytest.approx(optimality_gap(scores), abs=1e-3)


def test_an_interval_over_seeds_alone_is_scipy_s_percentile_bootstrap():
    values = np.random.default_rng(4).lognormal(size=12)
    ours = interquartile(values[:, None])  # one episode each: nothing but seeds is drawn
    theirs = stats.bootstrap(
        (values,),
        lambda each, axis: stats.trim_mean(each, 0.25, axis=axis),
        n_resamples=20_000,
        method="percentile",
        rng=0,
    ).confidence_interval
    assert ours.mean == pytest.approx(stats.trim_mean(values, 0.25))
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), rel=0.06)


def test_an_interval_covers_episodes_too():
    """Seeds that all do alike in episodes that differ: what is left is the interval of the episodes' mean."""
    episodes = np.random.default_rng(5).normal(-5.0, 1.0, size=400)
    found = interquartile(np.tile(episodes, (4, 1)))
    assert found.half_width == pytest.approx(1.96 * stats.sem(episodes), rel=0.1)


def test_without_a_number_in_some_episode_there_is_no_interquartile_mean():
    assert np.isnan([*vars(interquartile([[1.0, np.nan], [2.0, 3.0]])).values()]).all()


def test_intervals_hold_the_middle_of_what_seeds_come_to_nearly_as_often_as_they_say():
    """300 times, of 10 seeds around 0; percentile intervals of few samples are somewhat too narrow (the page: 90%)."""
    random = np.random.default_rng(6)
    tables = random.normal(size=(300, 10, 1)) + 0.3 * random.normal(size=(300, 1, 16))
    held = np.mean([each.low <= 0 <= each.high for each in map(interquartile, tables)])
    assert 0.86 < held < 0.96  # three standard errors around 91%
