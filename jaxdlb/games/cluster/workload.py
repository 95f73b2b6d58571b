"""What tasks need: drawn at random, or recorded. One pytree class for each source; `WORKLOADS` names them.

A task's attributes follow from the key of the reset and its number alone, so every policy meets the same tasks.
"""

import math
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxdlb import parameters
from jaxdlb.checks import AMOUNT, SWITCH, Interval, check_array
from jaxdlb.columns import PathLike
from jaxdlb.games.cluster import records
from jaxdlb.games.cluster.records import Record
from jaxdlb.mechanics import chance
from jaxdlb.parameters import NEVER, parameter

EXEC_MEAN = 20.0  # s: what the run times of Alibaba's pods are scaled to in the mean, unless told otherwise

_TASKS, _CANDIDATES, _START = range(3)  # folded into the key of the reset
_TRACED = Interval(1e-3, 1e6)


@struct.dataclass
class Tasks:
    """The tasks of some numbers, wherever they run. Gaps are in units of the mean gap."""

    gap: Float[Array, " M"]  # since the task before
    run_time: Float[Array, " M"]  # e: s at speed 1
    cores: Float[Array, " M"]
    memory: Float[Array, " M"]  # GB
    task_class: Int[Array, " M"]


@runtime_checkable
class Workload(Protocol):
    """A source of tasks; every implementation is a frozen pytree of arrays. `params` are the cluster's."""

    def tasks(self, key: PRNGKeyArray, number: Int[Array, " M"], params: Any) -> Tasks:
        """The tasks of these numbers; `key` is that of the reset."""
        ...

    def largest_memory(self, params: Any) -> Float[Array, ""]:
        """GB of the largest task that there may be."""
        ...


@struct.dataclass
class Synthetic:
    """Poisson arrivals, run times of a bounded Pareto law, and lognormal demands, as the cluster's parameters say."""

    def tasks(self, key: PRNGKeyArray, number: Int[Array, " M"], params: Any) -> Tasks:
        words = chance.key_words(chance.fold_in(key, _TASKS))
        pairs = [chance.uniform_pair(words, number, jnp.int32(pair)) for pair in range(3)]
        (gap, run_time), (cores, memory), (task_class, _) = pairs
        least, shape, cap = params.exec_least, params.exec_shape, params.exec_cap
        upper = jnp.cumsum(params.class_share)[:2]
        return Tasks(
            gap=-jnp.log1p(-gap),
            run_time=jnp.minimum(least * (1 - run_time) ** (-1 / shape), cap),
            cores=_demand(cores, params.cores_law),
            memory=_demand(memory, params.memory_law),
            task_class=jnp.sum(task_class[:, None] >= upper, axis=1, dtype=jnp.int32),
        )

    def largest_memory(self, params: Any) -> Float[Array, ""]:
        return params.memory_law[3]


def _demand(number: Float[Array, " M"], law: Float[Array, " 4"]) -> Float[Array, " M"]:
    """exp(μ + σ · normal) within [low, high]."""
    mu, sigma, low, high = law
    return jnp.clip(jnp.exp(mu + sigma * chance.standard_normal(number)), low, high)


@struct.dataclass
class Replay:
    """A record of R tasks, which repeats. With `random_start` an episode starts at a random row, else at the first."""

    gap: Float[Array, " R"] = parameter(AMOUNT, drawn=NEVER)  # from the task before, in mean gaps
    run_time: Float[Array, " R"] = parameter(_TRACED, drawn=NEVER)  # s at speed 1
    cores: Float[Array, " R"] = parameter(_TRACED, drawn=NEVER)  # wanted
    memory: Float[Array, " R"] = parameter(_TRACED, drawn=NEVER)  # GB
    # 0 production, 1 batch, 2 best effort
    task_class: Int[Array, " R"] = parameter(Interval(0, 2, integer=True), drawn=NEVER)
    random_start: Bool[Array, ""] = parameter(SWITCH, True)  # start at a random row

    @classmethod
    def from_alibaba(
        cls,
        pods: PathLike,
        *,
        exec_mean: float = EXEC_MEAN,
        most_memory: float = math.inf,
        random_start: bool = True,
    ) -> "Replay":
        """Alibaba's list of pods, with run times, capped at 20 medians, of the mean `exec_mean`; see `records`.

        Tasks with more than `most_memory` GB, for which no node has room, are left out; a UserWarning counts them.

        Raises:
            ValueError: anything that `records.read_alibaba` refuses.
        """
        record = records.read_alibaba(pods).within(most_memory)
        return cls.of(record, record, exec_mean, random_start=random_start)

    @classmethod
    def from_csv(
        cls, path: PathLike, *, exec_mean: float | None = None, random_start: bool = True, **columns: str
    ) -> "Replay":
        """A CSV file with a row for each task; `columns` name its columns, see `records.read_csv`.

        Run times are as recorded unless they are to have the mean `exec_mean`, and are then capped at 20 medians.

        Raises:
            ValueError: anything that `records.read_csv` refuses.
        """
        record = records.read_csv(path, **columns)
        return cls.of(record, record, exec_mean, random_start=random_start)

    @classmethod
    def of(cls, record: Record, whole: Record, exec_mean: float | None, *, random_start: bool) -> "Replay":
        """A record, in units of the mean gap and with the scale of run times of the `whole` that it is a part of."""
        if exec_mean is not None:
            check_array("exec_mean", exec_mean, (), _TRACED)
            record = record.stretched(exec_mean, of=whole)
        fields = {name: getattr(record, name) for name in ("run_time", "cores", "memory", "task_class")}
        return parameters.make(
            cls, None, fields | {"gap": record.gaps() / whole.mean_gap(), "random_start": random_start}
        )

    def tasks(self, key: PRNGKeyArray, number: Int[Array, " M"], params: Any) -> Tasks:
        length = self.gap.shape[0]
        (first,) = chance.uniforms(chance.fold_in(key, _START), 1, 1)
        start = jnp.where(self.random_start, jnp.minimum((first[0] * length).astype(jnp.int32), length - 1), 0)
        row = (start + number % length) % length
        names = ("gap", "run_time", "cores", "memory", "task_class")
        return Tasks(**{name: getattr(self, name)[row] for name in names})

    def largest_memory(self, params: Any) -> Float[Array, ""]:
        return jnp.max(self.memory)


WORKLOADS: Mapping[str, type[Workload]] = {"synthetic": Synthetic, "replay": Replay}


def candidates(key: PRNGKeyArray, number: Int[Array, " M"], num_candidates: int, num_nodes: int) -> Int[Array, "M K"]:
    """Among which nodes the dispatchers of these tasks choose: K uniform draws, or all nodes if K = N."""
    if num_candidates == num_nodes:
        return jnp.broadcast_to(jnp.arange(num_nodes, dtype=jnp.int32), (number.shape[0], num_nodes))
    words = chance.key_words(chance.fold_in(key, _CANDIDATES))
    pairs = jnp.arange((num_candidates + 1) // 2, dtype=jnp.int32)
    drawn = jax.vmap(lambda pair: chance.uniform_pair(words, number, pair), out_axes=1)(pairs)
    uniform = jnp.stack(drawn, axis=-1).reshape(number.shape[0], -1)[:, :num_candidates]
    return jnp.minimum((uniform * num_nodes).astype(jnp.int32), num_nodes - 1)
