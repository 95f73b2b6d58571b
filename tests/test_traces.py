"""Recorded workloads: reading, splitting and rescaling."""

import datetime
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxdlb import parameters, traces
from jaxdlb.mechanics.arrivals import Trace

SHARED = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture
def write(tmp_path):
    def write(text, name="record.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def workload(counts):
    return traces.Workload(counts=np.asarray(counts, np.float64), seconds_per_sample=300.0, source="made.csv")


def mean_prob(trace, arrival_prob):
    return np.clip(np.outer(np.atleast_1d(arrival_prob), np.asarray(trace.factors, np.float64)), 0, 1).mean()


# Reading


def test_counts_and_spacing_are_read_from_iso_times(write):
    read = traces.read_counts(
        write("timestamp,value\n2014-04-10 00:04:00,94.0\n2014-04-10 00:09:00,56\n2014-04-10 00:14:00,0.5\n")
    )
    np.testing.assert_array_equal(read.counts, [94, 56, 0.5])
    assert read.counts.dtype == np.float64
    assert read.seconds_per_sample == 300
    assert read.source.endswith("record.csv")


def test_counts_tolerate_other_columns_case_order_blank_lines_a_byte_order_mark_and_windows_line_ends(write):
    read = traces.read_counts(write("\ufeffid, Value ,TIMESTAMP\r\na,1,0\r\n\r\nb,2,60.5\r\n\r\n"))
    np.testing.assert_array_equal(read.counts, [1, 2])
    assert read.seconds_per_sample == 60.5


def test_a_missing_row_is_interpolated(write):
    gap = traces.read_counts(write("timestamp,value\n0,10\n10,20\n20,30\n40,50\n50,6\n"))
    np.testing.assert_allclose(gap.counts, [10, 20, 30, 40, 50, 6])


def counts_file(seconds, values):
    return "timestamp,value\n" + "\n".join(f"{second},{value}" for second, value in zip(seconds, values, strict=True))


def test_rows_within_a_twentieth_of_the_spacing_are_regular_however_far_they_drift(write):
    seconds = np.cumsum(np.tile([60, 60, 60, 62, 62], 100))  # a whole minute late after 75 rows
    values = np.arange(1, 501)
    read = traces.read_counts(write(counts_file(seconds, values)))
    np.testing.assert_array_equal(read.counts, values)
    assert read.seconds_per_sample == 60


def test_uneven_rows_are_spread_over_the_time_to_the_next_with_a_warning(write):
    path = write("timestamp,value\n0,10\n60,20\n180,30\n270,40\n")
    says = (
        f"{path}: its times are uneven (2 of 4 rows not a multiple of 90 s after the row before), "
        "so each count was spread evenly over the time until the next row"
    )
    with pytest.warns(UserWarning, match=re.escape(says)) as warned:
        read = traces.read_counts(path)
    np.testing.assert_allclose(read.counts, [10 + 20 / 4, 20 * 3 / 4, 30, 40])
    assert read.seconds_per_sample == 90
    assert len(warned) == 1
    assert "\n" not in str(warned[0].message)


def test_rows_closer_than_half_the_spacing_are_added_up_with_a_warning(write):
    for second, uneven in ((12, 2), (10.0001, 1)):
        with pytest.warns(UserWarning, match=f"uneven .{uneven} of 6 rows"):
            close = traces.read_counts(write(f"timestamp,value\n0,10\n10,20\n{second},40\n20,5\n30,6\n40,7\n"))
        np.testing.assert_allclose(close.counts, [10, 60, 5, 6, 7])


def test_uneven_rows_without_requests_stay_samples_without_requests(write):
    text = counts_file([0, 0.1, 0.2, 0.3, 0.4, 0.43, 0.5, 0.6, 0.7], [1, 0, 0, 1, 0, 0, 0, 1, 0])
    with pytest.warns(UserWarning, match=r"uneven .2 of 9 rows"):
        read = traces.read_counts(write(text))
    np.testing.assert_array_equal(read.counts > 0, [True, False, False, True, False, False, True, False])


def overlap(start, end, low, high):
    return max(0, min(end, high) - max(start, low))


@settings(max_examples=50, deadline=None)
@given(gaps=st.lists(st.integers(1, 1000), min_size=2, max_size=30), seed=st.integers(0, 100))
def test_uneven_rows_agree_with_a_count_by_hand_and_lose_nothing(tmp_path_factory, gaps, seed):
    spacing = float(np.median(gaps))
    times = [0, *np.cumsum(gaps).tolist()]
    values = np.random.default_rng(seed).integers(1, 100, len(times)).tolist()
    path = tmp_path_factory.mktemp("counts") / "record.csv"
    path.write_text(counts_file(times, values))
    if all(abs(gap / spacing - max(round(gap / spacing), 1)) <= 0.05 for gap in gaps):
        return
    with pytest.warns(UserWarning, match="its times are uneven"):
        read = traces.read_counts(path)
    ends = [*times[1:], spacing * len(read.counts)]
    by_hand = [
        sum(
            value * overlap(start, end, k * spacing, (k + 1) * spacing) / (end - start)
            for start, end, value in zip(times, ends, values, strict=True)
        )
        for k in range(len(read.counts))
    ]
    np.testing.assert_allclose(read.counts, by_hand, atol=1e-6)
    assert read.counts.sum() == pytest.approx(sum(values))
    assert 0.5 <= (ends[-1] - times[-1]) / spacing <= 1.5


def test_columns_of_other_names_are_read_where_they_are_named(write):
    path = write("When,Host,Requests\n0,a,1\n60,b,2\n120,c,3\n180,d,4\n")
    read = traces.read_counts(path, time_column="when", value_column=" REQUESTS")
    np.testing.assert_array_equal(read.counts, [1, 2, 3, 4])
    np.testing.assert_array_equal(traces.read_instants(path, 90, time_column="WHEN").counts, [2, 1])


def test_a_column_that_is_not_there_is_refused_with_its_key_and_the_columns_there_are(write):
    path = write("When,Requests\n0,1\n60,2\n")
    with pytest.raises(
        ValueError, match=r"its columns are When, Requests; .* named timestamp, or time_column must name"
    ):
        traces.read_counts(path)
    with pytest.raises(
        ValueError, match=r"columns are When, Requests; .* one column named n, or value_column must name"
    ):
        traces.read_counts(path, time_column="When", value_column="n")
    with pytest.raises(ValueError, match="named hour, or time_column must name"):
        traces.read_instants(path, 60, time_column="hour")


def test_sentences_about_a_row_name_the_column_as_it_was_mapped(write):
    path = write("when,n\n0,1\n60,-2\n")
    with pytest.raises(ValueError, match="line 3: the n is '-2'"):
        traces.read_counts(path, time_column="when", value_column="n")
    with pytest.raises(ValueError, match="line 3: the when must be later than"):
        traces.read_counts(write("when,value\n0,1\n0,2\n"), time_column="when")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"time_column": ""}, "time_column is ''; it must be the name of a column"),
        ({"value_column": " "}, "value_column is ' '; it must be the name of a column"),
        ({"time_unit": "min"}, "time_unit is 'min'; it must be one of auto, s, ms, us, ns"),
    ],
)
def test_a_bad_option_is_refused_before_the_file_is_read(tmp_path, options, says):
    with pytest.raises(ValueError, match=says):
        traces.read_counts(tmp_path / "none.csv", **options)


