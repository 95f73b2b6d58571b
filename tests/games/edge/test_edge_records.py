"""Records for the edge: what is read of files, and what is played of it in training and held out."""

import types
from typing import Any

import numpy as np
import pytest
from flax import struct

from jaxdlb import parameters
from jaxdlb.games.edge import bandwidth, inputs, records
from jaxdlb.games.edge.recorded import Recorded
from jaxdlb.parameters import law

SIZES = types.SimpleNamespace(dims={"N": 3}, num_nodes=3, name="edge")


@struct.dataclass
class Params:
    """What a record changes of the game's parameters, and something that it does not."""

    inputs: Any = law(inputs.LAWS)
    kept: Any = law(bandwidth.LAWS)
    bandwidth: Any = law(bandwidth.LAWS)


def made(recorded, **fields):
    """What a launcher makes of settings of a record and of parameters."""
    return recorded.parts(parameters.make(Params, SIZES, recorded.with_record(fields)))


@pytest.fixture
def file(tmp_path):
    """Writes a file, and says where."""

    def write(name, text):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    return write


def counts_file(counts, seconds=300):
    return "timestamp,value\n" + "".join(f"{seconds * k},{count}\n" for k, count in enumerate(counts))


DAYS = np.random.default_rng(0).integers(0, 90, (5, 288))  # the last is incomplete
COUNTS = counts_file(DAYS.ravel()[: 4 * 288 + 100])


def test_a_record_is_cut_into_whole_days(file):
    options = {"time_column": "timestamp", "value_column": "value", "time_unit": "auto"}
    np.testing.assert_array_equal(records.read_days(file("a.csv", COUNTS), **options), DAYS[:4])


def test_the_days_to_train_on_have_the_mean_rate_and_those_held_out_the_same_scale(file):
    path = file("a.csv", COUNTS)
    train_on, held_out = made(Recorded(path=path, mean_rate=45.0, held_out=0.3))
    scale = 45 / DAYS[:3].mean()
    np.testing.assert_allclose(train_on.inputs.pool, DAYS[:3] * scale, rtol=1e-6)
    np.testing.assert_allclose(held_out.inputs.pool, DAYS[3:4] * scale, rtol=1e-6)
    assert float(np.mean(made(Recorded(path=path))[0].inputs.pool)) == pytest.approx(60)


@pytest.mark.parametrize(("num", "expected"), [(14, 2), (4, 1), (7, 1), (20, 3)])
def test_of_14_days_2_are_held_out(file, num, expected):
    path = file("a.csv", "Throughput\n" + "1\n" * num)
    train_on, held_out = made(Recorded(bandwidth_path=path))
    assert (len(train_on.bandwidth.samples), len(held_out.bandwidth.samples)) == (num - expected, expected)


def test_what_is_held_out_changes_nothing_in_training(file):
    other = counts_file([*DAYS[:3].ravel(), *(5 * DAYS[3] + 7)])
    paths = [file("a.csv", counts_file(DAYS[:4].ravel())), file("b.csv", other)]
    rates = ["1\n2\n3\n4\n", "1\n2\n3\n9\n"]
    links = [file(f"{k}.csv", "Throughput\n" + each) for k, each in enumerate(rates)]
    first, second = (
        made(Recorded(path=path, bandwidth_path=link, held_out=0.25))[0]
        for path, link in zip(paths, links, strict=True)
    )
    np.testing.assert_array_equal(first.inputs.pool, second.inputs.pool)
    np.testing.assert_array_equal(first.bandwidth.samples, second.bandwidth.samples)


BANDWIDTH = 'Timestamp,Throughput\n"01/13, 10:22",30\n"01/13, 10:22",0\n"01/12, 9:00",60\n"01/12, 9:01",45\n'


@pytest.mark.parametrize(
    ("given", "type_"),
    [
        (None, bandwidth.Resampled),
        ("steady", bandwidth.Resampled),
        ({"kind": "steady"}, bandwidth.Resampled),
        ({"kind": "resampled", "noise": 0.5}, bandwidth.Resampled),
        ("played", bandwidth.Played),
        ({"kind": "played", "random_start": False}, bandwidth.Played),
    ],
)
def test_bandwidth_is_that_of_the_rows_in_their_order_over_the_mean_to_train_on(file, given, type_):
    settings = Recorded(bandwidth_path=file("a.csv", BANDWIDTH), bandwidth_column="throughput", held_out=0.25)
    fields = {} if given is None else {"bandwidth": given}
    train_on, held_out = made(settings, **fields)
    for part, samples in ((train_on, [1, 0, 2]), (held_out, [1.5])):
        assert type(part.bandwidth) is type_
        assert part.bandwidth.samples.tolist() == samples
        for name, value in (given if isinstance(given, dict) else {}).items():
            assert name == "kind" or getattr(part.bandwidth, name) == value
        assert isinstance(part.inputs, inputs.Sinusoidal)
        parameters.check(part, SIZES)


