"""A recorded workload as the arrivals of the DLB game, split into a training part and a held-out part."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxdlb import columns, parameters, traces
from jaxdlb.checks import POSITIVE, POSITIVE_COUNT, SHARE
from jaxdlb.games.dlb.types import Params
from jaxdlb.mechanics.arrivals import Constant
from jaxdlb.parameters import parameter


@dataclasses.dataclass(frozen=True)
class Recorded:
    """Settings of a recorded workload; none is played unless there is a path.

    Raises:
        ValueError: a setting that is not allowed.
    """

    path: str | None = parameter(None, None)  # a CSV file; null: no recording
    kind: str = parameter(("counts", "instants"), "counts")  # whether a row is a count of requests, or one arrival
    # the column of times (its name in any case): ISO dates and times, or numbers
    time_column: str = parameter(None, "timestamp")
    value_column: str = parameter(None, "value")  # for `counts`: the column of request counts (its name in any case)
    # unit of times given as numbers: `s`, `ms`, `us`, `ns`, or `auto` to infer it
    time_unit: str = parameter(columns.TIME_UNITS, "auto")
    bin_seconds: float = parameter(POSITIVE, 60.0)  # for `instants`: arrivals are counted in bins of this many seconds
    rounds_per_sample: int = parameter(POSITIVE_COUNT, 10)  # rounds that one sample lasts
    # share at the end of the record that policies are evaluated on but not trained on
    held_out: float = parameter(SHARE, 0.3)

    def __post_init__(self) -> None:
        parameters.check(self)

    def with_record(self, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        """The fields as they are: the record varies the arrivals that parameters say, and sets none."""
        return fields

    def parts(self, params: Params) -> tuple[Params, Params]:
        """`params` with the training part of the record as its law of arrivals, and `params` with the held-out part.

        The held-out part has the scale of the training part, since a scale of its own would leak its mean.

        Raises:
            ValueError: an empty path, a law of arrivals in addition to the record, or anything that
                `traces.read_counts`, `traces.read_instants`, `traces.split` or `traces.modulation` refuses.
        """
        if self.path is None:
            return params, params
        if not self.path:
            raise ValueError("path is not given; it must be the path of a CSV file")
        law = type(params.arrival_modulation)
        if law is not Constant:
            raise ValueError(
                f"arrival_modulation is {law.__name__}; it must be constant where a recorded workload is played"
            )
        first, last = traces.split(self._read(self.path), self.held_out)
        train_on, scale = traces.modulation(first, params.arrival_prob, rounds_per_sample=self.rounds_per_sample)
        held_out, _ = traces.modulation(
            last, params.arrival_prob, rounds_per_sample=self.rounds_per_sample, scale=scale
        )
        return (
            dataclasses.replace(params, arrival_modulation=train_on),
            dataclasses.replace(params, arrival_modulation=held_out),
        )

    def _read(self, path: str) -> traces.Workload:
        times = {"time_column": self.time_column, "time_unit": self.time_unit}
        if self.kind == "instants":
            return traces.read_instants(path, self.bin_seconds, **times)
        return traces.read_counts(path, value_column=self.value_column, **times)
