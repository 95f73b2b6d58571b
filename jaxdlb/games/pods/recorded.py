"""Recorded request counts as the demand of pods, split into a training part and a held-out part; recorded sizes."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxdlb import columns, parameters, traces
from jaxdlb.checks import POSITIVE_COUNT, SHARE, SWITCH
from jaxdlb.games.pods.types import Params
from jaxdlb.mechanics import demand
from jaxdlb.parameters import parameter

_MEAN_LIMIT = 1000.0  # mc: what recorded sizes are scaled to in the mean
PRIORITIES = {"ls": 1.0, "guaranteed": 1.0, "burstable": 0.5, "be": 0.1}  # by the class of service, in any case
_SIZE, _CLASS = columns.Column("sizes", "cpu_milli"), "qos"


@dataclasses.dataclass(frozen=True)
class _Sizes:
    """What a file says of pods, row by row."""

    cpu: Float[np.ndarray, " R"]  # mc
    priority: Float[np.ndarray, " R"]


@dataclasses.dataclass(frozen=True)
class Recorded:
    """Settings of recorded demand and of recorded sizes; neither is played unless it has a path.

    Raises:
        ValueError: a setting that is not allowed.
    """

    path: str | None = parameter(None, None)  # a CSV file of request counts; null: no recorded demand
    # the column of times (its name in any case): ISO dates and times, or numbers
    time_column: str = parameter(None, "timestamp")
    value_column: str = parameter(None, "value")  # the column of request counts (its name in any case)
    # unit of times given as numbers: `s`, `ms`, `us`, `ns`, or `auto` to infer it
    time_unit: str = parameter(columns.TIME_UNITS, "auto")
    steps_per_row: int = parameter(POSITIVE_COUNT, 10)  # steps that one row lasts
    random_start: bool = parameter(SWITCH, True)  # start each episode at a random row, not at the first
    # share at the end of the record that policies are evaluated on but not trained on
    held_out: float = parameter(SHARE, 0.3)
    # a CSV file with a row for each pod: `cpu_milli`, to which greatest limits are in proportion, and, if there is such
    # a column, `qos`, of which priorities follow; null: as the parameters say
    sizes: str | None = parameter(None, None)

    def __post_init__(self) -> None:
        parameters.check(self)

    def with_record(self, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        """The fields as they are: what is recorded replaces what parameters say by default.

        Raises:
            ValueError: a field that the record sets is given besides.
        """
        usual = next(iter(demand.LAWS))
        if self.path is not None and fields.get("demand") not in (None, {}, usual, {"kind": usual}):
            raise ValueError(f"demand is given; it must be {usual}, as by default, where recorded demand is played")
        for name in ("max_limit", "priority") if self.sizes is not None else ():
            default = parameters.declarations(Params)[name].default
            if fields.get(name) not in (None, default):
                raise ValueError(f"{name} is given; it must not be where a file of sizes sets it")
        return fields

    def parts(self, params: Params) -> tuple[Params, Params]:
        """`params` with the training part of the record as their demand, and `params` with the held-out part.

        Pod i starts at row ⌊i · T / N⌋ of the T rows of a part. Both parts are in units of the mean of the training
        part, since a scale of its own would leak the mean of the held-out part.

        Raises:
            ValueError: an empty path, or anything that `traces.read_counts` and `traces.split` refuse; a file of sizes
                with fewer rows than pods, without `cpu_milli`, or with an unknown class of service.
        """
        if self.sizes is not None:
            params = self._sized(params)
        if self.path is None:
            return params, params
        train_on, held_out = self._counts
        unit, num_pods = float(np.mean(train_on)), params.rate.shape[0]
        return (
            dataclasses.replace(params, demand=self._law(train_on / unit, num_pods)),
            dataclasses.replace(params, demand=self._law(held_out / unit, num_pods)),
        )

    @functools.cached_property
    def _counts(self) -> tuple[Float[np.ndarray, " T"], Float[np.ndarray, " H"]]:
        """The counts to train on, and those held out."""
        if not self.path:
            raise ValueError("path is not given; it must be the path of a CSV file")
        named = {"time_column": self.time_column, "value_column": self.value_column, "time_unit": self.time_unit}
        train_on, held_out = traces.split(traces.read_counts(self.path, **named), self.held_out)
        return train_on.counts, held_out.counts

    def _law(self, factor: Float[np.ndarray, " T"], num_pods: int) -> demand.Trace:
        starts = np.arange(num_pods) * len(factor) // num_pods
        rows = (np.arange(len(factor))[:, None] + starts) % len(factor)
        return demand.Trace(
            factors=jnp.asarray(factor[rows], jnp.float32),
            steps_per_row=jnp.int32(self.steps_per_row),
            random_start=jnp.asarray(self.random_start, bool),
        )

    def _sized(self, params: Params) -> Params:
        """The parameters with the greatest limits and the priorities of the first pods in the file.

        No greatest limit is below what a pod begins with.
        """
        sizes, num_pods = self._sizes, params.rate.shape[0]
        if len(sizes.cpu) < num_pods:
            raise ValueError(f"sizes is {self.sizes!r}; it must have a row for each of {num_pods} pods, not {len(sizes.cpu)}")
        cpu = sizes.cpu[:num_pods]
        if not np.any(cpu):
            raise ValueError(f"{self.sizes}: cpu_milli is 0 in its first {num_pods} rows; one must be above 0")
        limit = jnp.asarray(cpu * (_MEAN_LIMIT / np.mean(cpu)), jnp.float32)
        return dataclasses.replace(
            params,
            max_limit=jnp.maximum(limit, params.initial_limit),
            priority=jnp.asarray(sizes.priority[:num_pods], jnp.float32),
        )

    @functools.cached_property
    def _sizes(self) -> _Sizes:
        """The file of sizes, read once."""
        if not self.sizes:
            raise ValueError("sizes is not given; it must be the path of a CSV file")
        header, rows = columns.read_rows(self.sizes)
        size = columns.find(self.sizes, header, _SIZE)
        names = [name.strip().lower() for name in header]
        class_ = names.index(_CLASS) if _CLASS in names else None
        cpu, priority = [], []
        for line, fields in rows:
            where = f"{self.sizes}, line {line}"
            cpu.append(float(columns.values_of(where, [_SIZE.name], [fields[size]])[0]))
            priority.append(1.0 if class_ is None else _priority(where, fields[class_]))
        return _Sizes(np.asarray(cpu), np.asarray(priority))


def _priority(where: str, text: str) -> float:
    """The priority of a class of service; raises ValueError for one that is not known."""
    known = PRIORITIES.get(text.strip().lower())
    if known is None:
        raise ValueError(f"{where}: qos is {text!r}; it must be one of LS, Guaranteed, Burstable, BE")
    return known