NOON = 1_397_131_200  # 2014-04-10 12:00 UTC, in seconds since 1970
PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


@pytest.mark.parametrize("unit", PER_SECOND)
def test_times_since_1970_are_read_in_the_unit_that_their_size_says(write, unit):
    seconds = [NOON + 300 * k for k in range(4)]
    text = counts_file([second * PER_SECOND[unit] for second in seconds], [1, 2, 3, 4])
    for time_unit in ("auto", unit):
        read = traces.read_counts(write(text), time_unit=time_unit)
        np.testing.assert_array_equal(read.counts, [1, 2, 3, 4])
        assert read.seconds_per_sample == pytest.approx(300, rel=1e-8)
        instants = traces.read_instants(write(text), 450, time_unit=time_unit)
        np.testing.assert_array_equal(instants.counts, [2, 1])


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
@pytest.mark.parametrize("year", [1990, 2099])
def test_the_unit_is_told_by_size_for_the_years_from_1990_to_2099(write, unit, year):
    second = int(datetime.datetime(year, 1, 2, tzinfo=datetime.UTC).timestamp())
    times = [(second + 10 * k) * PER_SECOND[unit] for k in range(3)]
    assert traces.read_counts(write(counts_file(times, [1, 2, 3]))).seconds_per_sample == pytest.approx(10)


