"""What a step of the farm reports, and what tables make of it."""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any

from jaxdlb.game import Bound, Column, Sums, Verdict

INTEGERS = ("chunks", "declines", "tasks_done", "tasks_returned", "failures", "joins")
COUNTS = ("remaining", "outstanding", "present")  # as they are at the end of the step

METRICS = {
    "time": "time that passed",
    "chunks": "chunks handed out",
    "declines": "requests declined by the worker that made them",
    "tasks_done": "tasks whose results reached the master",
    "tasks_returned": "tasks lost with a worker that failed, to be handed out again",
    "failures": "workers that failed",
    "joins": "workers that joined",
    "compute_time": "time that workers computed, in total",
    "comm_time": "time that workers were busy and did not compute, in total",
    "idle_time": "time that workers waited, or had declined, in total",
    "remaining": "tasks not in hand and not done, at the end of the step",
    "outstanding": "tasks in hand at the end of the step",
    "present": "workers there at the end of the step",
    "utility": "mean utility of workers: minus the time that passed, or that they lost, in ideal makespans",
}
MEASURED = {"bound": "at the first step, a time before which no schedule of this job ends"}


def _share(name: str) -> Column:
    def of(sums: Sums) -> float:
        return float(sums[f"{name}_time"] / _worker_time(sums))

    meaning = METRICS[f"{name}_time"].removesuffix(", in total")
    return Column(f"{_HEADERS[name]}, share", f"{meaning}, as a share of the time that they were there", of)


_HEADERS = {"idle": "idle", "comm": "communicating"}


def _worker_time(sums: Sums) -> float:
    return float(sums["compute_time"] + sums["comm_time"] + sums["idle_time"])


def _excess(sums: Sums) -> float:
    return float(sums["time"] / sums["bound"] - 1) if "bound" in sums and sums["bound"] > 0 else math.nan


COLUMNS: Mapping[str, Column] = {
    "utility": Column(
        "utility",
        "of the whole job: minus its makespan, or what workers lost, in ideal makespans",
        lambda sums: sums["utility"],
    ),
    "makespan": Column(
        "makespan", "time until the job is done", lambda sums: sums["time"], Verdict(better="faster", worse="slower")
    ),
    "excess": Column(
        "over the bound", "makespan over a time before which no schedule ends at these mean speeds, less 1", _excess
    ),
    "idle": _share("idle"),
    "communicating": _share("comm"),
    "chunks": Column("chunks", "handed out", lambda sums: sums["chunks"]),
    "tasks_returned": Column("tasks returned", METRICS["tasks_returned"], lambda sums: sums["tasks_returned"]),
}


def bounded(names: Iterable[str], unhindered: Any) -> dict[str, Column]:
    """The columns, of which those named have a bound: what the easier game that is `unhindered` has there."""
    of = "workers that are served once, the fastest first, and compute to the end"
    bounds = {name: Bound(unhindered, of, is_least=name != "utility") for name in names}
    return {name: dataclasses.replace(column, bound=bounds.get(name)) for name, column in COLUMNS.items()}
