"""Pictures of recorded farms: what is read off their states, by hand and against metrics, and what is drawn of it."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from matplotlib import rcParams
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from PIL import Image

from jaxdlb.games.farm import Farm, charts, gantt, panel, viewer
from jaxdlb.games.farm.heuristics import HEURISTICS
from jaxdlb.games.farm.replay import Doing, Spans, handed_out, occupied, replay, representative
from jaxdlb.games.farm.types import Phase
from jaxdlb.policies import make_heuristic
from jaxdlb.recording import record


@struct.dataclass
class Script:
    """Plays codes of the decider, one a step, and 0 when they are used up."""

    codes: tuple = struct.field(pytree_node=False)
    name, kind = "script", "heuristic"

    def init(self, game):
        return jnp.int32(0)

    def act(self, key, carry, observation, params):
        code = jnp.asarray([*self.codes, 0])[jnp.minimum(carry, len(self.codes))]
        return carry + 1, jnp.where(observation.own[:, 0] > 0, code, 0).astype(jnp.int32)


@pytest.fixture(scope="module")
def worked():
    """A job of 20 equal tasks that was worked by hand: worker 0 declines in the end, and a fourth is never there."""
    game = Farm(4, task_law="deterministic")
    params = game.default_params(job=20, comm_time=0.5, speed=[1, 2, 4, 8], workers=3, drift=0)
    return record(game, Script((17, 12, 13, 0, 18)), params, jax.random.key(0), 100)


@pytest.fixture(scope="module")
def recording():
    """Three workers that fail and join again, at some distance from the master."""
    game = Farm(3)
    rates = {"failure_rate": [0.2, 0.1, 0.1], "rejoin_rate": 0.3, "join_time": [0, 0, 3]}
    params = game.default_params(job=120, comm_time=0.3, comm_per_task=0.01, latency=[0.1, 0.2, 0.5], **rates)
    return record(game, make_heuristic(HEURISTICS, "factoring"), params, jax.random.key(3), 600)


@pytest.fixture(scope="module")
def replayed(recording):
    return replay(recording)


@pytest.fixture(scope="module")
def figures(recording, worked):
    return {name: figure for name, (_, figure) in viewer.figures({"churn": recording, "worked": worked}).items()}


# What is read off the states


def test_a_job_worked_by_hand(worked):
    found = replay(worked)
    chunks = found.chunks
    assert (found.is_over, found.end, found.job, found.num_steps) == (True, 5.5, 20, 5)
    assert found.workers.tolist() == [0, 1, 2]
    assert np.all(sum(occupied(found)[1].values()) == 3)
    assert chunks.worker.tolist() == [0, 1, 2, 2] and chunks.tasks.tolist() == [2, 9, 6, 3]
    assert chunks.first.tolist() == [0, 2, 11, 17] and not chunks.lost.any()
    np.testing.assert_allclose(chunks.asked, [0, 0.5, 1, 3], atol=1e-6)
    np.testing.assert_allclose(chunks.reached, [0.5, 1, 1.5, 3.5], atol=1e-6)
    np.testing.assert_allclose(chunks.back, [2.5, 5.5, 3, 4.25], atol=1e-6)
    np.testing.assert_allclose(found.free, chunks.reached, atol=1e-6)
    (declined,) = zip(*(getattr(found.doing[Doing.DECLINED], name) for name in ("worker", "start", "end")), strict=True)
    assert declined == pytest.approx((0, 2.5, 5.5))
    instants, counts = handed_out(found)
    np.testing.assert_allclose(instants, [0, 0.5, 1, 2.5, 3, 4.25, 5.5], atol=1e-6)
    assert counts["done"].tolist() == [0, 0, 0, 2, 8, 11, 20]
    assert counts["in hand"].tolist() == [2, 11, 17, 15, 12, 9, 0]
    assert counts["not in hand"].tolist() == [18, 9, 3, 3, 0, 0, 0]


def test_times_that_workers_spend_are_those_that_the_game_reports(recording, replayed):
    metrics = recording.timesteps.metrics
    for doing, metric in ((Doing.COMPUTING, "compute_time"), (Doing.COMMUNICATING, "comm_time")):
        spans = replayed.doing[doing]
        assert np.sum(spans.end - spans.start) == pytest.approx(metrics[metric].sum(), rel=1e-4)
    instants, counts = occupied(replayed)
    idle = np.sum((counts["waiting"] + counts["declined"])[:-1] * np.diff(instants))
    assert idle == pytest.approx(metrics["idle_time"].sum(), rel=1e-3)
    assert np.all(sum(counts.values()) == 3) and min(each.min() for each in counts.values()) == 0
    assert counts["absent"].max() > 0


def test_chunks_are_those_handed_out_and_lost(recording, replayed):
    metrics, chunks = recording.timesteps.metrics, replayed.chunks
    assert len(chunks.tasks) == metrics["chunks"].sum()
    assert chunks.tasks[~chunks.lost].sum() == 120 == metrics["tasks_done"].sum()
    assert chunks.tasks[chunks.lost].sum() == metrics["tasks_returned"].sum() > 0
    assert np.all(chunks.left[chunks.lost] < chunks.back[chunks.lost])
    done = np.zeros(120, int)
    for first, tasks in zip(chunks.first[~chunks.lost], chunks.tasks[~chunks.lost], strict=True):
        done[first : first + tasks] += 1
    assert np.all(done == 1)
    assert len(replayed.failures.worker) == metrics["failures"].sum()
    for worker, time in zip(replayed.failures.worker, replayed.failures.start, strict=True):
        before, after = np.searchsorted(replayed.time, time) - 1, np.searchsorted(replayed.time, time)
        assert replayed.phase[before, worker] != Phase.ABSENT == replayed.phase[after, worker]


def test_after_each_event_tasks_are_as_the_state_says(recording, replayed):
    instants, counts = handed_out(replayed)
    asked = dict(zip(replayed.chunks.asked, replayed.chunks.tasks, strict=True))
    for step, time in enumerate(replayed.time):
        place = np.searchsorted(instants, time, side="right") - 1
        given = asked.get(time, 0)  # handed out at that instant, after the event
        outstanding = recording.states.chunk_size[step].sum()
        late = counts["in hand"][place] - given - outstanding
        assert counts["not in hand"][place] + given == recording.states.remaining[step] - min(late, 0)


def test_a_recording_that_is_cut_shows_who_has_a_chunk_in_hand(recording):
    few = 9
    cut = recording.__class__(
        recording.params,
        *(jax.tree.map(lambda leaf: leaf[: few + 1], recording.states),),
        *(jax.tree.map(lambda leaf: leaf[:few], part) for part in (recording.actions, recording.timesteps)),
    )
    found = replay(cut)
    assert not found.is_over and found.end < found.chunks.back.max()
    assert all(spans.end.max(initial=0) <= found.end for spans in found.doing.values())
    assert handed_out(found)[1]["in hand"][-1] == cut.states.chunk_size[-1].sum()
    assert gantt.summary(found).startswith("not over at ")
    gantt.gantt({"cut": found}).draw_without_rendering()


# Figures


def collection(axes, label):
    (found,) = [each for each in axes.collections if each.get_label() == label]
    assert isinstance(found, PolyCollection)
    return np.array([path.vertices[:4] for path in found.get_paths()]).reshape(-1, 4, 2)


def test_bars_stand_where_and_as_long_as_workers_do_something(worked, figures):
    axes = figures["gantt"].axes[1]
    bars = collection(axes, "computing")
    np.testing.assert_allclose(bars[:, 0, 0], [0.5, 1, 1.5, 3.5], atol=1e-6)
    np.testing.assert_allclose(bars[:, 2, 0], [2.5, 5.5, 3, 4.25], atol=1e-6)
    assert representative([replay(worked)], 64) == [2, 1, 0]  # the fastest is on top
    np.testing.assert_allclose(bars[:, :, 1].mean(axis=1), [2, 1, 0, 0], atol=1e-6)
    np.testing.assert_allclose(np.ptp(bars[:, :, 1], axis=1), gantt.OF_THE_ROW, rtol=1e-6)
    declined = collection(axes, "declined")
    np.testing.assert_allclose(np.sort(declined[0, :, 0])[[0, -1]], [2.5, 5.5], atol=1e-6)
    serving = collection(axes, "serving")
    np.testing.assert_allclose(serving[:, 2, 0] - serving[:, 0, 0], 0.5, atol=1e-6)


def test_sizes_stand_in_bars_with_room_for_them_and_titles_say_what_came_of_it(worked, figures):
    axes = figures["gantt"].axes[1]
    texts = [text.get_text() for text in axes.texts]
    assert {"9", "6", "worked"} <= set(texts)
    idle, communicating = replay(worked).column("idle"), replay(worked).column("communicating")
    said = f"workers idle for {100 * idle:.0f}% of their time, communicating for {100 * communicating:.0f}%"
    assert axes.get_title(loc="left") == f"makespan 5.50; {said}; 4 chunks"
    assert figures["gantt"].axes[0].get_xlim() == axes.get_xlim()
    found = replay(worked).chunks
    assert gantt.has_room(found, np.array([4.0, 8.0, 7.2, 7.4])).tolist() == [False, True, False, True]


def test_failures_are_marked_and_what_was_lost_is_shaded(replayed, figures):
    axes = figures["gantt"].axes[0]
    (marks,) = [line for line in axes.lines if line.get_label() == "failure"]
    np.testing.assert_allclose(np.sort(marks.get_xdata()), np.sort(replayed.failures.start))
    lost = collection(axes, "lost")
    assert len(lost) == replayed.chunks.lost.sum()
    np.testing.assert_allclose(lost[:, 2, 0], replayed.chunks.left[replayed.chunks.lost])
    labels = [text.get_text() for text in figures["gantt"].legends[0].get_texts()]
    assert {"failure", "chunk that is lost", "absent", "declined", "master is busy"} <= set(labels)


def test_of_many_workers_some_have_a_row(replayed, monkeypatch):
    monkeypatch.setattr(gantt, "MOST_ROWS", 2)
    figure = gantt.gantt({"few": replayed})
    assert figure.get_suptitle() == "What workers do (2 of 3, the fastest first)"
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["2", "0", "master"]


def test_progress_is_stacked_up_to_the_job_and_to_the_workers(worked, figures):
    tasks, workers = [axes for axes in figures["progress"].axes if axes.get_subplotspec().colspan.start == 1]
    data = {patch.get_label(): patch.get_data() for patch in tasks.patches}
    assert data["done"].values.tolist() == [0, 0, 0, 2, 8, 11]
    assert data["not in hand"].values.tolist() == [20] * 6
    np.testing.assert_array_equal(data["in hand"].baseline, data["done"].values)
    for patch in workers.patches:
        assert patch.get_data().values.max() <= 3
    top = next(patch for patch in workers.patches if patch.get_label() == "absent").get_data()
    assert set(top.values) == {3}


def test_each_chunk_is_a_dot_by_the_speed_of_its_worker(worked, replayed, figures):
    left, right = figures["chunks"].axes[:2]
    for axes, found in ((left, replayed), (right, replay(worked))):
        (dots,) = [each for each in axes.collections if each.get_label() == "chunks"]
        np.testing.assert_allclose(dots.get_offsets(), np.stack([found.chunks.asked, found.chunks.tasks], axis=1))
    (rings,) = [each for each in left.collections if each.get_label() == "lost"]
    assert len(rings.get_offsets()) == replayed.chunks.lost.sum()
    assert left.get_ylim() == right.get_ylim() and left.get_yscale() == "log"
    assert charts.FEW_WORKERS == 8 and len(right.lines) == 3 + 1  # a path for each worker, and the end


def test_captions_name_what_is_drawn_and_figures_can_be_drawn(worked):
    for caption, figure in viewer.figures({"worked": worked}).values():
        assert caption
        figure.draw_without_rendering()


# Animation


def drawn_at(replayed, time):
    figure = Figure()
    scene = panel.Scene(400.0, representative([replayed], 64), replayed.end)
    status = figure.text(0, 0, "")
    axes = [figure.add_subplot(3, 1, row) for row in (1, 2, 3)]
    drawn = panel.Panel(*axes, status, replayed, scene)
    drawn.move(time)
    return drawn, status.get_text()


def widths(artist):
    return [float(np.ptp(path.vertices[:4, 0])) for path in artist.get_paths()]


def test_a_moment_of_the_job_worked_by_hand(worked):
    found = replay(worked)
    start = panel.moment(found, 0.25)
    assert (start.served, start.queue, start.done, start.next_task) == (0, [1, 2], 0, 2)
    later = panel.moment(found, 2.75)  # worker 0 has declined, and 2 is still at it
    assert (later.served, later.queue, later.done, later.next_task) == (None, [], 2, 17)
    assert found.chunks.worker[later.in_hand].tolist() == [1, 2]
    end = panel.moment(found, 5.5)
    assert (end.served, sorted(end.queue), end.done, len(end.in_hand)) == (None, [1, 2], 20, 0)


def test_tasks_are_drawn_in_their_order_and_in_whose_hands_they_are(worked):
    drawn, status = drawn_at(replay(worked), 1.2)
    assert widths(drawn._pool["in hand"]) == [2, 9, 6] and widths(drawn._pool["done"]) == [17]
    assert [text.get_text() for text in drawn._holders.values() if text.get_visible()] == ["0", "1", "2"]
    assert drawn._served.get_text() == "2"
    assert status == "time 1.2    0 of 20 tasks done    idle 50%"
    bars = [path.vertices[:4, 0].max() for path in drawn._rows["COMPUTING"].get_paths()]
    assert max(bars) == pytest.approx(1.2)
    ahead = sorted(path.vertices[:4, 0].max() for path in drawn._rows["ahead"].get_paths())
    assert ahead == pytest.approx([2.5, 3.0, 5.5])
    assert {text.get_text() for text in drawn._sizes.values()} == {"2", "9", "6"}


def test_chunks_that_came_back_are_drawn_until_they_are_handed_out_again(recording, replayed):
    (step,) = np.flatnonzero(recording.timesteps.metrics["tasks_returned"])[:1]
    drawn, _ = drawn_at(replayed, replayed.time[step + 1] + 1e-4)
    _, count = recording.states.returned[step + 1][0]
    assert count > 0 and widths(drawn._pool["returned"]) == [count]
    assert len(drawn._rows["failures"].get_xdata()) == np.sum(replayed.failures.start <= replayed.time[step + 1])
    assert panel.moment(replayed, replayed.end).done == 120


def frames_of(path):
    with Image.open(path) as image:
        for frame in range(image.n_frames):
            image.seek(frame)
            yield np.asarray(image.convert("RGB"))


def test_frames_are_evenly_spaced_in_time_up_to_where_the_slowest_has_played_as_many_steps(recording, worked):
    both = [replay(recording), replay(worked)]
    times = viewer.instants(both, 2, 2, 5)
    begin, end = min(each.time[2] for each in both), max(each.time[4] for each in both)
    np.testing.assert_allclose(np.diff(times), np.diff(times)[0])
    assert times[0] == begin and times[-1] == pytest.approx(end + viewer.AT_THE_END * (end - begin))


def test_an_animation_of_two_farms(recording, worked, tmp_path, monkeypatch):
    before, path = dict(rcParams), tmp_path / "farm.gif"
    monkeypatch.setattr(viewer, "MOST_FRAMES", 4)
    viewer.animation({"churn": recording, "worked": worked}, path, num_frames=10_000, frames_per_round=2)
    frames = list(frames_of(path))
    assert len(frames) == 4 and all(np.any(one != other) for one, other in itertools.pairwise(frames))
    with Image.open(path) as image:
        assert image.info["duration"] == 200
    with pytest.raises(ValueError, match="first_round is 5; it must be within 0 … 4"):
        viewer.animation({"worked": worked}, path, first_round=5)
    with pytest.raises(ValueError, match="recordings is empty"):
        viewer.figures({})
    assert dict(rcParams) == before


def test_spans_are_cut_at_an_instant():
    spans = Spans(np.array([0, 1, 2]), np.array([0.0, 1.0, 2.0]), np.array([5.0, 1.5, 3.0]))
    cut = spans.until(2.0)
    assert (cut.worker.tolist(), cut.start.tolist(), cut.end.tolist()) == ([0, 1], [0.0, 1.0], [2.0, 1.5])