def test_numbers_of_another_size_are_seconds_unless_the_unit_is_given(write):
    path = write(counts_file([0, 1000, 2000], [1, 2, 3]))
    assert traces.read_counts(path).seconds_per_sample == 1000
    assert traces.read_counts(path, time_unit="ms").seconds_per_sample == 1
    epoch = write(counts_file([NOON * 1000, NOON * 1000 + 60], [1, 2]))
    with pytest.raises(
        ValueError, match=r"line 2: the timestamp is '1397131200000'; .* number of seconds within ±1e\+12 s"
    ):
        traces.read_counts(epoch, time_unit="s")


def test_the_bound_on_times_holds_after_their_conversion(write):
    path = write(counts_file([0, 2e12, 4e12], [1, 2, 3]))
    with pytest.raises(ValueError, match=r"line 3: the timestamp is '2000000000000\.0'"):
        traces.read_counts(path)
    assert traces.read_counts(path, time_unit="ms").seconds_per_sample == 2e9
    with pytest.raises(ValueError, match=r"line 3: .* a number of milliseconds"):
        traces.read_counts(write(f"timestamp,value\n{NOON}000,1\n{NOON}000000000,2\n"))  # the first row decides


def test_the_unit_says_nothing_about_dates(write):
    path = write("timestamp,value\n2024-01-01 00:00,1\n2024-01-01 00:05,2\n")
    assert traces.read_counts(path, time_unit="ms").seconds_per_sample == 300


def test_times_in_another_zone_are_told_apart(write):
    read = traces.read_counts(write("timestamp,value\n2024-01-01T01:00:00+01:00,1\n2024-01-01T00:01:00Z,2\n"))
    assert read.seconds_per_sample == 60


def test_instants_with_seven_digit_fractions_are_counted_in_whole_bins(write):
    lines = ["TIMESTAMP,ContextTokens"]
    lines += [f"2023-11-16 18:15:{second}0,7" for second in ("46.680590", "46.680590", "47.680589", "47.680590")]
    lines += ["2023-11-16 18:15:49.6805901,7", "2023-11-16 18:15:49.9,7"]
    read = traces.read_instants(write("\n".join(lines)), bin_seconds=1)
    np.testing.assert_array_equal(read.counts, [3, 1, 0])  # the fourth bin is cut short and left out
    assert read.seconds_per_sample == 1


@settings(max_examples=30, deadline=None)
@given(
    instants=st.lists(st.integers(0, 10_000_000), min_size=2, max_size=50).map(sorted),
    bin_milliseconds=st.integers(1000, 3_000_000),
    iso=st.booleans(),
)
def test_binning_agrees_with_a_count_by_hand(tmp_path_factory, instants, bin_milliseconds, iso):
    whole_bins = (instants[-1] - instants[0]) // bin_milliseconds
    by_hand = [
        sum(1 for t in instants if b * bin_milliseconds <= t - instants[0] < (b + 1) * bin_milliseconds)
        for b in range(whole_bins)
    ]
    start = datetime.datetime(2020, 2, 28, 23, 0)
    times = [str(start + datetime.timedelta(milliseconds=t)) if iso else f"{t / 1000:.3f}" for t in instants]
    path = tmp_path_factory.mktemp("instants") / "record.csv"
    path.write_text("timestamp\n" + "\n".join(times))
    if whole_bins < 1:
        with pytest.raises(ValueError, match="bin_seconds"):
            traces.read_instants(path, bin_milliseconds / 1000)
        return
    read = traces.read_instants(path, bin_milliseconds / 1000)
    # An instant on a border is a float on either side of it: only such instants may be in the other bin.
    border = [t for t in instants if (t - instants[0]) % bin_milliseconds == 0 and t != instants[0]]
    assert abs(len(read.counts) - whole_bins) <= (1 if border else 0)
    common = min(len(read.counts), whole_bins)
    assert np.abs(read.counts[:common] - by_hand[:common]).sum() <= 2 * len(border)


