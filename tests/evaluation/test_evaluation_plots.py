"""Figures of an evaluation and of training: what they show, and that it can be read."""

import dataclasses
import itertools
import math
import re

import numpy as np
import pytest
from matplotlib import rcParams
from matplotlib.collections import PolyCollection
from matplotlib.text import Text

from jaxdlb.drawing.style import INK
from jaxdlb.evaluation import plots
from jaxdlb.evaluation.results import BoundResult, Evaluation, PolicyResult
from jaxdlb.evaluation.roles import ROLES
from jaxdlb.evaluation.statistics import Estimate
from jaxdlb.game import Verdict


def evaluation(utilities, kinds=None, half_width=0.1):
    kinds = kinds or {}
    results = tuple(
        PolicyResult(
            name=name,
            kind=kinds.get(name, "heuristic").replace("part", "learned"),
            part_of="mappo" if kinds.get(name) == "part" else None,
            columns={"utility": Estimate(mean, mean - half_width, mean + half_width)},
            differences={"utility": Estimate(0.0, -1.0, 1.0)},
        )
        for name, mean in utilities.items()
    )
    best = max((r for r in results if r.kind == "heuristic"), key=lambda r: r.columns["utility"].mean).name
    return Evaluation(
        results=results,
        best_heuristic=best,
        columns={"utility": ("utility", "mean over nodes and rounds")},
        num_episodes=64,
        num_rounds=2000,
        warmup=200,
        settings={},
    )


WIDE = {
    "random": -1034.0,
    "work_stealing": -66.7,
    "power_of_d": -13.6,
    "oracle_sed": -3.4,
    "mappo": -3.12,
    "mappo(seed=0)": -3.11,
    "news": -3.105,
    "exact": -3.1,
}
KINDS = {"oracle_sed": "oracle", "mappo": "learned", "mappo(seed=0)": "part", "news": "fresh", "exact": "optimal"}


def all_texts(axes):
    return [text.get_text() for text in axes.texts]


# Utilities


def drawn(axes):
    """The names of the policies in the figure, without the row of those that are not drawn."""
    labels = [label.get_text() for label in axes.get_yticklabels()]
    return [label for label in labels if not label.endswith("times worse")]


def test_every_policy_that_matters_stands_in_the_figure_the_best_on_top_with_its_value():
    (axes,) = plots.utilities(evaluation(WIDE, KINDS)).axes
    shown = {name: utility for name, utility in WIDE.items() if name not in ("random", "mappo(seed=0)")}
    assert drawn(axes) == sorted(shown, key=shown.get)
    assert {"−3.12 ± 0.10", "−13.60 ± 0.10", "−66.70 ± 0.10"} <= set(all_texts(axes))
    marked = sorted(-line.get_xdata()[0] for line in axes.lines if line.get_marker() not in ("None", None))
    assert marked == sorted(shown.values())


def test_heuristics_far_worse_than_the_best_are_counted_and_not_drawn():
    (axes,) = plots.utilities(evaluation(WIDE, KINDS)).axes
    assert axes.get_yticklabels()[-1].get_text() == "1 more heuristic, over 10 times worse"
    assert "−1,034" in all_texts(axes)
    assert "times worse: times further from 0 than the best heuristic" in axes.get_xlabel()
    more = WIDE | {"local": -2000.0, "round_robin": -137.0, "nearly": -135.5}
    figure = plots.utilities(evaluation(more, KINDS))
    figure.draw_without_rendering()
    (axes,) = figure.axes
    assert set(drawn(axes)) == {*WIDE, "nearly"} - {"random", "mappo(seed=0)"}
    label = axes.get_yticklabels()[-1]
    (reach,) = [text for text in axes.texts if text.get_text() == "−137 to −2,000"]
    assert label.get_text() == "3 more heuristics, over 10 times worse"
    boxes = [text.get_window_extent() for text in (label, reach)]
    others = [text.get_window_extent() for text in axes.texts if text is not reach]
    assert boxes[0].x0 >= 0 and boxes[1].x1 <= figure.bbox.width
    assert max(box.y1 for box in boxes) <= min(box.y0 for box in others)


@pytest.mark.parametrize("kind", ["learned", "oracle", "fresh", "optimal"])
def test_what_is_no_heuristic_is_drawn_however_bad(kind):
    (axes,) = plots.utilities(evaluation({"rule": -3.0, "other": -900.0}, {"other": kind})).axes
    assert drawn(axes) == ["other", "rule"]


