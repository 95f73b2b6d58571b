"""Algorithms over tasks: scores beside yardsticks, stratified resamples, and what is refused."""

import csv
import io
import json

import numpy as np
import pytest
from scipy import stats

from jaxdlb.evaluation import algorithm_plots
from jaxdlb.evaluation.aggregates import AGGREGATES
from jaxdlb.evaluation.algorithm_tables import conclusion, scores_to_csv, to_csv, to_json, to_text
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


@pytest.fixture(scope="module")
def three():
    """Two algorithms that are level, and one that is behind, in two tasks."""
    easy = task("easy", -2.0, good=[-1.0, -1.1, -1.2, -1.3], level=[-1.0, -1.15, -1.1, -1.35], bad=[-4.0, -5.0, -4.5])
    hard = task("hard", -8.0, good=[-4.0, -4.1, -4.2, -4.3], level=[-4.0, -4.15, -4.1, -4.3], bad=[-9.0, -9.5, -8.5])
    return contest("utility", [easy, hard], RESAMPLES)


def test_the_table_ranks_algorithms_and_says_who_can_be_told_apart(three):
    text = to_text(three)
    rows = [line.split()[0] for line in text.splitlines() if line.startswith(("good", "level", "bad"))]
    assert sorted(rows[:2]) == ["good", "level"] and rows[2] == "bad"
    first, second, _ = three.standings
    assert conclusion(three).startswith(f"{first} has the best interquartile mean, 1.8")
    assert f"it is more likely better than bad, and not to be told apart from {second} by" in conclusion(three)
    assert max(map(len, text.splitlines())) <= 140
    assert "With 3 training seeds in each task, intervals by resampling are too narrow." in text  # bad has three
    assert "median" in text


def test_with_seeds_enough_there_is_no_warning():
    assert "too narrow" not in to_text(contest("utility", [task("t", -1.0, x=[-1.0, -2.0, -3.0, -1.5, -2.5])], 50))


def test_a_single_task_has_no_median_and_few_seeds_a_warning():
    text = to_text(contest("utility", [task("t", -1.0, x=[-1.0, -2.0])], RESAMPLES))
    assert "median" not in text
    assert "With 2 training seeds in each task, intervals by resampling are too narrow." in text


def test_csv_and_json_hold_what_the_table_shows(three):
    rows = list(csv.DictReader(io.StringIO(to_csv(three))))
    told = json.loads(json.dumps(to_json(three)))
    for row in rows:
        standing = three.standings[row["algorithm"]]
        assert (int(row["seeds"]), int(row["tasks"])) == standing.scores.shape
        for name, each in standing.aggregates.items():
            assert [float(row[f"{name}{end}"]) for end in ("", "_low", "_high")] == [each.mean, each.low, each.high]
            assert told["algorithms"][row["algorithm"]][name] == vars(each)
        assert np.array(told["algorithms"][row["algorithm"]]["scores"]) == pytest.approx(standing.scores)
    scores = [float(line["score"]) for line in csv.DictReader(io.StringIO(scores_to_csv(three)))]
    assert sorted(scores) == pytest.approx(sorted(np.concatenate([s.scores.ravel() for s in three.standings.values()])))
    assert told["tasks"]["hard"]["one"]["value"] == pytest.approx(-8.0)


def test_the_figure_has_a_panel_for_each_aggregate_one_for_profiles_and_one_for_pairs(three):
    figure = algorithm_plots.algorithms(three)
    labels = [axes.get_xlabel() for axes in figure.axes]
    assert [label.partition(" (")[0] for label in labels[:4]] == ["IQM", "median", "mean", "optimality gap"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == list(three.standings)
    profiles, pairs = figure.axes[4:]
    assert {text.get_text() for text in profiles.get_legend().get_texts()} == set(three.standings)
    assert len(pairs.get_yticklabels()) == 3
    drawn = {line.get_label(): line.get_ydata() for line in profiles.lines}
    for name, standing in three.standings.items():
        assert drawn[name] == pytest.approx(standing.profile)


def test_of_many_algorithms_the_figure_shows_the_best_beside_every_other():
    many = {f"a{k}": [-1.0 - k] for k in range(6)}
    figure = algorithm_plots.algorithms(contest("utility", [task("t", -1.0, **many)], 50))
    assert len(figure.axes[-1].get_yticklabels()) == 5
    alone = algorithm_plots.algorithms(contest("utility", [task("t", -1.0, x=[-1.0])], 50))
    assert len(alone.axes) == 4  # three aggregates and the profile
