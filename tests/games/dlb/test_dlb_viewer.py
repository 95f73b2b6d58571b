"""Pictures of the game: what moves in them is what moved in the game, and panels share their scales."""

import dataclasses
import itertools

import jax
import numpy as np
import pytest
from PIL import Image

import jaxdlb
from jaxdlb.games import GAMES
from jaxdlb.games.dlb import panel
from jaxdlb.games.dlb.replay import REQUEST, balanced, replay, shown_load
from jaxdlb.recording import Recording, record

NUM_ROUNDS = 80
SHARED = jaxdlb.make("dlb", num_nodes=5, capacity=200)
PER_LINK = jaxdlb.make("dlb", num_nodes=5, capacity=200, heartbeats="per_link")
HARD = {"load": 1.1, "failure_prob": 0.05, "repair_prob": 0.3, "heartbeat_period": 5}

VIEWER = GAMES.find("dlb").viewer()


def play(game=SHARED, name="power_of_d_stealing", **fields):
    params = game.default_params(**(HARD | fields))
    return record(game, jaxdlb.heuristic(name), params, jax.random.key(1), NUM_ROUNDS)


@pytest.fixture(scope="module")
def recording():
    return play(transfer_delay=2)


@pytest.fixture(scope="module")
def at_once():
    return play(load=0.7, transfer_delay=0)


@pytest.fixture(scope="module")
def per_link():
    return play(PER_LINK, transfer_delay=1, heartbeat_loss=0.5)


@pytest.fixture(params=["recording", "at_once", "per_link"])
def each(request):
    """Each of the three recordings."""
    return request.getfixturevalue(request.param)


def with_states(recording, **fields):
    return dataclasses.replace(recording, states=dataclasses.replace(recording.states, **fields))


def widened(recording, num_nodes):
    """The recording with its nodes repeated: for drawing alone."""
    order = np.arange(num_nodes) % 5

    def wide(leaf):
        return leaf[..., order] if leaf.ndim and leaf.shape[-1] == 5 else leaf

    params, states, actions = jax.tree.map(wide, (recording.params, recording.states, recording.actions))
    return Recording(params, states, actions, recording.timesteps)


# What moves


def test_flights_are_as_many_as_the_game_counted(each):
    flights = replay(each).flights
    counted = {
        "migrations": ~flights.asked,
        "steals": flights.asked & ~flights.refused,
        "steal_requests": flights.asked,
    }
    for metric, which in counted.items():
        per_round = np.bincount(flights.departs[which].astype(int), minlength=NUM_ROUNDS)
        np.testing.assert_array_equal(per_round, each.timesteps.metrics[metric])
    assert (flights.asked & ~flights.refused).any() and flights.refused.any() and (~flights.asked).any()


def test_what_is_under_way_after_a_round_is_what_the_state_holds_by_node_and_by_round_of_landing(each):
    flights = replay(each).flights
    for after in range(1, NUM_ROUNDS + 1):
        flying = flights.only(~flights.refused & (flights.departs < after) & (flights.lands > after))
        expected = np.zeros_like(each.states.in_transit[after])
        np.add.at(expected, ((flying.lands - after - 1).astype(int), flying.target), 1)
        np.testing.assert_array_equal(expected, each.states.in_transit[after])


def test_tasks_leave_and_reach_the_nodes_whose_loads_say_so(each):
    """No task is dropped here, so the loads before and after a round are balanced by what came and went."""
    replayed = replay(each)
    flights = replayed.flights
    tasks = flights.only(~flights.refused)
    assert each.timesteps.metrics["drops"].sum() == 0
    for round in range(NUM_ROUNDS):
        departed, landed = tasks.departs == round, tasks.lands == round + 1
        stolen_from = np.bincount(tasks.source[departed & tasks.asked], minlength=5)
        migrated_from = np.bincount(tasks.source[departed & ~tasks.asked], minlength=5)
        came = replayed.arrived[round] - migrated_from + np.bincount(tasks.target[landed], minlength=5)
        left = replayed.completed[round] + stolen_from
        np.testing.assert_array_equal(replayed.load[round] + came - left, replayed.load[round + 1])


def test_a_thief_is_where_a_task_completed_and_is_the_target(each):
    replayed = replay(each)
    flights = replayed.flights.only(replayed.flights.asked)
    rounds = flights.departs.astype(int)
    assert replayed.completed[rounds, flights.target].all()
    np.testing.assert_array_equal(each.actions.steal[rounds, flights.target], flights.source)


def test_a_choice_that_the_game_does_not_play_does_not_fly(recording):
    wild = jax.tree.map(lambda choice: np.full_like(choice, 99), recording.actions)
    assert len(replay(dataclasses.replace(recording, actions=wild)).flights.source) == 0


