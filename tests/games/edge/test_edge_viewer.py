"""Pictures of edge networks: what they show is what the game said of each step."""

import dataclasses
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib import rcParams
from PIL import Image

from jaxdlb.drawing import layout
from jaxdlb.games.edge import charts, curves, panel, responses, ring, shares, viewer
from jaxdlb.games.edge.game import Edge
from jaxdlb.games.edge.replay import game_of, lost_share, replay
from jaxdlb.recording import Recording, record

NUM_STEPS = 20
GAME = Edge(num_nodes=3, max_instances=8, max_delay=1)


@dataclasses.dataclass(frozen=True)
class Random:
    """Shares at random among what is legal."""

    name = "random"
    kind = "heuristic"

    def init(self, game):
        return ()

    def act(self, key, memory, seen, params):
        weight = jax.random.exponential(key, seen.legal.shape) * seen.legal
        return memory, weight / jnp.sum(weight, axis=1, keepdims=True)


@dataclasses.dataclass(frozen=True)
class Home(Random):
    """Keeps all at home."""

    name = "local"

    def act(self, key, memory, seen, params):
        return memory, jnp.eye(*seen.legal.shape)


PARAMS = GAME.default_params(
    adjacency=[[False, True, False], [True, False, True], [False, True, False]],
    instances=[8, 5, 2],
    warm_time=[0.1, 0.2, 0.05],
    cold_time=[0.5, 0.5, 0.5],
    link_bandwidth=20,
    request_bytes=50_000,
    deadline=0.3,
    bandwidth={"kind": "wave"},
)


@pytest.fixture(scope="module")
def recording():
    return record(GAME, Random(), PARAMS, jax.random.key(0), NUM_STEPS)


@pytest.fixture(scope="module")
def replayed(recording):
    return replay(recording)


@pytest.fixture(scope="module")
def figures(recording):
    """Those of the recording, without their captions."""
    before = dict(rcParams)
    found = viewer.figures({"random": recording})
    assert dict(rcParams) == before  # drawing leaves the global settings of the plotting library alone
    assert all(caption for caption, _ in found.values())
    return {name: figure for name, (_, figure) in found.items()}


@pytest.fixture(scope="module")
def alone():
    """A network of one node."""
    game = Edge(num_nodes=1, max_instances=8, max_delay=1)
    params = game.default_params(instances=[8])
    return record(game, Home(), params, jax.random.key(0), NUM_STEPS)


@pytest.fixture(scope="module")
def unconnected(recording):
    """A network without links, whose nodes keep what they kept before."""
    adjacency, home = np.zeros((3, 3), bool), np.eye(3, dtype=np.int32)
    flow, rejected = recording.states.flow * home, recording.states.rejected * home
    return changed(dataclasses.replace(recording.params, adjacency=adjacency), recording, flow=flow, rejected=rejected)


def changed(params, recording, **fields):
    """The recording with other parameters, and states with some fields replaced."""
    return dataclasses.replace(recording, params=params, states=dataclasses.replace(recording.states, **fields))


def cut(recording, num_steps):
    actions, timesteps = jax.tree.map(lambda leaf: leaf[:num_steps], (recording.actions, recording.timesteps))
    return Recording(
        recording.params, jax.tree.map(lambda leaf: leaf[: num_steps + 1], recording.states), actions, timesteps
    )


def widened(recording, num_nodes):
    """The recording with its nodes and links repeated; the metrics of the whole stay as they were."""
    order = np.arange(num_nodes) % 3
    pairs = np.ix_(order, order)

    def wider(leaf):
        if leaf.shape[-2:] == (3, 3):
            return leaf[(..., *pairs)]
        return leaf[..., order] if leaf.shape[-1:] == (3,) else leaf

    params, states = (jax.tree.map(wider, each) for each in (recording.params, recording.states))
    params = dataclasses.replace(params, instances=np.arange(1, num_nodes + 1) % 9)
    return dataclasses.replace(recording, params=params, states=states)


