"""The figure of what policies trade: who is drawn where, and which settings of a rule a line joins."""

import numpy as np
import pytest

from jaxdlb.evaluation import pareto_plot
from jaxdlb.evaluation.results import Evaluation, PolicyResult
from jaxdlb.evaluation.statistics import Estimate
from jaxdlb.game import Verdict

POINTS = {  # energy, time, deadlines
    "rule(a=1)": (1.0, 4.0, 0.5),
    "rule(a=2)": (2.0, 2.0, 0.6),
    "rule(a=3)": (2.2, 2.4, 0.7),  # a=2 beats it in both
    "other": (1.5, 3.0, 0.8),
    "random": (2.0, 2.0 * pareto_plot.FAR + 0.1, 0.1),
    "learned (2 seeds)": (1.2, 1.5, 0.9),
    "learned(seed=0)": (1.1, 1.4, 0.9),
}
NAMES = ("energy", "time", "deadlines")


def result(name, values):
    columns = {column: Estimate(value, 0.9 * value, 1.1 * value) for column, value in zip(NAMES, values, strict=True)}
    kind = "learned" if name.startswith("learned") else "heuristic"
    part = "learned (2 seeds)" if "seed=" in name else None
    return PolicyResult(name=name, kind=kind, columns=columns, differences={}, part_of=part)


@pytest.fixture(scope="module")
def figure():
    evaluation = Evaluation(
        results=tuple(result(*item) for item in POINTS.items()),
        best_heuristic="other",
        columns={name: (f"{name}, unit", "") for name in NAMES},
        num_episodes=8,
        num_rounds=100,
        warmup=0,
        settings={},
        verdicts={name: Verdict(better="less", worse="more") for name in ("energy", "time")},
    )
    return pareto_plot.pareto(evaluation, "energy", "time", "deadlines")


def markers(figure):
    axes = figure.axes[0]
    return {each.get_label(): each for each in axes.collections if not each.get_label().startswith("_")}


def test_every_setting_is_a_point_and_rules_far_behind_and_single_seeds_are_not(figure):
    found = markers(figure)
    assert {name: len(each.get_offsets()) for name, each in found.items()} == {
        "rule": 3,
        "other": 1,
        "learned (2 seeds)": 1,
    }
    np.testing.assert_allclose(found["rule"].get_offsets(), [POINTS[f"rule(a={a})"][:2] for a in (1, 2, 3)])
    np.testing.assert_allclose(found["learned (2 seeds)"].get_offsets(), [POINTS["learned (2 seeds)"][:2]])


def test_colours_go_with_the_third_column(figure):
    found = markers(figure)
    greens = [found[name].get_facecolor()[0][1] for name in ("rule", "other", "learned (2 seeds)")]
    assert greens == sorted(greens) and len(set(greens)) == 3  # in viridis green grows all along


def test_a_line_joins_the_settings_that_no_other_one_beats(figure):
    (line,) = (each for each in figure.axes[0].lines if len(each.get_xdata()) > 1)
    np.testing.assert_allclose(line.get_xydata(), [POINTS[f"rule(a={a})"][:2] for a in (1, 2)])


def test_axes_say_what_they_show_and_that_less_is_better(figure):
    axes = figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("energy, unit (less is better)", "time, unit (less is better)")
    assert [each.get_text() for each in axes.texts] == ["Time against energy"]
    assert figure.axes[1].get_ylabel() == "deadlines, unit"
