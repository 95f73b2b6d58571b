"""Columns of times and of numbers ≥ 0, read from CSV files and .npz archives.

An error is one sentence with the file, the line or the index, what stands there, and what is allowed.
"""

import csv
import dataclasses
import datetime
import math
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxdlb.checks import NON_NEGATIVE, Interval, check_choice, check_path

MOST_SECONDS = 1e12  # before or after zero; beyond that, a float no longer resolves milliseconds

_PER_SECOND = {"s": 10**0, "ms": 10**3, "us": 10**6, "ns": 10**9}
_UNIT_NAMES = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
TIME_UNITS = ("auto", *_PER_SECOND)
_FROM_1990_TO_2100 = Interval(631_152_000, 4_102_444_800, high_open=True)  # in seconds since 1970
_MOST_NAMES = 20  # that a message lists
_EXACT = 2**62  # integers smaller than this have differences that int64 holds

PathLike = str | os.PathLike[str]


@dataclasses.dataclass(frozen=True)
class Column:
    """A column to read.

    Raises:
        ValueError: the name is not a string, or blank.
    """

    key: str  # the setting that can give another name, for messages
    name: str  # in any case
    required: bool = True
    fixed: bool = False  # whether nothing can give another name

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip():
            raise ValueError(f"{self.key} is {self.name!r}; it must be the name of a column")


@dataclasses.dataclass(frozen=True)
class Table:
    """The rows of a file: when each was, and its numbers, all finite and ≥ 0."""

    path: PathLike
    time: Column
    places: Sequence[str]  # where each row stands in the file, as in "line 2" or "index 0"
    seconds: Float[np.ndarray, " R"]  # float64, since the first row
    values: Mapping[str, Float[np.ndarray, " R"]]  # float64, by the key of their column; without those not there


def read(path: PathLike, time: Column, columns: Sequence[Column], time_unit: str = "auto") -> Table:
    """The rows of an archive if the file's name ends in .npz, and of a CSV file otherwise."""
    check_path("path", path)
    return (read_npz if Path(path).suffix.lower() == ".npz" else read_csv)(path, time, columns, time_unit)


def read_csv(path: PathLike, time: Column, columns: Sequence[Column], time_unit: str = "auto") -> Table:
    """The rows of a CSV file, whose first line names its columns; blank lines and other columns are skipped.

    A time is an ISO date and time (to the microsecond), or a number. With `time_unit` "s", "ms", "us" or "ns", numbers
    are in that unit. With "auto", the first row decides for all: the unit is milli-, micro- or nanoseconds if, read in
    that unit as a time since 1970, it falls in the years 1990 to 2099, and seconds otherwise.

    Raises:
        ValueError: a file that cannot be read, a missing column, no rows, a time or a value that is not allowed, or an
            unknown `time_unit`.
    """
    check_choice("time_unit", time_unit, TIME_UNITS)
    header, rows = read_rows(path)
    return _parse(path, header, rows, time, columns, time_unit)


def read_column(path: PathLike, column: Column) -> Float[np.ndarray, " R"]:
    """The numbers of one column of a CSV file, in the order of its rows; all else in it is skipped.

    Raises:
        ValueError: a file that cannot be read, no such column, no rows, or a number that is not finite and ≥ 0.
    """
    header, rows = read_rows(path)
    place = find(path, header, column)
    numbers = [_value(f"{path}, line {line}", column.name, fields[place]) for line, fields in rows]
    return np.asarray(numbers, np.float64)


def read_rows(path: PathLike) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    """The names of the columns of a CSV file, and its other rows as they are read: the line and the fields of each.

    Raises:
        ValueError: a file that cannot be read; once they are read, a row of another length than the first, or no rows.
    """
    check_path("path", path)
    records = _records(path)
    header = [name.strip() for name in next(records, (0, []))[1]]
    return header, _below(path, header, records)