# What the game said


def test_nodes_add_up_to_what_the_game_reported_of_each_step(recording, replayed):
    metrics = recording.timesteps.metrics
    lost = metrics["refused"] + metrics["local_rejected"] + metrics["forward_rejected"]
    np.testing.assert_allclose(replayed.lost.sum(axis=1), lost, rtol=1e-5)
    np.testing.assert_allclose(replayed.served.sum(axis=1), metrics["served"], rtol=1e-5)
    np.testing.assert_allclose(replayed.forwarded.sum(axis=(1, 2)), metrics["forwarded"])
    np.testing.assert_array_equal(replayed.input_rate, recording.states.input_rate[:-1])
    np.testing.assert_allclose(lost_share(recording, slice(3, 4)), lost[3] / metrics["input"][3], rtol=1e-5)
    np.testing.assert_allclose(lost_share(recording), lost.sum() / metrics["input"].sum(), rtol=1e-5)
    assert np.all(lost > 0)


def test_the_game_that_was_played_is_known_from_its_sizes_and_from_what_was_late(recording):
    found = game_of(recording)
    assert (found.num_nodes, found.max_instances, found.max_delay) == (3, 8, 1)
    assert found.service_times == "exponential"
    states = recording.states
    left = PARAMS.deadline - (states.there + states.back)
    cold = states.cold_share[:, None, :]
    exceeded = cold * (left < PARAMS.cold_time) + (1 - cold) * (left < PARAMS.warm_time)
    late = np.sum((states.flow - states.rejected) * exceeded, axis=2)
    assert game_of(changed(recording.params, recording, late=late)).service_times == "deterministic"


# Requests over time


def stairs_of(axes, label):
    (found,) = [patch for patch in axes.patches if patch.get_label() == label]
    return found.get_data()


def timeline(recordings):
    return charts.timeline(recordings, {name: replay(each) for name, each in recordings.items()})


def test_the_timeline_shows_for_each_node_what_came_and_what_became_of_what_was_there(recording, figures):
    figure = figures["timeline"]
    states = recording.states
    for node, axes in enumerate(figure.axes[:3]):
        assert axes.get_ylabel() == f"node {node}"
        load, rejected = states.flow[1:, :, node].sum(axis=1), states.rejected[1:, :, node].sum(axis=1)
        came, served, lost = (stairs_of(axes, label) for label in ("input", "served", "lost"))
        np.testing.assert_allclose(came.values, states.input_rate[:-1, node])
        np.testing.assert_allclose(served.values, load - rejected, rtol=1e-5)
        np.testing.assert_allclose(lost.baseline, served.values)
        np.testing.assert_allclose(lost.values, load + states.refused[1:, node], rtol=1e-5)
        np.testing.assert_array_equal(came.edges, np.arange(NUM_STEPS + 1))
        assert axes.lines[0].get_ydata()[0] == pytest.approx([80, 25, 40][node])
    metrics = recording.timesteps.metrics
    lost = metrics["refused"] + metrics["local_rejected"] + metrics["forward_rejected"]
    total = figure.axes[3]
    np.testing.assert_allclose(total.patches[0].get_data().values, lost, rtol=1e-5)
    share = 100 * lost.sum() / metrics["input"].sum()
    assert total.get_title(loc="left") == f"all nodes: {share:.1f}% lost"


