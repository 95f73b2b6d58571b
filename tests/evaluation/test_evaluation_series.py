"""What steps report over time, and durations in a game's own unit of time."""

import csv
import dataclasses
import io

import jax
import numpy as np
import pytest
from reference import ticking

import jaxdlb
from jaxdlb import evaluation
from jaxdlb.evaluation import series
from jaxdlb.recording import record

GAME = jaxdlb.make("dlb", num_nodes=3, capacity=6)
PARAMS = GAME.default_params(load=0.9)
POLICIES = [jaxdlb.heuristic("local"), jaxdlb.heuristic("power_of_d")]
KEY = jax.random.key(5)
NUM_ROUNDS = 60
TICKING = ticking.Ticking(num_workers=2, capacity=40)
BUSY = TICKING.default_params(pieces=40, skill=1.0)


class Slow(ticking.Ticking):
    """The same game, but every step takes 1.3, which float32 holds as slightly less."""

    def step(self, key, state, action, params):
        after, timestep = super().step(key, state, action, params)
        return after, timestep.replace(elapsed=jax.numpy.float32(1.3))


SLOW = Slow(num_workers=2, capacity=40)


def busy(key):
    return BUSY


@pytest.fixture(scope="module")
def played():
    return series.play(GAME, POLICIES, PARAMS, KEY, num_rounds=NUM_ROUNDS, most_rows=NUM_ROUNDS)


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text)))


def column(rows, name):
    return np.array([float(row[name]) for row in rows])


def test_the_series_is_what_was_recorded_and_its_csv_says_the_same(played):
    rows = rows_of(series.to_csv(played))
    assert list(rows[0]) == ["policy", "time", "steps", "elapsed", *GAME.metrics]
    for policy in POLICIES:
        recorded = record(GAME, policy, PARAMS, KEY, NUM_ROUNDS).timesteps.metrics
        own = [row for row in rows if row["policy"] == policy.name]
        np.testing.assert_array_equal(column(own, "time"), np.arange(NUM_ROUNDS))
        for name in GAME.metrics:
            np.testing.assert_array_equal(played[policy.name].scalars[name].astype(np.float32), recorded[name])
            np.testing.assert_allclose(column(own, name), recorded[name], rtol=1e-7)


def test_what_comes_in_and_goes_out_balances_in_the_csv(played):
    for policy in POLICIES:
        rows = [row for row in rows_of(series.to_csv(played)) if row["policy"] == policy.name]
        held = column(rows, "total_load") + column(rows, "total_in_transit")
        flow = column(rows, "arrivals") - column(rows, "completions") - column(rows, "drops")
        np.testing.assert_array_equal(np.diff(held, prepend=0), flow)
    assert np.any(column(rows, "total_in_transit"))


def test_wider_rows_are_means_that_keep_the_sums(played):
    wide = series.play(GAME, POLICIES, PARAMS, KEY, num_rounds=NUM_ROUNDS, most_rows=9)
    for name, each in wide.items():
        assert (each.steps_per_row, each.steps.tolist()) == (7, [7] * 8 + [4])
        np.testing.assert_array_equal(each.time, 7 * np.arange(9))
        again = played[name].thinned(9)
        np.testing.assert_array_equal(again.steps, each.steps)
        for metric, values in each.scalars.items():
            np.testing.assert_allclose(values, again.scalars[metric], rtol=1e-5)
            total = np.sum(played[name].scalars[metric])
            np.testing.assert_allclose(np.sum(values * each.steps), total, rtol=1e-5)


def test_rows_are_fewer_where_agents_are_many():
    many = ticking.Ticking(num_workers=4000, capacity=40)
    params = many.default_params(pieces=40, skill=0.0)
    (found,) = series.play(many, [ticking.Always(ticking.WORK, "w")], params, KEY, num_rounds=150).values()
    assert (found.steps_per_row, len(found.time)) == (2, 75)


def test_metrics_of_agents_have_a_line_each_and_histograms_none():
    policy = ticking.eager(2)
    found = series.play(TICKING, [policy], BUSY, KEY, num_rounds=12)
    recorded = record(TICKING, policy, BUSY, KEY, 12).timesteps
    (own,) = found.values()
    assert (list(own.scalars), list(own.per_agent)) == (["utility"], ["finished"])
    np.testing.assert_array_equal(own.per_agent["finished"], recorded.metrics["finished"])
    np.testing.assert_array_equal(own.time, np.cumsum(recorded.elapsed) - recorded.elapsed)
    assert not own.in_rounds
    rows = rows_of(series.agents_to_csv(found))
    assert list(rows[0]) == ["policy", "time", "steps", "agent", "finished"]
    assert column(rows, "agent").tolist() == [0, 1] * 12
    np.testing.assert_array_equal(column(rows, "finished"), recorded.metrics["finished"].ravel())
    assert series.agents_to_csv(series.play(GAME, POLICIES[:1], PARAMS, KEY, num_rounds=3)) == ""