def find(path: PathLike, header: Sequence[str], column: Column) -> int:
    """Which of the columns of a CSV file has that name, in any case; raises ValueError unless there is just one."""
    return int(_find(f"{path}, line 1", "column", header, column))


def values_of(where: str, names: Sequence[str], texts: Sequence[str]) -> Float[np.ndarray, " R"]:
    """A row's texts as numbers; raises ValueError for the first that is not a finite number ≥ 0, with its name."""
    try:
        values = np.asarray(texts, np.float64)
        if np.all(NON_NEGATIVE.contains(values)):
            return values
    except ValueError:
        pass
    return np.asarray([_value(where, name, text) for name, text in zip(names, texts, strict=True)])


def read_npz(path: PathLike, time: Column, columns: Sequence[Column], time_unit: str = "auto") -> Table:
    """The entries of the arrays of an archive as NumPy's `savez` writes it; each array is a column.

    Times are as in `read_csv`: numbers, dates as text, or datetime64. Nothing is unpickled.

    Raises:
        ValueError: as in `read_csv`; or arrays that are not of numbers, not of one dimension, or not of equal lengths.
    """
    check_choice("time_unit", time_unit, TIME_UNITS)
    check_path("path", path)
    arrays = _load(path, [time, *columns])
    for column in columns:
        if column.key in arrays:
            _check_numbers(path, column.name, arrays[column.key])
    times = arrays.pop(time.key)
    places = [f"index {index}" for index in range(len(times))]
    return Table(
        path=path,
        time=time,
        places=places,
        seconds=_seconds_of_array(path, places, times, time.name, time_unit),
        values={key: array.astype(np.float64) for key, array in arrays.items()},
    )


def check_in_order(table: Table, *, strictly: bool) -> None:
    """Raise ValueError unless each row is later than the one before or, unless `strictly`, no earlier."""
    steps = np.diff(table.seconds)
    bad = np.flatnonzero(steps <= 0 if strictly else steps < 0)
    if len(bad):
        where, rule = f"{table.path}, {table.places[bad[0] + 1]}", "later than" if strictly else "no earlier than"
        early = f"{-steps[bad[0]]:g} s earlier" if steps[bad[0]] < 0 else "the same"
        raise ValueError(f"{where}: the {table.time.name} must be {rule} that of the row before, and is {early}")


# CSV files


def _parse(
    path: PathLike,
    header: Sequence[str],
    rows: Iterator[tuple[int, list[str]]],
    time: Column,
    columns: Sequence[Column],
    time_unit: str,
) -> Table:
    found = {each: _find(f"{path}, line 1", "column", header, each) for each in (time, *columns)}
    places: list[str] = []
    times: list[str] = []
    values: dict[Column, list[float]] = {each: [] for each in columns if found[each] is not None}
    for line, record in rows:
        where = f"{path}, line {line}"
        places.append(f"line {line}")
        times.append(record[found[time]])
        for column, numbers in values.items():
            numbers.append(_value(where, column.name, record[found[column]]))
    return Table(
        path=path,
        time=time,
        places=places,
        seconds=_seconds_of_texts(path, places, times, time.name, time_unit),
        values={column.key: np.asarray(numbers, np.float64) for column, numbers in values.items()},
    )


def _records(path: PathLike) -> Iterator[tuple[int, list[str]]]:
    """Line number and fields of each row that is not blank."""
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            yield from _parsed(path, csv.reader(file, strict=True))
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}); it must be a CSV file") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not text; it must be a CSV file in UTF-8") from None


def _parsed(path: PathLike, reader: Any) -> Iterator[tuple[int, list[str]]]:
    try:
        for record in reader:
            if record:
                yield reader.line_num, record
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: {error}; it must be a line of a CSV file") from None


