"""Recorded tasks: reading, and splitting into a part to train on and a part held out."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdlb import task_records
from jaxdlb.task_records import TaskRecord, read_tasks, read_tokens

SHARED = Path(__file__).parents[2] / "shared" / "data"
TOKENS = {"prefill_ms": 0.1, "decode_ms": 20.0, "bytes_per_token": 4.0}


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "record.csv"
        path.write_text(text)
        return path

    return write


def arrays_of(record):
    return [record.arrivals, record.runtimes, record.io_times, record.payloads]


number = st.floats(0, 1e6)
tasks = st.lists(st.tuples(st.integers(1, 10**6), number, number, number), min_size=2, max_size=20)


@settings(max_examples=30)
@given(tasks=tasks, unit=st.sampled_from(["s", "ms", "us"]))
def test_what_was_written_is_read_from_csv_files_and_archives(tmp_path_factory, tasks, unit):
    gaps, runtimes, io_times, payloads = map(np.array, zip(*tasks, strict=True))
    times = np.cumsum(gaps)
    folder = tmp_path_factory.mktemp("tasks")
    np.savez(folder / "a.npz", start=times, run=runtimes, io=io_times, size=payloads)
    body = "\n".join(
        ",".join(map(repr, row))
        for row in zip(times.tolist(), *map(np.ndarray.tolist, (payloads, io_times, runtimes)), strict=True)
    )
    (folder / "a.csv").write_text(f"START,size,IO,run\n{body}\n")
    names = {"time_column": "start", "runtime_column": "Run", "io_time_column": "io", "payload_column": "size"}
    for path in (folder / "a.npz", folder / "a.csv"):
        if not np.any(runtimes):
            with pytest.raises(ValueError, match="it has only runtimes of 0"):
                read_tasks(path, time_unit=unit, **names)
            continue
        record = read_tasks(path, time_unit=unit, **names)
        per_ms = {"s": 1e-3, "ms": 1, "us": 1e3}[unit]
        np.testing.assert_allclose(record.arrivals, (times - times[0]) / per_ms, rtol=1e-12)
        for read, written in zip(arrays_of(record)[1:], (runtimes, io_times, payloads), strict=True):
            np.testing.assert_array_equal(read, written)
        assert record.source == str(path)


def test_io_times_and_payloads_are_those_of_the_usual_columns_or_the_same_for_all(write):
    plain = read_tasks(write("timestamp,runtime\n0,1\n1,2\n"))
    np.testing.assert_array_equal(plain.io_times, [0, 0])
    np.testing.assert_array_equal(plain.payloads, [512, 512])
    given = read_tasks(write("timestamp,runtime\n0,1\n1,2\n"), io_time=3, payload=64)
    np.testing.assert_array_equal(given.io_times, [3, 3])
    np.testing.assert_array_equal(given.payloads, [64, 64])
    usual = read_tasks(write("timestamp,runtime,io_time,payload\n0,1,5,6\n1,2,7,8\n"), io_time=3, payload=64)
    np.testing.assert_array_equal(usual.io_times, [5, 7])
    np.testing.assert_array_equal(usual.payloads, [6, 8])


def test_the_work_of_a_request_grows_with_its_tokens(write):
    record = read_tokens(write("TIMESTAMP,ContextTokens,GeneratedTokens\n0,100,3\n0.25,7,0\n"), **TOKENS)
    np.testing.assert_allclose(record.arrivals, [0, 250])
    np.testing.assert_allclose(record.runtimes, [10 + 60, 0.7])
    np.testing.assert_array_equal(record.payloads, [400, 28])
    np.testing.assert_array_equal(record.io_times, [0, 0])
    other = read_tokens(
        write("t,p,a\n0,1,2\n5,3,4\n"),
        time_column="t",
        context_column="p",
        generated_column="a",
        time_unit="ms",
        **TOKENS,
    )
    np.testing.assert_allclose(other.runtimes, [40.1, 80.3])
    np.testing.assert_allclose(other.arrivals, [0, 5])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "line 1: its columns are none; it must have one column named timestamp, or time_column must name another"),
        ("timestamp\n0\n", "one column named runtime, or runtime_column must name another"),
        ("timestamp,runtime\n", "it has no rows; it must have at least one"),
        ("timestamp,runtime\n0,1\n", "it has fewer than two tasks; it must have tasks at two instants at least"),
        ("timestamp,runtime\n5,1\n5,2\n5,3\n", "it has all its tasks at the same instant; it must have tasks at two"),
        (
            "timestamp,runtime\n0,0\n1,0\n",
            "it has only runtimes of 0; it must have tasks at two instants at least, and",
        ),
        ("timestamp,runtime\n0,1\n1,-2\n", "line 3: the runtime is '-2'; it must be a finite number ≥ 0"),
        ("timestamp,runtime\n0,1\n1,nan\n", "line 3: the runtime is 'nan'; it must be a finite number ≥ 0"),
        ("timestamp,runtime\nnan,1\n1,1\n", "line 2: the timestamp is 'nan'; it must be an ISO date and time, or a"),
        (
            "timestamp,runtime\n0,1\n2,1\n\n1,1\n",
            "line 5: the timestamp must be no earlier than that of the row before",
        ),
        ("timestamp,runtime,payload\n0,1,x\n", "line 2: the payload is 'x'; it must be a finite number ≥ 0"),
        ("timestamp,runtime,io_time\n0,1,-1\n", "line 2: the io_time is '-1'; it must be a finite number ≥ 0"),
    ],
)
def test_a_record_that_cannot_be_played_is_refused_with_its_line(write, text, says):
    path = write(text)
    with pytest.raises(ValueError, match=says) as error:
        read_tasks(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("key", ["io_time", "payload"])
def test_a_column_that_is_named_must_be_there(write, key):
    says = f"it must have one column named other, or {key}_column must name another"
    with pytest.raises(ValueError, match=says):
        read_tasks(write("timestamp,runtime,io_time,payload\n0,1,1,1\n"), **{f"{key}_column": "other"})


def test_numbers_beyond_their_range_are_refused(tmp_path):
    for name in ("io_time", "payload"):
        with pytest.raises(ValueError, match=f"^{name} is -1; it must be a finite number ≥ 0"):
            read_tasks(tmp_path / "none.csv", **{name: -1})
    for name in TOKENS:
        with pytest.raises(ValueError, match=f"^{name} is nan; it must be a finite number ≥ 0"):
            read_tokens(tmp_path / "none.csv", **TOKENS | {name: float("nan")})


def test_a_record_too_long_to_be_copied_is_refused(write, monkeypatch):
    monkeypatch.setattr(task_records, "MOST_TASKS", 2)
    with pytest.raises(ValueError, match="it has 3 tasks; it must have at most 2"):
        read_tasks(write("timestamp,runtime\n0,1\n1,1\n2,1\n"))


def record_of(arrivals, runtimes=None):
    ones = np.ones(len(arrivals))
    return TaskRecord(
        np.asarray(arrivals, float), ones if runtimes is None else np.asarray(runtimes), ones, ones, "made.csv"
    )


def test_after_the_last_task_comes_the_mean_gap():
    np.testing.assert_array_equal(record_of([0, 1, 1, 7]).gaps(), [1, 0, 6, 7 / 3])


@given(num_tasks=st.integers(2, 60), held_out=st.floats(0.01, 0.99))
def test_the_parts_are_the_whole_in_order(num_tasks, held_out):
    whole = record_of(np.arange(num_tasks), np.arange(1.0, num_tasks + 1))
    num_held_out = round(num_tasks * held_out)
    if not 2 <= num_held_out <= num_tasks - 2:
        with pytest.raises(ValueError, match=r"tasks\) has fewer than two tasks"):
            task_records.split(whole, held_out)
        return
    train, last = task_records.split(whole, held_out)
    assert len(last.arrivals) == num_held_out
    for first, second, both in zip(arrays_of(train), arrays_of(last), arrays_of(whole), strict=True):
        np.testing.assert_array_equal(np.concatenate([first, second]), both)


@pytest.mark.parametrize(
    ("record", "says"),
    [
        (record_of([0, 1, 5, 5]), r"the part held out \(2 of 4 tasks\) has all its tasks at the same instant"),
        (record_of([0, 0, 1, 2]), r"the part to train on \(2 of 4 tasks\) has all its tasks at the same instant"),
        (record_of([0, 1, 2, 3], [0.0, 0, 1, 1]), "the part to train on .* has only runtimes of 0"),
        (record_of([0, 1, 2]), r"^held_out is 0\.5; .* in both parts of made\.csv, .* has fewer than two tasks"),
    ],
)
def test_a_part_that_cannot_be_played_is_refused(record, says):
    with pytest.raises(ValueError, match=says):
        task_records.split(record, 0.5)


@pytest.mark.parametrize("held_out", [0, 1, float("nan")])
def test_a_share_held_out_beyond_its_range_is_refused(held_out):
    with pytest.raises(ValueError, match=r"held_out is .*; it must be a finite number in \(0, 1\)"):
        task_records.split(record_of([0, 1, 2, 3]), held_out)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the public records lie outside the project")
def test_a_public_record_is_read_whole():
    record = read_tokens(SHARED / "azure_llm_conversation.csv", **TOKENS)
    assert len(record.arrivals) == 19_366
    assert record.arrivals[-1] == pytest.approx(3_501_722, abs=1)
    assert record.runtimes[0] == pytest.approx(0.1 * 374 + 20 * 44)
