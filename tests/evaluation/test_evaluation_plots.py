"""Pictures: what they show, and that what moves in an animation is what moved in the game."""

import dataclasses
import itertools
import re

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import rcParams
from matplotlib.collections import PolyCollection
from PIL import Image

import jaxdlb
from jaxdlb.evaluation import gif, layout, motion, plots
from jaxdlb.evaluation.rollouts import record
from jaxdlb.evaluation.statistics import Estimate
from jaxdlb.evaluation.tables import Evaluation, PolicyResult
from jaxdlb.policies import heuristic


def evaluation(utilities, kinds=None, half_width=0.1):
    kinds = kinds or {}
    results = tuple(
        PolicyResult(
            name=name,
            kind=kinds.get(name, "heuristic"),
            columns={"utility": Estimate(mean, mean - half_width, mean + half_width)},
            difference=Estimate(0.0, -1.0, 1.0),
        )
        for name, mean in utilities.items()
    )
    best = max((r for r in results if r.kind == "heuristic"), key=lambda r: r.columns["utility"].mean).name
    return Evaluation(results=results, best_heuristic=best, num_episodes=64, num_rounds=2000, warmup=200, settings={})


WIDE = {"random": -1034.0, "work_stealing": -66.7, "power_of_d": -13.6, "oracle_sed": -3.4, "mappo": -3.12}
KINDS = {"oracle_sed": "oracle", "mappo": "learned"}


NUM_ROUNDS = 80


def play(name="power_of_d_stealing", **fields):
    """A recording of 5 nodes; all have one size, so that the game is compiled once."""
    game = jaxdlb.make("dlb", num_nodes=5, capacity=8)
    params = game.default_params(**fields)
    game.validate(params)
    return record(game, heuristic(name), params, jax.random.key(1), NUM_ROUNDS)


@pytest.fixture(scope="module")
def recording():
    return play(load=1.1, transfer_delay=2, failure_prob=0.05, repair_prob=0.3, heartbeat_period=5)


def widened(recording, num_nodes):
    """The recording with its nodes repeated: for drawing alone."""
    order = np.arange(num_nodes) % 5
    per_node = ("load", "heard_age", "arrived", "completed", "alive", "dispatch", "steal")
    fields = {name: getattr(recording, name)[:, order] for name in per_node}
    fields |= {name: getattr(recording, name)[..., order] for name in ("completion_prob", "in_transit")}
    return dataclasses.replace(recording, **fields)


def all_texts(axes):
    return [text.get_text() for text in axes.texts]


# Utilities


def test_every_policy_stands_in_the_figure_the_best_on_top_with_its_value():
    (axes,) = plots.utilities(evaluation(WIDE, KINDS)).axes
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == sorted(WIDE, key=lambda name: WIDE[name])
    assert {"−3.12 ± 0.10", "−13.60 ± 0.10", "−1034.00 ± 0.10"} <= set(all_texts(axes))
    drawn = sorted(-line.get_xdata()[0] for line in axes.lines if line.get_marker() not in ("None", None))
    assert drawn == sorted(WIDE.values())


def test_a_large_spread_is_drawn_on_a_logarithmic_scale_with_utilities_as_labels():
    figure = plots.utilities(evaluation(WIDE, KINDS))
    figure.draw_without_rendering()
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    assert "logarithmic" in axes.get_xlabel()
    assert "−100" in [label.get_text() for label in axes.get_xticklabels()]
    left, right = axes.get_xlim()
    assert left > right  # costs fall to the right: better is further right


@pytest.mark.parametrize("worst", [-400.0, -2000.0, -9000.0, -20_000.0, -2_000_000.0])
def test_labels_of_a_logarithmic_scale_do_not_overlap(worst):
    figure = plots.utilities(evaluation({"random": worst, "power_of_d": -15.0}))
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


@pytest.mark.parametrize("utilities", [{"local": -3.0, "random": -3.4}, {"local": -3.0, "random": -900.0}])
def test_intervals_are_drawn_from_end_to_end(utilities):
    (axes,) = plots.utilities(evaluation(utilities, half_width=0.4)).axes
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


def test_the_kinds_of_policy_are_told_apart_by_marker_colour_and_legend():
    figure = plots.utilities(evaluation(WIDE, KINDS))
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "learned",
        "best heuristic",
        "heuristic",
        "oracle (sees true loads)",
    ]
    looks = {(h.get_marker(), h.get_color(), h.get_markerfacecolor()) for h in legend.legend_handles}
    assert len(looks) == 4


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


# Heat maps


def test_heat_maps_share_a_colour_scale_and_show_every_load_over_nodes_by_speed(recording):
    other = dataclasses.replace(
        recording, completion_prob=np.array([0.9, 0.5, 0.2, 0.7, 0.3], np.float32), load=recording.load[:60] // 2
    )
    figure = plots.heat_maps({"learned": recording, "random": other})
    first, second, bar = figure.axes
    assert [axes.get_title(loc="left") for axes in (first, second)] == ["learned", "random"]
    images = [axes.images[0] for axes in (first, second)]
    assert images[0].norm is images[1].norm
    assert images[0].norm.vmax == max(recording.load.max(), other.load.max())
    np.testing.assert_array_equal(images[1].get_array(), other.load.T[[2, 4, 1, 3, 0]])
    assert [label.get_text() for label in second.get_yticklabels()] == [
        "2: q = 0.20",
        "4: q = 0.30",
        "1: q = 0.50",
        "3: q = 0.70",
        "0: q = 0.90",
    ]
    assert "tasks" in bar.get_ylabel()