def test_a_steal_is_a_request_on_its_way_to_the_victim_and_then_a_task_on_its_way_to_the_thief(recording):
    flights = replay(recording).flights
    steal = flights.only(flights.asked & ~flights.refused)
    refused = flights.only(flights.refused)
    for flight in (steal, refused):
        for share, expected in ((0.0, 0.0), (0.5, 0.5), (0.99, 1.0)):
            time = flight.departs[0] + share * REQUEST
            assert flight.requesting(time)[0]
            np.testing.assert_allclose(flight.progress(time)[0], expected, atol=1e-3)
    granted = steal.departs[0] + REQUEST
    assert not steal.requesting(granted)[0] and steal.progress(granted)[0] == 0
    np.testing.assert_allclose(steal.progress((granted + steal.lands[0]) / 2)[0], 0.5)
    assert steal.progress(steal.lands[0])[0] == 1
    assert refused.requesting(granted)[0] and refused.progress(granted)[0] == 1


def test_only_what_is_under_way_is_shown(recording):
    flights = replay(recording).flights
    now = flights.at(7.5)
    assert 0 < len(now.source) < len(flights.source)
    assert np.all((now.departs <= 7.5) & (now.lands > 7.5))


def test_shown_loads_go_from_those_before_a_round_to_those_after_it(recording):
    replayed = replay(recording)
    np.testing.assert_array_equal(shown_load(replayed, 6.0), recording.states.load[6])
    np.testing.assert_allclose(shown_load(replayed, 6.9999), recording.states.load[7], atol=1e-3)


def test_at_the_balanced_load_all_nodes_drain_at_the_same_time_and_no_task_is_lost():
    load, speed = np.array([3.0, 0.0, 7.0]), np.array([0.2, 0.5, 0.9])
    shown = balanced(load, speed)
    np.testing.assert_allclose(shown / speed, (shown / speed)[0])
    np.testing.assert_allclose(shown.sum(), load.sum())


def test_what_is_heard_of_a_node_is_the_mean_over_the_others_where_each_hears_for_itself(recording, per_link):
    np.testing.assert_array_equal(replay(recording).heard_load, recording.states.heard_load)
    heard = per_link.states.heard_load
    means = [[np.mean(np.delete(heard[t, :, j], j)) for j in range(5)] for t in range(NUM_ROUNDS + 1)]
    np.testing.assert_allclose(replay(per_link).heard_load, means)


# Heat maps


