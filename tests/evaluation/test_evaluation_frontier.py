"""Hulls of what policies spend and the harm that is left, held against plain computations on hand-made points."""

import csv
import io

import numpy as np
import pytest

from jaxdlb.evaluation import frontier, frontier_plot, sweep
from jaxdlb.evaluation.sweep import Line, Sweep

VALUES = (0.1, 0.5, 1.0)


def line(name, points, kind="heuristic", noise=None):
    """A policy with these points (spent, harm), alike in 2 training seeds (if learned) and 4 episodes, or by noise."""
    seeds = 2 if kind == "learned" else 1
    spread = np.zeros((seeds, 4)) if noise is None else np.asarray(noise)
    spent, harm = (np.array(axis)[:, None, None] + spread for axis in zip(*points, strict=True))
    return Line(name, kind, spent, harm, tuple(f"{name}({k})" for k in range(len(points))))


def swept(*lines):
    return Sweep("price", VALUES, ("cores", "violations, share"), lines)


def compared(own, other):
    return frontier.compare(*(frontier.hulls(each, [own, other]) for each in (own, other)))


LEARNED = line("learned", [(0.5, 0.4), (0.75, 0.2), (1.0, 0.1)], "learned")


# Hulls


def test_a_hull_is_the_least_harm_of_any_mixture_of_two_points():
    random = np.random.default_rng(3)
    for _ in range(20):
        spent, harm = random.random((2, 12))
        found = frontier.hull(spent, harm)
        for level in np.linspace(found[0][0], found[0][-1], 7):
            pairs = [(i, j) for i in range(12) for j in range(12) if spent[i] <= level <= spent[j]]
            shares = [(level - spent[i]) / max(spent[j] - spent[i], 1e-12) for i, j in pairs]
            mixed = [(1 - share) * harm[i] + share * harm[j] for (i, j), share in zip(pairs, shares, strict=True)]
            assert frontier.harm_at(found, np.array([level])) == pytest.approx(min(mixed), abs=1e-9)


def test_points_that_spend_more_and_harm_more_and_those_that_are_no_numbers_are_not_on_the_hull():
    spent, harm = np.array([3.0, 1, 2, 4, np.nan, 1]), np.array([1.0, 5, 4.5, 1, 0, 6])
    np.testing.assert_array_equal(frontier.hull(spent, harm), [[1, 3], [5, 1]])
    assert [len(axis) for axis in frontier.hull(spent[4:5], harm[4:5])] == [0, 0]


def test_beyond_its_ends_a_hull_goes_on_as_it_ended():
    hull = np.array([1.0, 3.0]), np.array([6.0, 2.0])
    np.testing.assert_allclose(frontier.harm_at(hull, np.array([0.0, 2, 9])), [6, 4, 2])
    np.testing.assert_allclose(frontier.spent_at(hull, np.array([9.0, 4, 0])), [1, 2, 3])


# The two numbers


def test_a_rule_with_twice_the_harm_everywhere_leaves_half_of_it_at_equal_spending():
    found = compared(LEARNED, line("rule", [(0.5, 0.8), (0.75, 0.4), (1.0, 0.2)]))
    for estimate in (found.fewer.largest.ratio, found.fewer.median, found.fewer.least.ratio):
        np.testing.assert_allclose([estimate.mean, estimate.low, estimate.high], 2)
    assert found.fewer.behind is None and found.less.behind is None


def test_less_is_spent_at_equal_harm_by_the_distance_of_the_hulls():
    """At a harm h in [0.2, 0.4], the learned one spends 1 − h · 1.25 and the rule 0.2 more."""
    found = compared(LEARNED, line("rule", [(0.7, 0.4), (0.95, 0.2)]))
    levels = np.geomspace(0.2, 0.4, 201)
    plain = 0.2 / (1.2 - 1.25 * levels)
    np.testing.assert_allclose(found.less.largest.ratio.mean, plain.max())
    np.testing.assert_allclose(found.less.largest.where, 0.4)
    np.testing.assert_allclose(found.less.median.mean, np.median(plain))
    np.testing.assert_allclose(found.less.least.ratio.mean, plain.min())


