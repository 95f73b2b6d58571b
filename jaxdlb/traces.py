"""Recorded workloads as arrival modulation: counts over time, or the instants at which requests arrived.

A recording is read into a `Workload`, split into a training part and a later held-out part, and scaled to a target
arrival probability using the training part alone.
"""

import csv
import dataclasses
import datetime
import math
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxdlb.checks import POSITIVE_COUNT, PROBABILITY, Interval, check_array, check_choice
from jaxdlb.mechanics.arrivals import Trace

MOST_SAMPLES = 10_000_000  # a longer record means wrong times, and would fill the memory
MOST_SECONDS = 1e12  # before or after zero; beyond that, a float no longer resolves milliseconds
REGULAR = 0.05  # rows are regular if all gaps are within this many spacings of a whole number of spacings

_PER_SECOND = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
_UNIT_NAMES = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
SHARE = Interval(0, 1, low_open=True, high_open=True)  # of a record, to be held out
TIME_UNITS = ("auto", *_PER_SECOND)
_FROM_1990_TO_2100 = Interval(631_152_000, 4_102_444_800, high_open=True)  # in seconds since 1970

PathLike = str | os.PathLike[str]


@dataclasses.dataclass(frozen=True)
class Workload:
    """Requests counted in equal samples of time, in the order of time."""

    counts: Float[np.ndarray, " K"]  # float64, requests in each sample, ≥ 0 and not all 0
    seconds_per_sample: float
    source: str  # where it was read from, for messages and reports


@dataclasses.dataclass(frozen=True)
class _Columns:
    """What to read from a CSV file."""

    time: str
    value: str | None  # None: only the times
    time_unit: str


@dataclasses.dataclass(frozen=True)
class _Rows:
    """The parsed rows of a CSV file: seconds since the first row and, if read, values."""

    lines: list[int]  # each row's line number in the file, counting from 1
    seconds: Float[np.ndarray, " R"]
    values: Float[np.ndarray, " R"]


def read_counts(
    path: PathLike, *, time_column: str = "timestamp", value_column: str = "value", time_unit: str = "auto"
) -> Workload:
    """Read request counts from a CSV file with a column of times and one of counts (their names in any case).

    A sample lasts the median time between two rows, the spacing. If every row comes a whole number of spacings after
    the previous one, to within a twentieth of a spacing (`REGULAR`), each row is a sample, and missing rows are
    interpolated. Otherwise the rows are uneven: a UserWarning says so, and each count is spread evenly over the time
    until the next row, so that the samples add up to the counts; the last row lasts until the end of the sample that
    starts nearest to it.

    A time is an ISO date and time, or a number. With `time_unit` "s", "ms", "us" or "ns", numbers are in that unit.
    With "auto", the first row decides for all: the unit is milli-, micro- or nanoseconds if, read in that unit as a
    time since 1970, it falls in the years 1990 to 2099, and seconds otherwise.

    Raises:
        ValueError: a file that cannot be read, a missing column, fewer than two rows, a value that is not a number ≥ 0,
            times that do not increase, or counts that are all 0; the message names the file, the line and what is
            allowed. Also if a column's name is not a string, or `time_unit` is unknown.
    """
    _check_column_name("value_column", value_column)
    columns = _columns(time_column, value_column, time_unit)
    rows = _read_rows(path, columns)
    _check_increasing(path, rows, columns, strictly=True)
    if len(rows.lines) < 2:
        raise ValueError(f"{path}: it has 1 row; it must have at least 2, to know the time between two samples")
    gaps = np.diff(rows.seconds)
    spacing = float(np.median(gaps))
    samples_between = np.maximum(np.rint(gaps / spacing), 1)  # at least 1, even for rows closer than half a spacing
    num_uneven = int(np.sum(np.abs(gaps / spacing - samples_between) > REGULAR))
    if not num_uneven:
        return _workload(path, _interpolated(path, rows, samples_between, spacing), spacing)
    counts = _spread(path, rows, spacing)
    warnings.warn(
        f"{path}: its times are uneven ({num_uneven} of {len(rows.lines)} rows not a multiple of {spacing:g} s after "
        "the row before), so each count was spread evenly over the time until the next row",
        stacklevel=2,
    )
    return _workload(path, counts, spacing)


