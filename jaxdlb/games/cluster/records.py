"""Recorded tasks and machines, read from CSV files."""

import dataclasses
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from jaxdlb.checks import POSITIVE, POSITIVE_COUNT, SHARE, Interval, check_array
from jaxdlb.columns import Column, PathLike, find, read_rows, values_of

MOST_TASKS = 1_000_000  # programs hold a copy of the record for every cluster that they play side by side
CLASSES = {  # the classes that a file may name, in any case: of this game, and of Alibaba's qos
    **{"production": 0, "batch": 1, "best_effort": 2},
    **{"ls": 0, "guaranteed": 0, "burstable": 1, "be": 2},
    **{"0": 0, "1": 1, "2": 2},
}
FIRST_CREATION = 1e7  # s: from here on the record of Alibaba is dense
MOST_MEDIANS = 20.0  # longer run times count as so many medians
LEAST_DEMAND = 0.1  # cores, GB
_DEMANDS = Interval(1e-3, 1e6)  # s, cores, GB
_THOUSANDTHS = Interval(0, 1e9)  # of a core; of memory, MiB
OF_NODES = ("cores", "memory", "speed", "idle_power", "dynamic_power", "network_delay", "tier")
_TIERS = (90.0, 32.0)  # cores from which a machine is of the high, and of the medium tier
_IDLE_POWER, _DYNAMIC_POWER = 6.0, 9.0  # W a core
_DELAY = 0.02  # s


@dataclasses.dataclass(frozen=True)
class Record:
    """R ≥ 2 tasks in the order of their arrival."""

    times: Float[np.ndarray, " R"]  # s, of arrivals
    run_time: Float[np.ndarray, " R"]  # s
    cores: Float[np.ndarray, " R"]
    memory: Float[np.ndarray, " R"]  # GB
    task_class: Int[np.ndarray, " R"]
    source: str  # where it was read from, for messages

    def only(self, rows: Any) -> "Record":
        """The record of some of its rows; raises ValueError where they are too few, or come all at once."""
        names = ("times", "run_time", "cores", "memory", "task_class")
        kept = dataclasses.replace(self, **{name: getattr(self, name)[rows] for name in names})
        if len(kept.times) < 2 or kept.times[0] == kept.times[-1]:
            raise ValueError(
                f"{self.source}: {len(kept.times)} of its tasks can be played; there must be at least 2, and not all "
                "at the same instant"
            )
        return kept

    def within(self, most_memory: float) -> "Record":
        """The tasks that fit into that much memory; others are left out, and a UserWarning says how many."""
        fits = self.memory <= most_memory
        if not np.all(fits):
            warnings.warn(
                f"{self.source}: {np.sum(~fits)} of {len(fits)} tasks were left out, since no node has the memory for "
                f"them; the largest has {most_memory:g} GB",
                stacklevel=2,
            )
        return self.only(fits)

    def split(self, held_out: float) -> tuple["Record", "Record"]:
        """The first part, and the share `held_out` at the end; raises ValueError where a part has too little."""
        check_array("held_out", held_out, (), SHARE)
        num_train = len(self.times) - round(len(self.times) * held_out)
        parts = {"not held out": slice(num_train), "held out": slice(num_train, None)}
        first, last = (
            dataclasses.replace(self, source=f"{self.source}, the part {name}").only(rows)
            for name, rows in parts.items()
        )
        return first, last

    def mean_gap(self) -> float:
        """Seconds between two arrivals, in the mean."""
        return float(self.times[-1] - self.times[0]) / (len(self.times) - 1)

    def gaps(self) -> Float[np.ndarray, " R"]:
        """Seconds since the task before; of the first the mean of the others, for when the record repeats."""
        return np.concatenate([[self.mean_gap()], np.diff(self.times)])

    def stretched(self, exec_mean: float, of: "Record") -> "Record":
        """With run times up to 20 medians, and scaled so that those `of` another part have the mean `exec_mean`."""
        cap = MOST_MEDIANS * float(np.median(of.run_time))
        factor = exec_mean / float(np.mean(np.minimum(of.run_time, cap)))
        run_time = np.clip(np.minimum(self.run_time, cap) * factor, _DEMANDS.low, _DEMANDS.high)
        return dataclasses.replace(self, run_time=run_time)


def read_alibaba(path: PathLike) -> Record:
    """The tasks of Alibaba's `openb_pod_list` (cluster-trace-gpu-v2023), from 10⁷ s on, that were scheduled.

    A run time is the time from scheduling to deletion; demands are `cpu_milli` and `memory_mib`, at least 0.1; LS and
    Guaranteed are production, Burstable is batch, BE is best effort.

    Raises:
        ValueError: a file that cannot be read, a missing column, a number or a class that is not allowed, tasks that
            come out of order, or none that can be played.
    """
    names = ("creation_time", "scheduled_time", "deletion_time", "cpu_milli", "memory_mib")
    rows = []
    for where, texts in _rows(path, [*map(_column, names), _column("qos")]):
        if not texts[1].strip():  # never scheduled
            continue
        creation, scheduled, deletion, cpu, memory = values_of(where, names, texts[:-1])
        _check(where, names[3:], (cpu, memory), _THOUSANDTHS)
        if creation >= FIRST_CREATION and deletion > scheduled:
            demands = max(cpu / 1000, LEAST_DEMAND), max(memory / 1024, LEAST_DEMAND)
            rows.append((where, creation, deletion - scheduled, *demands, _class(where, "qos", texts[-1])))
    return _record(path, "creation_time", rows)