@pytest.mark.parametrize("given", [None, "sinusoidal", "recorded", {"kind": "sinusoidal"}, {"kind": "recorded"}, {}])
def test_inputs_are_recorded_however_the_default_is_said(file, given):
    train_on, held_out = made(Recorded(path=file("a.csv", COUNTS)), inputs=given)
    assert type(train_on.inputs) is type(held_out.inputs) is inputs.Recorded
    assert isinstance(train_on.bandwidth, bandwidth.Steady)


def test_all_else_of_the_law_and_all_other_parameters_are_as_given(file):
    recorded = Recorded(path=file("a.csv", COUNTS), held_out=0.25)
    law = {"kind": "recorded", "steps_per_sample": 3, "random_start": True}
    params = parameters.make(Params, SIZES, recorded.with_record({"inputs": law, "kept": "wave"}))
    params = params.replace(inputs=params.inputs.scaled(0.5))
    for part, rows in zip(recorded.parts(params), (3, 1), strict=True):
        assert part.kept is params.kept and part.bandwidth is params.bandwidth
        each = part.inputs
        assert (each.steps_per_sample, each.random_start, each.scale, len(each.pool)) == (3, True, 0.5, rows)
        parameters.check(part, SIZES)


def test_parameters_made_without_the_record_have_it_in_place_of_their_defaults(file):
    recorded = Recorded(path=file("a.csv", COUNTS), bandwidth_path=file("b.csv", BANDWIDTH), held_out=0.25)
    alone = recorded.parts(parameters.make(Params, SIZES, {}))
    for one, other in zip(alone, made(recorded), strict=True):
        np.testing.assert_array_equal(one.inputs.pool, other.inputs.pool)
        np.testing.assert_array_equal(one.bandwidth.samples, other.bandwidth.samples)


def test_without_a_path_parameters_are_as_given_for_both():
    params = parameters.make(Params, SIZES, {"inputs": "normal"})
    assert all(part is params for part in Recorded().parts(params))
    assert Recorded().with_record({"inputs": "normal"}) == {"inputs": "normal"}


def test_files_are_read_once(file, monkeypatch):
    read = []
    for name in ("read_days", "read_bandwidth"):
        real = getattr(records, name)
        monkeypatch.setattr(records, name, lambda path, *a, real=real, **k: read.append(path) or real(path, *a, **k))
    made(Recorded(path=file("a.csv", COUNTS), bandwidth_path=file("b.csv", BANDWIDTH), held_out=0.25))
    assert len(read) == 2


# Azure Functions 2019

HEADER = "HashOwner,HashApp,HashFunction,Trigger," + ",".join(str(k) for k in range(1, 1441)) + "\n"
TIME = np.arange(1440)
CALM = np.round(40 + 20 * np.sin(2 * np.pi * TIME / 1440)).astype(int)  # passes
SHIFTED = np.roll(CALM, 500)  # passes
PEAK = np.where(TIME < 5, 100, 1)  # a mean near 0
PLATEAU = np.where(TIME < 5, 0, np.where(TIME < 10, 100, 60))  # a mean of 90, but hardly any deviation
FLAT = np.full(1440, 7)  # 150 throughout


def azure_file(*functions):
    rows = (f"o,a,f{k},{trigger}," + ",".join(map(str, minutes)) for k, (trigger, minutes) in enumerate(functions))
    return HEADER + "".join(f"{row}\n" for row in rows)