COUNTS, INSTANTS = traces.read_counts, lambda path: traces.read_instants(path, 1.0)


@pytest.mark.parametrize(
    ("read", "text", "says"),
    [
        (COUNTS, "", r"line 1: its columns are none; it must have one column named timestamp"),
        (
            COUNTS,
            "timestamp,count\n0,1\n",
            r"line 1: its columns are timestamp, count; it must have one column named val",
        ),
        (COUNTS, "value,x\n0,1\n", "one column named timestamp"),
        (COUNTS, "timestamp,value,VALUE\n0,1,1\n", "one column named value"),
        (COUNTS, "timestamp,value\n", "no rows"),
        (COUNTS, "timestamp,value\n0,1\n", "1 row; it must have at least 2"),
        (COUNTS, "timestamp,value\n0,1\n1,-2\n", r"line 3: the value is '-2'; it must be a finite number ≥ 0"),
        (COUNTS, "timestamp,value\n0,1\n1,nan\n", r"line 3: the value is 'nan'"),
        (COUNTS, "timestamp,value\n0,inf\n", r"line 2: the value is 'inf'"),
        (COUNTS, "timestamp,value\n0,many\n", r"line 2: the value is 'many'"),
        (COUNTS, "timestamp,value\n0,\n", r"line 2: the value is ''"),
        (COUNTS, "timestamp,value\n0,1\n1\n", "line 3: it has 1 fields; it must have 2"),
        (COUNTS, "timestamp,value\n0,1\n0,1\n", "line 3: the timestamp must be later than"),
        (COUNTS, "timestamp,value\n\n5,1\n4,1\n", "line 4: the timestamp must be later than"),
        (COUNTS, "timestamp,value\nyesterday,1\n", "line 2: the timestamp is 'yesterday'"),
        (COUNTS, "timestamp,value\nnan,1\n", "line 2: the timestamp is 'nan'"),
        (COUNTS, "timestamp,value\n1e300,1\n", "line 2: the timestamp is '1e300'"),
        (COUNTS, "timestamp,value\n0,1\n2024-01-01,1\n", "line 3: .*all numbers"),
        (COUNTS, "timestamp,value\n0,0\n1,0\n", "all its counts are 0"),
        (COUNTS, "timestamp,value\n0,1\n1,1\n2,1\n1e9,1\n", "samples; it must be at most"),
        (COUNTS, 'timestamp,value\n0,1\n1,"2\n', "line 3"),
        (COUNTS, b"timestamp,value\n0,\xff\n", "UTF-8"),
        (INSTANTS, "time\n0\n", "one column named timestamp"),
        (INSTANTS, "timestamp\n", "no rows"),
        (INSTANTS, "timestamp\n5\n4\n", "line 3: the timestamp must be no earlier than"),
        (INSTANTS, "timestamp\n5\n5.5\n", "bin_seconds is 1; it must be at most 0.5"),
        (INSTANTS, "timestamp\n0\n1e9\n", "samples; it must be at most"),
    ],
)
def test_a_bad_file_is_refused_with_its_name_line_and_rule(write, read, text, says):
    path = write(text)
    with pytest.raises(ValueError, match=says) as error:
        read(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_missing_or_a_folder_is_refused(tmp_path):
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(ValueError, match="cannot be read") as error:
            traces.read_counts(path)
        assert str(path) in str(error.value)


@pytest.mark.parametrize("bin_seconds", [0, -1, float("nan"), float("inf")])
def test_a_bad_bin_is_refused_before_the_file_is_read(tmp_path, bin_seconds):
    with pytest.raises(ValueError, match="bin_seconds"):
        traces.read_instants(tmp_path / "none.csv", bin_seconds)


# Splitting


@given(num_samples=st.integers(2, 200), held_out=st.floats(0.01, 0.99))
def test_the_parts_are_the_whole_in_order(num_samples, held_out):
    whole = workload(np.arange(1, num_samples + 1))
    num_held_out = round(num_samples * held_out)
    if num_held_out in (0, num_samples):
        with pytest.raises(ValueError, match="held_out"):
            traces.split(whole, held_out)
        return
    train, last = traces.split(whole, held_out)
    assert len(last.counts) == num_held_out
    np.testing.assert_array_equal(np.concatenate([train.counts, last.counts]), whole.counts)
    assert train.seconds_per_sample == last.seconds_per_sample == whole.seconds_per_sample


@pytest.mark.parametrize("held_out", [0, 1, -0.1, 1.5, float("nan")])
def test_a_share_held_out_beyond_its_range_is_refused(held_out):
    with pytest.raises(ValueError, match=r"held_out is .*; it must be a finite number in \(0, 1\)"):
        traces.split(workload([1, 2, 3]), held_out)


def test_a_part_without_requests_is_refused():
    with pytest.raises(ValueError, match="the part held out"):
        traces.split(workload([1, 2, 0, 0]), 0.5)
    with pytest.raises(ValueError, match="the part to train on"):
        traces.split(workload([0, 0, 1, 2]), 0.5)


# Rescaling


def test_without_clipping_the_scale_is_one_over_the_mean_count():
    trace, scale = traces.modulation(workload([1, 2, 3]), 0.25, rounds_per_sample=4)
    assert scale == pytest.approx(0.5)
    np.testing.assert_allclose(trace.factors, [0.5, 1.0, 1.5])
    assert trace.factors.dtype == np.float32


def test_the_scale_makes_up_for_clipped_bursts():
    trace, scale = traces.modulation(workload([1, 1, 10]), 0.5, rounds_per_sample=1)
    # The burst is clipped to 1, so the two others must give (3 · 0.5 − 1) / 2 = 0.25 each: factor 0.5.
    assert scale == pytest.approx(0.5)
    np.testing.assert_allclose(trace.factors, [0.5, 0.5, 5.0], rtol=1e-6)


counts_arrays = hnp.arrays(np.float64, st.integers(1, 30), elements=st.integers(0, 1000).map(float)).filter(np.any)
probs = st.floats(0.001, 1)


@settings(max_examples=100, deadline=None)
@given(counts=counts_arrays, arrival_prob=st.one_of(probs, st.lists(probs, min_size=1, max_size=4)))
def test_the_mean_probability_is_the_target_or_the_target_is_refused(counts, arrival_prob):
    target, attainable = np.mean(arrival_prob), np.mean(counts > 0)
    if target > attainable * (1 + 1e-6):
        with pytest.raises(ValueError, match=r"arrival_prob has the mean .*; it must be at most"):
            traces.fit_scale(workload(counts), arrival_prob)
    elif target < attainable * (1 - 1e-6):
        trace, scale = traces.modulation(workload(counts), arrival_prob, rounds_per_sample=1)
        assert mean_prob(trace, arrival_prob) == pytest.approx(target, rel=1e-5)
        assert scale >= (1 - 1e-9) / counts.mean()


def test_a_target_out_of_reach_names_itself_and_the_most_that_can_be_had():
    with pytest.raises(ValueError, match=r"arrival_prob has the mean 0\.6; it must be at most 0\.5 with made\.csv"):
        traces.fit_scale(workload([0, 7, 0, 1]), 0.6)
    assert traces.fit_scale(workload([0, 8, 0, 1]), 0.5) == pytest.approx(2.0)  # the last sample just reaches 1


def test_nodes_without_arrivals_stay_so():
    trace, _ = traces.modulation(workload([1, 2, 9]), [0.0, 0.8], rounds_per_sample=1)
    assert mean_prob(trace, [0.0, 0.8]) == pytest.approx(0.4)
    assert traces.fit_scale(workload([1, 3]), 0.0) == 0.5


def test_the_part_held_out_takes_the_scale_of_the_part_trained_on():
    train, last = traces.split(workload([1, 3, 2, 2, 8, 4]), 1 / 3)
    _, scale = traces.modulation(train, 0.1, rounds_per_sample=1)
    trace, same = traces.modulation(last, 0.1, rounds_per_sample=1, scale=scale)
    assert same == scale
    np.testing.assert_allclose(trace.factors, [4.0, 2.0])


def test_the_modulation_plays_the_record_in_the_game_for_so_many_rounds_a_sample():
    trace, _ = traces.modulation(workload([1, 2, 3]), 0.2, rounds_per_sample=2, random_start=False)
    assert isinstance(trace, Trace)
    parameters.check(trace)
    state = trace.start(jax.random.key(0))
    factors = [float(trace.factor(state, jnp.int32(round))) for round in range(8)]
    np.testing.assert_allclose(factors, [0.5, 0.5, 1.0, 1.0, 1.5, 1.5, 0.5, 0.5])


@pytest.mark.parametrize(
    ("arrival_prob", "options", "field"),
    [
        (1.2, {}, "arrival_prob"),
        ([0.1, float("nan")], {}, r"arrival_prob\[1\]"),
        ([[0.1]], {}, "arrival_prob"),
        (0.1, {"rounds_per_sample": 0}, "rounds_per_sample"),
        (0.1, {"scale": 0.0}, "scale"),
        (0.1, {"scale": float("inf")}, "scale"),
    ],
)
def test_bad_settings_of_the_modulation_are_refused_by_name(arrival_prob, options, field):
    with pytest.raises(ValueError, match=field):
        traces.modulation(workload([1, 2]), arrival_prob, **({"rounds_per_sample": 1} | options))


@pytest.mark.parametrize(
    ("name", "read", "num_samples", "requests"),
    [
        ("elb_request_count.csv", traces.read_counts, 4032 + 8, 249_758),  # 8 rows of the record are missing
        ("azure_llm_conversation.csv", lambda path: traces.read_instants(path, 10), 350, 19_366),
    ],
)
def test_a_record_of_real_size_is_read_split_and_rescaled(tmp_path, name, read, num_samples, requests):
    made = tmp_path / name
    _write_like(made, num_samples, requests)
    paths = [made] + ([SHARED / name] if (SHARED / name).exists() else [])
    for path in paths:
        whole = read(path)
        assert whole.seconds_per_sample == (300 if "count" in name else 10)
        assert len(whole.counts) == num_samples
        assert whole.counts.sum() == pytest.approx(requests, rel=0.01)
        train, last = traces.split(whole, 0.3)
        trace, scale = traces.modulation(train, 0.495, rounds_per_sample=5)
        assert mean_prob(trace, 0.495) == pytest.approx(0.495, rel=1e-5)
        held_out, _ = traces.modulation(last, 0.495, rounds_per_sample=5, scale=scale)
        assert 0.3 < mean_prob(held_out, 0.495) < 0.7


def _write_like(path, num_samples, requests):
    """A made-up record with the columns and the size of a real one: counts, or instants with seven-digit fractions."""
    start = datetime.datetime(2014, 4, 10, 0, 4)
    if "count" in path.name:
        counts = np.random.default_rng(0).poisson(requests / num_samples, num_samples)
        rows = [f"{start + k * datetime.timedelta(seconds=300)},{count:.1f}" for k, count in enumerate(counts)]
        path.write_text("timestamp,value\n" + "\n".join(rows))
        return
    instants = np.sort(np.random.default_rng(0).uniform(0, num_samples * 10, requests))
    instants = [0.0, *instants[1:-1], num_samples * 10 + 1.5]
    rows = [f"{start + datetime.timedelta(seconds=t):%Y-%m-%d %H:%M:%S.%f}0,374,44" for t in instants]
    path.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n" + "\n".join(rows))