def test_a_rule_of_one_setting_is_met_at_what_it_spends_and_at_its_harm():
    found = compared(LEARNED, line("fixed", [(0.75, 0.3)]))
    np.testing.assert_allclose([found.fewer.median.mean, found.fewer.largest.where], [1.5, 0.75])
    np.testing.assert_allclose([found.less.median.mean, found.less.largest.where], [1 - 0.625 / 0.75, 0.3])


def test_where_the_learned_hull_has_ended_it_counts_with_its_end():
    found = compared(LEARNED, line("lavish", [(1.5, 0.3)]))
    np.testing.assert_allclose(found.fewer.median.mean, 3)  # 0.3 over 0.1, though it spends 1 of 1.5
    np.testing.assert_allclose(found.less.median.mean, 1 - 0.625 / 1.5)


def test_policies_without_a_level_in_common_are_not_compared():
    found = compared(LEARNED, line("thrifty", [(0.1, 0.05)]))
    assert np.isnan([found.less.median.mean, found.fewer.largest.ratio.mean]).all()
    assert frontier.behind(swept(LEARNED, line("thrifty", [(0.1, 0.05)])), [found]) == [
        "thrifty has no level in common with learned",
        "no rule is ahead of learned at any level that both reach",
        "thrifty gets down to 0.1 cores, learned to 0.5",
        "thrifty gets down to 0.05 violations, learned to 0.1",
    ]


def test_a_harm_of_none_at_all_is_compared_down_to_a_thousandth_of_the_highest():
    found = compared(line("learned", [(0.5, 0.4), (1.0, 0.0)], "learned"), line("rule", [(0.5, 0.8), (1.0, 0.0)]))
    own, rule = (1 - 0.5 * h / np.array([0.4, 0.8]) for h in (0.4, 0.4e-3))  # what both spend at the ends, in cores
    ends = [1 - mine / theirs for mine, theirs in (own, rule)]
    np.testing.assert_allclose([found.less.largest.ratio.mean, found.less.least.ratio.mean], ends)
    np.testing.assert_allclose([found.less.largest.where, found.less.least.where], [0.4, 0.4e-3])
    assert np.isfinite(found.less.median.mean)
    np.testing.assert_allclose(found.fewer.median.mean, 2)


def test_where_hulls_cross_words_say_from_where_the_rule_is_ahead():
    rule = line("rule", [(0.5, 0.8), (1.0, 0.05)])
    row = compared(LEARNED, rule)
    low, high = row.fewer.behind
    crossing = 0.5 + (0.8 - 0.4) / (1.5 - 0.8)  # on the first stretch, or else on the second
    if crossing > 0.75:
        crossing = 0.75 + (0.8 - 1.5 * 0.25 - 0.2) / (1.5 - 0.4)
    assert low == pytest.approx(crossing, abs=0.5 / 200) and high == 1.0
    said, further = frontier.behind(swept(LEARNED, rule), [row])
    assert further == "rule gets down to 0.05 violations, learned to 0.1"
    assert said.startswith("rule is ahead at 0.9") and said.endswith("times fewer violations")
    assert "up to 2 [2, 2]" in said
    text = frontier.to_text(swept(LEARNED, rule), [row])
    assert text.startswith("violations, share against cores:\n  beside") and said in text


def test_a_rule_that_leaves_no_harm_at_all_is_ahead_by_any_factor_and_may_be_so_by_chance():
    rule = line("rule", [(0.5, 0.4), (1.0, 0.0)])
    said, _ = frontier.behind(swept(LEARNED, rule), [compared(LEARNED, rule)])
    assert said.endswith("up to inf [inf, inf] times fewer violations")
    level = line("rule", [(0.5, 0.4), (0.75, 0.2), (1.0, 0.0999)], noise=[[0.001, 0, -0.001, 0.0]])
    said, _ = frontier.behind(swept(LEARNED, level), [compared(LEARNED, level)])
    assert said.endswith("times fewer violations, which may be chance")


def test_a_rule_that_spends_less_than_any_learned_policy_is_ahead_in_what_is_spent():
    """The harm of 0.4 costs the learned one 0.5 and the rule 0.4: a fifth less."""
    rule = line("rule", [(0.4, 0.4)])
    said, _ = frontier.behind(swept(LEARNED, rule), [compared(LEARNED, rule)])
    assert said == "rule is ahead at 0.4 violations: up to 20 [20, 20]% less cores"