@pytest.mark.parametrize("best", [0.0, 5.0])
def test_where_the_best_is_not_below_0_nobody_is_left_out(best):
    (axes,) = plots.utilities(evaluation({"rule": best, "other": -900.0})).axes
    assert drawn(axes) == ["other", "rule"]


def test_a_policy_whose_utility_is_unknown_is_left_out():
    (axes,) = plots.utilities(evaluation({"local": -3.0, "ended_early": math.nan})).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["local"]
    (axes,) = plots.utilities(evaluation({"ended_early": math.nan})).axes
    assert all_texts(axes) == ["Every episode ended before the warm-up did"]


def test_a_large_spread_is_drawn_on_a_logarithmic_scale_with_utilities_as_labels():
    figure = plots.utilities(evaluation(WIDE, KINDS))
    figure.draw_without_rendering()
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    assert "logarithmic" in axes.get_xlabel()
    assert "−50" in [label.get_text() for label in axes.get_xticklabels()]
    left, right = axes.get_xlim()
    assert left > right  # costs fall to the right: better is further right


@pytest.mark.parametrize("worst", [-400.0, -2000.0, -9000.0, -20_000.0, -2_000_000.0])
def test_labels_of_a_logarithmic_scale_do_not_overlap(worst):
    figure = plots.utilities(evaluation({"mappo": worst, "power_of_d": -15.0}, KINDS))
    figure.draw_without_rendering()
    (axes,) = figure.axes
    left, right = sorted(axes.get_xlim())
    shown = [k for k, place in enumerate(axes.get_xticks()) if left <= place <= right]
    boxes = sorted((axes.get_xticklabels()[k].get_window_extent() for k in shown), key=lambda box: box.x0)
    assert len(boxes) >= 3
    assert all(one.x1 < other.x0 for one, other in itertools.pairwise(boxes))


def test_a_small_spread_is_drawn_on_a_linear_scale():
    figure = plots.utilities(evaluation({"local": -3.0, "random": -3.4}))
    figure.draw_without_rendering()
    (axes,) = figure.axes
    assert axes.get_xscale() == "linear"
    assert all(re.fullmatch(r"−[23]\.\d+", label.get_text()) for label in axes.get_xticklabels())


def test_a_utility_of_zero_and_an_interval_beyond_zero_are_drawn():
    utilities = {"local": 0.0, "random": -500.0, "round_robin": -0.05}
    figure = plots.utilities(evaluation(utilities))
    figure.draw_without_rendering()
    assert figure.axes[0].get_xscale() == "symlog"
    assert np.all(np.isfinite(figure.axes[0].get_xlim()))


@pytest.mark.parametrize("utilities", [{"local": -3.0, "random": -3.4}, {"local": -3.0, "mappo": -900.0}])
def test_intervals_are_drawn_from_end_to_end(utilities):
    (axes,) = plots.utilities(evaluation(utilities, KINDS, half_width=0.4)).axes
    ends = sorted(tuple(line.get_xdata()) for line in axes.lines if len(line.get_xdata()) == 2)
    expected = sorted((-mean - 0.4, -mean + 0.4) for mean in utilities.values())
    intervals = [end for end in ends if end[0] != end[1]]
    np.testing.assert_allclose(intervals, expected)


def test_a_name_that_looks_like_a_formula_or_is_long_is_printed_and_leaves_room():
    names = {r"$\nonsense{$": -3.0, "x" * 300: -4.0, "two\nlines $": -5.0}
    figure = plots.utilities(evaluation(names))
    figure.draw_without_rendering()
    figure.canvas.draw()
    assert figure.axes[0].get_position().width > 0.3


def test_an_estimate_without_an_interval_is_drawn_as_a_point():
    (axes,) = plots.utilities(evaluation({"local": -3.0, "random": -4.0}, half_width=np.nan)).axes
    assert {"−3.00", "−4.00"} <= set(all_texts(axes))


def test_the_roles_of_policies_are_told_apart_by_marker_and_colour_and_explained():
    figure = plots.utilities(evaluation(WIDE, KINDS))
    (legend,) = figure.legends
    drawn_roles = [role for role in ROLES.values() if role is not ROLES["part"]]
    assert [text.get_text() for text in legend.get_texts()] == [role.meaning for role in drawn_roles]
    looks = {(h.get_marker(), h.get_color(), h.get_markerfacecolor()) for h in legend.legend_handles}
    assert len(looks) == len(drawn_roles)


