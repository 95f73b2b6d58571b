"""Policies over the values of a parameter: factors and gains against lines whose answers are known by hand."""

import csv
import dataclasses
import io

import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_hex

from jaxdlb.drawing.style import BLUE, GREEN, GREY
from jaxdlb.evaluation import sweep
from jaxdlb.evaluation.sweep import Line, Sweep, conclusion, curve, lower_cost, more_gain, to_csv
from jaxdlb.evaluation.sweep_plot import frontier

VALUES = (0.3, 0.5, 0.9)


def line(gain, cost, name="rule", kind="heuristic", shape=(1, 4), members=()):
    """A policy that gains and costs the same in every episode of every seed; `shape` is how many of each there are."""
    whole = [np.broadcast_to(np.asarray(each, float)[:, None, None], (len(each), *shape)) for each in (gain, cost)]
    return Line(name, kind, *whole, members)


def noisy(mean, num_seeds, seed, episodes=24, between=0.0):
    """Costs around `mean` in every episode, where training seeds differ too: a standard deviation of 0.2 an episode."""
    rng = np.random.default_rng(seed)
    cost = mean + 0.2 * rng.standard_normal((1, num_seeds, episodes)) + between * rng.standard_normal((1, num_seeds, 1))
    return Line("noisy", "learned", np.ones_like(cost), cost)


def found(finding):
    return finding.ratio.mean, finding.ratio.low, finding.ratio.high, finding.where


# The factor in cost


@pytest.mark.parametrize(("up_to", "factor", "where"), [(0.5, 3.0, 0.5), (0.4, 2.0, 0.3), (1.0, 4.0, 0.9)])
def test_the_factor_in_cost_is_the_largest_at_the_values_up_to_the_limit(up_to, factor, where):
    own, other = line([1, 2, 3], [1, 2, 3]), line([1, 2, 3], [2, 6, 12], shape=(2, 4))
    assert found(lower_cost(own, other, VALUES, up_to)) == (factor, factor, factor, where)


def test_a_factor_below_one_says_that_the_other_costs_less():
    assert found(lower_cost(line([1, 2], [4, 4]), line([1, 2], [1, 2]), VALUES[:2], 0.5)) == (0.5, 0.5, 0.5, 0.5)


def test_there_is_no_factor_where_no_value_is_as_low_or_no_cost_is_known():
    own = line([1, 2, 3], [1, 2, 3])
    assert np.isnan(found(lower_cost(own, own, VALUES, 0.1))).all()
    assert np.isnan(found(lower_cost(own, line([0, 0, 0], [np.nan] * 3), VALUES, 0.5))).all()
    partly = line([1, 2, 3], [np.nan, 4, 3])
    assert found(lower_cost(own, partly, VALUES, 0.9)) == (2.0, 2.0, 2.0, 0.5)


# The gain at the same cost


def test_the_gain_is_compared_at_costs_that_both_reach():
    own, other = line([1, 2, 3], [1, 2, 4]), line([1, 2, 3], [2, 4, 8])
    assert found(more_gain(own, [other])) == (2.0, 2.0, 2.0, 2.0)  # at 2: 2 and 1; at 4: 3 and 2


def test_gains_are_interpolated_between_two_costs():
    assert found(more_gain(line([1, 3], [1, 3]), [line([1, 3], [1, 5])])) == (1.5, 1.5, 1.5, 3.0)


def test_the_best_of_several_is_another_one_at_every_cost():
    own = line([2, 6], [1, 3])
    others = [line([1, 2], [1, 3]), line([0.5, 5], [1, 3])]
    assert found(more_gain(own, others)) == (2.0, 2.0, 2.0, 1.0)  # at 1: 2 and 1; at 3: 6 and 5
    assert found(more_gain(own, others[:1])) == (3.0, 3.0, 3.0, 3.0)


def test_a_policy_that_costs_less_where_it_gains_more_is_credited_with_what_it_gains_there():
    detour = line([1, 2, 3], [5, 3, 10])
    assert found(more_gain(line([2], [3]), [detour])) == (1.0, 1.0, 1.0, 3.0)
    assert found(more_gain(detour, [line([1], [3])]))[0] == 3.0


def test_equal_costs_count_by_the_larger_gain():
    assert found(more_gain(line([4, 4], [2, 2]), [line([1, 2], [2, 2])]))[0] == 2.0
    assert found(more_gain(line([4, 4], [2, 2]), [line([2, 1], [2, 2])]))[0] == 2.0


def test_there_is_no_gain_where_costs_do_not_meet_or_nobody_is_there():
    own = line([1, 2], [1, 2])
    assert np.isnan(found(more_gain(own, [line([1, 2], [3, 4])]))).all()
    assert np.isnan(found(more_gain(own, []))).all()
    assert np.isnan(found(more_gain(line([1, 2], [np.nan, np.nan]), [own]))).all()
    assert np.isnan(found(more_gain(own, [line([1, 2], [np.nan, np.nan])]))).all()


