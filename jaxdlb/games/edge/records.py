"""Records of input rates and of bandwidth, read from files: a pool has a row of 288 rates, 5 minutes each, for a day.

Counts of requests come from any service; invocations of functions from the data set Azure Functions 2019 (Shahrad et
al., "Serverless in the Wild", USENIX ATC 2020), of which those functions are kept that DFaaS ("Multi-Agent
Reinforcement Learning for Workload Distribution in FaaS-Edge Computing Systems", IPDPSW 2025) keeps.
"""

import collections
import glob
import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float

from jaxdlb import columns, traces
from jaxdlb.columns import Column, PathLike

SAMPLES_PER_DAY = 288
MOST_SAMPLES = 2_000_000  # in all; programs hold a copy of the record for every network that they play side by side

_SECONDS_PER_SAMPLE = 300.0
_TOLERANCE = 0.01  # relative, of the time that a sample lasts

# Azure Functions 2019
TRIGGER = "http"
TOP_RATE = 150.0  # the busiest sample of each function
MEANS = (30, 130)  # of the functions that are kept
DEVIATIONS = (10, 60)
_MINUTES = [str(minute + 1) for minute in range(1440)]
_OTHER_TRIGGER = f"are not called by {TRIGGER}"
_OTHER_MEAN = f"have a mean outside [{MEANS[0]}, {MEANS[1]}]"
_OTHER_DEVIATION = f"have a standard deviation outside [{DEVIATIONS[0]}, {DEVIATIONS[1]}]"
_FAILURES = (_OTHER_TRIGGER, _OTHER_MEAN, _OTHER_DEVIATION)

Pool = Float[np.ndarray, "P L"]


def read_days(path: PathLike, *, time_column: str, value_column: str, time_unit: str) -> Pool:
    """The whole days of a record of counts, in order, float64 [P, 288]: requests in each 5 minutes; as they were.

    A day begins when the record does, or the day before ends. What is left after the last whole day is dropped.

    Raises:
        ValueError: anything that `traces.read_counts` refuses, samples that do not last 5 minutes, less than a day, or
            too many days.
    """
    workload = traces.read_counts(path, time_column=time_column, value_column=value_column, time_unit=time_unit)
    seconds, num_samples = workload.seconds_per_sample, len(workload.counts)
    if not math.isclose(seconds, _SECONDS_PER_SAMPLE, rel_tol=_TOLERANCE):
        raise ValueError(f"{path}: its samples last {seconds:g} s; they must last {_SECONDS_PER_SAMPLE:g} s")
    num_days = num_samples // SAMPLES_PER_DAY
    if not num_days:
        raise ValueError(f"{path}: it has {num_samples} samples; it must have at least {SAMPLES_PER_DAY}, a whole day")
    _check_size(f"{path}", num_days * SAMPLES_PER_DAY)
    return workload.counts[: num_days * SAMPLES_PER_DAY].reshape(num_days, SAMPLES_PER_DAY)


def find_files(pattern: str) -> list[str]:
    """The files whose paths match a pattern such as "azure/*.csv", in the order of their names.

    Raises:
        ValueError: there are none.
    """
    found = sorted(glob.glob(pattern))
    if not found:
        raise ValueError(f"{pattern} matches no file; it must be the path of at least one CSV file")
    return found


def read_functions(paths: Sequence[PathLike]) -> Pool:
    """Functions of the data set Azure Functions 2019, float64 [P, 288], as rates in whole numbers from 0 to 150.

    Each file holds a day, and each of its rows the invocations of a function in 1,440 minutes. Only functions that are
    called by http count. Five minutes are summed to a sample; then each function is scaled, from its own least and most
    to 0 and 150, and cut to whole numbers (150 where it never changes). It is kept if the mean of these is within 30
    and 130, and their standard deviation (with n − 1) within 10 and 60.

    Raises:
        ValueError: a file that cannot be read or is none of the data set, text or a number below 0 for a number, too
            many functions, or none that passes; the message says how many failed which test.
    """
    failures: collections.Counter[str] = collections.Counter()
    kept = []
    for rates in itertools.chain.from_iterable(map(_rates_of_functions, paths)):
        failure = _failure(rates)
        failures[failure] += 1
        if not failure:
            kept.append(rates)
    where = f"{paths[0]}" if len(paths) == 1 else f"{paths[0]} … {paths[-1]}"
    if not kept:
        failed = ", ".join(f"{failures[each]} {each}" for each in _FAILURES)
        raise ValueError(f"{where}: of {failures.total()} functions {failed}; at least one must pass all tests")
    _check_size(where, len(kept) * SAMPLES_PER_DAY)
    return np.asarray(kept)


def read_bandwidth(path: PathLike, column: str) -> Float[np.ndarray, " L"]:
    """A record of bandwidth, float64 [L], in the order of its rows, whatever the unit and the times beside it.

    Raises:
        ValueError: anything that `columns.read_column` refuses, or too many samples.
    """
    samples = columns.read_column(path, Column("bandwidth_column", column))
    _check_size(f"{path}", len(samples))
    return samples


def _rates_of_functions(path: PathLike) -> Iterator[Float[np.ndarray, " L"] | None]:
    """The rates of each function in a file; None for one that is not called by http."""
    header, rows = columns.read_rows(path)
    trigger = columns.find(path, header, Column("path", "Trigger"))
    first = header.index("1") if "1" in header else 0
    minutes = slice(first, first + len(_MINUTES))
    if header[minutes] != _MINUTES:
        raise ValueError(f"{path}, line 1: it lacks the columns 1 … 1440; it must be a file of Azure Functions 2019")
    for line, fields in rows:
        is_called = fields[trigger] == TRIGGER
        yield _scaled(columns.values_of(f"{path}, line {line}", _MINUTES, fields[minutes])) if is_called else None


def _scaled(counts: Float[np.ndarray, " minutes"]) -> Float[np.ndarray, " L"]:
    """Samples of five minutes, from the least and the most of them to 0 and the top rate, cut to whole numbers."""
    samples = counts.reshape(SAMPLES_PER_DAY, -1).sum(axis=1)
    least, most = samples.min(), samples.max()
    if least == most:
        return np.full_like(samples, TOP_RATE)
    return np.floor((samples - least) * TOP_RATE / (most - least))


def _failure(rates: Float[np.ndarray, " L"] | None) -> str:
    """The first test that a function fails, as the end of "3 functions"; "" if it passes all."""
    if rates is None:
        return _OTHER_TRIGGER
    if not MEANS[0] <= rates.mean() <= MEANS[1]:
        return _OTHER_MEAN
    return "" if DEVIATIONS[0] <= rates.std(ddof=1) <= DEVIATIONS[1] else _OTHER_DEVIATION


def _check_size(where: str, num_samples: int) -> None:
    if num_samples > MOST_SAMPLES:
        raise ValueError(f"{where}: it has more than {MOST_SAMPLES} samples; it must have at most so many")
