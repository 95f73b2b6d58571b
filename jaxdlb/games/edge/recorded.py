"""Recorded input rates and bandwidth for the edge, each split into a training part and a held-out part."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxdlb import columns, parameters
from jaxdlb.checks import POSITIVE_AMOUNT, SHARE, shown
from jaxdlb.games.edge import bandwidth, inputs, records
from jaxdlb.parameters import kind_of, parameter

Samples = Float[np.ndarray, "..."]  # rows of a pool, or samples of a record


@dataclasses.dataclass(frozen=True)
class _Record:
    """What a file says of a parameter that is a law: the samples that its law plays."""

    name: str  # of the parameter
    laws: Mapping[str, type]  # those that the parameter may follow, the default first
    kinds: tuple[str, ...]  # those that play a record, the usual one first
    field: str  # that holds the record
    train_on: Samples
    held_out: Samples

    def fill(self, given: Any) -> Mapping[str, Any]:
        """The fields of the law, as `default_params` takes them, with the training part as its record."""
        fields = {"kind": given} if isinstance(given, str) else {} if given is None else given
        if not isinstance(fields, Mapping):
            raise ValueError(f"{self.name} is {shown(given)}; it must be a kind, or a kind and fields, beside a record")
        if fields.get(self.field) is not None:
            raise ValueError(f"{self.name}.{self.field} is given; it must not be, since the record from a file sets it")
        return {**fields, "kind": self._kind(fields.get("kind")), self.field: self.train_on}

    def replaced(self, law: Any, part: Samples) -> Any:
        """A law with a part of the record as its record, or the usual one where the law is the default."""
        type_: Any = self.laws[self._kind(kind_of(self.laws, type(law)))]
        if isinstance(law, type_):
            return dataclasses.replace(law, **{self.field: jnp.asarray(part, jnp.float32)})
        return parameters.make(type_, None, {self.field: part})

    def _kind(self, kind: str | None) -> str:
        """The kind that plays the record; raises ValueError if another one was asked for."""
        default = next(iter(self.laws))
        if kind not in (None, default, *self.kinds):
            allowed = " or ".join(self.kinds)
            raise ValueError(f"{self.name} is {kind!r}; it must be {allowed} where a record is played")
        return self.kinds[0] if kind in (None, default) else kind


@dataclasses.dataclass(frozen=True)
class Recorded:
    """Settings of recorded inputs and of recorded bandwidth; neither is played unless it has a path.

    Raises:
        ValueError: a setting that is not allowed.
    """

    # a CSV file of request counts or, for `azure`, a pattern such as `azure/*.csv`; null: no recorded inputs
    path: str | None = parameter(None, None)
    # whether a row counts the requests of 5 minutes, or files are days of Azure Functions 2019, in the order of names
    kind: str = parameter(("counts", "azure"), "counts")
    # for `counts`: the column of times (its name in any case): ISO dates and times, or numbers
    time_column: str = parameter(None, "timestamp")
    value_column: str = parameter(None, "value")  # for `counts`: the column of request counts (its name in any case)
    # for `counts`: unit of times given as numbers: `s`, `ms`, `us`, `ns`, or `auto` to infer it
    time_unit: str = parameter(columns.TIME_UNITS, "auto")
    mean_rate: float = parameter(POSITIVE_AMOUNT, 60.0)  # for `counts`: the mean that the days to train on are given
    # share of the days at the end, and of the bandwidth, that policies are evaluated on but not trained on
    held_out: float = parameter(SHARE, 0.15)
    bandwidth_path: str | None = parameter(None, None)  # a CSV file of bandwidth; null: none is recorded
    bandwidth_column: str = parameter(None, "Throughput")  # the column of bandwidth (its name in any case)

    def __post_init__(self) -> None:
        parameters.check(self)

    def with_record(self, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        """The `fields` of an edge to make with `default_params`, where the laws of inputs and bandwidth have records.

        Inputs are then `recorded`, bandwidth `resampled` or, where `fields` say so, `played`; other fields of the laws
        are as given.

        Raises:
            ValueError: an empty path, another law or another record beside the record, or anything that `records`
                refuses.
        """
        return {**fields, **{each.name: each.fill(fields.get(each.name)) for each in self._records}}

    def parts(self, params: Any) -> tuple[Any, Any]:
        """`params` with the training parts of the records in its laws, and `params` with those held out.

        What is held out has the scale of what is trained on, since a scale of its own would leak its mean. Where
        `params` were made without `with_record`, the laws that they have by default give way to the record.

        Raises:
            ValueError: as in `with_record`.
        """
        if not self._records:
            return params, params
        train_on = {each.name: each.replaced(getattr(params, each.name), each.train_on) for each in self._records}
        held_out = {each.name: each.replaced(getattr(params, each.name), each.held_out) for each in self._records}
        return dataclasses.replace(params, **train_on), dataclasses.replace(params, **held_out)

    @functools.cached_property
    def _records(self) -> tuple[_Record, ...]:
        """What is recorded, read once."""
        found = []
        if self.path is not None:
            train_on, held_out = self._pools(self.path)
            found.append(_Record("inputs", inputs.LAWS, ("recorded",), "pool", train_on, held_out))
        if self.bandwidth_path is not None:
            train_on, held_out = self._bandwidths(self.bandwidth_path)
            kinds = ("resampled", "played")
            found.append(_Record("bandwidth", bandwidth.LAWS, kinds, "samples", train_on, held_out))
        return tuple(found)

    def _pools(self, path: str) -> tuple[Samples, Samples]:
        """Rows to train on, and rows held out."""
        if not path:
            raise ValueError("path is not given; it must be the path of a CSV file, or a pattern of several")
        if self.kind == "azure":
            first, last = self._split(records.find_files(path), "files")
            return records.read_functions(first), records.read_functions(last)
        named = {"time_column": self.time_column, "value_column": self.value_column, "time_unit": self.time_unit}
        train_on, held_out = self._split(records.read_days(path, **named), "days")
        return self._levelled(path, train_on, held_out, self.mean_rate)

    def _bandwidths(self, path: str) -> tuple[Samples, Samples]:
        """Samples to train on, and samples held out, in units of the mean of those to train on."""
        if not path:
            raise ValueError("bandwidth_path is not given; it must be the path of a CSV file")
        train_on, held_out = self._split(records.read_bandwidth(path, self.bandwidth_column), "samples")
        return self._levelled(path, train_on, held_out, 1.0)

    def _split(self, whole: Any, noun: str) -> tuple[Any, Any]:
        """The first part, and the share `held_out` at the end."""
        num = len(whole)
        num_held_out = round(num * self.held_out)
        if not 0 < num_held_out < num:
            raise ValueError(
                f"held_out is {self.held_out:g}; it must leave some of the {num} {noun} to train on, and hold out some"
            )
        return whole[: num - num_held_out], whole[num - num_held_out :]

    def _levelled(self, path: str, train_on: Samples, held_out: Samples, mean: float) -> tuple[Samples, Samples]:
        """Both parts times one factor, with which the part to train on has that mean."""
        own = float(np.mean(train_on))
        if own <= 0 or not np.any(held_out):
            part = "to train on" if own <= 0 else "held out"
            raise ValueError(f"{path}: the part {part} is all 0; at least one number in it must be above 0")
        return train_on * (mean / own), held_out * (mean / own)