def test_costs_that_are_not_known_are_left_out():
    own = line([1, 2, 3], [1, np.nan, 4])
    assert found(more_gain(own, [line([1, 1.5, 9], [1, 4, np.nan])])) == (2.0, 2.0, 2.0, 4.0)


# Intervals


@pytest.mark.parametrize(("num_seeds", "between", "at_least"), [(1, 0.0, 88), (6, 0.1, 80)])
def test_the_interval_covers_the_truth_as_often_as_it_says_or_nearly(num_seeds, between, at_least, monkeypatch):
    """Of 100 samples; bootstrapped intervals over few seeds are known to be somewhat short."""
    monkeypatch.setattr(sweep, "RESAMPLES", 200)
    covered = 0
    for seed in range(100):
        own, other = noisy(1.0, num_seeds, 2 * seed, between=between), noisy(2.0, 1, 2 * seed + 1)
        ratio = lower_cost(own, other, (0.5,), 0.5).ratio
        assert ratio.low <= ratio.mean <= ratio.high
        covered += ratio.low <= 2.0 <= ratio.high
    assert at_least <= covered < 100


def test_seeds_that_differ_widen_the_interval_of_the_cost():
    widths = [np.subtract(*sweep.band(noisy(1.0, 6, 0, between=between))[::-1]) for between in (0.0, 0.5)]
    assert widths[1] > 3 * widths[0] > 0


def test_every_seed_of_a_line_with_fewer_seeds_is_drawn_as_often():
    few, many = line([0], [0], shape=(3, 4)), line([0], [0], shape=(5, 4))
    few = Line("few", "learned", few.gain, np.broadcast_to(np.arange(3.0)[None, :, None], (1, 3, 4)))
    drawn = [curve(few, *each)[1][0] for each in sweep.resampled([few, many])]
    assert np.mean(drawn) == pytest.approx(1.0, abs=4.5 * (2 / 3 / 3 / sweep.RESAMPLES) ** 0.5)
    assert len({seeds.size for seeds, _ in sweep.resampled([few, many])}) == 1


def test_a_policy_that_was_not_trained_is_one_seed():
    assert found(lower_cost(line([1], [1], shape=(5, 3)), line([1], [2], shape=(1, 3)), (0.5,), 0.5))[0] == 2.0


# Where nothing is gained


@pytest.fixture
def over_values():
    """Two rules over the parameter itself, and what no policy is below."""
    gain = np.broadcast_to(np.array([0.1, 1.0, 2.0])[:, None, None], (3, 1, 4))
    lines = [line([0.1, 1.0, 2.0], cost, name) for name, cost in (("fast", [2, 3, 4]), ("slow", [30, 30, np.nan]))]
    bound = Line("nobody", "bound", gain, np.full((3, 1, 4), 1.5))
    kept = {"gains": False, "meaning": "how long a request takes", "bound": bound}
    return Sweep("delay", (0.1, 1.0, 2.0), ("delay", "makespan, s"), tuple(lines), **kept)


def test_the_cost_is_drawn_over_the_parameter_with_the_bound_below(over_values):
    (axes,) = frontier(over_values).axes
    lines = {each.get_label(): each for each in axes.lines}
    assert list(lines) == ["no policy is below", "slow", "fast"]
    assert lines["fast"].get_xdata().tolist() == [0.1, 1.0, 2.0] and lines["fast"].get_ydata().tolist() == [2, 3, 4]
    assert lines["no policy is below"].get_ydata().tolist() == [1.5] * 3
    assert lines["fast"].get_color() == GREEN and lines["slow"].get_color() not in (GREEN, GREY)
    assert axes.get_xscale() == "log" and axes.get_xlabel() == "delay: how long a request takes"
    assert [text.get_text() for text in axes.get_xticklabels()] == ["0.1", "1", "2"]
    near = dataclasses.replace(over_values, values=(1.0, 1.5, 2.0))
    assert frontier(near).axes[0].get_xscale() == "linear"


def test_the_table_has_a_column_for_each_value_the_best_first(over_values):
    head, *rows, note = sweep.to_text(over_values).splitlines()
    assert head.split("  ")[0] == "makespan, s, by delay" and head.split()[-3:] == ["0.1", "1", "2"]
    assert [row.split()[0] for row in rows] == ["fast", "slow", "nobody"]
    assert rows[1].split()[1:] == ["30.00", "30.00", "–"]
    assert note.startswith("Means; ±")
    written = list(csv.DictReader(io.StringIO(to_csv(over_values))))
    assert list(written[0]) == ["policy", "options", "delay", "makespan, s", "low", "high"]
    assert [each["policy"] for each in written[::3]] == ["fast", "slow", "nobody"]


def test_a_learned_policy_is_compared_in_cost_alone(over_values):
    mine = line([0.1, 1.0, 2.0], [1, 3, 2], "mappo", "learned")
    text = conclusion(dataclasses.replace(over_values, lines=(mine, *over_values.lines)), mine, 1.0)
    assert "makespan lower by a factor of, at delay ≤ 1" in text and "times the" not in text
    assert "  fast    2.00 [2.00, 2.00] (delay 0.1)" in text