def _below(
    path: PathLike, header: Sequence[str], records: Iterator[tuple[int, list[str]]]
) -> Iterator[tuple[int, list[str]]]:
    """Line number and fields of each row below the header."""
    line = None
    for line, record in records:
        if len(record) != len(header):
            has, must = len(record), len(header)
            raise ValueError(f"{path}, line {line}: it has {has} fields; it must have {must}, as the header")
        yield line, record
    if line is None:
        raise ValueError(f"{path}: it has no rows; it must have at least one below the header")


def _find(where: str, noun: str, names: Sequence[str], column: Column) -> Any:
    """The index of the only one of that name, in any case; None if it is not there, and need not be."""
    lowered = [each.lower() for each in names]
    wanted = column.name.strip().lower()
    if wanted not in lowered and not column.required:
        return None
    if lowered.count(wanted) != 1:
        listed = ", ".join([*names[:_MOST_NAMES], "…"] if len(names) > _MOST_NAMES else names)
        otherwise = "" if column.fixed else f", or {column.key} must name another"
        raise ValueError(
            f"{where}: its {noun}s are {listed or 'none'}; it must have one {noun} named {column.name}{otherwise}"
        )
    return lowered.index(wanted)


def _value(where: str, column: str, text: str) -> float:
    value = _number(text)
    if value is None or not 0 <= value < math.inf:
        raise ValueError(f"{where}: the {column} is {text!r}; it must be {NON_NEGATIVE}")
    return float(value)


def _seconds_of_texts(
    path: PathLike, places: Sequence[str], texts: Sequence[str], column: str, time_unit: str
) -> Float[np.ndarray, " R"]:
    unit = _unit(_number(texts[0])) if time_unit == "auto" else time_unit
    times: list[Any] = []
    for place, text in zip(places, texts, strict=True):
        where = f"{path}, {place}: the {column} is {text!r}"
        times.append(_time(where, text, unit))
        if isinstance(times[-1], datetime.datetime) != isinstance(times[0], datetime.datetime):
            raise ValueError(f"{where}; all must be ISO dates and times, or all numbers")
    if isinstance(times[0], datetime.datetime):
        return np.asarray([(time - times[0]).total_seconds() for time in times])
    # Subtract before dividing: times since 1970 are exact in whole milliseconds, but not in seconds.
    return np.asarray([time - times[0] for time in times], np.float64) / _PER_SECOND[unit]


def _time(where: str, text: str, unit: str) -> float | int | datetime.datetime:
    """A number in that unit, or a date and time (in UTC, if it has no time zone)."""
    number = _number(text)
    time = _datetime(text) if number is None else number
    if time is None or (number is not None and not abs(number) < MOST_SECONDS * _PER_SECOND[unit]):
        raise ValueError(f"{where}; it must be {_times_in(unit)}")
    return time


def _times_in(unit: str) -> str:
    return f"an ISO date and time, or a number of {_UNIT_NAMES[unit]} within ±{MOST_SECONDS:g} s"


def _unit(number: float | None) -> str:
    """The unit in which the number is a plausible time since 1970, or else seconds."""
    for unit in ("ms", "us", "ns"):
        if number is not None and _FROM_1990_TO_2100.contains(np.asarray(number / _PER_SECOND[unit])):
            return unit
    return "s"


def _number(text: str) -> float | int | None:
    """The number that a text says; a whole one as int, since a float does not resolve nanoseconds since 1970."""
    try:
        number = float(text)
    except ValueError:
        return None
    if math.isfinite(number) and abs(number) < _EXACT and text.strip().lstrip("+-").isdigit():
        return int(text)
    return number


def _datetime(text: str) -> datetime.datetime | None:
    try:
        time = datetime.datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=datetime.UTC)


# Archives


