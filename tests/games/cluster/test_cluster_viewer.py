"""Pictures of clusters: what they show is what was recorded."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib import rcParams
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from PIL import Image

from jaxdlb.drawing.style import SHADE
from jaxdlb.games.cluster import ENTRY, Cluster, panel, viewer
from jaxdlb.games.cluster.reference import TIERS
from jaxdlb.games.cluster.replay import in_order, replay
from jaxdlb.games.cluster.types import CLASSES
from jaxdlb.recording import Recording, Viewer, record

NUM_STEPS, NUM_SHOWN = 60, 45
GAME = Cluster(7, 3, 4, 3)


@dataclasses.dataclass(frozen=True)
class First:
    """Takes the first candidate that is legal."""

    name: str = "first"
    kind = "heuristic"

    def init(self, game):
        return ()

    def act(self, key, memory, seen, params):
        return memory, jnp.argmax(seen.legal, axis=1).astype(jnp.int32)


def cut(recording, first, last):
    """Some steps of a recording, as if there were no others."""
    actions, timesteps = jax.tree.map(lambda leaf: leaf[first:last], (recording.actions, recording.timesteps))
    states = jax.tree.map(lambda leaf: leaf[first : last + 1], recording.states)
    return Recording(recording.params, states, actions, timesteps)


@pytest.fixture(scope="module")
def recording():
    """A crowded cluster: nodes fall asleep soon, deadlines are missed, tasks are dropped."""
    params = GAME.default_params(
        arrival_rate=2.5, exec_least=3, exec_cap=12, sleep_after=2, wake_time=2, deadline_factor=1.5, slot=0.5
    )
    return record(GAME, First(), params, jax.random.key(3), NUM_STEPS)


@pytest.fixture(scope="module")
def replayed(recording):
    return replay(recording)


@pytest.fixture(scope="module")
def figures(recording):
    """Those of the recording and of its beginning, without their captions."""
    before = dict(rcParams)
    found = viewer.figures({"whole": recording, "begin": cut(recording, 0, NUM_SHOWN)})
    assert dict(rcParams) == before  # drawing leaves the global settings of the plotting library alone
    assert all(caption for caption, _ in found.values())
    return {name: figure for name, (_, figure) in found.items()}


def test_the_viewer_stands_in_the_registry():
    assert ENTRY.viewer() is viewer
    assert isinstance(viewer, Viewer)


# What the game said


def test_slots_add_up_to_what_the_game_reported(recording, replayed):
    metrics, slots = recording.timesteps.metrics, replayed.slots
    passes = metrics["slots"] == 1
    assert not passes.all() and len(slots.use) == passes.sum() and replayed.seconds == metrics["time"].sum()
    np.testing.assert_allclose(slots.use.mean(axis=1) * 0.5, metrics["utilisation"][passes], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(slots.power.sum(axis=1) * 0.5 / 3.6e6, metrics["energy_kwh"][passes], rtol=1e-5)
    np.testing.assert_array_equal(slots.missed.sum(axis=1), metrics["missed"][passes])
    np.testing.assert_array_equal(slots.asleep.sum(axis=1), metrics["asleep"][passes])
    last = np.flatnonzero(passes)[-1] + 1
    for name, shown in {"missed": slots.missed, "drops": slots.dropped}.items():
        assert shown.sum() == metrics[name][:last].sum() > 0
    np.testing.assert_allclose(np.diff(replayed.begins), metrics["time"])


def test_moments_are_those_of_the_states(recording, replayed):
    states, moments = recording.states, replayed.moments
    for step, node in np.ndindex(NUM_STEPS + 1, GAME.num_nodes):
        status, due, cores = (getattr(states, name)[step, node] for name in ("status", "due", "task_cores"))
        assert moments.waiting[step, node] == (status == 1).sum()
        assert moments.late[step, node] == ((status > 0) & (due < 0)).sum()
        assert moments.in_time[step, node] == ((status == 1) & (due >= 0)).sum()
        assert moments.wanted[step, node] == pytest.approx(
            cores[status == 2].sum() / recording.params.cores[node], rel=1e-5
        )
    assert moments.asleep.any() and moments.wakes.any() and moments.late.any()


def test_deadlines_are_missed_on_the_tier_where_the_task_was(recording, replayed):
    """A task that misses its deadline in a slot stands there late after it, unless it was completed in it."""
    states, metrics = recording.states, recording.timesteps.metrics
    after = jax.tree.map(lambda leaf: leaf[1:][replayed.passes], states)
    just_missed = (after.status > 0) & (after.due < 0) & (after.due >= -0.5)
    tier = np.asarray(recording.params.tier)
    found = np.stack([just_missed[:, tier == each].sum(axis=(1, 2)) for each in range(len(TIERS))], axis=1)
    gone = replayed.slots.missed - found
    assert (gone >= 0).all() and (gone.sum(axis=1) <= metrics["completions"][replayed.passes]).all()
    assert np.count_nonzero(found.sum(axis=0)) > 1 and found.sum() > gone.sum()


def test_tasks_are_placed_where_they_are_found_afterwards(recording, replayed):
    states, metrics = recording.states, recording.timesteps.metrics
    for step in range(NUM_STEPS):
        number = states.index[step] + np.arange(GAME.num_dispatchers)
        has_task = states.window.arrives[step] <= 0
        node = replayed.node[step]
        np.testing.assert_array_equal(node >= 0, has_task)
        assert (node == GAME.num_nodes).sum() == metrics["drops"][step]
        for k, place in zip(number, node, strict=True):
            if 0 <= place < GAME.num_nodes:  # no task here is so short that it is done at once
                there = (states.number[step + 1] == k) & (states.status[step + 1] > 0)
                assert np.argwhere(there)[:, 0].tolist() == [place]


def test_columns_are_those_of_the_tables(recording, replayed):
    metrics = recording.timesteps.metrics
    assert replayed.column("completion_time") == pytest.approx(metrics["presence"].sum() / metrics["arrivals"].sum())
    told = {name: metrics[name][5:40].sum() for name in ("on_time", "missed", "drops")}
    assert replayed.column("sla", slice(5, 40)) == pytest.approx(told["on_time"] / sum(told.values()))
    assert np.isnan(replayed.column("energy_per_task", slice(0)))


# Figures


def stairs_of(axes, label):
    (found,) = [patch for patch in axes.patches if patch.get_label() == label]
    return found.get_data()


def columns_of(figure):
    """The panels of each policy, from the top."""
    by_column = {}
    for axes in figure.axes:
        by_column.setdefault(axes.get_subplotspec().colspan.start, []).append(axes)
    return list(by_column.values())


def test_tiers_are_stacked_over_time_with_what_was_dropped_on_top(recording, replayed, figures):
    (use, waiting, power, losses, asleep), *others = columns_of(figures["tiers"])
    slots, tier = replayed.slots, np.asarray(recording.params.tier)
    for axes, series, scale in ((waiting, slots.waiting, 1), (power, slots.power, 1000), (asleep, slots.asleep, 1)):
        below = 0
        for place, name in enumerate(TIERS):
            shown = stairs_of(axes, name)
            np.testing.assert_allclose(shown.edges, 0.5 * np.arange(len(series) + 1))
            np.testing.assert_allclose(shown.baseline, np.broadcast_to(below, len(series)), atol=1e-9)
            np.testing.assert_allclose(shown.values - below, series[:, tier == place].sum(axis=1) / scale, atol=1e-9)
            below = shown.values
    for place, name in enumerate(TIERS):
        cores = np.where(tier == place, recording.params.cores, 0)
        np.testing.assert_allclose(stairs_of(use, name).values, 100 * slots.use @ cores / cores.sum(), rtol=1e-5)
    total = (slots.missed.sum(axis=1) + slots.dropped) / 0.5
    np.testing.assert_allclose(stairs_of(losses, "dropped").values, total)
    for rows in zip([use, waiting, power, losses, asleep], *others, strict=True):
        assert len({axes.get_ylim() for axes in rows}) == 1
    name, summary = use.get_title(loc="left").split("\n")
    kept = 100 * replayed.column("sla")
    assert name == "whole" and f"{kept:.1f}% kept" in summary


def test_every_node_has_a_row_that_is_grey_while_it_sleeps(replayed, figures):
    axes, _, *_ = figures["use"].axes
    (image,) = axes.images
    order = [node for tier in reversed(range(len(TIERS))) for node in in_order(replayed, tier)]
    assert sorted(order) == list(range(GAME.num_nodes))
    assert np.all(np.diff(replayed.tier[order]) <= 0)
    grey = (np.asarray(image.get_array()) == to_rgba(SHADE)).all(axis=-1)
    asleep = (replayed.slots.asleep[:, order] > 0) & (replayed.slots.use[:, order] == 0)
    np.testing.assert_array_equal(grey, asleep.T)
    assert [text.get_text() for text in axes.get_yticklabels()] == [f"{name} tier" for name in reversed(TIERS)]


def test_classes_have_the_numbers_of_the_tables(replayed, figures):
    columns = {"sla": 100, "completion_time": 1, "energy_per_task": 1}
    for axes, (name, unit) in zip(figures["classes"].axes, columns.items(), strict=True):
        shown = axes.lines[0].get_xdata()
        np.testing.assert_allclose(shown, [unit * replayed.column(f"{name}_{each}") for each in CLASSES])


# The animation


def drawn_at(replayed, time, width=400.0):
    scene = viewer.scene_for(replayed, width)
    figure = Figure()
    drawn = panel.Panel(figure.add_subplot(), figure.text(0, 0, ""), replayed, scene)
    drawn.move(float(time))
    return drawn, scene


def corners_of(drawn, name):
    return np.array([path.vertices[:4] for path in drawn.artists[name].get_paths()]).reshape(-1, 4, 2)


def test_bars_are_as_high_as_the_cores_wanted_and_what_waits_hangs_below(replayed):
    for step in range(0, NUM_STEPS, 7):
        drawn, scene = drawn_at(replayed, step)
        moments, nodes, unit = replayed.moments, scene.nodes, panel.CORES / panel.MOST_WANTED
        wanted = np.minimum(moments.wanted[step, nodes], panel.MOST_WANTED)
        heights = np.ptp(corners_of(drawn, "wanted")[:, :, 1], axis=1)
        np.testing.assert_allclose(heights, unit * np.minimum(wanted, 1), atol=1e-4)
        beyond = np.ptp(corners_of(drawn, "beyond")[:, :, 1], axis=1)
        np.testing.assert_allclose(beyond, unit * (wanted[wanted > 1] - 1), atol=1e-4)
        for name, counts in (("late", moments.late), ("waiting", moments.in_time)):
            shown = np.ptp(corners_of(drawn, name)[:, :, 1], axis=1)
            np.testing.assert_allclose(shown, panel.TASK * counts[step, nodes][counts[step, nodes] > 0], atol=1e-4)
        for name in ("asleep", "wakes"):
            assert len(corners_of(drawn, name)) == getattr(moments, name)[step].sum()
        told = sum(int(text.get_text().split()[0]) for text in drawn.counts)
        assert told == moments.waiting[step].sum()


def test_tasks_go_from_their_dispatchers_to_their_nodes_in_the_first_half_of_a_step(replayed):
    placed = (replayed.node >= 0) & (replayed.node < GAME.num_nodes)
    step = int(np.argmax(placed.sum(axis=1)))
    drawn, scene = drawn_at(replayed, step)
    ways = np.array(drawn.artists["ways"].get_segments())
    assert len(ways) == placed[step].sum() == len(corners_of(drawn, "busy"))
    bars = [scene.nodes.index(node) for node in replayed.node[step][placed[step]]]
    np.testing.assert_allclose(ways[:, 1, 0], scene.left[bars] + scene.bar / 2)
    np.testing.assert_allclose(drawn.artists["tasks"].get_offsets(), ways[:, 0])
    drawn.move(step + 0.25)
    np.testing.assert_allclose(drawn.artists["tasks"].get_offsets(), ways.mean(axis=1))
    drawn.move(step + 0.6)
    assert len(drawn.artists["tasks"].get_offsets()) == 0 and len(corners_of(drawn, "busy")) == 0


def test_a_dispatcher_whose_task_is_dropped_is_marked(replayed):
    dropped = replayed.node == GAME.num_nodes
    step = int(np.argmax(dropped.sum(axis=1)))
    drawn, _ = drawn_at(replayed, step)
    assert len(corners_of(drawn, "dropped")) == dropped[step].sum() > 0


def test_the_status_says_the_time_the_power_and_the_deadlines_kept_so_far(recording, replayed):
    metrics, step = recording.timesteps.metrics, NUM_STEPS - 1
    while not replayed.passes[step]:
        step -= 1
    drawn, _ = drawn_at(replayed, step + 0.25)
    kept = replayed.column("sla", slice(step + 1))
    kilowatts = metrics["energy_kwh"][step] * 3600 / 0.5
    seconds = metrics["time"][:step].sum()
    told = f"{seconds:g} s    {kilowatts:.2f} kW    deadlines kept so far {100 * kept:.1f}%"
    assert drawn.artists["status"].get_text() == told


def frames_of(path):
    with Image.open(path) as image:
        for frame in range(image.n_frames):
            image.seek(frame)
            yield np.asarray(image.convert("RGB"))


def test_the_animation_has_as_many_frames_as_asked_for_and_ends_with_the_shortest_recording(recording, tmp_path):
    path, before = tmp_path / "cluster.gif", dict(rcParams)
    both = {"whole": recording, "begin": cut(recording, 0, NUM_SHOWN)}
    viewer.animation(both, path, first_round=NUM_SHOWN - 3, num_frames=3, frames_per_round=2)
    with Image.open(path) as image:
        assert (image.n_frames, image.info["duration"], image.info["loop"]) == (3, 200, 0)
    assert all(np.any(one != other) for one, other in itertools.pairwise(frames_of(path)))
    viewer.animation(both, path, first_round=NUM_SHOWN - 1, num_frames=100, frames_per_round=2)
    assert len(list(frames_of(path))) == 2
    assert dict(rcParams) == before


def test_of_many_nodes_some_are_shown_from_the_smallest_to_the_largest(replayed, recording, tmp_path, monkeypatch):
    monkeypatch.setattr(viewer, "MOST_NODES", 2)
    scene = viewer.scene_for(replayed, 400.0)
    for tier, nodes in enumerate(scene.tiers):
        among = in_order(replayed, tier)
        assert list(nodes) == ([among[0], among[-1]] if len(among) > 1 else among)
    figures = []
    monkeypatch.setattr(viewer.animated, "write", lambda path, figure, *rest, **others: figures.append(figure))
    viewer.animation({"first": recording}, tmp_path / "cluster.gif", num_frames=1)
    (figure,) = figures
    assert any(text.get_text().startswith("5 of 7 nodes") for text in figure.texts)
    drawn_at(replayed, 7)


def test_what_passes_in_no_time_is_drawn_all_the_same(recording, tmp_path):
    step = int(np.flatnonzero(recording.timesteps.metrics["slots"] == 0)[0])
    still = {"still": cut(recording, step, step + 1)}
    assert np.isnan(replay(still["still"]).slots.power).all()
    for _, figure in viewer.figures(still).values():
        figure.draw_without_rendering()
    viewer.animation(still, tmp_path / "cluster.gif", num_frames=2)
    assert len(list(frames_of(tmp_path / "cluster.gif"))) == 2