@pytest.mark.parametrize("num_nodes", [2, 8, 64])
def test_no_two_labels_of_nodes_overlap(recording, num_nodes):
    wide = widened(recording, num_nodes)
    figure = plots.heat_maps({"a": wide, "b": wide})
    figure.draw_without_rendering()
    for axes in figure.axes[:2]:
        boxes = [label.get_window_extent() for label in axes.get_yticklabels()]
        assert len(boxes) == min(num_nodes, 16)
        assert all(below.y1 <= above.y0 for below, above in itertools.pairwise(boxes))


# Animation


def test_the_animation_has_as_many_frames_as_asked_for_and_all_differ(recording, tmp_path):
    path = tmp_path / "game.gif"
    plots.animation(recording, path, title="threshold", first_round=5, num_frames=12, seconds_per_round=0.4)
    with Image.open(path) as image:
        assert image.n_frames == 12
        assert image.info["duration"] == 100
        assert image.info["loop"] == 0
        frames = [np.asarray(_seek(image, k)) for k in range(12)]
    assert all(np.any(a != b) for a, b in itertools.pairwise(frames))
    assert np.all(frames[0][-1, 0] == 255)  # the paper is white


def _seek(image, frame):
    image.seek(frame)
    return image.convert("RGB")


def test_the_animation_ends_with_the_recording(recording, tmp_path):
    path = tmp_path / "game.gif"
    plots.animation(recording, path, title="threshold", first_round=NUM_ROUNDS - 2, num_frames=100, frames_per_round=3)
    with Image.open(path) as image:
        assert image.n_frames == 6


@pytest.mark.parametrize(
    ("options", "field"), [({"first_round": NUM_ROUNDS}, "first_round"), ({"num_frames": 0}, "num_frames")]
)
def test_an_impossible_animation_is_refused_and_nothing_written(recording, tmp_path, options, field):
    with pytest.raises(ValueError, match=field):
        plots.animation(recording, tmp_path / "game.gif", title="", **options)
    assert not list(tmp_path.iterdir())


# What moves


@pytest.mark.parametrize("delay", [0, 2])
def test_flights_are_the_migrations_steals_and_refusals_of_the_game(recording, delay):
    if delay == 0:
        recording = play(load=0.7, transfer_delay=0, failure_prob=0.02, repair_prob=0.2)
    flights = motion.flights(recording)
    asked = flights.stolen | flights.refused
    rounds = np.arange(NUM_ROUNDS)
    per_round = {
        "migrations": ~asked,
        "steals": flights.stolen,
        "steal_requests": asked,
    }
    for metric, which in per_round.items():
        counted = np.bincount(flights.departs[which].astype(int), minlength=NUM_ROUNDS)
        np.testing.assert_array_equal(counted, recording.metrics[metric])
    assert flights.stolen.any() and flights.refused.any()
    tasks = ~flights.refused
    # After round r, at time r + 1, what has departed and not landed is in transit.
    in_transit = [(tasks & (flights.departs < r + 1) & (flights.lands > r + 1)).sum() for r in rounds]
    np.testing.assert_array_equal(in_transit, recording.metrics["total_in_transit"])


def test_who_steals_is_the_target_of_the_task(recording):
    flights = motion.flights(recording)
    for k in np.flatnonzero(flights.stolen):
        round, thief = int(flights.departs[k]), flights.target[k]
        assert recording.steal[round, thief] == flights.source[k]
        assert recording.completed[round, thief]


def test_only_what_is_under_way_is_shown_and_it_moves_from_start_to_end(recording):
    flights = motion.flights(recording)
    now = flights.at(7.5)
    assert 0 < len(now.source) < len(flights.source)
    assert np.all((now.departs <= 7.5) & (now.lands > 7.5))
    np.testing.assert_array_equal(now.progress(-100.0), 0.0)
    np.testing.assert_array_equal(now.progress(100.0), 1.0)
    assert np.all((now.progress(7.5) > 0) & (now.progress(7.5) < 1))


def test_shown_loads_go_from_those_before_a_round_to_those_after_it(recording):
    np.testing.assert_array_equal(motion.shown_load(recording, 6.0), recording.load[5])
    np.testing.assert_allclose(motion.shown_load(recording, 6.9999), recording.load[6], atol=1e-3)


# Layout


@given(st.lists(st.floats(-100, 100), max_size=12).map(sorted), st.floats(0.01, 20))
def test_labels_moved_apart_keep_their_order_their_distance_and_their_centre(positions, gap):
    moved = layout.apart(positions, gap)
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
    shown = layout.evenly(count, most)
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


def test_a_gif_keeps_the_named_colours_exactly(tmp_path):
    colours = np.array([[34, 48, 60], [213, 94, 0], [255, 255, 255], [37, 50, 61]], np.uint8)
    noise = np.random.default_rng(0).integers(0, 255, (60, 40, 3)).astype(np.uint8)
    frame = np.concatenate([np.broadcast_to(colours[:3, None], (3, 40, 3)), noise])
    gif.write_gif(tmp_path / "x.gif", [frame, frame[::-1]], colours[:3], 0.05)
    with Image.open(tmp_path / "x.gif") as image:
        shown = np.asarray(_seek(image, 0))
        assert image.n_frames == 2
    np.testing.assert_array_equal(shown[:3], frame[:3])


def test_drawing_leaves_the_global_settings_of_the_plotting_library_alone(recording, tmp_path):
    before = dict(rcParams)
    plots.heat_maps({"a": recording})
    plots.animation(recording, tmp_path / "game.gif", title="", num_frames=2)
    assert dict(rcParams) == before