def _load(path: PathLike, columns: Sequence[Column]) -> dict[str, np.ndarray]:
    """The arrays by the keys of their columns: of one dimension, and as long as the first."""
    arrays = _arrays(path, columns)
    first = columns[0]
    for column in columns:
        array = arrays.get(column.key)
        if array is not None and array.ndim != 1:
            raise ValueError(f"{path}: its array {column.name} has shape {array.shape}; it must have one dimension")
        if array is not None and len(array) != len(arrays[first.key]):
            has, must = len(array), len(arrays[first.key])
            raise ValueError(f"{path}: its array {column.name} has {has} entries; it must have {must}, as {first.name}")
    if not len(arrays[first.key]):
        raise ValueError(f"{path}: its array {first.name} is empty; it must have at least one entry")
    return arrays


def _arrays(path: PathLike, columns: Sequence[Column]) -> dict[str, np.ndarray]:
    try:
        with Path(path).open("rb") as file:
            if not zipfile.is_zipfile(file):
                raise ValueError(f"{path} is not an archive; it must be an .npz file")
            file.seek(0)
            with np.load(file, allow_pickle=False) as archive:
                return _members(path, archive, columns)
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror or error}); it must be an .npz file") from None
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path} is damaged ({error}); it must be an .npz file") from None


def _members(path: PathLike, archive: Any, columns: Sequence[Column]) -> dict[str, np.ndarray]:
    arrays = {}
    for column in columns:
        index = _find(f"{path}", "array", archive.files, column)
        if index is not None:
            arrays[column.key] = _member(path, archive, archive.files[index])
    return arrays


def _member(path: PathLike, archive: Any, name: str) -> np.ndarray:
    try:
        array = archive[name]
    except (ValueError, EOFError, zlib.error, NotImplementedError) as error:
        said = str(error).split("\n")[0]
        raise ValueError(f"{path}: its array {name} cannot be read ({said}); it must be an array of numbers") from None
    if not isinstance(array, np.ndarray):  # a member that is no array is given as bytes
        raise ValueError(f"{path}: {name} is no array; it must be an array of numbers")
    return array


def _check_numbers(path: PathLike, name: str, array: np.ndarray) -> None:
    if array.dtype.kind not in "iuf":
        raise ValueError(f"{path}: its array {name} is of {array.dtype}; it must be of numbers")
    bad = np.flatnonzero(~NON_NEGATIVE.contains(array))
    if len(bad):
        raise ValueError(f"{path}, index {bad[0]}: the {name} is {array[bad[0]]:g}; it must be {NON_NEGATIVE}")


def _seconds_of_array(
    path: PathLike, places: Sequence[str], times: np.ndarray, name: str, time_unit: str
) -> Float[np.ndarray, " R"]:
    if times.dtype.kind == "U":
        return _seconds_of_texts(path, places, times.tolist(), name, time_unit)
    if times.dtype.kind == "M":
        exact = times.astype("datetime64[ns]")
        _refuse_times(path, times, name, exact.astype(times.dtype) == times, "a date of the years 1678 to 2261")
        return _since_first(exact.astype(np.int64)) / _PER_SECOND["ns"]
    if times.dtype.kind not in "iuf":
        raise ValueError(f"{path}: its array {name} is of {times.dtype}; it must be of numbers or dates")
    unit = _unit(float(times[0])) if time_unit == "auto" else time_unit
    allowed = np.abs(times.astype(np.float64)) < MOST_SECONDS * _PER_SECOND[unit]
    _refuse_times(path, times, name, allowed, _times_in(unit))
    return _since_first(times) / _PER_SECOND[unit]


def _refuse_times(path: PathLike, times: np.ndarray, name: str, allowed: np.ndarray, what: str) -> None:
    bad = np.flatnonzero(~allowed)
    if len(bad):
        raise ValueError(f"{path}, index {bad[0]}: the {name} is {times[bad[0]]}; it must be {what}")


def _since_first(times: np.ndarray) -> Float[np.ndarray, " R"]:
    """Differences to the first entry, exact for integers."""
    if times.dtype.kind in "iu" and int(times.min()) > -_EXACT and int(times.max()) < _EXACT:
        return np.asarray(times.astype(np.int64) - int(times[0]), np.float64)
    return times.astype(np.float64) - np.float64(times[0])
