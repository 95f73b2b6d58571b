"""Recorded workloads as arrival modulation: counts over time, or the instants at which requests arrived.

A recording is read into a `Workload`, split into a part to train on and a later part held out, and rescaled to a
target arrival probability by the part to train on alone.
"""

import csv
import dataclasses
import datetime
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxdlb.checks import POSITIVE_COUNT, PROBABILITY, Interval, check_array
from jaxdlb.mechanics.arrivals import Trace

MOST_SAMPLES = 10_000_000  # a longer record is a mistake in its times, and would fill the memory
MOST_SECONDS = 1e12  # before or after zero: beyond, a float no longer tells milliseconds apart

PathLike = str | os.PathLike[str]


@dataclasses.dataclass(frozen=True)
class Workload:
    """Requests counted in equal samples of time, in the order of time."""

    counts: Float[np.ndarray, " K"]  # float64, requests in each sample, ≥ 0 and not all 0
    seconds_per_sample: float
    source: str  # where it was read, for messages and reports


@dataclasses.dataclass(frozen=True)
class _Rows:
    """The rows of a CSV file, parsed: seconds since the first row, and values where there are any."""

    lines: list[int]  # line of the file of each row, from 1
    seconds: Float[np.ndarray, " R"]
    values: Float[np.ndarray, " R"]


def read_counts(path: PathLike) -> Workload:
    """Read a CSV file with the columns `timestamp` and `value` (in any case): requests counted at regular times.

    A time is an ISO date and time or a number of seconds. The time between two rows is the median of all; where rows
    are missing, the count is interpolated, and rows closer than that are averaged in their sample.

    Raises:
        ValueError: a file that cannot be read, a missing column, fewer than two rows, a value that is not a number ≥ 0,
            times that do not increase, or counts that are all 0; names the file, the line and what is allowed.
    """
    rows = _read_rows(path, value_column="value")
    _check_increasing(path, rows, strictly=True)
    if len(rows.lines) < 2:
        raise ValueError(f"{path}: it has 1 row; it must have at least 2, to know the time between two samples")
    spacing = float(np.median(np.diff(rows.seconds)))
    slots = np.rint(rows.seconds / spacing)
    _check_length(path, slots[-1] + 1, f"with {spacing:g} s between two rows")
    present, slot_of_row = np.unique(slots, return_inverse=True)
    means = np.bincount(slot_of_row, weights=rows.values) / np.bincount(slot_of_row)
    counts = np.interp(np.arange(present[-1] + 1), present, means)
    return _workload(path, counts, spacing)


def read_instants(path: PathLike, bin_seconds: float | int) -> Workload:
    """Read a CSV file with a column `timestamp` (in any case), one row an arrival, and count arrivals in equal bins.

    A time is an ISO date and time or a number of seconds. Bins begin at the first arrival; the last bin, which the end
    of the record cuts short, is left out, since it would look like a lull.

    Raises:
        ValueError: as `read_counts`, but arrivals may coincide; or `bin_seconds` that is not a number > 0, or longer
            than the record.
    """
    check_array("bin_seconds", bin_seconds, (), Interval(0, low_open=True))
    rows = _read_rows(path, value_column=None)
    _check_increasing(path, rows, strictly=False)
    span = float(rows.seconds[-1])
    num_bins = math.floor(min(span / bin_seconds, 1e300))
    if num_bins < 1:
        raise ValueError(f"bin_seconds is {bin_seconds:g}; it must be at most {span:g}, the seconds that {path} covers")
    _check_length(path, num_bins, f"with bin_seconds {bin_seconds:g}")
    bins = np.floor(rows.seconds / bin_seconds).astype(np.int64)
    counts = np.bincount(bins, minlength=num_bins)[:num_bins]
    return _workload(path, counts.astype(np.float64), float(bin_seconds))


def split(workload: Workload, held_out: float | int = 0.3) -> tuple[Workload, Workload]:
    """The first part of the record, to train on, and the last `held_out` share of its samples, to evaluate on.

    Raises:
        ValueError: `held_out` outside (0, 1), or a part that would have no requests at all.
    """
    check_array("held_out", held_out, (), Interval(0, 1, low_open=True, high_open=True))
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
    """The factor per counted request at which the mean of clip(p · factor, 0, 1) over samples and nodes is that of p.

    Dividing by the mean count is not enough: clipping loses the bursts, so the scale is found by bisection.
    `arrival_prob` is p: a number, or one a node, float [N].

    Raises:
        ValueError: an arrival probability outside [0, 1], or one out of reach because too many samples have no
            request; names the target and the largest that can be attained.
    """
    probs = np.atleast_1d(check_array("arrival_prob", arrival_prob, np.shape(arrival_prob)[-1:], PROBABILITY))
    target = float(np.mean(probs))
    unclipped = 1 / float(np.mean(workload.counts))  # clipping only lowers the mean, so the scale is at least this
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

    Factors, float32 [K], are counts × scale. The scale is fitted to p on this workload (`fit_scale`), or given: a part
    held out must be given the scale of the part trained on, or it would betray its own mean.

    Raises:
        ValueError: as `fit_scale`; `rounds_per_sample` that is not an integer ≥ 1; a scale that is not a number > 0.
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
    """The distinct values, and the share of each."""
    distinct, times = np.unique(values, return_counts=True)
    return distinct, times / len(values)


