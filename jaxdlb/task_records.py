"""Recorded tasks: when each arrived, and what it needed; or requests of a language model, by their tokens.

A record is read from a CSV file or an .npz archive, and split into a training part and a later held-out part.
"""

import dataclasses

import numpy as np
from jaxtyping import Float

from jaxdlb.checks import NON_NEGATIVE, SHARE, check_array
from jaxdlb.columns import Column, PathLike, Table, check_in_order, read

MOST_TASKS = 1_000_000  # programs hold a copy of the record for every cluster that they play side by side

_MS_PER_S = 1000.0


@dataclasses.dataclass(frozen=True)
class TaskRecord:
    """K ≥ 2 tasks in the order of their arrival, not all at the same instant; all arrays are float64."""

    arrivals: Float[np.ndarray, " K"]  # ms since the first task of the whole record
    runtimes: Float[np.ndarray, " K"]  # ms of work of each task, ≥ 0 and not all 0
    io_times: Float[np.ndarray, " K"]  # ms of I/O of each task, ≥ 0
    payloads: Float[np.ndarray, " K"]  # bytes of each task on the network, ≥ 0
    source: str  # where it was read from, for messages and reports

    def gaps(self) -> Float[np.ndarray, " K"]:
        """Time from each task to the next, in ms; after the last, the mean of the others, for when the record repeats.

        So the mean of all gaps is that of those recorded.
        """
        between = np.diff(self.arrivals)
        return np.append(between, np.mean(between))


def read_tasks(
    path: PathLike,
    *,
    time_column: str = "timestamp",
    runtime_column: str = "runtime",
    io_time_column: str | None = None,
    payload_column: str | None = None,
    io_time: float = 0.0,
    payload: float = 512.0,
    time_unit: str = "auto",
) -> TaskRecord:
    """Read tasks from a CSV file, or an .npz archive: columns of arrival times, runtimes (ms), and perhaps more.

    Where `io_time_column` is None, I/O times (ms) are those of the column `io_time`, if there is one, and `io_time` for
    every task otherwise; likewise `payload` (bytes). Names are in any case. Times are as in `columns.read_csv`; an
    archive holds an array for each column (`columns.read_npz`).

    Raises:
        ValueError: a file that cannot be read, a missing column, fewer than two tasks or too many, a runtime, an I/O
            time or a payload that is not a number ≥ 0, arrivals out of order or all at the same instant, or runtimes
            that are all 0; the message names the file, the line or the index, and what is allowed. Also if `io_time`
            or `payload` is not a number ≥ 0, a column's name is not a string, or `time_unit` is unknown.
    """
    check_array("io_time", io_time, (), NON_NEGATIVE)
    check_array("payload", payload, (), NON_NEGATIVE)
    runtime = Column("runtime_column", runtime_column)
    columns = [
        runtime,
        _optional("io_time_column", io_time_column, "io_time"),
        _optional("payload_column", payload_column, "payload"),
    ]
    table = read(path, Column("time_column", time_column), columns, time_unit)
    rows = len(table.places)
    return _checked(
        table,
        runtimes=table.values[runtime.key],
        io_times=table.values.get("io_time_column", np.full(rows, float(io_time))),
        payloads=table.values.get("payload_column", np.full(rows, float(payload))),
    )


def read_tokens(
    path: PathLike,
    *,
    prefill_ms: float,
    decode_ms: float,
    bytes_per_token: float,
    time_column: str = "timestamp",
    context_column: str = "ContextTokens",
    generated_column: str = "GeneratedTokens",
    time_unit: str = "auto",
) -> TaskRecord:
    """Read requests of a language model: columns of arrival times, and of tokens in the prompt and in the answer.

    A request's runtime is `prefill_ms` · prompt tokens + `decode_ms` · answer tokens (all tokens of a prompt are
    computed in one pass, those of the answer one after the other), its payload `bytes_per_token` · prompt tokens; it
    has no I/O. Files and times are as in `read_tasks`.

    Raises:
        ValueError: as in `read_tasks`; or a time or size of a token is not a number ≥ 0.
    """
    for name, value in (("prefill_ms", prefill_ms), ("decode_ms", decode_ms), ("bytes_per_token", bytes_per_token)):
        check_array(name, value, (), NON_NEGATIVE)
    columns = [Column("context_column", context_column), Column("generated_column", generated_column)]
    table = read(path, Column("time_column", time_column), columns, time_unit)
    context, generated = (table.values[each.key] for each in columns)
    return _checked(
        table,
        runtimes=prefill_ms * context + decode_ms * generated,
        io_times=np.zeros(len(context)),
        payloads=bytes_per_token * context,
    )


def split(record: TaskRecord, held_out: float | int = 0.3) -> tuple[TaskRecord, TaskRecord]:
    """The first part of the record, for training, and the rest, for evaluation, with the share `held_out` of tasks.

    Raises:
        ValueError: `held_out` is outside (0, 1), or a part would have fewer than two tasks, arrivals all at the same
            instant, or no work at all.
    """
    check_array("held_out", held_out, (), SHARE)
    num_tasks = len(record.arrivals)
    num_train = num_tasks - round(num_tasks * held_out)
    train, last = _part(record, slice(num_train)), _part(record, slice(num_train, None))
    for name, part in {"to train on": train, "held out": last}.items():
        lacks = _lacks(part)
        if lacks:
            raise ValueError(
                f"held_out is {held_out:g}; it must leave tasks at two instants at least, and work, in both parts of "
                f"{record.source}, and the part {name} ({len(part.arrivals)} of {num_tasks} tasks) has {lacks}"
            )
    return train, last


def _optional(key: str, name: str | None, usual: str) -> Column:
    return Column(key, usual, required=False) if name is None else Column(key, name)


def _part(record: TaskRecord, rows: slice) -> TaskRecord:
    return dataclasses.replace(
        record,
        arrivals=record.arrivals[rows],
        runtimes=record.runtimes[rows],
        io_times=record.io_times[rows],
        payloads=record.payloads[rows],
    )


def _checked(
    table: Table,
    runtimes: Float[np.ndarray, " K"],
    io_times: Float[np.ndarray, " K"],
    payloads: Float[np.ndarray, " K"],
) -> TaskRecord:
    """The record of a table's rows; raises ValueError unless it can be played."""
    check_in_order(table, strictly=False)
    record = TaskRecord(table.seconds * _MS_PER_S, runtimes, io_times, payloads, source=str(table.path))
    num_tasks = len(table.places)
    if num_tasks > MOST_TASKS:
        raise ValueError(f"{table.path}: it has {num_tasks} tasks; it must have at most {MOST_TASKS}")
    lacks = _lacks(record)
    if lacks:
        raise ValueError(f"{table.path}: it has {lacks}; it must have tasks at two instants at least, and work")
    return record


def _lacks(record: TaskRecord) -> str:
    """What is missing to play a record, as the end of a sentence; "" if nothing is."""
    if len(record.arrivals) < 2:
        return "fewer than two tasks"
    if record.arrivals[-1] <= record.arrivals[0]:
        return "all its tasks at the same instant"
    return "" if np.any(record.runtimes > 0) else "only runtimes of 0"
