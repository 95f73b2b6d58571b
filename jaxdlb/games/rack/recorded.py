"""Recorded tasks as the input of a rack, split into a training part and a held-out part."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxdlb import parameters, task_records
from jaxdlb.checks import NON_NEGATIVE, SHARE, SWITCH
from jaxdlb.columns import TIME_UNITS
from jaxdlb.games.rack import generator, sources
from jaxdlb.games.rack.types import Params
from jaxdlb.parameters import parameter
from jaxdlb.task_records import TaskRecord

_DRAWN = (None, "random", {"kind": "random"}, sources.Random, sources.Random())  # ways to say so in `tasks`


@dataclasses.dataclass(frozen=True)
class Recorded:
    """Settings of recorded tasks; none are played unless there is a path.

    Raises:
        ValueError: a setting that is not allowed.
    """

    path: str | None = parameter(None, None)  # a CSV or .npz file; null: no recording
    # whether a row says what a task needs, or how many tokens a request of a language model has
    kind: str = parameter(("tasks", "tokens"), "tasks")
    # the column of arrival times (its name in any case): ISO dates and times, or numbers
    time_column: str = parameter(None, "timestamp")
    # unit of times given as numbers: `s`, `ms`, `us`, `ns`, or `auto` to infer it
    time_unit: str = parameter(TIME_UNITS, "auto")
    runtime_column: str = parameter(None, "runtime")  # for `tasks`: the column of runtimes, ms
    # for `tasks`: the column of I/O times, ms; null: `io_time` if there is one, else the same for all
    io_time_column: str | None = parameter(None, None)
    # for `tasks`: the column of payloads, bytes; null: `payload` if there is one, else the same for all
    payload_column: str | None = parameter(None, None)
    io_time: float = parameter(NON_NEGATIVE, 0.0)  # for `tasks`: ms of I/O of each, where there is no column
    payload: float = parameter(NON_NEGATIVE, 512.0)  # for `tasks`: bytes of each, where there is no column
    context_column: str = parameter(None, "ContextTokens")  # for `tokens`: the column of tokens in the prompt
    generated_column: str = parameter(None, "GeneratedTokens")  # for `tokens`: the column of tokens in the answer
    # By default, Llama-70B on a DGX-H100 by Splitwise (Patel et al., ISCA 2024, table IV, conversation): medians of 84
    # ms until the first token, for a median prompt of 1,020 tokens, and of 28 ms from each token to the next.
    prefill_ms: float = parameter(NON_NEGATIVE, 0.08)  # for `tokens`: ms of work for each token in the prompt
    decode_ms: float = parameter(NON_NEGATIVE, 28.0)  # for `tokens`: ms of work for each token in the answer
    bytes_per_token: float = parameter(NON_NEGATIVE, 4.0)  # for `tokens`: bytes of payload for each in the prompt
    # whether gaps are stretched to the load or arrival rate that the parameters ask for, or played as recorded
    pace: str = parameter(("stretched", "recorded"), "stretched")
    random_start: bool = parameter(SWITCH, True)  # start each episode at a random task, not at the first
    # share at the end of the record that policies are evaluated on but not trained on
    held_out: float = parameter(SHARE, 0.3)

    def __post_init__(self) -> None:
        parameters.check(self)

    def with_record(self, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        """The `fields` of a rack to make with `default_params`, with the training part as its `tasks`.

        So `load` refers to what the rack can complete of these very tasks, and an `arrival_rate` is kept as it is.

        Raises:
            ValueError: an empty path, another source of tasks in addition to the record, a load or an arrival rate in
                addition to the record's own pace, or anything that `task_records` refuses.
        """
        if self.path is None:
            return fields
        if not any(fields.get("tasks") == drawn for drawn in _DRAWN):
            raise ValueError("tasks is not random; it must be random where recorded tasks are played from a file")
        paced = [name for name in ("load", "arrival_rate") if fields.get(name) is not None]
        if self.pace == "stretched":
            return {**fields, "tasks": self.tasks[0]}
        if paced:
            raise ValueError(f"{paced[0]} is {fields[paced[0]]}; it must not be given where tasks keep their own pace")
        return {**fields, "tasks": self.tasks[0], "arrival_rate": self._own_rate}

    def parts(self, params: Params) -> tuple[Params, Params]:
        """`params` with the training part of the record as its tasks, and `params` with the held-out part.

        The training part has the offered load that `params` has with its own tasks, unless the pace is the recorded
        one. The held-out part has the scale of the training part, since a scale of its own would leak its mean.

        Raises:
            ValueError: an empty path, or anything that `task_records` refuses.
        """
        if self.path is None:
            return params, params
        train_on, held_out = (dataclasses.replace(params, tasks=each) for each in self.tasks)
        # Exactly 1 where the parameters were made with the record (`with_record`): their arrival rate is then kept.
        growth = generator.capacity(train_on) / generator.capacity(params)
        rate = jnp.float32(self._own_rate) if self.pace == "recorded" else params.arrival_rate * growth
        return dataclasses.replace(train_on, arrival_rate=rate), dataclasses.replace(held_out, arrival_rate=rate)

    @functools.cached_property
    def tasks(self) -> tuple[sources.Recorded, sources.Recorded]:
        """The training part and the held-out part as sources of tasks, both in the units of the training part.

        Raises:
            ValueError: an empty path, or anything that `task_records` refuses.
        """
        train_on, held_out = self._records
        return self._source(train_on, of=train_on), self._source(held_out, of=train_on)

    @functools.cached_property
    def _records(self) -> tuple[TaskRecord, TaskRecord]:
        if not self.path:
            raise ValueError("path is not given; it must be the path of a CSV or .npz file")
        return task_records.split(self._read(self.path), self.held_out)

    @property
    def _own_rate(self) -> float:
        """Tasks per ms in the training part."""
        return 1 / float(np.mean(self._records[0].gaps()))

    def _source(self, part: TaskRecord, of: TaskRecord) -> sources.Recorded:
        """A part of a record, where the means are those `of` another part."""
        arrays = {
            "gap": part.gaps() / np.mean(of.gaps()),
            "runtimes": part.runtimes,
            "io_times": part.io_times,
            "payloads": part.payloads,
            "average_runtime": np.mean(of.runtimes),
            "average_io_time": np.mean(of.io_times),
        }
        given = {name: jnp.asarray(array, jnp.float32) for name, array in arrays.items()}
        return sources.Recorded(**given, random_start=jnp.asarray(self.random_start, bool))

    def _read(self, path: str) -> TaskRecord:
        times = {"time_column": self.time_column, "time_unit": self.time_unit}
        if self.kind == "tokens":
            return task_records.read_tokens(
                path,
                context_column=self.context_column,
                generated_column=self.generated_column,
                prefill_ms=self.prefill_ms,
                decode_ms=self.decode_ms,
                bytes_per_token=self.bytes_per_token,
                **times,
            )
        return task_records.read_tasks(
            path,
            runtime_column=self.runtime_column,
            io_time_column=self.io_time_column,
            payload_column=self.payload_column,
            io_time=self.io_time,
            payload=self.payload,
            **times,
        )