def _bisect(increasing: Callable[[float], float], target: float, low: float, high: float) -> float:
    """Where an increasing function reaches `target` within [low, high], to the last digit."""
    middle = (low + high) / 2
    while low < middle < high:
        low, high = (middle, high) if increasing(middle) < target else (low, middle)
        middle = (low + high) / 2
    return high


def _workload(path: PathLike, counts: Float[np.ndarray, " K"], seconds_per_sample: float) -> Workload:
    if not np.any(counts):
        raise ValueError(f"{path}: all its counts are 0; at least one must be above 0")
    return Workload(counts=counts, seconds_per_sample=seconds_per_sample, source=str(path))


def _check_length(path: PathLike, num_samples: float, when: str) -> None:
    if num_samples > MOST_SAMPLES:
        raise ValueError(f"{path}: {when} it would be {num_samples:g} samples; it must be at most {MOST_SAMPLES}")


def _check_increasing(path: PathLike, rows: _Rows, *, strictly: bool) -> None:
    steps = np.diff(rows.seconds)
    bad = np.flatnonzero(steps <= 0 if strictly else steps < 0)
    if len(bad):
        rule = "later than" if strictly else "no earlier than"
        raise ValueError(f"{path}, line {rows.lines[bad[0] + 1]}: the timestamp must be {rule} that of the row before")


def _read_rows(path: PathLike, value_column: str | None) -> _Rows:
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            return _parse(path, csv.reader(file, strict=True), value_column)
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}); it must be a CSV file") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not text; it must be a CSV file in UTF-8") from None


def _parse(path: PathLike, reader: Any, value_column: str | None) -> _Rows:
    records = _records(path, reader)
    header = [name.strip().lower() for name in next(records, (0, []))[1]]
    time_index = _column(path, header, "timestamp")
    value_index = None if value_column is None else _column(path, header, value_column)
    lines: list[int] = []
    times: list[float | datetime.datetime] = []
    values: list[float] = []
    for line, record in records:
        where = f"{path}, line {line}"
        if len(record) != len(header):
            raise ValueError(f"{where}: it has {len(record)} fields; it must have {len(header)}, as the header")
        times.append(_time(where, record[time_index], first=times[0] if times else None))
        values.append(0.0 if value_index is None else _value(where, record[value_index]))
        lines.append(line)
    if not times:
        raise ValueError(f"{path}: it has no rows; it must have at least one below the header")
    return _Rows(lines=lines, seconds=_seconds_since_first(times), values=np.asarray(values, np.float64))


def _records(path: PathLike, reader: Any) -> Iterator[tuple[int, list[str]]]:
    """Line number and fields of each row that is not blank."""
    try:
        for record in reader:
            if record:
                yield reader.line_num, record
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: {error}; it must be a line of a CSV file") from None


def _column(path: PathLike, header: list[str], name: str) -> int:
    if header.count(name) != 1:
        columns = ", ".join(header) or "none"
        raise ValueError(f"{path}, line 1: its columns are {columns}; it must have one column named {name}")
    return header.index(name)


def _value(where: str, text: str) -> float:
    value = _number(text)
    if value is None or not 0 <= value < math.inf:
        raise ValueError(f"{where}: the value is {text!r}; it must be a finite number ≥ 0")
    return value


def _time(where: str, text: str, first: float | datetime.datetime | None) -> float | datetime.datetime:
    """Seconds, or a date and time (in UTC, if it does not say); of the same kind as the `first` of the file."""
    number = _number(text)
    time = _datetime(text) if number is None else number
    if time is None or (isinstance(time, float) and not abs(time) < MOST_SECONDS):
        raise ValueError(f"{where}: the timestamp is {text!r}; it must be an ISO date and time, or a number of seconds")
    if first is not None and type(time) is not type(first):
        raise ValueError(f"{where}: the timestamp is {text!r}; all must be ISO dates and times, or all seconds")
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


def _seconds_since_first(times: list[Any]) -> Float[np.ndarray, " R"]:
    first = times[0]
    if isinstance(first, datetime.datetime):
        return np.asarray([(time - first).total_seconds() for time in times])
    return np.asarray(times) - first