def counted(game, policy, num_rounds, warmup=0.0, by_time=True):
    sizes = {"num_episodes": 2, "num_rounds": num_rounds, "warmup": warmup, "by_time": by_time}
    return evaluation.sums(game, [policy], busy, KEY, **sizes)[0]


def test_where_steps_vary_those_count_that_begin_in_the_duration():
    policy = ticking.eager(3)
    took = np.asarray(record(TICKING, policy, BUSY, KEY, 20).timesteps.elapsed)
    assert set(took.tolist()) == {0.5, 1.0}
    begun = np.cumsum(took) - took
    (found,) = series.play(TICKING, [policy], BUSY, KEY, num_rounds=7.0, by_time=True).values()
    np.testing.assert_array_equal(found.time, begun[begun < 7.0])
    for duration, warmup in [(0.4, 0.0), (7.0, 0.0), (7.0, 0.5), (7.25, 0.3), (7.25, 4.0)]:
        counts = (begun >= warmup) & (begun < duration)
        sums = counted(TICKING, policy, duration, warmup)
        assert sums["steps"].tolist() == [counts.sum()] * 2
        assert sums["elapsed"].tolist() == [took[counts].sum()] * 2


def test_of_equal_steps_there_are_so_many_that_the_duration_is_covered():
    policy = ticking.eager(3)
    (found,) = series.play(SLOW, [policy], BUSY, KEY, num_rounds=15.6, by_time=True).values()
    assert len(found.time) == 12
    for duration, steps in [(15.6, 12), (15.7, 13), (1.3, 1), (0.1, 1), (39.0, 30)]:
        by_time, by_round = counted(SLOW, policy, duration), counted(SLOW, policy, steps, 0, by_time=False)
        jax.tree.map(np.testing.assert_array_equal, by_time, by_round)


def test_a_true_end_ends_the_series():
    policy, params = ticking.eager(3), TICKING.default_params(pieces=2, skill=0.5)
    timesteps = record(TICKING, policy, params, KEY, 30).timesteps
    end = 1 + int(np.argmax(timesteps.discount == 0))
    (found,) = series.play(TICKING, [policy], params, KEY, num_rounds=1e6, by_time=True).values()
    assert 1 < end < 30 and len(found.time) == end


def test_a_clock_that_stands_still_is_told(monkeypatch):
    monkeypatch.setattr(series, "MOST_STEPS", 10)
    with pytest.raises(series.EndlessError, match=r"10 steps of eager.* took a time of .*, less than 1000"):
        series.play(TICKING, [ticking.eager(3)], BUSY, KEY, num_rounds=1000.0, by_time=True)


def test_nobody_is_judged_where_that_is_asked_for():
    sizes = {"num_episodes": 2, "num_rounds": 20.0, "warmup": 2.0, "by_time": True}
    policies = [ticking.Always(ticking.WORK, "work")]
    found = evaluation.compare(TICKING, policies, busy, KEY, **sizes, judged=False)
    assert found.best_heuristic is None and found.results[0].differences == {}
    text = evaluation.to_text(found)
    assert "2 episodes of duration 20, the first 2 left out" in text and "best heuristic" not in text
    assert "best heuristic" not in evaluation.to_markdown(found)
    assert evaluation.conclusion(found) == ""
    assert evaluation.to_text(evaluation.from_json(evaluation.to_json(found))) == text
    by_round = {"num_episodes": 2, "num_rounds": 20, "warmup": 2}
    alike = evaluation.compare(TICKING, policies, busy, KEY, **by_round, judged=False)
    assert alike.results == found.results
    (line,), (result,) = rows_of(evaluation.to_table_csv(found)), found.results
    assert (line["policy"], line["kind"]) == ("work", "heuristic")
    for name, estimate in result.columns.items():
        ends = (line[name], line[f"{name}_low"], line[f"{name}_high"])
        assert tuple(map(float, ends)) == dataclasses.astuple(estimate)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"num_rounds": 0.0, "warmup": 0.0}, "num_rounds is 0; it must be a finite number > 0"),
        ({"num_rounds": 3.5, "warmup": -1.0}, "warmup is -1; it must be a finite number ≥ 0"),
        ({"num_rounds": 3.5, "warmup": 3.5}, "warmup is 3.5; it must be below num_rounds, which is 3.5"),
    ],
)
def test_times_that_leave_nothing_are_refused(given, sentence):
    with pytest.raises(ValueError, match=sentence):
        evaluation.sums(TICKING, [ticking.eager(3)], busy, KEY, num_episodes=2, by_time=True, **given)