def by_hand(minutes):
    """The rates of a function, sample by sample, as the data set's description has it."""
    samples = [sum(int(each) for each in minutes[5 * k : 5 * k + 5]) for k in range(288)]
    least, most = min(samples), max(samples)
    return [150 if least == most else (each - least) * 150 // (most - least) for each in samples]


def test_functions_are_summed_scaled_cut_and_filtered(file):
    first = file("d01.csv", azure_file(("http", CALM), ("timer", CALM), ("http", PEAK), ("queue", SHIFTED)))
    second = file("d02.csv", azure_file(("http", FLAT), ("http", SHIFTED), ("http", PLATEAU)))
    pool = records.read_functions([first, second])
    assert pool.tolist() == [by_hand(CALM), by_hand(SHIFTED)]
    for refused in (PEAK, FLAT, PLATEAU):
        rates = by_hand(refused)
        assert not (30 <= np.mean(rates) <= 130 and 10 <= np.std(rates, ddof=1) <= 60)


def test_of_azure_functions_the_last_files_are_held_out_and_nothing_is_scaled_again(file, tmp_path):
    for day in range(1, 15):
        file(f"d{day:02}.csv", azure_file(("http", CALM if day <= 12 else SHIFTED)))
    train_on, held_out = made(Recorded(path=str(tmp_path / "d*.csv"), kind="azure", mean_rate=7.0))
    assert np.asarray(train_on.inputs.pool).tolist() == [by_hand(CALM)] * 12
    assert np.asarray(held_out.inputs.pool).tolist() == [by_hand(SHIFTED)] * 2


def test_if_no_function_passes_it_is_said_how_many_failed_which_test(file, tmp_path):
    first = file("d1.csv", azure_file(("timer", CALM), ("http", PEAK), ("http", FLAT), ("blob", CALM)))
    second = file("d2.csv", azure_file(("http", PLATEAU), ("http", PEAK)))
    says = (
        "of 6 functions 2 are not called by http, 3 have a mean outside [30, 130], 1 have a standard deviation "
        "outside [10, 60]; at least one must pass all tests"
    )
    refused(f"{first} … {second}: {says}", lambda: records.read_functions([first, second]))
    file("d3.csv", azure_file(("http", CALM)))
    settings = Recorded(path=str(tmp_path / "d*.csv"), kind="azure", held_out=0.3)
    refused(f"{first} … {second}: {says}", lambda: made(settings))


def refused(says, call):
    with pytest.raises(ValueError) as error:
        call()
    assert str(error.value) == says


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "a,b\n1,2\n",
            ", line 1: its columns are a, b; it must have one column named Trigger, or path must name another",
        ),
        (
            "Trigger,1,2\nhttp,3,4\n",
            ", line 1: it lacks the columns 1 … 1440; it must be a file of Azure Functions 2019",
        ),
        ("Trigger\nhttp\n", ", line 1: it lacks the columns 1 … 1440; it must be a file of Azure Functions 2019"),
        (HEADER, ": it has no rows; it must have at least one below the header"),
        (azure_file(("http", [-1, *CALM[1:]])), ", line 2: the 1 is '-1'; it must be a finite number ≥ 0"),
        (
            azure_file(("timer", CALM), ("http", [*CALM[:-1], "x"])),
            ", line 3: the 1440 is 'x'; it must be a finite number ≥ 0",
        ),
        (HEADER + "o,a,f,http,1\n", ", line 2: it has 5 fields; it must have 1444, as the header"),
        (b"\xff\xfe\x00", " is not text; it must be a CSV file in UTF-8"),
    ],
)
def test_files_that_are_not_of_the_data_set_are_refused(file, text, says):
    path = file("d1.csv", text)
    refused(path + says, lambda: records.read_functions([path]))


def test_records_larger_than_programs_can_hold_are_refused(file, monkeypatch):
    monkeypatch.setattr(records, "MOST_SAMPLES", 500)
    says = ": it has more than 500 samples; it must have at most so many"
    counts, functions = file("a.csv", COUNTS), file("b.csv", azure_file(("http", CALM), ("http", SHIFTED)))
    link = file("c.csv", "Throughput\n" + "1\n" * 501)
    refused(counts + says, lambda: made(Recorded(path=counts)))
    refused(functions + says, lambda: records.read_functions([functions]))
    refused(link + says, lambda: made(Recorded(bandwidth_path=link)))