def read_csv(
    path: PathLike,
    *,
    time_column: str | None = None,
    gap_column: str | None = None,
    run_time_column: str = "run_time",
    cores_column: str = "cores",
    memory_column: str = "memory",
    class_column: str = "class",
) -> Record:
    """The tasks of a CSV file, a row each: its run time (s), cores, memory (GB) and class, and when it came.

    That is told by a column of times, or of gaps since the row before (s); without either name, by the column `time`.
    A class is production, batch or best_effort, or 0, 1 or 2, or as in Alibaba's records. Names are in any case.

    Raises:
        ValueError: as in `read_alibaba`; or both columns of times and of gaps are named.
    """
    if time_column is not None and gap_column is not None:
        raise ValueError(f"gap_column is {gap_column!r}; it must not be given where time_column is given")
    by_gaps, time = gap_column is not None, "time" if time_column is None else time_column
    when = Column("gap_column", gap_column or "") if by_gaps else Column("time_column", time)
    needs = [
        Column("run_time_column", run_time_column),
        Column("cores_column", cores_column),
        Column("memory_column", memory_column),
    ]
    names, class_ = [each.name for each in (when, *needs)], Column("class_column", class_column)
    rows: list[tuple[Any, ...]] = []
    for where, texts in _rows(path, [when, *needs, class_]):
        at, *demands = values_of(where, names, texts[:-1])
        _check(where, names[1:], demands, _DEMANDS)
        now = at + (rows[-1][1] if by_gaps and rows else 0.0)
        rows.append((where, now, *demands, _class(where, class_.name, texts[-1])))
    return _record(path, when.name, rows)


def nodes_from_alibaba(path: PathLike, num_nodes: int) -> dict[str, Any]:
    """Parameters of `num_nodes` machines of Alibaba's `openb_node_list`, evenly from all by (cores, memory, name).

    A machine is high from 90 cores on, medium from 32 on, else low; its speed is 1, and it takes 6 W a core, 9 W more
    at full use.

    Raises:
        ValueError: a file that cannot be read, a missing column, or a number that is not allowed.
    """
    check_array("num_nodes", num_nodes, (), POSITIVE_COUNT)
    names, machines = ("cpu_milli", "memory_mib"), []
    for where, (cpu, memory, name) in _rows(path, [*map(_column, names), _column("sn")]):
        sizes = values_of(where, names, [cpu, memory])
        _check(where, names, sizes, POSITIVE)
        machines.append((*sizes, name))
    machines.sort()
    taken = [machines[int((k + 0.5) * len(machines) / num_nodes)] for k in range(num_nodes)]
    cores, memory = np.array([each[:2] for each in taken]).T / [[1000], [1024]]
    high, medium = _TIERS
    return {
        "cores": cores,
        "memory": memory,
        "speed": 1.0,
        "idle_power": _IDLE_POWER * cores,
        "dynamic_power": _DYNAMIC_POWER * cores,
        "network_delay": _DELAY,
        "tier": np.where(cores >= high, 0, np.where(cores >= medium, 1, 2)),
    }


def _column(name: str) -> Column:
    return Column(name, name, fixed=True)


def _rows(path: PathLike, needed: Sequence[Column]) -> Iterator[tuple[str, list[str]]]:
    """Of each row where it is, and its texts in these columns."""
    header, rows = read_rows(path)
    places = [find(path, header, column) for column in needed]
    for line, fields in rows:
        yield f"{path}, line {line}", [fields[place] for place in places]


def _class(where: str, column: str, text: str) -> int:
    known = CLASSES.get(text.strip().lower())
    if known is None:
        raise ValueError(f"{where}: the {column} is {text!r}; it must be one of {', '.join(CLASSES)}")
    return known


def _check(where: str, names: Sequence[str], values: Iterable[float], allowed: Interval) -> None:
    for name, value in zip(names, values, strict=True):
        if not allowed.contains(np.asarray(value)):
            raise ValueError(f"{where}: the {name} is {value:g}; it must be {allowed}")


def _record(path: PathLike, time: str, rows: Sequence[tuple[Any, ...]]) -> Record:
    """The record of rows of (where, time, run time, cores, memory, class); raises ValueError if it cannot be played."""
    if len(rows) > MOST_TASKS:
        raise ValueError(f"{path}: it has {len(rows)} tasks; it must have at most {MOST_TASKS}")
    where, *columns = zip(*rows, strict=True) if rows else [()] * 6
    times, run_time, cores, memory = (np.asarray(each, np.float64) for each in columns[:-1])
    early = np.flatnonzero(np.diff(times) < 0)
    if len(early):
        seconds = times[early[0]] - times[early[0] + 1]
        raise ValueError(
            f"{where[early[0] + 1]}: the {time} must be no earlier than that of the task before, and is {seconds:g} s "
            "earlier"
        )
    record = Record(times, run_time, cores, memory, np.asarray(columns[-1], np.int64), str(path))
    return record.only(slice(None))