def test_the_legend_of_all_roles_is_not_wider_than_the_figure():
    figure = plots.utilities(evaluation(WIDE, KINDS))
    figure.canvas.draw()
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0 and box.x1 <= figure.bbox.width


def judged_twice(lower_is_better=True):
    """Policies with response times 1, 2, … in the order of their utility, the worst first."""
    result = evaluation(WIDE, KINDS)
    times = {name: 1.0 + rank for rank, name in enumerate(sorted(WIDE, key=WIDE.get))}
    estimates = {name: Estimate(time, time - 0.2, time + 0.2) for name, time in times.items()}
    results = tuple(
        dataclasses.replace(each, columns={**each.columns, "time": estimates[each.name]}) for each in result.results
    )
    columns = {**result.columns, "time": ("response time, rounds", "how long")}
    verdicts = {"time": Verdict("faster", "slower", lower_is_better)}
    return dataclasses.replace(result, results=results, columns=columns, verdicts=verdicts), times


@pytest.mark.parametrize("lower_is_better", [True, False])
def test_what_else_is_judged_stands_beside_the_utility_in_the_same_rows(lower_is_better):
    result, times = judged_twice(lower_is_better)
    figure = plots.utilities(result)
    figure.draw_without_rendering()
    utility, time = figure.axes
    sign = 1 if lower_is_better else -1
    rows = {sign * line.get_xdata()[0]: line.get_ydata()[0] for line in time.lines if line.get_marker() != "None"}
    assert [times[name] for name in drawn(utility)] == sorted(rows, key=rows.get)
    assert "3.00 ± 0.20" in all_texts(time) and not any("−" in text for text in all_texts(time))
    assert time.xaxis_inverted()  # a cost, or what is better the larger with its sign changed: better is further right
    assert {label.get_text() for label in time.get_xticklabels()} & {"4", "4.0"}
    assert "Utility and response time of every policy" in [text.get_text() for text in figure.findobj(Text)]
    boxes = [text.get_window_extent() for text in utility.texts if "±" in text.get_text()]
    assert max(box.x1 for box in boxes) <= time.get_window_extent().x0


def limited(utility):
    bound = BoundResult("one queue", "that drops no task", is_least=False, value=Estimate(utility, utility, utility))
    return dataclasses.replace(evaluation(WIDE, KINDS), bounds={"utility": bound})


def test_what_no_policy_can_be_better_than_is_a_line_with_its_own_entry_in_the_legend():
    figure = plots.utilities(limited(-0.25))
    figure.draw_without_rendering()
    (axes,) = figure.axes
    (line,) = [line for line in axes.lines if list(line.get_xdata()) == [0.25, 0.25]]
    assert line.get_color() == INK
    assert "no policy that drops no task can be better" in [text.get_text() for text in figure.legends[0].get_texts()]
    assert min(axes.get_xlim()) < 0.25
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0 and box.x1 <= figure.bbox.width


@pytest.mark.parametrize("utility", [0.0, 1.0])
def test_a_limit_without_a_logarithm_is_drawn_where_the_scale_is_wide(utility):
    figure = plots.utilities(limited(utility))
    figure.canvas.draw()
    assert figure.axes[0].get_xscale() == "symlog"


# Learning curve


def test_the_learning_curve_is_the_median_of_seeds_in_a_band_from_worst_to_best():
    utility = np.array([[-9.0, -5.0, -3.0], [-8.0, -6.0, -2.0], [-12.0, -4.0, -2.5]])
    figure = plots.learning_curve(np.array([1e6, 2e6, 3e6]), utility, {"local": -7.0})
    axes = figure.axes[0]
    curve = next(line for line in axes.lines if len(line.get_xdata()) == 3)
    np.testing.assert_allclose(-curve.get_ydata(), [-9.0, -5.0, -2.5])
    (band,) = [c for c in axes.collections if isinstance(c, PolyCollection)]
    heights = band.get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == (2.0, 12.0)
    assert "3 seeds" in figure.legends[0].get_texts()[0].get_text()


def test_episodes_held_out_are_dots_beside_the_curve():
    held_out = (np.array([50.0, 100.0]), np.array([[-4.0, -3.0], [-6.0, -3.5]]))
    curves = np.array([[-9.0, -5.0, -4.0]] * 2)
    figure = plots.learning_curve([0, 50, 100], curves, {"local": -8.0}, held_out=held_out)
    (dots,) = (line for line in figure.axes[0].lines if line.get_label() == "in episodes held out")
    np.testing.assert_allclose(dots.get_ydata(), [5.0, 3.25])