def test_without_a_rule_ahead_words_say_so():
    worse = line("rule", [(0.5, 0.8), (1.0, 0.2)])
    assert frontier.behind(swept(LEARNED, worse), [compared(LEARNED, worse)]) == [
        "no rule is ahead of learned at any level that both reach"
    ]


def test_the_best_rule_at_each_level_stands_last_and_the_hardest_rule_first():
    easy, hard = line("easy", [(0.5, 0.9), (1.0, 0.7)]), line("hard", [(0.6, 0.5), (1.0, 0.2)])
    oracle = line("oracle", [(0.5, 0.01)], "oracle")
    found = swept(easy, LEARNED, oracle, hard)
    rows = frontier.comparisons(found, [frontier.hulls(each, found.lines) for each in found.lines])
    assert [row.beside for row in rows] == ["hard", "easy", "the best rule at each"]
    together = frontier.together([easy, hard], "both")
    assert together.members == ("easy(0)", "easy(1)", "hard(0)", "hard(1)")
    np.testing.assert_allclose(rows[-1].fewer.median.mean, compared(LEARNED, together).fewer.median.mean)


# Intervals


def test_intervals_are_those_of_hulls_drawn_anew_in_every_resample():
    random = np.random.default_rng(0)
    own = line("learned", [(0.5, 0.4), (0.75, 0.2), (1.0, 0.1)], "learned", 0.02 * random.random((2, 4)))
    rule = line("rule", [(0.5, 0.8), (1.0, 0.2)], noise=0.02 * random.random((1, 4)))
    found = compared(own, rule)
    level = np.array([found.fewer.largest.where])
    plain = []
    for draw in sweep.resampled([own, rule]):
        mine, theirs = (frontier.hull(*sweep.curve(each, *draw)) for each in (own, rule))
        plain.append(frontier.harm_at(theirs, level)[0] / frontier.harm_at(mine, level)[0])
    ratio = found.fewer.largest.ratio
    np.testing.assert_allclose([ratio.low, ratio.high], np.quantile(plain, [0.025, 0.975]))
    assert ratio.low < ratio.mean < ratio.high


def test_the_band_of_a_single_point_is_that_of_its_harm():
    fixed = line("fixed", [(0.75, 0.3)], noise=0.05 * np.random.default_rng(1).random((1, 4)))
    band = frontier.band(frontier.hulls(fixed, []), np.array([0.75]))
    np.testing.assert_allclose(np.ravel(band), np.ravel(sweep.band(fixed)))


# What is written


def test_every_point_is_written_with_whether_it_is_on_the_hull():
    rule = line("rule", [(0.5, 0.8), (0.8, 0.9), (1.0, 0.2)])
    found = swept(LEARNED, rule)
    of_lines = [frontier.hulls(each, found.lines) for each in found.lines]
    rows = list(csv.DictReader(io.StringIO(frontier.to_csv([(found, of_lines)]))))
    assert [row["on_hull"] for row in rows] == ["True"] * 4 + ["False", "True"]
    assert [row["options"] for row in rows[3:]] == ["rule(0)", "rule(1)", "rule(2)"]
    assert float(rows[0]["spent"]) == 0.5 and float(rows[0]["harm_high"]) == pytest.approx(0.4)
    data = frontier.to_json(found, of_lines, frontier.comparisons(found, of_lines))
    assert [each["name"] for each in data["policies"]] == ["learned", "rule"]
    assert data["comparisons"][0]["beside"] == "rule"


def test_the_figure_has_learned_policies_in_colour_the_best_rule_in_green_and_oracles_dashed():
    found = swept(LEARNED, line("rule", [(0.5, 0.8), (1.0, 0.2)]), line("fixed", [(0.9, 0.3)]))
    found = swept(*found.lines, line("oracle", [(0.5, 0.1), (0.8, 0.05)], "oracle"))
    figure = frontier_plot.hulls(found, [frontier.hulls(each, found.lines) for each in found.lines], "rule")
    drawn = {each.get_label(): each for each in figure.axes[0].lines}
    assert drawn["learned"].get_color() == "#0072b2" and drawn["rule"].get_color() == "#009e73"
    assert drawn["fixed"].get_color() == drawn["oracle"].get_color() == "#6b7885"
    assert drawn["oracle"].get_linestyle() != "-"
    assert len(drawn["learned"].get_markevery()) == 3
