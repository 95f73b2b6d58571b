"""A recorded workload as the arrivals of the DLB game, split into a part to train on and a part held out."""

import dataclasses

from jaxdlb import traces
from jaxdlb.checks import check_choice
from jaxdlb.games.dlb.types import Params
from jaxdlb.mechanics.arrivals import Constant

KINDS = ("counts", "instants")


@dataclasses.dataclass(frozen=True)
class Recorded:
    """Settings of a recorded workload; without a path none is played."""

    path: str | None = None  # a CSV file; null plays no recording
    kind: str = "counts"  # `counts`: one row a sample, requests counted. `instants`: one row an arrival
    time_column: str = "timestamp"  # the column of times, in any case: ISO dates and times, or numbers
    value_column: str = "value"  # for `counts`: the column of requests counted, in any case
    time_unit: str = "auto"  # of times that are numbers: `s`, `ms`, `us`, `ns`, or `auto`: by the size of the first
    bin_seconds: float = 60.0  # for `instants`: how many seconds are counted together
    rounds_per_sample: int = 10  # rounds that one sample lasts
    held_out: float = 0.3  # the share at the end that policies are evaluated on, and not trained

    def parts(self, params: Params) -> tuple[Params, Params]:
        """`params` with the law of arrivals to train on, and with the one to evaluate on: the two parts of the record.

        The part held out has the scale of the part trained on, or it would betray its own mean.

        Raises:
            ValueError: a setting that is not allowed, a law of arrivals besides the record, or as `traces.read_counts`,
                `traces.read_instants`, `traces.split` and `traces.modulation`.
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
        check_choice("kind", self.kind, KINDS)
        times = {"time_column": self.time_column, "time_unit": self.time_unit}
        if self.kind == "instants":
            return traces.read_instants(path, self.bin_seconds, **times)
        return traces.read_counts(path, value_column=self.value_column, **times)