def test_what_else_is_judged_has_a_panel_below_with_the_level_of_the_best_heuristic():
    times = np.array([[7.0, 5.0], [6.0, 4.0], [9.0, 4.5]])
    judged = plots.Judged("response time, rounds", np.array([50.0, 100.0]), times, 5.5, "rule")
    held_out = (judged.agent_rounds, -times)
    curves = np.array([[-9.0, -5.0, -4.0]] * 3)
    figure = plots.learning_curve(
        [0, 50, 100], curves, {"rule": -8.0}, seconds=[1.0, 2.0, 3.0], held_out=held_out, others=[judged]
    )
    figure.draw_without_rendering()
    above, below = figure.axes
    (dots,) = (line for line in below.lines if line.get_marker() == "o")
    np.testing.assert_allclose(dots.get_ydata(), [7.0, 4.5])
    (spread,) = below.collections
    np.testing.assert_allclose([path.vertices[:, 1] for path in spread.get_paths()], [[6.0, 9.0], [4.0, 5.0]])
    assert any(list(line.get_ydata()) == [5.5, 5.5] for line in below.lines)
    assert "5.50  rule" in all_texts(below)
    assert below.yaxis_inverted()  # higher is better, as above
    assert below.get_ylabel().startswith("response time") and below.get_xlabel().startswith("agent-rounds")
    assert not above.get_xlabel() and above.get_xlim() == below.get_xlim()
    assert below.get_window_extent().y1 < above.get_window_extent().y0


def test_one_seed_has_no_band():
    axes = plots.learning_curve([1e6, 2e6], np.array([-9.0, -5.0]), {}).axes[0]
    assert not axes.collections


def test_the_best_levels_are_lines_with_names_that_do_not_overlap():
    shown = {f"policy_{k}": -10.0 - 0.01 * k for k in range(4)} | {"policy_4": -60.0}
    figure = plots.learning_curve(
        np.arange(1, 5), np.array([-500.0, -50.0, -5.0, -3.0]), {"worse": -61.0} | shown | {"worst": -900.0}
    )
    axes = figure.axes[0]
    flat = [line.get_ydata()[0] for line in axes.lines if list(line.get_xdata()) == [0, 1]]
    np.testing.assert_allclose(sorted(flat), sorted(-level for level in shown.values()))
    texts = {text.get_text().split("  ")[1]: text for text in axes.texts if "  " in text.get_text()}
    assert set(texts) == set(shown)
    boxes = sorted((text.get_window_extent() for text in texts.values()), key=lambda box: box.y0)
    assert all(below.y1 <= above.y0 for below, above in itertools.pairwise(boxes))
    places = [texts[name].get_position()[1] for name in shown]
    assert places == sorted(places, reverse=True)  # the better, the higher


def test_the_wall_time_stands_along_the_top_where_training_had_got_by_then():
    seconds = np.array([10.0, 20.0, 40.0])  # half as fast in its second half
    figure = plots.learning_curve([1e6, 2e6, 3e6], np.array([-9.0, -5.0, -3.0]), {"local": -7.0}, seconds=seconds)
    figure.canvas.draw()
    (top,) = figure.axes[0].child_axes
    labels = {label.get_text(): place for label, place in zip(top.get_xticklabels(), top.get_xticks(), strict=True)}
    assert labels == {"10 s": 1e6, "20 s": 2e6, "30 s": 2.5e6, "40 s": 3e6}
    assert top.get_xlim() == figure.axes[0].get_xlim()
    label = top.xaxis.label.get_window_extent()
    titles = [text for text in figure.findobj(Text) if text.get_text().startswith(("Learning", "dashed"))]
    assert len(titles) == 2 and not any(text.get_window_extent().overlaps(label) for text in titles)


@pytest.mark.parametrize("seconds", [[3.0], [0.0]])
def test_a_single_point_has_a_learning_curve_with_wall_time(seconds):
    figure = plots.learning_curve([1e6], np.array([-9.0]), {"local": -7.0}, seconds=seconds)
    figure.canvas.draw()


def test_drawing_leaves_the_global_settings_of_the_plotting_library_alone():
    before = dict(rcParams)
    plots.utilities(evaluation(WIDE, KINDS))
    plots.learning_curve([1e6, 2e6], np.array([-9.0, -5.0]), {}, seconds=[1.0, 2.0])
    assert dict(rcParams) == before
