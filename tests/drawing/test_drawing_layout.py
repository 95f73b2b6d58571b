"""How numbers are written, and how labels and points find room."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxdlb.drawing import layout


@given(st.lists(st.floats(-100, 100), max_size=12).map(sorted), st.floats(0.01, 20))
def test_labels_moved_apart_keep_their_order_their_distance_and_their_centre(positions, gap):
    moved = layout.spread_out(positions, gap)
    assert len(moved) == len(positions)
    assert np.all(np.diff(moved) >= gap - 1e-9)
    np.testing.assert_allclose(np.sum(moved), np.sum(positions), atol=1e-6)
    if np.all(np.diff(positions) >= gap):
        np.testing.assert_allclose(moved, positions)


@pytest.mark.parametrize(
    ("value", "written"),
    [(-3.123, "−3.12"), (13.62, "13.6"), (-99.46, "−99.5"), (-1034.2, "−1,034"), (0.0, "0.00"), (9.96, "10.0")],
)
def test_numbers_are_written_with_three_digits_or_so(value, written):
    assert layout.number(value) == written


@given(st.integers(1, 300), st.integers(1, 64))
def test_labels_are_evenly_apart_and_no_more_than_allowed(count, most):
    shown = layout.evenly_spaced(count, most)
    assert shown[0] == 0
    assert shown[-1] < count
    assert len(shown) <= most
    assert len(set(np.diff(shown))) <= 1


@given(st.integers(1, 50), st.integers(1, 20))
def test_a_shortened_record_keeps_the_mean_of_each_run_of_rounds(num_rounds, most):
    values = np.arange(num_rounds * 2.0).reshape(num_rounds, 2) ** 2
    short = layout.shortened(values, most)
    assert len(short) <= most
    run = -(-num_rounds // most)
    np.testing.assert_allclose(short, [values[k : k + run].mean(axis=0) for k in range(0, num_rounds, run)])


def test_arcs_go_from_start_to_end_and_rise_no_higher_than_told():
    start, end = np.array([[0.0, 1.0], [3.0, 5.0]]), np.array([[4.0, 1.0], [0.0, 0.0]])
    rise = np.array([2.0, 1.0])
    points = layout.arcs(start, end, rise)
    np.testing.assert_allclose(points[:, 0], start)
    np.testing.assert_allclose(points[:, -1], end)
    assert np.all(points[..., 1].max(axis=1) <= np.maximum(start[:, 1], end[:, 1]) + rise + 1e-9)
    np.testing.assert_allclose(layout.on_arcs(start, end, rise, np.array([0.5, 0.0])), [[2.0, 3.0], [3.0, 5.0]])


@pytest.mark.parametrize("towards", [(1.0, 0.0), (-2.0, 1.0), (0.0, -3.0)])
def test_an_arrow_head_ends_at_its_tip_and_looks_the_same_on_every_scale(towards):
    tip, towards = np.array([[3.0, 4.0]]), np.array([towards])
    for scale in (np.array([1.0, 1.0]), np.array([100.0, 7.0])):
        on_paper = layout.arrow_heads(tip, towards, scale, 9.0)[0] * scale
        sides = np.linalg.norm(np.diff(on_paper[[0, 1, 2, 0]], axis=0), axis=1)
        np.testing.assert_allclose(sides, 9.0 * np.array([np.hypot(1, 0.45), 0.9, np.hypot(1, 0.45)]))
        np.testing.assert_allclose(on_paper[0], tip[0] * scale)
        back = on_paper[0] - (on_paper[1] + on_paper[2]) / 2
        direction = towards[0] * scale
        np.testing.assert_allclose(back, 9.0 * direction / np.linalg.norm(direction), atol=1e-9)


@pytest.mark.parametrize(
    ("longest", "written"),
    [
        (0.0, ["0 s"]),
        (37.0, ["0 s", "10 s", "20 s", "30 s"]),
        (59.0, ["0 s", "10 s", "20 s", "30 s", "40 s", "50 s"]),
        (250.0, ["0 s", "1 min", "2 min", "3 min", "4 min"]),
        (4000.0, ["0 s", "10 min", "20 min", "30 min", "40 min", "50 min", "1 h"]),
        (90_000.0, ["0 s", "5 h", "10 h", "15 h", "20 h", "25 h"]),
    ],
)
def test_wall_times_are_round_in_the_units_of_a_clock(longest, written):
    assert [layout.duration(seconds) for seconds in layout.round_durations(longest)] == written


@given(st.floats(0, 1e8))
def test_wall_times_reach_from_0_to_nearly_the_longest_and_are_few(longest):
    shown = layout.round_durations(longest)
    assert shown[0] == 0 and shown[-1] <= longest
    assert len(shown) <= 7
    assert longest < 0.003 or len(shown) >= 3