def at_least(num, noun):
    return f"it must leave some of the {num} {noun} to train on, and hold out some"


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"path": ""}, "path is not given; it must be the path of a CSV file, or a pattern of several"),
        ({"bandwidth_path": ""}, "bandwidth_path is not given; it must be the path of a CSV file"),
        ({"path": "nowhere.csv"}, "nowhere.csv cannot be read (No such file or directory); it must be a CSV file"),
        (
            {"path": "nowhere*.csv", "kind": "azure"},
            "nowhere*.csv matches no file; it must be the path of at least one CSV file",
        ),
        (
            {"bandwidth_path": "nowhere.csv"},
            "nowhere.csv cannot be read (No such file or directory); it must be a CSV file",
        ),
        ({"kind": "instants"}, "kind is 'instants'; it must be one of counts, azure"),
        ({"time_unit": "min"}, "time_unit is 'min'; it must be one of auto, s, ms, us, ns"),
        ({"mean_rate": 0}, "mean_rate is 0; it must be a finite number in [1e-12, 1e+12]"),
        ({"held_out": 1}, "held_out is 1; it must be a finite number in (0, 1)"),
        ({"held_out": 0.1}, f"held_out is 0.1; {at_least(4, 'days')}"),
        ({"held_out": 0.9}, f"held_out is 0.9; {at_least(4, 'days')}"),
        ({"held_out": 0.3, "kind": "azure"}, f"held_out is 0.3; {at_least(1, 'files')}"),
    ],
)
def test_settings_that_are_not_allowed_are_refused_by_their_bare_name(file, changed, says):
    settings = {"path": file("a.csv", COUNTS), **changed}
    refused(says, lambda: made(Recorded(**settings)))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "timestamp,n\n0,1\n",
            ", line 1: its columns are timestamp, n; it must have one column named value, or value_column must name "
            "another",
        ),
        (counts_file(range(287)), ": it has 287 samples; it must have at least 288, a whole day"),
        (counts_file(range(1440), 60), ": its samples last 60 s; they must last 300 s"),
        (counts_file([1, -2, 3]), ", line 3: the value is '-2'; it must be a finite number ≥ 0"),
        (counts_file([1, "two", 3]), ", line 3: the value is 'two'; it must be a finite number ≥ 0"),
        (counts_file([0] * 600), ": all its counts are 0; at least one must be above 0"),
        (
            counts_file([0] * 288 + [1] * 288),
            ": the part to train on is all 0; at least one number in it must be above 0",
        ),
        (counts_file([1] * 288 + [0] * 288), ": the part held out is all 0; at least one number in it must be above 0"),
        (counts_file([]), ": it has no rows; it must have at least one below the header"),
    ],
)
def test_counts_that_cannot_be_played_are_refused(file, text, says):
    path = file("a.csv", text)
    refused(path + says, lambda: made(Recorded(path=path, held_out=0.5)))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "Timestamp,Uplink\n1,2\n",
            ", line 1: its columns are Timestamp, Uplink; it must have one column named Throughput, or "
            "bandwidth_column must name another",
        ),
        ("Throughput\n1\n-1\n", ", line 3: the Throughput is '-1'; it must be a finite number ≥ 0"),
        ("Throughput\n1\nfast\n", ", line 3: the Throughput is 'fast'; it must be a finite number ≥ 0"),
        ("Throughput\n0\n1\n", ": the part to train on is all 0; at least one number in it must be above 0"),
        ("Throughput\n1\n0\n", ": the part held out is all 0; at least one number in it must be above 0"),
        ("Throughput\n", ": it has no rows; it must have at least one below the header"),
    ],
)
def test_bandwidth_that_cannot_be_played_is_refused(file, text, says):
    path = file("a.csv", text)
    refused(path + says, lambda: made(Recorded(bandwidth_path=path, held_out=0.5)))


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"inputs": "normal"}, "inputs is 'normal'; it must be recorded where a record is played"),
        ({"inputs": {"kind": "step"}}, "inputs is 'step'; it must be recorded where a record is played"),
        (
            {"inputs": inputs.Normal()},
            "inputs is Normal(mean=61.0, deviation=32.0); it must be a kind, or a kind and fields, beside a record",
        ),
        (
            {"inputs": {"kind": "recorded", "pool": [[1.0]]}},
            "inputs.pool is given; it must not be, since the record from a file sets it",
        ),
        (
            {"inputs": {"amplitude": 3.0}},
            "inputs.amplitude is not a field of the kind 'recorded'; its fields are pool, scale, steps_per_sample, "
            "random_start",
        ),
        ({"bandwidth": "wave"}, "bandwidth is 'wave'; it must be resampled or played where a record is played"),
        (
            {"bandwidth": {"kind": "played", "samples": [1.0]}},
            "bandwidth.samples is given; it must not be, since the record from a file sets it",
        ),
    ],
)
def test_another_law_beside_the_record_is_refused(file, fields, says):
    recorded = Recorded(path=file("a.csv", COUNTS), bandwidth_path=file("b.csv", BANDWIDTH), held_out=0.25)
    refused(says, lambda: made(recorded, **fields))


def test_another_law_of_parameters_that_are_made_already_is_refused(file):
    recorded = Recorded(path=file("a.csv", COUNTS))
    params = parameters.make(Params, SIZES, {"inputs": "normal"})
    refused("inputs is 'normal'; it must be recorded where a record is played", lambda: recorded.parts(params))