def read_instants(
    path: PathLike, bin_seconds: float | int, *, time_column: str = "timestamp", time_unit: str = "auto"
) -> Workload:
    """Read a CSV file with one row per arrival and a column of times (its name in any case); count arrivals in bins.

    Times are as in `read_counts`. The first bin starts at the first arrival; the last bin, which the end of the record
    cuts short, is dropped, since it would look like a lull.

    Raises:
        ValueError: as in `read_counts`, except that arrivals may coincide; or `bin_seconds` is not a number > 0, or is
            longer than the record.
    """
    check_array("bin_seconds", bin_seconds, (), Interval(0, low_open=True))
    columns = _columns(time_column, None, time_unit)
    rows = _read_rows(path, columns)
    _check_increasing(path, rows, columns, strictly=False)
    span = float(rows.seconds[-1])
    num_bins = math.floor(min(span / bin_seconds, 1e300))
    if num_bins < 1:
        raise ValueError(f"bin_seconds is {bin_seconds:g}; it must be at most {span:g}, the seconds that {path} covers")
    _check_length(path, num_bins, f"with bin_seconds {bin_seconds:g}")
    bins = np.floor(rows.seconds / bin_seconds).astype(np.int64)
    counts = np.bincount(bins, minlength=num_bins)[:num_bins]
    return _workload(path, counts.astype(np.float64), float(bin_seconds))


def split(workload: Workload, held_out: float | int = 0.3) -> tuple[Workload, Workload]:
    """The first part of the record, for training, and the rest, for evaluation, with the share `held_out` of samples.

    Raises:
        ValueError: `held_out` is outside (0, 1), or a part would have no requests at all.
    """
    check_array("held_out", held_out, (), SHARE)
    num_samples = len(workload.counts)
    num_train = num_samples - round(num_samples * held_out)
    parts = {"to train on": workload.counts[:num_train], "held out": workload.counts[num_train:]}
    for name, counts in parts.items():
        if not np.any(counts):
            raise ValueError(
                f"held_out is {held_out:g}; it must leave some requests in both parts of {workload.source}, "
                f"and the part {name} ({len(counts)} of {num_samples} samples) has none"
            )
    train, last = (dataclasses.replace(workload, counts=counts) for counts in parts.values())
    return train, last


def fit_scale(workload: Workload, arrival_prob: Any) -> float:
    """The scale for which the mean of clip(p · count · scale, 0, 1) over samples and nodes equals the mean of p.

    Dividing by the mean count is not enough, since clipping cuts off the bursts; the scale is found by bisection.
    `arrival_prob` is p: one number, or one per node, float [N].

    Raises:
        ValueError: an arrival probability is outside [0, 1], or cannot be reached because too many samples have no
            requests; the message names the target and the largest attainable value.
    """
    probs = np.atleast_1d(check_array("arrival_prob", arrival_prob, np.shape(arrival_prob)[-1:], PROBABILITY))
    target = float(np.mean(probs))
    unclipped = 1 / float(np.mean(workload.counts))  # a lower bound, since clipping only lowers the mean
    if target == 0:
        return unclipped
    attainable = float(np.mean(workload.counts > 0) * np.mean(probs > 0))
    if target > attainable * (1 + 1e-9):
        raise ValueError(
            f"arrival_prob has the mean {target:g}; it must be at most {attainable:g} with {workload.source}, "
            "the share of its samples that have requests"
        )
    all_clipped = 1 / float(np.min(workload.counts[workload.counts > 0]) * np.min(probs[probs > 0]))
    return _bisect(_mean_prob(workload.counts, probs), target, unclipped, max(all_clipped, unclipped))


def modulation(
    workload: Workload,
    arrival_prob: Any,
    *,
    rounds_per_sample: int,
    scale: float | int | None = None,
    random_start: bool = True,
) -> tuple[Trace, float]:
    """The workload as a modulation of `arrival_prob` (p, a number or float [N]), and the scale of its factors.

    The factors, float32 [K], are counts × scale. Unless given, the scale is fitted to p on this workload (`fit_scale`).
    A held-out part must be given the scale of the training part, since a scale of its own would leak its mean.

    Raises:
        ValueError: as in `fit_scale`; or `rounds_per_sample` is not an integer ≥ 1; or the scale is not a number > 0.
    """
    check_array("rounds_per_sample", rounds_per_sample, (), POSITIVE_COUNT)
    if scale is None:
        scale = fit_scale(workload, arrival_prob)
    check_array("scale", scale, (), Interval(0, low_open=True))
    trace = Trace(
        factors=jnp.asarray(workload.counts * scale, jnp.float32),
        rounds_per_sample=jnp.int32(rounds_per_sample),
        random_start=jnp.asarray(random_start, bool),
    )
    return trace, scale


