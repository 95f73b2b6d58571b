"""Algorithms over tasks: scores beside yardsticks, stratified resamples, and what is refused."""

import numpy as np
import pytest
from scipy import stats

from jaxdlb.evaluation.aggregates import AGGREGATES
from jaxdlb.evaluation.algorithms import Task, contest, scores_of

RESAMPLES = 2000


def table(*means, episodes=6, spread=0.0):
    """Samples [S, E] of seeds with these means, in episodes that all seeds feel alike."""
    felt = spread * (np.arange(episodes) - (episodes - 1) / 2)
    return np.array(means)[:, None] + felt


def task(name, one, zero=None, lower_is_better=False, **samples):
    named = {key: ("rule", table(mean)[0]) for key, mean in {"one": one, "zero": zero}.items() if mean is not None}
    return Task(name, {key: table(*means) for key, means in samples.items()}, lower_is_better=lower_is_better, **named)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"one": -4.0, "ours": [-2.0, -8.0]}, [2.0, 0.5]),  # a negative utility: times closer to 0
        ({"one": 10.0, "ours": [20.0, 5.0]}, [2.0, 0.5]),  # a gain
        ({"one": 4.0, "ours": [2.0, 8.0], "lower_is_better": True}, [2.0, 0.5]),  # a cost
        ({"one": -4.0, "zero": -10.0, "ours": [-1.0, -13.0]}, [1.5, -0.5]),
        ({"one": 4.0, "zero": 10.0, "ours": [1.0, 13.0], "lower_is_better": True}, [1.5, -0.5]),
        ({"one": 1.0, "zero": -1.0, "ours": [0.0, 2.0]}, [0.5, 1.5]),  # on both sides of 0
    ],
)
def test_scores_say_how_values_stand_to_the_yardsticks(given, expected):
    assert scores_of(task("t", **given))["ours"] == pytest.approx(expected)


def test_a_contest_of_one_sample_each_is_the_plain_aggregates_of_the_scores():
    tasks = [task("a", -2.0, x=[-1.0, -4.0], y=[-2.0]), task("b", -6.0, x=[-3.0, -6.0], y=[-12.0])]
    found = contest("utility", tasks, RESAMPLES)
    scores = np.array([[2.0, 2.0], [0.5, 1.0]])
    assert found.standings["x"].scores == pytest.approx(scores)
    for name, of in AGGREGATES.items():
        assert found.standings["x"].aggregates[name].mean == pytest.approx(of(scores))
    assert list(found.standings) == ["x", "y"]  # the best first
    assert found.improvements["x", "y"].mean == pytest.approx((1 / 2 + 1) / 2)
    assert found.improvements["y", "x"].mean == pytest.approx(1 - 3 / 4)


def test_resamples_keep_every_task_s_number_of_seeds():
    """Scores that differ between tasks alone: unless stratified, resamples would mix the tasks and differ."""
    found = contest("utility", [task("a", -1.0, x=[-1.0] * 3), task("b", -9.0, x=[-1.0] * 3)], RESAMPLES)
    for estimate in found.standings["x"].aggregates.values():
        assert estimate.low == pytest.approx(estimate.mean) == pytest.approx(estimate.high)


def test_what_episodes_all_policies_share_does_not_widen_intervals():
    """The yardstick has the same hard episodes: a ratio to it in the same resample stays what it is."""
    hard = np.random.default_rng(0).lognormal(size=40)
    twice = Task("t", {"x": -np.tile(hard, (3, 1)) / 2}, one=("rule", -hard))
    estimate = contest("utility", [twice], RESAMPLES).standings["x"].aggregates["mean"]
    assert (estimate.mean, estimate.low, estimate.high) == pytest.approx((2.0, 2.0, 2.0))


def test_the_interval_of_a_mean_over_many_seeds_is_that_of_the_normal_distribution():
    seeds = np.random.default_rng(1).normal(2.0, 0.3, size=60)
    estimate = contest("gain", [task("t", 1.0, x=seeds)], 5000).standings["x"].aggregates["mean"]
    assert estimate.half_width == pytest.approx(1.96 * stats.sem(seeds, ddof=0), rel=0.05)


def test_the_same_samples_have_the_same_intervals():
    tasks = [task("t", -1.0, x=[-1.0, -2.0, -0.5], y=[-1.5, -1.0])]
    assert contest("u", tasks, 100).improvements == contest("u", tasks, 100).improvements


@pytest.mark.parametrize(
    ("tasks", "sentence"),
    [
        ([], "tasks is empty; there must be at least one"),
        ([task("a", -1.0, x=[-1.0], y=[-1.0]), task("b", -1.0, x=[-1.0])], "y has no run of b; every algorithm must"),
        ([task("a", -1.0, x=[-1.0]), task("b", -1.0, x=[-1.0], y=[-1.0])], "y has no run of a; every algorithm must"),
        ([task("a", -1.0, x=[-1.0] * 2), task("b", -1.0, x=[-1.0] * 3)], "x has 3 training seeds of b and 2 of a; it"),
        ([task("a", -1.0, x=[1.0])], "x has 1 in a, and rule, which scores 1, -1; as scores are ratios, both must be"),
        ([task("a", 0.0, x=[-1.0])], "x has -1 in a, and rule, which scores 1, 0; as scores are ratios, both must be"),
        ([task("a", -1.0, zero=-1.0, x=[-1.0])], "zero is rule, which has -1 in a; it must be worse than rule, which"),
        ([task("a", -1.0, x=[np.nan])], "x has no number in some episodes of a; a score needs one in all"),
    ],
)
def test_what_cannot_be_compared_is_refused(tasks, sentence):
    with pytest.raises(ValueError) as error:
        contest("utility", tasks, RESAMPLES)
    assert str(error.value).startswith(sentence)