def test_heat_maps_share_a_colour_scale_and_show_every_load_over_nodes_by_speed(recording):
    params = dataclasses.replace(recording.params, completion_prob=np.array([0.9, 0.5, 0.2, 0.7, 0.3], np.float32))
    other = dataclasses.replace(with_states(recording, load=recording.states.load // 2), params=params)
    (caption, figure) = VIEWER.figures({"learned": recording, "random": other})["loads"]
    assert caption
    first, second, bar = figure.axes
    assert [axes.get_title(loc="left") for axes in (first, second)] == ["learned", "random"]
    images = [axes.images[0] for axes in (first, second)]
    assert images[0].norm is images[1].norm
    assert images[0].norm.vmax == recording.states.load[1:].max()
    np.testing.assert_array_equal(images[1].get_array(), other.states.load[1:].T[[2, 4, 1, 3, 0]])
    assert [label.get_text() for label in second.get_yticklabels()] == [
        "2: q = 0.20",
        "4: q = 0.30",
        "1: q = 0.50",
        "3: q = 0.70",
        "0: q = 0.90",
    ]
    assert "tasks" in bar.get_ylabel()


def test_the_darker_a_cell_of_a_heat_map_the_higher_the_load(recording):
    (_, figure) = VIEWER.figures({"learned": recording})["loads"]
    image = figure.axes[0].images[0]
    brightness = [
        image.cmap(image.norm(load))[:3] @ np.array([0.21, 0.72, 0.07]) for load in range(int(image.norm.vmax))
    ]
    assert np.all(np.diff(brightness) < 0)


@pytest.mark.parametrize("num_nodes", [2, 8, 64])
def test_no_two_labels_of_nodes_overlap(recording, num_nodes):
    wide = widened(recording, num_nodes)
    (_, figure) = VIEWER.figures({"a": wide, "b": wide})["loads"]
    figure.draw_without_rendering()
    for axes in figure.axes[:2]:
        boxes = [label.get_window_extent() for label in axes.get_yticklabels()]
        assert len(boxes) == min(num_nodes, 16)
        assert all(below.y1 <= above.y0 for below, above in itertools.pairwise(boxes))


# Animation


def frames_of(path):
    with Image.open(path) as image:
        for frame in range(image.n_frames):
            image.seek(frame)
            yield np.asarray(image.convert("RGB"))


def test_the_animation_has_as_many_frames_as_asked_for_and_all_differ(recording, tmp_path):
    path = tmp_path / "game.gif"
    VIEWER.animation({"threshold": recording}, path, first_round=5, num_frames=12, seconds_per_round=0.4)
    with Image.open(path) as image:
        assert image.n_frames == 12
        assert image.info["duration"] == 100
        assert image.info["loop"] == 0
    frames = list(frames_of(path))
    assert all(np.any(a != b) for a, b in itertools.pairwise(frames))
    assert np.all(frames[0][-1, 0] == 255)  # the paper is white


def test_a_long_name_leaves_room_for_what_stands_to_its_right(recording, tmp_path):
    path = tmp_path / "game.gif"
    VIEWER.animation({"fading_stealing(φ=1.29, τ=0.548, m=5.28, β=1.92, a=1.2)": recording}, path, num_frames=1)
    (frame,) = frames_of(path)
    heading = frame[18:40, 54:]  # the line of the name and of the round
    inked = np.flatnonzero((heading < 128).any(axis=(0, 2)))
    gaps = np.diff(inked)
    assert gaps.max() > 25 and 300 < inked[gaps.argmax()] < 560


def test_the_animation_ends_with_the_shortest_recording(recording, tmp_path):
    short = jax.tree.map(lambda leaf: leaf[:4], (recording.actions, recording.timesteps))
    states = jax.tree.map(lambda leaf: leaf[:5], recording.states)
    path = tmp_path / "game.gif"
    both = {"whole": recording, "cut": Recording(recording.params, states, *short)}
    VIEWER.animation(both, path, first_round=2, num_frames=100, frames_per_round=3)
    assert len(list(frames_of(path))) == 6


def shown_panels(recordings, monkeypatch, tmp_path, **options):
    """The panels of an animation, as they stand in its last frame."""
    panels = []
    monkeypatch.setattr(panel.Panel, "move", _kept(panel.Panel.move, panels))
    VIEWER.animation(recordings, tmp_path / "game.gif", num_frames=2, first_round=40, **options)
    return panels[-len(recordings) :]


def _kept(move, panels):
    def kept(self, time):
        panels.append(self)
        move(self, time)

    return kept


def scales_of(shown):
    axes = shown.artists["bars"].axes
    return axes.get_ylim(), shown.artists["ages"].norm.vmax, axes.get_position().height


def test_panels_of_one_animation_share_their_scales(recording, at_once, monkeypatch, tmp_path):
    panels = shown_panels({"busy": recording, "calm": at_once}, monkeypatch, tmp_path)
    assert len({scales_of(shown) for shown in panels}) == 1
    most = max(each.states.load[40:42].max() for each in (recording, at_once))
    assert scales_of(panels[0])[0][1] >= most


def test_two_animations_share_the_scales_that_both_are_given(recording, at_once, monkeypatch, tmp_path):
    given = {"most_load": 30, "most_age": 9}
    busy, calm = (shown_panels({"x": each}, monkeypatch, tmp_path, **given)[0] for each in (recording, at_once))
    assert scales_of(busy) == scales_of(calm)
    assert scales_of(busy)[1] == 9
    own = [scales_of(shown_panels({"x": each}, monkeypatch, tmp_path)[0]) for each in (recording, at_once)]
    assert own[0] != own[1]


def test_bars_are_true_loads_and_outlines_are_what_is_heard(recording, monkeypatch, tmp_path):
    (shown,) = shown_panels({"x": recording}, monkeypatch, tmp_path, frames_per_round=2)
    shown.move(40.0)
    bars = [path.vertices[:, 1].max() for path in shown.artists["bars"].get_paths()]
    outlines = [path.vertices[:, 1].max() for path in shown.artists["heard"].get_paths()]
    np.testing.assert_array_equal(bars, recording.states.load[40])
    np.testing.assert_array_equal(outlines, recording.states.heard_load[40])
    assert bars != outlines


def test_a_drawing_of_many_nodes_and_of_one_fits(recording, tmp_path):
    alone = jaxdlb.make("dlb", num_nodes=1)
    lonely = record(alone, jaxdlb.heuristic("local"), alone.default_params(load=0.5), jax.random.key(0), 3)
    VIEWER.animation({"many": widened(recording, 64), "one": lonely}, tmp_path / "game.gif", num_frames=2)
    assert len(list(frames_of(tmp_path / "game.gif"))) == 2


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"most_load": 0}, "most_load is 0; it must be"),
        ({"most_age": 0}, "most_age is 0; it must be"),
    ],
)
def test_an_impossible_scale_is_refused_and_nothing_written(recording, tmp_path, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        VIEWER.animation({"x": recording}, tmp_path / "game.gif", **options)
    assert not list(tmp_path.iterdir())