def _mean_prob(counts: Float[np.ndarray, " K"], probs: Float[np.ndarray, " N"]) -> Callable[[float], float]:
    """A function from the scale to the mean of clip(p · count · scale, 0, 1) over samples and nodes."""
    levels, level_weights = _shares(counts)
    rates, rate_weights = _shares(probs)

    def mean_prob(scale: float) -> float:
        return sum(
            weight * float(level_weights @ np.minimum(levels * (scale * rate), 1))
            for rate, weight in zip(rates, rate_weights, strict=True)
        )

    return mean_prob


def _shares(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct values, and what share of all values each makes up."""
    distinct, times = np.unique(values, return_counts=True)
    return distinct, times / len(values)


def _bisect(increasing: Callable[[float], float], target: float, low: float, high: float) -> float:
    """Where an increasing function reaches `target` within [low, high], to the precision of a float."""
    middle = (low + high) / 2
    while low < middle < high:
        low, high = (middle, high) if increasing(middle) < target else (low, middle)
        middle = (low + high) / 2
    return high


def _interpolated(
    path: PathLike, rows: _Rows, samples_between: Float[np.ndarray, " G"], spacing: float
) -> Float[np.ndarray, " K"]:
    """The counts of regular rows, linearly interpolated over samples whose rows are missing."""
    sample_of_row = np.concatenate([[0], np.cumsum(samples_between)])
    _check_length(path, sample_of_row[-1] + 1, f"with {spacing:g} s between two rows")
    return np.interp(np.arange(sample_of_row[-1] + 1), sample_of_row, rows.values)


def _spread(path: PathLike, rows: _Rows, spacing: float) -> Float[np.ndarray, " K"]:
    """The counts of uneven rows, each spread evenly over the time until the next row."""
    num_samples = np.rint(rows.seconds[-1] / spacing) + 1
    _check_length(path, num_samples, f"with {spacing:g} s between two rows")
    borders = np.arange(num_samples + 1) * spacing
    edges = np.append(rows.seconds, borders[-1])
    cuts = np.union1d(edges, borders)  # each piece between two cuts belongs to one row and one sample
    row_of_piece = np.searchsorted(edges, cuts[:-1], side="right") - 1
    sample_of_piece = np.searchsorted(borders, cuts[:-1], side="right") - 1
    share = np.diff(cuts) / np.diff(edges)[row_of_piece]
    share[share < 1e-9] = 0  # due to rounding: an edge that should lie on a border
    return np.bincount(sample_of_piece, weights=rows.values[row_of_piece] * share, minlength=int(num_samples))


def _workload(path: PathLike, counts: Float[np.ndarray, " K"], seconds_per_sample: float) -> Workload:
    if not np.any(counts):
        raise ValueError(f"{path}: all its counts are 0; at least one must be above 0")
    return Workload(counts=counts, seconds_per_sample=seconds_per_sample, source=str(path))


def _columns(time: str, value: str | None, time_unit: str) -> _Columns:
    _check_column_name("time_column", time)
    check_choice("time_unit", time_unit, TIME_UNITS)
    return _Columns(time, value, time_unit)


def _check_column_name(key: str, name: Any) -> None:
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"{key} is {name!r}; it must be the name of a column")


def _check_length(path: PathLike, num_samples: float, when: str) -> None:
    if num_samples > MOST_SAMPLES:
        raise ValueError(f"{path}: {when} it would be {num_samples:g} samples; it must be at most {MOST_SAMPLES}")


def _check_increasing(path: PathLike, rows: _Rows, columns: _Columns, *, strictly: bool) -> None:
    steps = np.diff(rows.seconds)
    bad = np.flatnonzero(steps <= 0 if strictly else steps < 0)
    if len(bad):
        where, rule = f"{path}, line {rows.lines[bad[0] + 1]}", "later than" if strictly else "no earlier than"
        raise ValueError(f"{where}: the {columns.time} must be {rule} that of the row before")


def _read_rows(path: PathLike, columns: _Columns) -> _Rows:
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            return _parse(path, csv.reader(file, strict=True), columns)
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}); it must be a CSV file") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not text; it must be a CSV file in UTF-8") from None


def _parse(path: PathLike, reader: Any, columns: _Columns) -> _Rows:
    records = _records(path, reader)
    header = [name.strip() for name in next(records, (0, []))[1]]
    time_index = _column(path, header, "time_column", columns.time)
    value_index = None if columns.value is None else _column(path, header, "value_column", columns.value)
    lines: list[int] = []
    times: list[str] = []
    values: list[float] = []
    for line, record in records:
        where = f"{path}, line {line}"
        if len(record) != len(header):
            raise ValueError(f"{where}: it has {len(record)} fields; it must have {len(header)}, as the header")
        lines.append(line)
        times.append(record[time_index])
        values.append(0.0 if value_index is None else _value(where, columns.value, record[value_index]))
    if not times:
        raise ValueError(f"{path}: it has no rows; it must have at least one below the header")
    seconds = _seconds_since_first(path, lines, times, columns)
    return _Rows(lines=lines, seconds=seconds, values=np.asarray(values, np.float64))


def _records(path: PathLike, reader: Any) -> Iterator[tuple[int, list[str]]]:
    """Line number and fields of each row that is not blank."""
    try:
        for record in reader:
            if record:
                yield reader.line_num, record
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: {error}; it must be a line of a CSV file") from None


def _column(path: PathLike, header: list[str], key: str, name: str) -> int:
    """The index of the only column of that name, in any case; `key` is the setting that can give another name."""
    lowered = [each.lower() for each in header]
    wanted = name.strip().lower()
    if lowered.count(wanted) != 1:
        raise ValueError(
            f"{path}, line 1: its columns are {', '.join(header) or 'none'}; "
            f"it must have one column named {name}, or {key} must name another"
        )
    return lowered.index(wanted)


def _value(where: str, column: str | None, text: str) -> float:
    value = _number(text)
    if value is None or not 0 <= value < math.inf:
        raise ValueError(f"{where}: the {column} is {text!r}; it must be a finite number ≥ 0")
    return value


def _seconds_since_first(
    path: PathLike, lines: list[int], texts: list[str], columns: _Columns
) -> Float[np.ndarray, " R"]:
    unit = _unit(texts[0]) if columns.time_unit == "auto" else columns.time_unit
    times: list[Any] = []
    for line, text in zip(lines, texts, strict=True):
        where = f"{path}, line {line}: the {columns.time} is {text!r}"
        times.append(_time(where, text, unit))
        if type(times[-1]) is not type(times[0]):
            raise ValueError(f"{where}; all must be ISO dates and times, or all numbers")
    if isinstance(times[0], datetime.datetime):
        return np.asarray([(time - times[0]).total_seconds() for time in times])
    # Subtract before dividing: times since 1970 are exact in whole milliseconds, but not in seconds.
    return (np.asarray(times) - times[0]) / _PER_SECOND[unit]


def _unit(text: str) -> str:
    """The unit in which the number is a plausible time since 1970, or else seconds."""
    number = _number(text)
    for unit in ("ms", "us", "ns"):
        if number is not None and _FROM_1990_TO_2100.contains(np.asarray(number / _PER_SECOND[unit])):
            return unit
    return "s"


def _time(where: str, text: str, unit: str) -> float | datetime.datetime:
    """A number in that unit, or a date and time (in UTC, if it has no time zone)."""
    number = _number(text)
    time = _datetime(text) if number is None else number
    if time is None or (number is not None and not abs(number) / _PER_SECOND[unit] < MOST_SECONDS):
        raise ValueError(
            f"{where}; it must be an ISO date and time, or a number of {_UNIT_NAMES[unit]} within ±{MOST_SECONDS:g} s"
        )
    return time


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _datetime(text: str) -> datetime.datetime | None:
    try:
        time = datetime.datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=datetime.UTC)
