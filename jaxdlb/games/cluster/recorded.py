"""Recorded tasks as the workload of a cluster, split into a training part and a held-out part; recorded machines."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from jaxdlb import parameters
from jaxdlb.checks import SHARE, SWITCH
from jaxdlb.games.cluster import records
from jaxdlb.games.cluster.generator import SHORTHANDS
from jaxdlb.games.cluster.records import Record
from jaxdlb.games.cluster.types import POSITIVE_SECONDS, Params
from jaxdlb.games.cluster.workload import EXEC_MEAN, WORKLOADS, Replay
from jaxdlb.parameters import parameter


@dataclasses.dataclass(frozen=True)
class Recorded:
    """Settings of recorded tasks and of recorded machines; neither is played unless it has a path.

    Raises:
        ValueError: a setting that is not allowed.
    """

    path: str | None = parameter(None, None)  # a CSV file of tasks; null: none are recorded
    # whether it is Alibaba's list of pods (cluster-trace-gpu-v2023), or has the columns below
    kind: str = parameter(("alibaba", "csv"), "alibaba")
    time_column: str | None = parameter(None, None)  # for `csv`: arrivals, s; null: `time`, or by gaps
    gap_column: str | None = parameter(None, None)  # for `csv`: s since the row before; null: by times
    run_time_column: str = parameter(None, "run_time")  # for `csv`: s at speed 1
    cores_column: str = parameter(None, "cores")  # for `csv`: the column of cores
    memory_column: str = parameter(None, "memory")  # for `csv`: the column of memory, GB
    # for `csv`: production, batch, best_effort or 0, 1, 2
    class_column: str = parameter(None, "class")
    # what run times, capped at 20 medians, are scaled to in the mean, s; null: as recorded, but 20 for `alibaba`
    exec_mean: float | None = parameter(POSITIVE_SECONDS, None)
    random_start: bool = parameter(SWITCH, True)  # start each episode at a random task, not at the first
    # share at the end of the record that policies are evaluated on but not trained on
    held_out: float = parameter(SHARE, 0.3)
    # a CSV file of machines, Alibaba's list of nodes, of which nodes are taken evenly; null: as the parameters say
    nodes: str | None = parameter(None, None)

    def __post_init__(self) -> None:
        parameters.check(self)

    def with_record(self, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        """The fields as they are: what is recorded replaces what parameters say by default.

        Raises:
            ValueError: a field that the record sets is given besides.
        """
        usual = next(iter(WORKLOADS))
        if self.path is not None and fields.get("workload") not in (None, {}, usual, {"kind": usual}):
            raise ValueError(f"workload is given; it must be {usual}, as by default, where recorded tasks are played")
        shorthands = [name for name, each in SHORTHANDS.items() if set(each.sets) & set(records.OF_NODES)]
        for name in (*records.OF_NODES, *shorthands) if self.nodes is not None else ():
            if fields.get(name) is not None:
                raise ValueError(f"{name} is given; it must not be where a file of machines sets it")
        return fields

    def parts(self, params: Params) -> tuple[Params, Params]:
        """`params` with the training part of the record as their workload, and `params` with the held-out part.

        Both parts are in units of the training part, since a scale of its own would leak the means of the held-out
        part. Tasks for which no node has the memory are left out, and a UserWarning counts them.

        Raises:
            ValueError: an empty path, or anything that `records` refuses.
        """
        if self.nodes is not None:
            params = self._on_machines(params)
        if self.path is None:
            return params, params
        record = self._record.within(float(jnp.max(params.memory)))
        train_on, held_out = record.split(self.held_out)
        parts = (Replay.of(each, train_on, self._mean, random_start=self.random_start) for each in (train_on, held_out))
        first, last = (dataclasses.replace(params, workload=each) for each in parts)
        return first, last

    @property
    def _mean(self) -> float | None:
        return EXEC_MEAN if self.exec_mean is None and self.kind == "alibaba" else self.exec_mean

    @functools.cached_property
    def _record(self) -> Record:
        """The file of tasks, read once."""
        if not self.path:
            raise ValueError("path is not given; it must be the path of a CSV file")
        if self.kind == "alibaba":
            return records.read_alibaba(self.path)
        names = [field.name for field in dataclasses.fields(self) if field.name.endswith("_column")]
        return records.read_csv(self.path, **{name: getattr(self, name) for name in names})

    def _on_machines(self, params: Params) -> Params:
        if not self.nodes:
            raise ValueError("nodes is not given; it must be the path of a CSV file")
        shape = params.cores.shape
        columns = records.nodes_from_alibaba(self.nodes, shape[0])
        found: dict[str, Any] = {
            name: jnp.broadcast_to(jnp.asarray(each, getattr(params, name).dtype), shape)
            for name, each in columns.items()
        }
        return dataclasses.replace(params, **found)
