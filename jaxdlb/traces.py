"""Recorded workloads as arrival modulation: counts over time, or the instants at which requests arrived.

A recording is read into a `Workload`, split into a training part and a later held-out part, and scaled to a target
arrival probability using the training part alone.
"""

import dataclasses
import math
import warnings
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxdlb.checks import AMOUNT, POSITIVE_COUNT, PROBABILITY, SHARE, Interval, check_array, check_switch, check_type
from jaxdlb.columns import Column, PathLike, Table, check_in_order, read_csv
from jaxdlb.mechanics.arrivals import Trace

MOST_SAMPLES = 10_000_000  # a longer record means wrong times, and would fill the memory
REGULAR = 0.05  # rows are regular if all gaps are within this many spacings of a whole number of spacings


@dataclasses.dataclass(frozen=True)
class Workload:
    """Requests counted in equal samples of time, in the order of time."""

    counts: Float[np.ndarray, " K"]  # float64, requests in each sample, ≥ 0 and not all 0
    seconds_per_sample: float
    source: str  # where it was read from, for messages and reports


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
    value = Column("value_column", value_column)
    rows = read_csv(path, Column("time_column", time_column), [value], time_unit)
    check_in_order(rows, strictly=True)
    if len(rows.places) < 2:
        raise ValueError(f"{path}: it has 1 row; it must have at least 2, to know the time between two samples")
    gaps = np.diff(rows.seconds)
    spacing = float(np.median(gaps))
    samples_between = np.maximum(np.rint(gaps / spacing), 1)  # at least 1, even for rows closer than half a spacing
    num_uneven = int(np.sum(np.abs(gaps / spacing - samples_between) > REGULAR))
    if not num_uneven:
        return _workload(path, _interpolated(rows, rows.values[value.key], samples_between, spacing), spacing)
    counts = _spread(rows, rows.values[value.key], spacing)
    warnings.warn(
        f"{path}: its times are uneven ({num_uneven} of {len(rows.places)} rows not a multiple of {spacing:g} s after "
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
    rows = read_csv(path, Column("time_column", time_column), [], time_unit)
    check_in_order(rows, strictly=False)
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
    check_type("workload", workload, Workload, "a Workload, as read_counts gives one")
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
    check_type("workload", workload, Workload, "a Workload, as read_counts gives one")
    if np.size(arrival_prob) == 0:
        raise ValueError("arrival_prob is empty; it must be a number, or one for each node")
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
        ValueError: as in `fit_scale`; or `rounds_per_sample` is not an integer ≥ 1; the scale is not a number
            > 0, or makes factors beyond what an `AMOUNT` may be; or `random_start` is not true or false.
    """
    check_array("rounds_per_sample", rounds_per_sample, (), POSITIVE_COUNT)
    if scale is None:
        scale = fit_scale(workload, arrival_prob)
    check_switch("random_start", random_start)
    most = AMOUNT.high / float(np.max(workload.counts))
    check_array("scale", scale, (), Interval(0, most, low_open=True))
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
    rows: Table, values: Float[np.ndarray, " R"], samples_between: Float[np.ndarray, " G"], spacing: float
) -> Float[np.ndarray, " K"]:
    """The counts of regular rows, linearly interpolated over samples whose rows are missing."""
    sample_of_row = np.concatenate([[0], np.cumsum(samples_between)])
    _check_length(rows.path, sample_of_row[-1] + 1, f"with {spacing:g} s between two rows")
    return np.interp(np.arange(sample_of_row[-1] + 1), sample_of_row, values)


def _spread(rows: Table, values: Float[np.ndarray, " R"], spacing: float) -> Float[np.ndarray, " K"]:
    """The counts of uneven rows, each spread evenly over the time until the next row."""
    num_samples = np.rint(rows.seconds[-1] / spacing) + 1
    _check_length(rows.path, num_samples, f"with {spacing:g} s between two rows")
    borders = np.arange(num_samples + 1) * spacing
    edges = np.append(rows.seconds, borders[-1])
    cuts = np.union1d(edges, borders)  # each piece between two cuts belongs to one row and one sample
    row_of_piece = np.searchsorted(edges, cuts[:-1], side="right") - 1
    sample_of_piece = np.searchsorted(borders, cuts[:-1], side="right") - 1
    share = np.diff(cuts) / np.diff(edges)[row_of_piece]
    share[share < 1e-9] = 0  # due to rounding: an edge that should lie on a border
    return np.bincount(sample_of_piece, weights=values[row_of_piece] * share, minlength=int(num_samples))


def _workload(path: PathLike, counts: Float[np.ndarray, " K"], seconds_per_sample: float) -> Workload:
    if not np.any(counts):
        raise ValueError(f"{path}: all its counts are 0; at least one must be above 0")
    return Workload(counts=counts, seconds_per_sample=seconds_per_sample, source=str(path))


def _check_length(path: PathLike, num_samples: float, when: str) -> None:
    if num_samples > MOST_SAMPLES:
        raise ValueError(f"{path}: {when} it would be {num_samples:g} samples; it must be at most {MOST_SAMPLES}")
