"""Columns of CSV files and archives: what is read, and what is refused with its line or index."""

import datetime
import io
import re
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdlb import columns
from jaxdlb.columns import Column

TIME, WORK, NOTE = Column("time_column", "at"), Column("work_column", "work"), Column("note", "note", required=False)


@pytest.fixture
def write(tmp_path):
    """A file of text or bytes, or an archive of arrays."""

    def write(content, name="record.npz"):
        path = tmp_path / name
        if isinstance(content, dict):
            np.savez(path, **content)
        else:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def read(path, **options):
    return columns.read(path, TIME, [WORK, NOTE], **options)


def refused(path, says, **options):
    with pytest.raises(ValueError, match=says) as error:
        read(path, **options)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


rows = st.lists(st.tuples(st.integers(0, 10**15), st.floats(0, 1e9)), min_size=1, max_size=20)


@settings(max_examples=30)
@given(rows=rows, unit=st.sampled_from(["s", "ms", "us", "ns"]), with_note=st.booleans())
def test_an_archive_and_a_csv_file_of_the_same_numbers_read_the_same(tmp_path_factory, rows, unit, with_note):
    rows = [(at * {"s": 1, "ms": 1, "us": 10**3, "ns": 10**6}[unit] // 10**6, work) for at, work in rows]
    folder = tmp_path_factory.mktemp("columns")
    note = {"note": np.arange(len(rows))} if with_note else {}
    np.savez(folder / "a.npz", at=np.array([at for at, _ in rows]), Work=np.array([work for _, work in rows]), **note)
    lines = ["AT,work" + (",note" if with_note else "")]
    lines += [f"{at},{work!r}" + (f",{k}" if with_note else "") for k, (at, work) in enumerate(rows)]
    (folder / "a.csv").write_text("\n".join(lines))
    archive, text = read(folder / "a.npz", time_unit=unit), read(folder / "a.csv", time_unit=unit)
    np.testing.assert_array_equal(archive.seconds, text.seconds)
    assert set(archive.values) == set(text.values) == {"work_column", *note}
    for key, array in text.values.items():
        np.testing.assert_array_equal(archive.values[key], array)
    per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    np.testing.assert_allclose(text.seconds, [(at - rows[0][0]) / per_second for at, _ in rows], rtol=1e-12)
    np.testing.assert_array_equal(text.values["work_column"], [work for _, work in rows])


NANOSECONDS = 1_700_000_000_000_000_000


def test_nanoseconds_since_1970_are_told_apart(write):
    """A float64 of that size resolves 256 of them."""
    times = [NANOSECONDS + 10 * k for k in range(4)]
    expected = 1e-8 * np.arange(4)
    text = "at,work\n" + "\n".join(f"{time},1" for time in times)
    np.testing.assert_allclose(read(write(text, "a.csv")).seconds, expected)
    np.testing.assert_allclose(read(write({"at": np.array(times), "work": np.ones(4)})).seconds, expected)
    unsigned = np.array(times, np.uint64)
    np.testing.assert_allclose(read(write({"at": unsigned, "work": np.ones(4)})).seconds, expected)


def test_dates_are_read_from_archives_as_text_and_as_datetime64(write):
    iso = [datetime.datetime(2023, 11, 16, 18, 15, second).isoformat() for second in (0, 1, 30)]
    for times in (np.array(iso), np.array(iso, "datetime64[s]"), np.array(iso, "datetime64[ns]")):
        np.testing.assert_array_equal(read(write({"at": times, "work": np.ones(3)})).seconds, [0, 1, 30])


def test_integers_of_few_bits_and_floats_do_not_overflow(write):
    for times in (np.array([-100, 100], np.int8), np.array([-100, 100], np.float16), np.array([-1e11, -1e11 + 200])):
        np.testing.assert_allclose(read(write({"at": times, "work": np.ones(2)})).seconds, [0, 200])


def test_a_column_that_need_not_be_there_is_left_out_but_not_read_twice(write):
    assert set(read(write("at,work\n0,1\n", "a.csv")).values) == {"work_column"}
    refused(write("at,work,note,NOTE\n0,1,2,3\n", "a.csv"), "one column named note, or note must name another")


GOOD = {"at": np.arange(3), "work": np.ones(3)}
DAY = np.datetime64("2024-01-01", "s")


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"at": None}, "its arrays are work; it must have one array named at, or time_column must name another"),
        ({"work": None}, "its arrays are at; it must have one array named work, or work_column must name another"),
        ({"WORK": np.ones(3)}, "its arrays are at, work, WORK; it must have one array named work"),
        ({"work": np.ones(2)}, "its array work has 2 entries; it must have 3, as at"),
        ({"work": np.ones((3, 1))}, r"its array work has shape \(3, 1\); it must have one dimension"),
        ({"at": np.float64(1)}, r"its array at has shape \(\); it must have one dimension"),
        ({"at": np.array([]), "work": np.array([])}, "its array at is empty; it must have at least one entry"),
        ({"work": np.array([1, -2, 3])}, "index 1: the work is -2; it must be a finite number ≥ 0"),
        ({"work": np.array([1, 2, np.nan])}, "index 2: the work is nan; it must be a finite number ≥ 0"),
        ({"work": np.array([np.inf, 2, 3])}, "index 0: the work is inf"),
        ({"work": np.array(["1", "2", "3"])}, "its array work is of <U1; it must be of numbers"),
        ({"work": np.array([True, True, False])}, "its array work is of bool; it must be of numbers"),
        ({"work": np.array([1, None, 3])}, "its array work cannot be read .Object arrays .*; it must be an array of"),
        ({"at": np.array([{}, 1, 2])}, "its array at cannot be read .Object arrays"),
        ({"at": np.ones(3, complex)}, "its array at is of complex128; it must be of numbers or dates"),
        ({"at": np.array([0, np.nan, 1])}, "index 1: the at is nan; it must be an ISO date and time, or a number of s"),
        (
            {"at": np.array([0, 1e13, 1])},
            r"index 1: the at is 10000000000000\.0; .* number of seconds within ±1e\+12 s",
        ),
        ({"at": np.array(["noon", "2", "3"])}, "index 0: the at is 'noon'"),
        ({"at": np.array([DAY, np.datetime64("NaT"), DAY])}, "index 1: the at is NaT; it must be a date of the years"),
        ({"at": np.array([DAY, DAY, np.datetime64("9999-01-01")])}, "index 2: the at is 9999"),
    ],
)
def test_an_array_that_is_not_allowed_is_refused_with_its_index(write, changed, says):
    arrays = {name: array for name, array in (GOOD | changed).items() if array is not None}
    refused(write(arrays), says)


