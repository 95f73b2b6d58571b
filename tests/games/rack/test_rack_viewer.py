"""Pictures of the rack: what they show is what the game measured, and what moves in them is what moved in the game."""

import dataclasses
import itertools
import warnings

import jax
import numpy as np
import pytest
from matplotlib.colors import to_rgba
from PIL import Image

import jaxdlb
from jaxdlb.games import GAMES
from jaxdlb.games.rack import charts, clock, panel, responses, scene
from jaxdlb.games.rack.dynamics import num_busy
from jaxdlb.games.rack.replay import Flights, Kind, replay, shown_queue
from jaxdlb.recording import Recording, record

NUM_ROUNDS = 120
GAME = jaxdlb.make("rack", num_nodes=3, max_cores=2, max_io_cores=3, max_tasks=64, max_arrivals=12)
VIEWER = GAMES.find("rack").viewer()


@pytest.fixture(scope="module")
def recording():
    """Tasks that are all dealt to a slow node, sent on, asked for, and queue for cores and for I/O."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # more tasks arrive than the rack can complete
        params = GAME.default_params(
            load=1.05,
            cores=[1, 2, 2],
            io_cores=[1, 3, 2],
            dealing={"kind": "weighted", "weights": [6, 1, 1]},
            io_time={"kind": "exponential", "average": 0.01},
            failure_prob=0.01,
            repair_prob=0.2,
        )
    return record(GAME, jaxdlb.heuristic("power_of_d_stealing"), params, jax.random.key(2), NUM_ROUNDS)


@pytest.fixture(scope="module")
def whole(recording):
    return replay(recording, 0, NUM_ROUNDS - 1)


def with_metrics(recording, **metrics):
    timesteps = dataclasses.replace(recording.timesteps, metrics=recording.timesteps.metrics | metrics)
    return dataclasses.replace(recording, timesteps=timesteps)


def shortened(recording, num_rounds):
    actions, timesteps = jax.tree.map(lambda leaf: leaf[:num_rounds], (recording.actions, recording.timesteps))
    states = jax.tree.map(lambda leaf: leaf[: num_rounds + 1], recording.states)
    return Recording(recording.params, states, actions, timesteps)


def widened(recording, num_nodes):
    """The recording with its nodes repeated and nothing under way: for figures alone."""
    order = np.arange(num_nodes) % 3
    metrics = recording.timesteps.metrics
    wide = {name: value[:, order] for name, value in metrics.items() if value.shape[1:] == (3,)}
    speeds = np.linspace(0.5, 2, num_nodes)
    cores = np.full(num_nodes, 2)
    params = dataclasses.replace(recording.params, cores=cores, io_cores=cores, core_perf=speeds, io_perf=speeds)
    return dataclasses.replace(with_metrics(recording, **wide), params=params)


def of_kind(flights, *kinds):
    return flights.only(np.isin(flights.kind, kinds))


# What moves


def test_packets_are_as_many_as_the_game_counted(recording, whole):
    flights = whole.flights
    counted = {"migrations": Kind.SENT, "steals": Kind.STOLEN, "steal_requests": Kind.REQUEST}
    for metric, kind in counted.items():
        per_slice = np.bincount(of_kind(flights, kind).departs.astype(int), minlength=NUM_ROUNDS)
        np.testing.assert_array_equal(per_slice, recording.timesteps.metrics[metric])
        assert per_slice.any()
    assert len(of_kind(flights, Kind.REFUSAL).kind)


def test_tasks_that_are_under_way_after_a_slice_are_those_that_the_state_says_and_land_when_it_says(recording, whole):
    tasks = of_kind(whole.flights, Kind.SENT, Kind.STOLEN)
    for after in range(1, NUM_ROUNDS + 1):
        state = jax.tree.map(lambda leaf: leaf[after], recording.states)  # noqa: B023
        lands = state.tasks.lands
        flying = tasks.only((tasks.departs < after) & (tasks.lands > after + 1e-4))
        travelling = lands > 1e-4
        np.testing.assert_allclose(np.sort(flying.lands - after), np.sort(lands[travelling]), atol=1e-4)
        np.testing.assert_array_equal(np.bincount(flying.target, minlength=3), state.landing)


def test_tasks_are_sent_by_the_nodes_that_chose_to_to_those_that_they_chose(recording, whole):
    sent = of_kind(whole.flights, Kind.SENT)
    np.testing.assert_array_equal(recording.actions.dispatch[sent.departs.astype(int), sent.source], sent.target)
    arrivals = recording.states.generator.arrivals
    for source, departs in zip(sent.source, sent.departs, strict=True):
        first = int(departs)
        assert np.any(
            (arrivals.node[first] == source) & (np.abs(np.maximum(arrivals.instant[first], 0) + first - departs) < 1e-4)
        )


def test_every_request_is_answered_by_a_task_or_by_a_refusal_from_the_one_asked(recording, whole):
    requests, answers = of_kind(whole.flights, Kind.REQUEST), of_kind(whole.flights, Kind.STOLEN, Kind.REFUSAL)
    np.testing.assert_array_equal(
        recording.actions.steal[requests.departs.astype(int), requests.source], requests.target
    )
    answered = requests.only(requests.lands < NUM_ROUNDS - 2)
    for source, target, lands in zip(answered.source, answered.target, answered.lands, strict=True):
        next_answers = answers.only((answers.target == source) & (answers.departs >= lands - 1e-4))
        first = np.argmin(next_answers.departs)
        assert next_answers.source[first] == target
        assert next_answers.departs[first] < lands + 1


def test_a_choice_that_the_game_does_not_play_does_not_fly(recording):
    wild = jax.tree.map(lambda choice: np.full_like(choice, 99), recording.actions)
    flights = replay(dataclasses.replace(recording, actions=wild), 0, NUM_ROUNDS - 1).flights
    assert len(of_kind(flights, Kind.SENT, Kind.REQUEST).kind) == 0


def test_a_replay_of_a_part_knows_what_had_set_out_before(recording, whole):
    first = int(of_kind(whole.flights, Kind.STOLEN).departs[0]) + 1
    part = replay(recording, first, first + 9)
    for time in (first, first + 0.5, first + 9.9):
        shown, expected = (panel.under_way(each.flights, time) for each in (part, whole))
        assert sorted(zip(shown.lands, shown.kind, strict=True)) == sorted(
            zip(expected.lands, expected.kind, strict=True)
        )
        assert len(shown.kind)
    np.testing.assert_array_equal(part.cpu_queue, whole.cpu_queue[first : first + 11])


def test_as_many_tasks_fall_as_the_balancer_dealt(recording, whole):
    falls = whole.falls
    inside = falls.lands < NUM_ROUNDS
    slices = np.maximum(falls.lands[inside], 0).astype(int)
    np.testing.assert_array_equal(np.bincount(slices, minlength=NUM_ROUNDS), recording.timesteps.metrics["arrivals"])


def test_as_many_cores_are_busy_as_the_game_counts(recording, whole):
    for busy, free in ((whole.core_busy, recording.states.core_free), (whole.io_busy, recording.states.io_free)):
        np.testing.assert_array_equal(busy.sum(axis=2), jax.vmap(num_busy)(free))
        assert busy.any()


def test_the_running_p99_is_that_of_the_tasks_completed_so_far(recording, whole):
    done = recording.timesteps.metrics["responses"]
    assert np.isnan(whole.p99[0])
    assert whole.p99[80] == responses.percentile(done[:80].sum(axis=0), 99)
    assert replay(recording, 70, 90).p99[10] == whole.p99[80]


def test_a_packet_is_shown_long_enough_to_be_seen_and_goes_all_the_way():
    both = Flights(np.array([0, 0]), np.array([0, 0]), np.array([1, 1]), np.array([3.0, 3.0]), np.array([3.01, 6.0]))
    assert len(panel.under_way(both, 2.9).kind) == 0
    assert len(panel.under_way(both, 3 + panel.SEEN / 2).kind) == 2
    assert len(panel.under_way(both, 3 + panel.SEEN + 0.01).kind) == 1
    np.testing.assert_allclose(panel.progress(both, 3 + panel.SEEN / 2), [0.5, panel.SEEN / 6])
    np.testing.assert_allclose(panel.progress(both, 6), [1, 1])


def test_shown_queues_go_from_one_state_to_the_next(recording, whole):
    np.testing.assert_array_equal(shown_queue(whole.cpu_queue, 6.0), recording.states.cpu_queue[6])
    np.testing.assert_allclose(shown_queue(whole.io_queue, 6.9999), recording.states.io_queue[7], atol=1e-2)


# Over time


def timeline(recordings):
    caption, figure = VIEWER.figures(recordings)["nodes"]
    assert caption
    return figure


def series_of(figure, num_recordings):
    """The panels of each series, by its name."""
    panels = figure.axes[: 6 * num_recordings]
    return {name: panels[k * num_recordings : (k + 1) * num_recordings] for k, name in enumerate(charts.SERIES)}


def test_the_timeline_has_a_line_a_node_in_a_panel_a_series_and_shares_scales(recording):
    busy = with_metrics(recording, cpu_queue=50 * recording.timesteps.metrics["cpu_queue"])
    figure = timeline({"calm": recording, "busy": busy})
    by_series = series_of(figure, 2)
    assert [axes.get_title(loc="left") for axes in by_series["cpu_utilisation"]] == ["calm", "busy"]
    for row in by_series.values():
        assert [len(axes.lines) for axes in row] == [3, 3]
        assert row[0].get_ylim() == row[1].get_ylim()
        assert row[0].get_ylabel()
    assert by_series["cpu_queue"][0].get_yscale() == "symlog"
    assert by_series["io_queue"][0].get_yscale() == "linear"
    assert by_series["latency"][1].get_xlabel() == "time, µs"
    np.testing.assert_allclose(by_series["latency"][1].get_xlim(), (0, NUM_ROUNDS), rtol=1e-6)


def test_the_lines_are_the_means_of_the_metrics_in_bins(recording):
    metrics = recording.timesteps.metrics
    lines = {name: axes.lines for name, (axes,) in series_of(timeline({"x": recording}), 1).items()}
    run = 5
    for name, factor in {"cpu_utilisation": 100, "io_utilisation": 100, "cpu_queue": 1, "io_queue": 1}.items():
        for node in range(3):
            means = metrics[name][:, node].reshape(-1, run).mean(axis=1)
            np.testing.assert_allclose(lines[name][node].get_ydata(), factor * means, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(lines["cpu_queue"][0].get_xdata(), np.arange(2.5, NUM_ROUNDS, run), rtol=1e-5)
    completed = metrics["completed"][:, 1].reshape(-1, run).sum(axis=1)
    np.testing.assert_allclose(lines["completed"][1].get_ydata(), completed / run, rtol=1e-5)  # tasks per µs


def test_the_latency_is_that_of_the_tasks_and_not_the_mean_of_means(recording):
    metrics = recording.timesteps.metrics
    (axes,) = series_of(timeline({"x": recording}), 1)["latency"]
    for node, line in enumerate(axes.lines):
        total, tasks = (metrics[name][:, node].reshape(-1, 5).sum(axis=1) for name in ("latency_sum", "completed"))
        np.testing.assert_allclose(line.get_ydata(), 1000 * total[tasks > 0] / tasks[tasks > 0], rtol=1e-4)
    assert axes.get_ylabel() == "mean response\ntime, µs"


def test_a_line_has_fewer_points_the_more_lines_there_are(recording):
    long = dataclasses.replace(
        recording, timesteps=jax.tree.map(lambda leaf: np.repeat(leaf, 40, 0), recording.timesteps)
    )
    assert charts.num_points(long) == 200
    assert charts.num_points(widened(long, 64)) == 50
    assert len(charts.binned(long, 200).time) == 200


def test_few_nodes_are_named_and_many_have_a_scale_of_colours(recording):
    few, many = timeline({"x": recording}), timeline({"x": widened(recording, 16)})
    assert few.legends[0].get_texts()[0].get_text() == "node 0: 1 cores of speed 0.5, 1 I/O of speed 0.5"
    assert len(few.axes) == 6 and len(many.axes) == 7 and not many.legends
    assert many.axes[-1].get_ylabel() == "expected performance of the node, tasks per µs"


def test_faster_nodes_are_darker_and_equal_ones_differ_by_index(recording):
    def colours(shown):
        return [to_rgba(line.get_color()) for line in timeline({"x": shown}).axes[0].lines]

    light = [np.dot(colour[:3], (0.21, 0.72, 0.07)) for colour in colours(widened(recording, 16))]
    assert np.all(np.diff(light) < 0)
    equal = dataclasses.replace(recording.params, **{name: np.ones(3) for name in ("core_perf", "io_perf")})
    equal = dataclasses.replace(equal, cores=np.full(3, 2), io_cores=np.full(3, 2))
    assert len(set(colours(dataclasses.replace(recording, params=equal)))) == 3


@pytest.mark.parametrize(
    ("ms", "name"), [(2000, "s"), (1000, "s"), (2, "ms"), (0.5, "µs"), (1e-5, "ns"), (0, "ms"), (float("nan"), "ms")]
)
def test_units_are_the_largest_in_which_a_time_is_at_least_1(ms, name):
    assert clock.unit_for(ms).name == name


# Response times


def test_response_times_are_the_share_of_tasks_that_took_longer(recording):
    other = with_metrics(recording, responses=np.roll(recording.timesteps.metrics["responses"], 100, axis=1))
    _, figure = VIEWER.figures({"fast": recording, "slow": other})["responses"]
    (axes,) = figure.axes
    named = {line.get_label().split(":")[0]: line for line in axes.lines if ":" in line.get_label()}
    assert list(named) == ["fast", "slow"]
    histogram = recording.timesteps.metrics["responses"].sum(axis=0)
    times, share = named["fast"].get_data()
    assert share[0] == 1 and np.all(np.diff(share) <= 0)
    for place in (0, 20, len(times) - 1):
        longer = histogram[responses.EDGES[:-1] * 1000 >= times[place] * (1 - 1e-9)].sum()
        np.testing.assert_allclose(share[place], longer / histogram.sum())
    assert np.all(named["slow"].get_xdata()[:20] > times[:20])
    assert axes.get_xscale() == axes.get_yscale() == "log"
    assert axes.get_xlabel() == "response time, µs"


def test_percentiles_are_marked_and_told_with_the_throughput(recording):
    _, figure = VIEWER.figures({"x": recording})["responses"]
    histogram = recording.timesteps.metrics["responses"].sum(axis=0)
    p50, p99 = (1000 * responses.percentile(histogram, percent) for percent in (50, 99))
    marks = [line.get_xydata()[0] for line in figure.axes[0].lines if line.get_marker() in ("o", "D")]
    np.testing.assert_allclose(marks, [(p50, 0.5), (p99, 0.01)])
    (text,) = figure.legends[0].get_texts()
    rate = histogram.sum() / NUM_ROUNDS
    assert text.get_text() == f"x: p50 {p50:.1f} µs, p99 {p99:.1f} µs, {rate:.2f} tasks per µs"


def test_a_recording_in_which_nothing_is_completed_is_drawn_all_the_same(recording, tmp_path):
    figures = VIEWER.figures({"short": shortened(recording, 1), "long": recording})
    assert "short: no task completed" in [text.get_text() for text in figures["responses"][1].legends[0].get_texts()]
    for name, (_, figure) in VIEWER.figures({"short": shortened(recording, 1)}).items():
        figure.savefig(tmp_path / f"{name}.png", dpi=20)


# Animation


def frames_of(path):
    with Image.open(path) as image:
        for frame in range(image.n_frames):
            image.seek(frame)
            yield np.asarray(image.convert("RGB"))


def test_the_animation_has_as_many_frames_as_asked_for_and_all_differ(recording, tmp_path):
    path = tmp_path / "game.gif"
    VIEWER.animation({"a policy": recording}, path, first_round=5, num_frames=8, seconds_per_round=0.4)
    with Image.open(path) as image:
        assert image.n_frames == 8
        assert image.info["duration"] == 100
        assert image.info["loop"] == 0
    frames = list(frames_of(path))
    assert all(np.any(a != b) for a, b in itertools.pairwise(frames))
    assert np.all(frames[0][-1, 0] == 255)  # the paper is white


def test_the_animation_ends_with_the_shortest_recording(recording, tmp_path):
    path = tmp_path / "game.gif"
    both = {"whole": recording, "cut": shortened(recording, 4)}
    VIEWER.animation(both, path, first_round=2, num_frames=100, frames_per_round=2)
    assert len(list(frames_of(path))) == 4


def shown_panels(recordings, monkeypatch, tmp_path, first_round):
    """The panels of an animation, as they stand in its only frame."""
    panels, move = [], panel.Panel.move

    def kept(self, time):
        panels.append(self)
        move(self, time)

    monkeypatch.setattr(panel.Panel, "move", kept)
    VIEWER.animation(recordings, tmp_path / "game.gif", num_frames=1, first_round=first_round)
    return panels[-len(recordings) :]


def heights(artist):
    return [np.ptp(path.vertices[:, 1]) for path in artist.get_paths()]


def test_piles_are_queues_and_filled_cells_are_busy_cores(recording, monkeypatch, tmp_path):
    states = recording.states
    busiest = int(np.argmax(states.io_queue.sum(axis=1) + states.cpu_queue.sum(axis=1)))
    (shown,) = shown_panels({"x": recording}, monkeypatch, tmp_path, busiest)
    queues = np.concatenate([states.cpu_queue[busiest], states.io_queue[busiest]])
    piles = np.array(heights(shown.artists["queues"]))
    assert queues.any()
    np.testing.assert_allclose(piles / piles.max(), queues / queues.max(), atol=1e-6)
    for name, free in (("cores", states.core_free[busiest]), ("io", states.io_free[busiest])):
        assert len(shown.artists[name].get_paths()) == np.sum((free > 0) & np.isfinite(free))
    dt, p99 = (
        float(recording.params.dt),
        responses.percentile(recording.timesteps.metrics["responses"][:busiest].sum(0), 99),
    )
    assert shown.artists["status"].get_text() == f"{1000 * dt * busiest:.2f} µs    p99 so far {1000 * p99:.1f} µs"


def test_panels_of_one_animation_share_their_scales(recording, monkeypatch, tmp_path):
    first, second = shown_panels({"a": recording, "b": shortened(recording, 110)}, monkeypatch, tmp_path, 100)
    assert heights(first.artists["queues"]) == heights(second.artists["queues"])
    boxes = [shown.artists["queues"].axes.get_position() for shown in (first, second)]
    assert boxes[0].y0 == boxes[1].y0 and boxes[0].x1 < boxes[1].x0


def test_nodes_that_are_down_are_shaded(recording, monkeypatch, tmp_path):
    down = int(np.flatnonzero(~recording.states.alive.all(axis=1))[0])
    (shown,) = shown_panels({"x": recording}, monkeypatch, tmp_path, down)
    assert len(shown.artists["down"].get_paths()) == np.sum(~recording.states.alive[down])


@pytest.mark.parametrize("num_nodes", [1, 2, 16, 64])
@pytest.mark.parametrize(("cores", "longest"), [(1, 1.0), (8, 12.0), (32, 900.0), (700, 40.0)])
def test_everything_has_its_place_at_any_size(num_nodes, cores, longest):
    box = scene.box_width(452, num_nodes)
    grid = scene.grid_for(cores, box)
    place = scene.Scene(
        width=452,
        num_nodes=num_nodes,
        label_rows=1,
        cores=grid,
        io=grid,
        most_cpu=longest,
        most_io=longest / 3,
    )
    bank = place.core_bank(np.full(num_nodes, cores))
    node, corners = place.cells(bank.counts, bank)
    assert np.all(np.abs(corners[..., 0] - place.centres[node][:, None]) <= box / 2)
    assert corners[..., 1].min() >= bank.bottom and corners[..., 1].max() <= place.body[1]
    assert len(corners) * grid.share >= num_nodes * cores
    high = place.bars(np.full(num_nodes, longest), below=False)[..., 1].max()
    assert high <= place.balancer[0] - scene.AIR + 1e-6
    low = place.bars(np.full(num_nodes, longest / 3), below=True)[..., 1].min()
    assert low >= place.marks
    at = sorted(height for height, _ in place.ticks())
    assert all(b - a >= scene.ROW - 1e-6 for a, b in itertools.pairwise(at))
    start, end = (
        place.tops(np.array([0]), np.zeros(num_nodes)),
        place.tops(np.array([num_nodes - 1]), np.full(num_nodes, longest)),
    )
    trail = scene.on_paths(start, end, place.rises(start, end), np.array([0.5]), 0.5)
    assert trail[..., 1].max() < place.balancer[0]


def test_lines_part_the_tasks_of_a_short_pile_only():
    grid = scene.grid_for(2, 100)
    short = scene.Scene(width=300, num_nodes=3, label_rows=1, cores=grid, io=grid, most_cpu=5.0, most_io=1.0)
    assert len(short.between_tasks(np.array([0.0, 3.0, 1.5]), below=False)) == 3
    assert len(dataclasses.replace(short, most_cpu=200.0).between_tasks(np.array([0.0, 3.0, 5.0]), below=False)) == 0