def test_policies_stand_side_by_side_on_one_scale(recording):
    calm = changed(recording.params, recording, flow=recording.states.flow // 4)
    figure = timeline({"wild": recording, "calm": calm})
    by_column = {
        left: [axes for axes in figure.axes if axes.get_subplotspec().colspan.start == left] for left in (0, 1)
    }
    assert [column[0].get_title(loc="left") for column in by_column.values()] == ["wild", "calm"]
    for wild, other in zip(*by_column.values(), strict=True):
        assert wild.get_ylim() == other.get_ylim()


def test_a_long_series_is_shown_by_means_over_bins_of_equal_length():
    shown = layout.binned(np.arange(25), 10)
    np.testing.assert_allclose(shown.values, [1, 4, 7, 10, 13, 16, 19, 22, 24])
    np.testing.assert_array_equal(shown.edges, [0, 3, 6, 9, 12, 15, 18, 21, 24, 25])


# Inputs and bandwidths


def test_inputs_that_agree_are_shown_once_and_others_side_by_side(recording):
    doubled = changed(recording.params, recording, previous_input=2 * recording.states.previous_input)
    figure = charts.inputs({"a": replay(recording), "b": replay(recording), "c": replay(doubled)})
    heats = [axes for axes in figure.axes if axes.images]
    assert [axes.get_title(loc="left") for axes in heats] == ["a, b", "c"]
    inputs = recording.states.input_rate[:-1]
    for axes, factor in zip(heats, (1, 2), strict=True):
        np.testing.assert_array_equal(axes.images[0].get_array(), factor * inputs.T)
        assert axes.images[0].norm.vmax == 2 * inputs.max()
    total = figure.axes[2]
    np.testing.assert_array_equal(total.patches[0].get_data().values, inputs.sum(axis=1))
    assert total.lines[0].get_ydata()[0] == pytest.approx(80 + 25 + 40)


def test_shares_are_means_over_the_nodes_and_steps_with_such_an_input(recording, figures):
    states = recording.states
    flow, came, refused = states.flow[1:], states.input_rate[:-1], states.refused[1:]
    home = np.diagonal(flow, axis1=1, axis2=2)
    amounts = (home, flow.sum(axis=2) - home, refused)
    (axes,) = figures["policy"].axes
    edges = shares.bins_of(int(came.max()))
    assert edges[0] == 1 and edges[-2] <= came.max() < edges[-1] and len(edges) <= shares.MOST_BINS + 1
    for bars, amount in zip(axes.containers, amounts, strict=True):
        for bar, low, high in zip(bars, edges[:-1], edges[1:], strict=True):
            here = (low <= came) & (came < high)
            expected = np.mean(amount[here] / came[here]) if here.any() else np.nan
            assert bar.get_height() == pytest.approx(expected, nan_ok=True)
            assert (bar.get_x(), bar.get_width()) == (low - 0.5, high - low)
    assert np.nansum([bar.get_height() for bar in axes.containers[2]]) > 0


def test_a_bin_without_inputs_and_steps_without_any_have_no_share(replayed):
    few = dataclasses.replace(replayed, input_rate=np.where(replayed.input_rate > 30, replayed.input_rate, 0))
    found = shares.shares_of(few, shares.bins_of(int(few.input_rate.max())))
    assert np.isnan(found.home[:5]).all() and np.isfinite(found.home[-1])


def test_links_are_shown_with_the_bandwidth_of_each_step(recording, figures):
    figure = figures["bandwidth"]
    now = recording.states.bandwidth_now[:-1]
    links = np.stack([now[:, 0, 1], now[:, 1, 2]])
    heat, below = figure.axes[:2]
    assert [label.get_text() for label in heat.get_yticklabels()] == ["0–1", "1–2"]
    np.testing.assert_allclose(heat.images[0].get_array(), links)
    span, mean = (patch.get_data() for patch in below.patches)
    np.testing.assert_allclose(mean.values, links.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose((span.baseline, span.values), (links.min(axis=0), links.max(axis=0)))


def test_directions_that_differ_are_links_of_their_own(recording):
    lopsided = recording.states.bandwidth_now * np.array([[1, 2, 1], [1, 1, 1], [1, 1, 1]])
    figure = charts.bandwidth({"a": replay(changed(recording.params, recording, bandwidth_now=lopsided))})
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["0 → 1", "1 → 0", "1 → 2", "2 → 1"]


# The network


def areas(polygons):
    """In proportion to the areas of discs."""
    return np.array([np.ptp(path.vertices[:, 0]) ** 2 for path in polygons.get_paths()])


def drawn_at(replayed, now, scales, time=None):
    figure = viewer.Figure()
    drawn = panel.Panel(figure.add_subplot(), replayed, scales)
    drawn.show(now, time)
    return drawn


def test_nodes_are_as_large_as_their_capacity_and_darker_the_more_they_reject(recording, replayed):
    now = panel.moment(replayed, slice(None))
    drawn = drawn_at(replayed, now, panel.scales_for([replayed], [now]))
    nodes, inputs = (areas(drawn.artists[name]) for name in ("nodes", "inputs"))
    states = recording.states
    np.testing.assert_allclose(nodes / nodes[0], np.array([80, 25, 40]) / 80, rtol=1e-5)
    np.testing.assert_allclose(inputs / nodes[0], states.input_rate[:-1].mean(axis=0) / 80, rtol=1e-5)
    shares = states.rejected.sum(axis=(0, 1)) / states.flow.sum(axis=(0, 1))
    light = drawn.artists["nodes"].get_facecolors()[:, :3] @ np.array([0.21, 0.72, 0.07])
    assert len(set(shares)) == 3 and np.array_equal(np.argsort(light), np.argsort(-shares))
    said = [drawn.artists[f"label {node}"].get_text() for node in range(3)]
    assert said == [f"{node}\n{100 * share:.0f}%" for node, share in enumerate(shares)]


def test_lines_are_as_wide_as_what_is_forwarded_and_stand_only_where_anything_is(recording, replayed):
    flow = np.array([[0, 6.0, 0], [0, 0, 12.0], [0, 3.0, 0]])
    now = panel.Moment(np.full(3, 10.0), np.zeros(3), flow)
    drawn = drawn_at(replayed, now, panel.Scales(flow=12, rate=80, share=0.5), time=0.0)
    widths = np.array(drawn.artists["flows"].get_linewidths())
    np.testing.assert_allclose((widths - 0.5) / (widths[1] - 0.5), [0.5, 1, 0.25])
    assert len(drawn.artists["heads"].get_paths()) == 3
    assert len(drawn.artists["dots"].get_offsets()) == 2 + 3 + 1
    starts = [segment[0] for segment in drawn.artists["flows"].get_segments()]
    centres, radii = ring.places(3), np.sqrt(np.array([80, 25, 40]) / 80) * ring.largest_radius(3)
    np.testing.assert_allclose(np.linalg.norm(starts - centres, axis=1), radii, rtol=1e-5)


@pytest.mark.parametrize("num_nodes", [2, 3, 5, 8, 16, 32])
def test_ways_end_at_their_nodes_pass_all_others_and_differ_by_direction(num_nodes):
    centres, largest = ring.places(num_nodes), ring.largest_radius(num_nodes)
    radii = np.full(num_nodes, largest)
    apart = np.linalg.norm(centres[:, None] - centres, axis=-1) + 10 * np.eye(num_nodes)
    assert apart.min() > 3 * largest
    reach = min(2, num_nodes - 1)
    source = np.repeat(np.arange(num_nodes), 2 * reach)
    target = (source + np.tile([*range(-reach, 0), *range(1, reach + 1)], num_nodes)) % num_nodes
    ways = ring.ways(centres, radii, source, target)
    distance = np.linalg.norm(ways[:, :, None] - centres, axis=-1).min(axis=1)
    ends = np.zeros_like(distance, dtype=bool)
    ends[np.arange(len(ways)), source] = ends[np.arange(len(ways)), target] = True
    np.testing.assert_allclose(distance[ends], largest, rtol=1e-6)
    assert np.all(distance[~ends] > largest)
    there, back = (ring.ways(centres, radii, np.array([a]), np.array([b]))[0, 12] for a, b in ((0, 1), (1, 0)))
    assert np.linalg.norm(there - back) > 0.1 * apart.min()


# How nodes serve


def test_curves_of_the_service_model_are_its_fixed_points():
    kinds = [curves.Kind(30, 0.5, 1.25, 60.0), curves.Kind(0, 0.5, 1.25, 60.0), curves.Kind(7, 0.137, 0.513, 30.0)]
    found = curves.curves(kinds, np.array([1, 10, 40], np.int32), PARAMS)
    np.testing.assert_allclose(found.reject_prob[0], [0, 0, 0.338294 / 40], atol=1e-6)
    np.testing.assert_allclose(found.cold_prob[0], [0.008251, 0.001566, 0], atol=1e-6)
    np.testing.assert_allclose(found.service_time[0], [0.5 + 0.75 * 0.008251, 0.5 + 0.75 * 0.001566, 0.5], atol=2e-6)
    np.testing.assert_allclose((found.reject_prob[1], found.service_time[1]), ([1, 1, 1], [0, 0, 0]))
    np.testing.assert_allclose(found.reject_prob[2, 1], 0.0001639, atol=1e-6)


def test_nodes_that_serve_alike_share_a_line(recording):
    params = dataclasses.replace(recording.params, instances=np.array([8, 5, 5]), warm_time=np.array([0.1, 0.2, 0.2]))
    figure = curves.service_model({"a": changed(params, recording)})
    rejected, cold, time = figure.axes
    assert [line.get_label().split(":")[0] for line in rejected.lines] == ["5 instances", "8 instances"]
    rates = rejected.lines[0].get_xdata()
    assert rates[0] == 1 and rates[-1] == math.ceil(1.4 * 80)
    found = curves.curves(curves.kinds_of([params]), rates, params)
    drawn = [[line.get_ydata() for line in axes.lines] for axes in (rejected, cold, time)]
    np.testing.assert_allclose(drawn, [100 * found.reject_prob, 100 * found.cold_prob, found.service_time])
    assert len(figure.legends[0].get_texts()) == 2


def test_many_kinds_of_nodes_are_told_apart_by_a_scale_of_capacities(recording):
    figure = curves.service_model({"a": widened(recording, 8)})
    assert not figure.legends and figure.axes[-1].get_ylabel().startswith("capacity")


# Response times


def exceeding(recording, time):
    """The share of served requests that took longer, in double precision."""
    states, params = (jax.tree.map(np.float64, each) for each in (recording.states, recording.params))
    left = np.maximum(time - states.there - states.back, 0)
    cold = states.cold_share[:, None, :]
    longer = cold * np.exp(-left / params.cold_time) + (1 - cold) * np.exp(-left / params.warm_time)
    served = states.flow - states.rejected
    return np.sum(served * longer) / np.sum(served)


def test_response_times_are_those_of_all_served_requests_with_their_percentiles(recording, figures):
    figure = figures["responses"]
    (axes,) = figure.axes
    line = next(line for line in axes.lines if str(line.get_label()).startswith("random"))
    times, share = line.get_data()
    assert len(times) == 512 and times[0] == pytest.approx(1e-4) and times[-1] == pytest.approx(1e3)
    for place in (150, 250, 280):
        assert share[place] == pytest.approx(exceeding(recording, times[place]), abs=1e-5)
    marks = [point.get_xydata()[0] for point in axes.lines if point.get_marker() in ("o", "s", "D")]
    assert [round(100 * (1 - height)) for _, height in marks] == [50, 95, 99]
    for at, height in marks:
        assert exceeding(recording, at) == pytest.approx(height, rel=2e-3)
    said = ", ".join(f"p{p} {at:.3g} s" for p, (at, _) in zip((50, 95, 99), marks, strict=True))
    assert figure.legends[0].get_texts()[0].get_text() == f"random: {said}"
    assert axes.get_xscale() == axes.get_yscale() == "log"


def test_percentiles_are_linear_in_the_logarithm_of_time_within_a_cell():
    up_to = np.where(np.arange(512) < 100, 0.0, np.where(np.arange(512) < 101, 4.0, 8.0))
    between = math.sqrt(responses.TIMES[100] * responses.TIMES[101])
    assert responses.percentile(up_to, 8, 75) == pytest.approx(between)
    assert responses.percentile(up_to, 8, 50) == pytest.approx(responses.TIMES[100])
    assert responses.percentile(np.full(512, 8.0), 8, 50) == responses.LEAST
    assert responses.percentile(up_to, 10, 95) == math.inf
    assert math.isnan(responses.percentile(np.zeros(512), 0, 50))


# Animation


def frames_of(path):
    with Image.open(path) as image:
        for frame in range(image.n_frames):
            image.seek(frame)
            yield np.asarray(image.convert("RGB"))


def test_the_animation_has_as_many_frames_as_asked_for_and_all_differ(recording, tmp_path):
    path = tmp_path / "day.gif"
    viewer.animation({"random": recording}, path, first_round=3, num_frames=6, frames_per_round=2)
    with Image.open(path) as image:
        assert (image.n_frames, image.info["duration"], image.info["loop"]) == (6, 200, 0)
    frames = list(frames_of(path))
    assert all(np.any(a != b) for a, b in itertools.pairwise(frames))
    assert np.all(frames[0][-1, 0] == 255)  # the paper is white


def test_the_animation_shows_each_step_and_ends_with_the_shortest_recording(recording, tmp_path, monkeypatch):
    moves, days = [], []
    monkeypatch.setattr(panel.Panel, "show", _kept(panel.Panel.show, moves))
    monkeypatch.setattr(viewer.Day, "move", _kept(viewer.Day.move, days))
    both = {"whole": recording, "cut": cut(recording, 5)}
    viewer.animation(both, tmp_path / "day.gif", first_round=3, num_frames=99, frames_per_round=2)
    assert len(list(frames_of(tmp_path / "day.gif"))) == 4
    assert [time for _, _, time in moves[::2]] == [3, 3.5, 4, 4.5]
    _, now, _ = moves[-1]
    np.testing.assert_array_equal(now.input_rate, recording.states.input_rate[4])
    np.testing.assert_array_equal(now.forwarded, recording.states.flow[5] * (1 - np.eye(3)))
    metrics = recording.timesteps.metrics
    lost = metrics["refused"] + metrics["local_rejected"] + metrics["forward_rejected"]
    at, since = lost[4] / metrics["input"][4], lost[3:5].sum() / metrics["input"][3:5].sum()
    status = days[-1][0].artists[-1].get_text()
    assert status == f"step 4    lost {100 * at:.1f}%, since step 3 {100 * since:.1f}%"


def _kept(call, calls):
    def kept(self, *arguments):
        calls.append((self, *arguments))
        call(self, *arguments)

    return kept


def test_one_node_and_a_graph_without_links_are_drawn_all_the_same(alone, unconnected, tmp_path):
    both = {"one": alone, "unconnected": unconnected}
    figures = viewer.figures(both)
    for name, (_, figure) in figures.items():
        figure.savefig(tmp_path / f"{name}.png", dpi=15)
    assert "There are no links." in [text.get_text() for text in figures["bandwidth"][1].texts]
    viewer.animation(both, tmp_path / "day.gif", num_frames=2)
    assert len(list(frames_of(tmp_path / "day.gif"))) == 2


def test_many_nodes_are_drawn_without_their_shares(recording):
    many = replay(widened(recording, 40))
    now = panel.moment(many, slice(None))
    drawn = drawn_at(many, now, panel.scales_for([many], [now]), time=0.5)
    assert [text.get_text() for text in drawn.labels.values()] == [str(node) for node in range(40)]
    assert len(drawn.artists["nodes"].get_paths()) == 40


def test_of_more_nodes_than_a_timeline_has_room_for_some_are_shown(recording, monkeypatch):
    monkeypatch.setattr(charts, "MOST_PANELS", 3)
    figure = timeline({"many": widened(recording, 6)})
    assert [axes.get_ylabel() for axes in figure.axes[:-1]] == ["node 0", "node 2", "node 4"]
    assert figure.get_suptitle() == "Requests over time: many (3 of 6 nodes)"