def test_a_file_that_is_no_archive_is_refused(write, tmp_path):
    refused(tmp_path / "none.npz", "cannot be read .No such file or directory.; it must be an .npz file")
    refused(write("at,work\n0,1\n"), "is not an archive; it must be an .npz file")
    refused(write(b""), "is not an archive")
    saved = io.BytesIO()
    np.save(saved, np.ones(3))
    refused(write(saved.getvalue()), "is not an archive")


def test_a_damaged_archive_is_refused(write, tmp_path):
    path = write(GOOD)
    whole = path.read_bytes()
    middle = whole.index(b"NUMPY") + 90
    refused(write(whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :]), "it must be an")
    with zipfile.ZipFile(tmp_path / "other.npz", "w") as archive:
        archive.writestr("at", "no array")
        archive.writestr("work", "no array")
    refused(tmp_path / "other.npz", "at is no array; it must be an array of numbers")


def test_options_are_checked_before_the_file(tmp_path):
    with pytest.raises(ValueError, match="time_unit is 'min'; it must be one of auto, s, ms, us, ns"):
        read(tmp_path / "none.npz", time_unit="min")
    with pytest.raises(ValueError, match="work_column is ' '; it must be the name of a column"):
        Column("work_column", " ")


@pytest.mark.parametrize(
    ("times", "strictly", "says"),
    [
        ([0, 2, 1.5], False, "line 4: the at must be no earlier than that of the row before, and is 0.5 s earlier"),
        ([0, 2, 2], True, "line 4: the at must be later than that of the row before, and is the same"),
    ],
)
def test_times_out_of_order_are_refused(write, times, strictly, says):
    table = read(write("at,work\n" + "\n".join(f"{time},1" for time in times), "a.csv"))
    with pytest.raises(ValueError, match=re.escape(f"{table.path}, {says}")):
        columns.check_in_order(table, strictly=strictly)
    columns.check_in_order(read(write({"at": np.array([0, 1]), "work": np.ones(2)})), strictly=True)


def test_one_column_is_read_by_itself_in_the_order_of_its_rows(write):
    path = write('at,Rate\n"1, later",3\n\n0,1.5\n0,0\n', "a.csv")
    assert columns.read_column(path, Column("rate_column", "rate")).tolist() == [3, 1.5, 0]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("at,work\n1,2\n", ", line 1: its columns are at, work; it must have one column named rate, or r must name"),
        (",".join(map(str, range(99))), ", line 1: its columns are " + ", ".join([*map(str, range(20)), "…"]) + ";"),
        ("at,rate\n1,-2\n", ", line 2: the rate is '-2'; it must be a finite number ≥ 0"),
        ("at,rate\n1,x\n", ", line 2: the rate is 'x'; it must be a finite number ≥ 0"),
        ("at,rate\n1,2\n\n1\n", ", line 4: it has 1 fields; it must have 2, as the header"),
        ("at,rate\n", ": it has no rows; it must have at least one below the header"),
        (b"\xff\xfe", " is not text; it must be a CSV file in UTF-8"),
    ],
)
def test_a_column_that_is_not_one_of_numbers_is_refused(write, content, says):
    path = write(content, "a.csv")
    with pytest.raises(ValueError, match=re.escape(f"{path}{says}")):
        columns.read_column(path, Column("r", "rate"))


@pytest.mark.parametrize(("bad", "shown"), [("-1", "'-1'"), ("inf", "'inf'"), ("nan", "'nan'"), ("two", "'two'")])
def test_a_row_of_numbers_names_the_column_of_the_first_that_is_none(bad, shown):
    assert columns.values_of("here", "abc", ["0", " 1.5", "1e3"]).tolist() == [0, 1.5, 1000]
    with pytest.raises(ValueError, match=f"^here: the b is {shown}; it must be a finite number ≥ 0$"):
        columns.values_of("here", "abc", ["0", bad, "-2"])
