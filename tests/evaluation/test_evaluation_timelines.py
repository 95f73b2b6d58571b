"""Pictures of series over time: every metric and every agent is in them, and they can be read."""

import numpy as np
import pytest

from jaxdlb.drawing.style import LINES
from jaxdlb.evaluation import timelines
from jaxdlb.evaluation.series import Series

MEANINGS = {
    "utility": "minus the mean load",
    "total_load": "tasks held by all nodes after the round",
    **{f"number_{k}": "what a node of the cluster reports, in words that go on for more than a line" for k in range(8)},
}


def made(num_agents=0, num_rows=40, scale=1.0, num_metrics=8, elapsed=1.0):
    drawn = np.random.default_rng(num_agents)
    scalars = {"utility": -scale * drawn.random(num_rows), "total_load": np.full(num_rows, scale)}
    agents = {f"number_{k}": drawn.random((num_rows, num_agents)) for k in range(num_metrics if num_agents else 0)}
    steps = np.ones(num_rows, int)
    return Series(elapsed * np.arange(num_rows), steps, np.full(num_rows, elapsed), scalars, agents)


def panels_of(figure):
    return [axes for axes in figure.axes if axes.lines]


def test_each_scalar_has_a_panel_with_its_name_and_meaning_and_a_line_for_each_policy():
    figures = timelines.figures({"one": made(), "two": made(scale=2.0)}, MEANINGS, warmup=4.0)
    (figure,) = (figure for _, figure in figures.values())
    panels = panels_of(figure)
    assert [axes.texts[0].get_text() for axes in panels] == ["utility", "total load"]
    assert [axes.get_title(loc="left") for axes in panels] == [MEANINGS["utility"], MEANINGS["total_load"]]
    assert [line.get_label() for line in panels[0].lines] == ["one", "two"]
    np.testing.assert_array_equal(panels[1].lines[1].get_ydata(), np.full(40, 2.0))
    np.testing.assert_array_equal(panels[0].lines[0].get_xdata(), np.arange(40) + 0.5)
    assert all(axes.get_ylim()[0] <= 0 <= axes.get_ylim()[1] for axes in panels)
    assert all(len(axes.patches) == 1 for axes in panels)  # the warm-up
    assert panels[0].get_xlabel() == "round"
    assert [text.get_text() for text in figure.legends[0].texts] == ["one", "two"]


@pytest.mark.parametrize("num_agents", [1, 16, 40])
def test_each_agent_has_a_line_that_can_be_told_from_the_others(num_agents):
    _, figure = timelines.figures({"one": made(num_agents)}, MEANINGS)["timeline_agents"]
    panels = panels_of(figure)
    assert len(panels) == 8
    assert {len(axes.lines) for axes in panels} == {num_agents}
    looks = {(str(line.get_color()), str(line.get_linestyle())) for line in panels[0].lines}
    assert len(looks) == num_agents
    assert bool(figure.legends) == (num_agents <= 2 * len(LINES))
    assert len({axes.get_xlim() for axes in panels}) == 1


def test_policies_stand_side_by_side_on_one_scale():
    series = {name: made(2, num_metrics=3) for name in ("one", "two", "three", "four")}
    _, figure = timelines.figures(series, MEANINGS)["timeline_agents"]
    panels = panels_of(figure)
    assert len(panels) == 3 * timelines.MOST_COLUMNS
    assert [axes.texts[0].get_text() for axes in panels[:3]] == ["number 0: one", "number 0: two", "number 0: three"]
    assert len({axes.get_ylim() for axes in panels[:3]}) == 1
    assert any("policies not drawn: 1" in text.get_text() for text in figure.texts)


@pytest.mark.parametrize("num_policies", [1, 3])
def test_nothing_is_cut_off_and_no_words_overlap(num_policies):
    series = {f"a_policy_of_many_options(and={k})": made(16, num_metrics=3) for k in range(num_policies)}
    for _, figure in timelines.figures(series, MEANINGS, warmup=4.0).values():
        figure.draw_without_rendering()
        words = [text for axes in figure.axes for text in (*axes.texts, axes.title, axes._left_title, axes.xaxis.label)]
        words += [*figure.texts, *(text for legend in figure.legends for text in legend.texts)]
        boxes = [text.get_window_extent() for text in words if text.get_text() and text.get_visible()]
        assert all(box.x0 >= 0 and box.y0 >= 0 for box in boxes)
        assert all(box.x1 <= figure.bbox.width and box.y1 <= figure.bbox.height for box in boxes)
        assert not any(one.overlaps(two) for k, one in enumerate(boxes) for two in boxes[:k])


def test_policies_of_other_orders_of_magnitude_share_a_logarithmic_scale():
    (axes, *_) = panels_of(timelines.figures({"one": made(), "two": made(scale=1e4)}, MEANINGS)["timeline"][1])
    assert axes.get_yscale() == "symlog"
    (axes, *_) = panels_of(timelines.figures({"one": made(), "two": made(scale=3.0)}, MEANINGS)["timeline"][1])
    assert axes.get_yscale() == "linear"


def test_long_series_are_thinned_and_time_is_called_so_where_it_counts_no_rounds():
    _, figure = timelines.figures({"one": made(num_rows=1000, elapsed=0.5)}, MEANINGS)["timeline"]
    (axes, *_) = panels_of(figure)
    assert len(axes.lines[0].get_xdata()) == timelines.MOST_POINTS
    assert axes.get_xlabel() == "time"
    assert any("each point is the mean of 5 steps" in text.get_text() for text in figure.texts)


def test_nothing_to_draw_is_refused():
    with pytest.raises(ValueError, match="series is empty"):
        timelines.figures({}, MEANINGS)
