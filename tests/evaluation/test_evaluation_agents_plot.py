"""The figure of the learning curves of agents shows what was given."""

import numpy as np
import pytest

from jaxdlb.evaluation import agents_plot

ROUNDS = np.arange(1, 51) * 100.0
VALUES = {f"agent {k}": np.stack([np.sqrt(ROUNDS) + k, np.sqrt(ROUNDS) + k + 2]) for k in range(3)}


def test_each_agent_and_the_mean_of_all_have_a_curve_the_median_over_seeds():
    figure = agents_plot.curves(ROUNDS, VALUES, "utility")
    (axes,) = figure.axes
    lines = {line.get_label(): line for line in axes.lines}
    assert list(lines) == [*VALUES, "all agents, the mean"]
    for k, name in enumerate(VALUES):
        np.testing.assert_allclose(lines[name].get_ydata(), np.sqrt(ROUNDS) + k + 1)
    np.testing.assert_allclose(lines["all agents, the mean"].get_ydata(), np.sqrt(ROUNDS) + 2)
    np.testing.assert_allclose(lines["agent 1"].get_xdata(), ROUNDS)
    looks = {(line.get_color(), line.get_linestyle()) for line in axes.lines}
    assert len(looks) == 4 and axes.get_ylabel() == "mean utility"
    assert axes.get_title(loc="left") == "utility in training; medians of 2 seeds; higher is better"


def test_many_updates_are_shown_by_means_and_a_start_far_below_is_cut():
    values = np.concatenate([[-1e6], np.linspace(-2, -1, 599)])
    figure = agents_plot.curves(np.arange(600.0), {"agent 0": values[None], "agent 1": values[None] + 0.5}, "reward")
    (axes,) = figure.axes
    assert len(axes.lines[0].get_ydata()) <= agents_plot.MOST_POINTS
    low, high = axes.get_ylim()
    assert low == pytest.approx(-2, abs=0.2) and high == pytest.approx(-0.5, abs=0.2)
