"""Pictures of pods: what they show is what was recorded."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib import rcParams
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

from jaxdlb.drawing.style import SHADE
from jaxdlb.games.pods import ENTRY, Pods, charts, limits, panel, responses, viewer
from jaxdlb.games.pods.columns import BINS
from jaxdlb.games.pods.replay import fifths, replay, representative
from jaxdlb.recording import Recording, Viewer, record

NUM_STEPS = 16
SIZES = {"queue_capacity": 6, "max_arrivals": 16, "history": 1}
GAME = Pods(num_pods=3, percentiles=True, **SIZES)
MANY = Pods(num_pods=40, action="instant", sharing="priority", **SIZES)


@dataclasses.dataclass(frozen=True)
class Random:
    """Asks for anything, and for more rather than less."""

    name: str = "random"
    kind = "heuristic"

    def init(self, game):
        return ()

    def act(self, key, memory, seen, params):
        u = jax.random.uniform(key, seen.legal.shape[:1])
        if seen.legal.ndim == 1:
            return memory, (1.4 * u - 0.4)[:, None]
        return memory, jnp.floor(u * seen.legal.shape[1]).astype(jnp.int32)


@dataclasses.dataclass(frozen=True)
class Keep(Random):
    """Leaves limits as they are."""

    name: str = "keep"

    def act(self, key, memory, seen, params):
        return memory, jnp.zeros((len(seen.own), 1))


CHURN = {"joins_at": [0, 4, 0], "leaves_at": [11, 99, 99], "leave_prob": [0, 0, 0.2], "join_prob": 0.5}
PARAMS = GAME.default_params(
    rate=[12, 8, 4], work_mean=20, feedback=1, slo=[0.1, 0.4, 0.4], budget=400, demand={"kind": "constant"}, **CHURN
)


def played(game, params, policy=None, num_steps=NUM_STEPS):
    return record(game, policy or Random(), params, jax.random.key(0), num_steps)


@pytest.fixture(scope="module")
def recording():
    return played(GAME, PARAMS)


@pytest.fixture(scope="module")
def calm():
    """Of another policy in the same cluster."""
    return played(GAME, PARAMS, Keep())


@pytest.fixture(scope="module")
def replayed(recording):
    return replay(recording)


@pytest.fixture(scope="module")
def many():
    """More pods than are shown one by one, of which some come and go."""
    params = MANY.default_params(rate=np.linspace(1, 3, 40), leave_prob=0.05, join_prob=0.3)
    return played(MANY, params, num_steps=8)


@pytest.fixture(scope="module")
def figures(recording, calm):
    """Those of both policies, without their captions."""
    before = dict(rcParams)
    found = viewer.figures({"random": recording, "calm": calm})
    assert dict(rcParams) == before  # drawing leaves the global settings of the plotting library alone
    assert all(caption for caption, _ in found.values())
    return {name: figure for name, (_, figure) in found.items()}


def cut(recording, num_steps):
    actions, timesteps = jax.tree.map(lambda leaf: leaf[:num_steps], (recording.actions, recording.timesteps))
    states = jax.tree.map(lambda leaf: leaf[: num_steps + 1], recording.states)
    return Recording(recording.params, states, actions, timesteps)


def zeroed(values):
    return np.nan_to_num(values)


def test_the_viewer_stands_in_the_registry():
    assert ENTRY.viewer() is viewer
    assert isinstance(viewer, Viewer)


# What the game said


def test_limits_of_each_step_are_those_that_were_granted(recording, many):
    check_limits(GAME, recording)
    check_limits(MANY, many)


def check_limits(game, recording):
    found, metrics = replay(recording), recording.timesteps.metrics
    states, actions, params = jax.tree.map(jnp.asarray, (recording.states, recording.actions, recording.params))
    limit, present, step = (each[:-1] for each in (states.limit, states.present, states.step))
    plan = jax.jit(jax.vmap(game.plan, in_axes=(0, 0, 0, 0, None)))(limit, actions, present, step, params)
    np.testing.assert_allclose(zeroed(found.limit), plan, rtol=1e-5)
    np.testing.assert_allclose(plan.sum(axis=1), metrics["provisioned"], rtol=1e-5)
    np.testing.assert_allclose(found.denied, metrics["denied"], rtol=1e-4, atol=1e-1)
    assert metrics["denied"].max() > 0


def test_pods_add_up_to_what_the_game_reported_where_none_leaves(recording, replayed):
    metrics, present = recording.timesteps.metrics, recording.states.present
    left = np.any(present[:-1] & ~present[1:], axis=1)
    assert left.any() and not left.all()
    np.testing.assert_allclose(zeroed(replayed.usage).sum(axis=1), metrics["usage"], rtol=1e-5)
    np.testing.assert_allclose(zeroed(replayed.held).sum(axis=1)[~left], metrics["held"][~left], rtol=1e-5)
    for name in ("limit", "wanted", "usage"):
        np.testing.assert_array_equal(np.isfinite(getattr(replayed, name)), present[:-1])
    for name in ("held", "late"):
        np.testing.assert_array_equal(np.isfinite(getattr(replayed, name)), present[:-1] & present[1:])


def test_what_pods_want_is_the_rate_of_requests_times_their_mean_work(recording, replayed):
    rate = np.maximum(np.array([12, 8, 4]) - recording.states.held[:-1], 0)
    np.testing.assert_allclose(zeroed(replayed.wanted), 20 * rate * recording.states.present[:-1], rtol=1e-6)


def test_late_are_the_requests_held_whose_age_has_reached_the_objective(recording, replayed):
    states, slo = recording.states, PARAMS.slo
    for step, pod in np.argwhere(np.isfinite(replayed.late)):
        ages = states.age[step + 1, pod, : states.held[step + 1, pod]]
        assert replayed.late[step, pod] == sum(age >= slo[pod] for age in ages)
    assert 0 < np.nansum(replayed.late) < np.nansum(replayed.held)


def test_shares_and_cores_are_those_of_the_tables(recording, replayed):
    metrics = recording.timesteps.metrics
    assert replayed.column("violation_share") == pytest.approx(metrics["violations"].sum() / metrics["arrivals"].sum())
    assert replayed.column("cores", slice(2, 5)) == pytest.approx(metrics["provisioned"][2:5].mean() / 1000)
    silent = dataclasses.replace(replayed, metrics={name: 0 * series for name, series in metrics.items()})
    assert np.isnan(silent.column("violation_share"))


def test_the_fifths_of_the_pods_hold_all_limits_and_those_first_want_most(many):
    found = replay(many)
    groups = fifths(found)
    np.testing.assert_allclose(groups.sum(axis=1), zeroed(found.limit).sum(axis=1), rtol=1e-5)
    for step in range(found.num_steps):
        here = np.flatnonzero(found.present[step])
        order = here[np.argsort(-found.wanted[step, here], kind="stable")]
        fifth = [k for place, k in enumerate(order) if 5 * place < len(order)]
        assert groups[step, 0] == pytest.approx(found.limit[step, fifth].sum(), rel=1e-5)


def test_of_many_pods_some_are_chosen_from_the_one_that_wants_most_to_the_one_that_wants_least(many):
    found = replay(many)
    everywhere = dataclasses.replace(found, present=np.ones_like(found.present), wanted=zeroed(found.wanted))
    total = everywhere.wanted.sum(axis=0)
    chosen = representative([everywhere], 6)
    assert len(set(chosen)) == 6
    assert np.all(np.diff(total[chosen]) <= 0)
    assert total[chosen[0]] == total.max() and total[chosen[-1]] == total.min()
    assert representative([found], 40) == list(range(40))
    most = np.argmax(total)
    rarely = np.where(np.arange(40) == most, np.arange(found.num_steps)[:, None] < 2, True)
    assert most not in representative([dataclasses.replace(everywhere, present=rarely)], 6)


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


def test_limits_are_stacked_up_to_the_budget_and_what_was_denied_stands_on_top(recording, calm, figures):
    figure = figures["limits"]
    for axes, each in zip(figure.axes, (recording, calm), strict=True):
        found = replay(each)
        below = np.zeros(NUM_STEPS)
        for pod in range(3):
            band = stairs_of(axes, f"pod {pod}")
            np.testing.assert_allclose(band.baseline, below, atol=1e-6)
            np.testing.assert_allclose(band.values - below, zeroed(found.limit[:, pod]), atol=1e-3)
            below = band.values
        np.testing.assert_allclose(below, each.timesteps.metrics["provisioned"], rtol=1e-5)
        denied, asked = stairs_of(axes, "denied"), each.timesteps.metrics["denied"]
        np.testing.assert_array_equal(np.isfinite(denied.values), asked > 1)
        np.testing.assert_allclose((denied.values - below)[asked > 1], asked[asked > 1], rtol=1e-3)
        assert [line.get_ydata()[0] for line in axes.lines] == [400]
        assert below.max() <= 400 * (1 + 1e-5) < axes.get_ylim()[1]
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert [title.split("\n")[0] for title in titles] == ["random", "calm"]
    metrics = recording.timesteps.metrics
    cores, share = metrics["provisioned"].mean() / 1000, metrics["violations"].sum() / metrics["arrivals"].sum()
    assert titles[0] == f"random\n{cores:.2f} cores, {100 * share:.1f}% late"


def test_usage_is_shown_pod_by_pod_with_the_limit_and_what_is_wanted(recording, calm, figures):
    columns = columns_of(figures["usage"])
    assert [panels[0].get_title(loc="left") for panels in columns] == ["random", "calm"]
    assert [axes.get_ylabel() for axes in columns[0]] == ["pod 0", "pod 1", "pod 2", "all pods"]
    for panels, each in zip(columns, (recording, calm), strict=True):
        found = replay(each)
        for pod, axes in enumerate(panels[:3]):
            for label, series in (("used", found.usage), ("limit", found.limit), ("wanted", found.wanted)):
                shown = stairs_of(axes, label)
                np.testing.assert_allclose(shown.values, series[:, pod])  # NaN, and so a gap, where it is absent
                np.testing.assert_array_equal(shown.edges, np.arange(NUM_STEPS + 1))
        total, metrics = panels[3], each.timesteps.metrics
        np.testing.assert_allclose(stairs_of(total, "used").values, metrics["usage"], rtol=1e-6)
        np.testing.assert_allclose(stairs_of(total, "limit").values, metrics["provisioned"], rtol=1e-5)
        assert total.lines[0].get_ydata()[0] == 400
    for left, right in zip(*columns, strict=True):
        assert left.get_ylim() == right.get_ylim()


def test_times_without_a_pod_are_shaded(recording, figures):
    present = recording.states.present[:-1]
    for pod, axes in enumerate(columns_of(figures["usage"])[0][:3]):
        (shade,) = [each for each in axes.collections if each.get_label() == "absent"]
        assert to_hex(shade.get_facecolor()[0]) == SHADE
        spans = [path.vertices[:, 0] for path in shade.get_paths()]
        away = {step for span in spans for step in range(int(span.min()), int(span.max()))}
        assert away == set(np.flatnonzero(~present[:, pod]))
    assert charts.absences(np.array([False, True, False, False])) == [(0, 1), (2, 2)]
    assert charts.absences(np.ones(3, bool)) == []


def test_requests_held_are_shown_pod_by_pod_and_violations_and_responses_of_all(recording, replayed, figures):
    panels = columns_of(figures["requests"])[0]
    for pod, axes in enumerate(panels[:3]):
        late, held = stairs_of(axes, "late"), stairs_of(axes, "held")
        np.testing.assert_array_equal(late.values, replayed.late[:, pod])
        np.testing.assert_array_equal(held.values, replayed.held[:, pod])
        np.testing.assert_array_equal(held.baseline, zeroed(late.values))
    metrics = recording.timesteps.metrics
    counts, times = panels[3:]
    np.testing.assert_allclose(stairs_of(counts, "violations").values, metrics["violations"])
    np.testing.assert_allclose(stairs_of(counts, "arrivals").values, metrics["arrivals"])
    done = metrics["completions"] > 0
    mean = stairs_of(times, "response").values
    np.testing.assert_allclose(mean[done], (metrics["response_sum"] / np.maximum(metrics["completions"], 1))[done])
    assert np.all(np.isnan(mean[~done]))
    assert [line.get_ydata()[0] for line in times.lines] == pytest.approx([0.1, 0.4])


def test_response_times_are_those_that_the_game_counted(recording, figures):
    (axes,) = figures["responses"].axes
    histogram = recording.timesteps.metrics["response_histogram"].sum(axis=0)
    line = next(line for line in axes.lines if str(line.get_label()).startswith("random"))
    times, share = line.get_data()
    for place in (0, len(times) // 2, len(times) - 1):
        longer = histogram[BINS.edges[:-1] >= times[place] * (1 - 1e-9)].sum()
        assert share[place] == pytest.approx(longer / histogram.sum(), abs=1e-9)
    percentiles = {percent: BINS.percentile(histogram, percent) for percent in (50, 95, 99)}
    marked = [line.get_xdata()[0] for line in axes.lines if line.get_marker() in ("o", "s", "D")]
    assert marked[:3] == pytest.approx(list(percentiles.values()))
    said = ", ".join(f"p{percent} {time:.3g} s" for percent, time in percentiles.items())
    assert figures["responses"].legends[0].get_texts()[0].get_text() == f"random: {said}"


def test_without_counts_of_response_times_there_is_no_such_figure_and_without_responses_no_line(recording, replayed):
    metrics = recording.timesteps.metrics
    uncounted = {name: series for name, series in metrics.items() if name != "response_histogram"}
    timesteps = dataclasses.replace(recording.timesteps, metrics=uncounted)
    found = viewer.figures({"random": dataclasses.replace(recording, timesteps=timesteps)})
    assert list(found) == ["limits", "usage", "requests"]
    nothing = dataclasses.replace(replayed, metrics={name: 0 * series for name, series in metrics.items()})
    figure = responses.distribution({"none": nothing, "random": replayed})
    assert figure.legends[0].get_texts()[0].get_text() == "none: no request completed"
    figure.draw_without_rendering()


def test_of_many_pods_a_few_have_panels_and_captions_say_which(many):
    found = viewer.figures({"random": many})
    _, usage = found["usage"]
    shown = representative([replay(many)], charts.MOST_PANELS)
    (panels,) = columns_of(usage)
    assert [axes.get_ylabel() for axes in panels] == [*(f"pod {k}" for k in shown), "each of\nall pods", "all pods"]
    assert usage.get_suptitle().endswith("(6 of 40 pods)")
    assert all("6 of the pods" in found[name][0] for name in ("usage", "requests"))
    spread, limit = stairs_of(panels[-2], "spread"), replay(many).limit
    np.testing.assert_allclose(spread.baseline, np.nanquantile(limit, 0.1, axis=1), rtol=1e-5)
    np.testing.assert_allclose(spread.values, np.nanquantile(limit, 0.9, axis=1), rtol=1e-5)
    (stack,) = found["limits"][1].axes
    assert [patch.get_label() for patch in stack.patches if patch.get_label() in limits.FIFTHS] == [*limits.FIFTHS]
    for _, figure in found.values():
        figure.draw_without_rendering()


def test_a_long_recording_is_shown_by_means_of_what_is_known():
    series = np.where(np.arange(2 * charts.MOST_BINS) % 4 < 3, 5.0, np.nan)
    series[:2] = np.nan
    shown = charts.known(series)
    assert len(shown.values) == charts.MOST_BINS
    assert np.isnan(shown.values[0])
    np.testing.assert_array_equal(shown.values[1:], 5)


# Animation


def drawn_at(replayed, time, pods=(0, 1, 2), width=400.0):
    scene = panel.Scene(width, pods, top=200.0, most=6)
    figure = Figure()
    drawn = panel.Panel(figure.add_subplot(), figure.text(0, 0, ""), replayed, scene)
    drawn.move(time)
    return drawn, scene


def corners_of(drawn, name):
    return np.array([path.vertices[:4] for path in drawn.artists[name].get_paths()]).reshape(-1, 4, 2)


def heights(drawn, name):
    return np.ptp(corners_of(drawn, name)[:, :, 1], axis=1)


def test_bars_are_as_high_as_limits_and_usage_and_stand_only_where_a_pod_is(recording, replayed):
    present = recording.states.present
    for step in range(NUM_STEPS):
        drawn, scene = drawn_at(replayed, step)
        here = present[step]
        scale = panel.LIMITS / scene.top
        np.testing.assert_allclose(heights(drawn, "limits"), scale * replayed.limit[step, here], rtol=1e-5, atol=1e-4)
        np.testing.assert_allclose(heights(drawn, "used"), scale * replayed.usage[step, here], rtol=1e-5, atol=1e-4)
        ticks = corners_of(drawn, "wanted")[:, :, 1].mean(axis=1)
        np.testing.assert_allclose(ticks, scene.height(replayed.wanted[step, here]), rtol=1e-5)
        assert len(corners_of(drawn, "absent")) == np.sum(~here)
        assert [text.get_text() == "–" for text in drawn.counts] == list(~here)


def test_requests_that_wait_are_blocks_and_those_that_are_late_cover_the_first_of_them(replayed):
    for step in range(NUM_STEPS):
        drawn, _ = drawn_at(replayed, step + 0.9)
        held, late = zeroed(replayed.held[step]), zeroed(replayed.late[step])
        waiting, red = (corners_of(drawn, name) for name in ("waiting", "late"))
        assert (len(waiting), len(red)) == (held.sum(), late.sum())
        assert all(any(np.array_equal(one, other) for other in waiting) for one in red)


def test_blocks_find_room_within_the_bar_of_their_pod_and_never_overlap():
    for num_pods, most in ((1, 3), (3, 64), (16, 64), (16, 1000)):
        scene = panel.Scene(430.0, tuple(range(num_pods)), 100.0, most)
        corners = scene.blocks(np.full(num_pods, most))
        if most <= 64:
            assert len(corners) == num_pods * most
        low, high = corners.min(axis=1), corners.max(axis=1)
        assert low[:, 1].min() > panel.BUDGET and high[:, 1].max() <= panel.BUDGET + panel.SPACE + panel.WAITING
        left = scene.left[np.searchsorted(scene.left, low[:, 0], side="right") - 1]
        assert np.all(high[:, 0] <= left + scene.bar)
        assert len(np.unique(low, axis=0)) == len(low)


def test_the_budget_is_shared_out_in_proportion_to_limits(replayed):
    step = int(np.argmax(replayed.denied))
    drawn, scene = drawn_at(replayed, step)
    whole = panel.WHOLE_BUDGET * scene.width
    widths = np.ptp(corners_of(drawn, "shares")[:, :, 0], axis=1)
    np.testing.assert_allclose(widths, [*(whole * zeroed(replayed.limit[step]) / 400), 0], atol=1e-3)
    (denied,) = corners_of(drawn, "denied")
    assert denied[:, 0].min() == pytest.approx(whole, rel=1e-5)
    wide = whole * replayed.denied[step] / 400
    assert np.ptp(denied[:, 0]) == pytest.approx(min(wide, scene.width - whole), rel=1e-4)
    few, _ = drawn_at(replayed, step, pods=(1,))
    others = np.ptp(corners_of(few, "shares")[:, :, 0], axis=1)
    np.testing.assert_allclose(others, [widths[1], widths[0] + widths[2]], atol=1e-3)


def test_limits_stand_for_half_a_step_and_then_change_to_those_of_the_next(replayed):
    staying = np.flatnonzero(replayed.present[5] & replayed.present[6])
    for time, expected in ((5.4, 5), (5.75, 5.5), (6.0, 6)):
        between = expected - int(expected)
        before, after = replayed.limit[int(expected)], replayed.limit[min(int(expected) + 1, NUM_STEPS - 1)]
        found = panel.moment(replayed, time).limit
        np.testing.assert_allclose(found[staying], (before + between * (after - before))[staying], rtol=1e-5)
    assert np.array_equal(panel.moment(replayed, NUM_STEPS - 0.1).limit, replayed.limit[-1], equal_nan=True)


def test_the_status_says_the_time_the_cores_and_what_was_late_so_far(recording, replayed):
    metrics = recording.timesteps.metrics
    drawn, _ = drawn_at(replayed, 9.25)
    share = metrics["violations"][:10].sum() / metrics["arrivals"][:10].sum()
    cores = metrics["provisioned"][9] / 1000
    assert drawn.artists["status"].get_text() == f"9 s    {cores:.2f} cores    late so far {100 * share:.1f}%"


def frames_of(path):
    with Image.open(path) as image:
        for frame in range(image.n_frames):
            image.seek(frame)
            yield np.asarray(image.convert("RGB"))


def test_the_animation_has_as_many_frames_as_asked_for_and_ends_with_the_shortest_recording(recording, calm, tmp_path):
    path, before = tmp_path / "pods.gif", dict(rcParams)
    both = {"random": recording, "calm": cut(calm, 9)}
    viewer.animation(both, path, first_round=3, num_frames=4, frames_per_round=2)
    with Image.open(path) as image:
        assert (image.n_frames, image.info["duration"], image.info["loop"]) == (4, 200, 0)
    frames = list(frames_of(path))
    assert all(np.any(one != other) for one, other in itertools.pairwise(frames))
    viewer.animation(both, path, first_round=7, num_frames=100, frames_per_round=1)
    assert len(list(frames_of(path))) == 2
    assert dict(rcParams) == before


def test_an_animation_of_many_pods_shows_some_of_them_and_says_so(many, tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(viewer.animated, "write", lambda path, figure, *rest, **others: figures.append(figure))
    viewer.animation({"random": many, "again": many}, tmp_path / "pods.gif", num_frames=1)
    (figure,) = figures
    assert any(text.get_text().startswith("16 of 40 pods") for text in figure.texts)
    scene = viewer.scene_for({"random": replay(many)}, slice(0, 8), 430.0)
    assert len(scene.pods) == 16
    shown = replay(many).limit[:, list(scene.pods)]
    assert scene.top >= np.nanmax(shown)
    figure.draw_without_rendering()


def test_one_pod_alone_that_gets_no_requests_is_drawn_all_the_same(tmp_path):
    game = Pods(num_pods=1, **SIZES)
    alone = played(game, game.default_params(rate=0), num_steps=3)
    for _, figure in viewer.figures({"random": alone}).values():
        figure.draw_without_rendering()
    viewer.animation({"random": alone}, tmp_path / "pods.gif", num_frames=2)
    assert len(list(frames_of(tmp_path / "pods.gif"))) == 2


def test_without_recordings_there_is_nothing_to_draw_and_impossible_animations_are_refused(recording, tmp_path):
    with pytest.raises(ValueError, match="recordings is empty"):
        viewer.figures({})
    with pytest.raises(ValueError, match=f"first_round is {NUM_STEPS}; it must be within 0 … {NUM_STEPS - 1}"):
        viewer.animation({"random": recording}, tmp_path / "pods.gif", first_round=NUM_STEPS)
    assert not list(tmp_path.iterdir())