# What is written


@pytest.fixture
def swept():
    lines = (
        line([1, 2, 3], [1, 2, 4], "mappo", "learned", shape=(3, 4)),
        line([1, 2, 3], [2, 4, 8], "local", members=("local", "local", "local")),
        line([1, 2, 3], [1, 3, 5], "threshold", members=("threshold(margin=1)", "threshold(margin=2)", "threshold")),
        line([1, 2, 3], [0.5, 0.6, 0.7], "oracle_sed", "oracle"),
    )
    return Sweep("load", VALUES, ("throughput, tasks/ms", "p99, ms"), lines)


def test_the_table_as_a_file_says_what_the_lines_say(swept):
    rows = list(csv.DictReader(io.StringIO(to_csv(swept))))
    assert list(rows[0]) == ["policy", "options", "load", "throughput, tasks/ms", "p99, ms", "low", "high"]
    assert len(rows) == 12
    for each in swept.lines:
        mine = [row for row in rows if row["policy"] == each.name]
        assert tuple(float(row["load"]) for row in mine) == VALUES
        gain, cost = curve(each)
        assert [float(row["throughput, tasks/ms"]) for row in mine] == gain.tolist()
        for name in ("p99, ms", "low", "high"):
            assert [float(row[name]) for row in mine] == pytest.approx(cost.tolist())
    assert [row["options"] for row in rows[6:9]] == ["threshold(margin=1)", "threshold(margin=2)", "threshold"]
    assert [row["options"] for row in rows[:3]] == ["mappo"] * 3


def test_the_conclusion_names_every_rule_and_the_two_numbers(swept):
    said = conclusion(swept, swept.lines[0], up_to=0.5).splitlines()
    assert said[0] == "mappo, as load is swept (3 values from 0.3 to 0.9):"
    cells = [[cell.strip() for cell in row.split("  ") if cell.strip()] for row in said[1:]]
    assert cells == [
        ["beside", "p99 lower by a factor of, at load ≤ 0.5", "times the throughput at the same p99"],
        ["threshold", "1.50 [1.50, 1.50] (load 0.5)", "1.33 [1.33, 1.33] (at 2)"],
        ["local", "2.00 [2.00, 2.00] (load 0.3)", "2.00 [2.00, 2.00] (at 2)"],
        ["the best rule at each p99", "1.33 [1.33, 1.33] (at 2)"],
    ]
    starts = {row.rindex("  ") for row in said[1:]}
    assert len(starts) == 1  # the last column stands in line


def test_the_conclusion_says_nothing_of_what_cannot_be_compared(swept):
    text = conclusion(swept, line([1, 2, 3], [np.nan] * 3, "broken", "learned"), up_to=0.5)
    assert text.count("–") == 5 and "nan" not in text


def test_the_lines_of_the_figure_are_the_data_and_learned_ones_are_in_colour(swept):
    (axes,) = frontier(swept).axes
    drawn = {each.get_label(): each for each in axes.lines}
    assert set(drawn) == {each.name for each in swept.lines}
    for each in swept.lines:
        np.testing.assert_array_equal(drawn[each.name].get_xydata(), np.stack(curve(each), axis=-1))
    colours = {name: to_hex(each.get_color()) for name, each in drawn.items()}
    assert colours == {"mappo": BLUE, "threshold": GREEN, "local": GREY, "oracle_sed": GREY}
    assert drawn["oracle_sed"].get_linestyle() != "-" and drawn["local"].get_linestyle() == "-"
    assert len({each.get_marker() for each in axes.lines}) == 4
    assert len([each for each in axes.collections if isinstance(each, PolyCollection)]) == 4
    assert (axes.get_xlabel(), axes.get_yscale()) == ("throughput, tasks/ms", "log")
    assert axes.get_ylabel().startswith("p99, ms")
    (legend,) = axes.figure.legends
    assert {text.get_text() for text in legend.get_texts()} == set(drawn)


def test_the_band_of_the_figure_is_the_interval_of_the_cost():
    own = noisy(1.0, 3, 0, between=0.2)
    low, high = sweep.band(own)
    (axes,) = frontier(Sweep("load", (0.5,), ("gain", "cost"), (own,))).axes
    (band,) = (each for each in axes.collections if isinstance(each, PolyCollection))
    heights = band.get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == pytest.approx((low[0], high[0]))


def test_costs_that_are_not_known_are_drawn_as_gaps(swept, tmp_path):
    broken = line([0, 1, 2], [np.nan, 2, np.nan], "broken")
    unknown = line([0, 0, 0], [np.nan] * 3, "unknown")
    figure = frontier(Sweep("load", VALUES, swept.headers, (*swept.lines, broken, unknown)))
    figure.savefig(tmp_path / "sweep.png")
    (axes,) = figure.axes
    assert np.isfinite(axes.get_ylim()).all()
