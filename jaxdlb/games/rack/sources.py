"""Where tasks come from: drawn at random, or recorded. Gaps between them are in units of the mean gap."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxdlb.checks import AMOUNT, POSITIVE_AMOUNT, SWITCH
from jaxdlb.mechanics import chance
from jaxdlb.parameters import parameter


@struct.dataclass
class Batch:
    """The next A tasks: the gap after each, in mean gaps, and what each needs (ms, ms, bytes)."""

    gap: Float[Array, " A"]
    runtime: Float[Array, " A"]
    io_time: Float[Array, " A"]
    payload: Float[Array, " A"]


@runtime_checkable
class Source(Protocol):
    """A source of tasks; every implementation is a frozen pytree of arrays. `params` are the rack's."""

    def start(self, key: PRNGKeyArray) -> tuple[Int[Array, ""], Float[Array, ""]]:
        """The position of the first task, and the time until it arrives, in mean gaps."""
        ...

    def batch(self, key: PRNGKeyArray, position: Int[Array, ""], num: int, params: Any) -> Batch: ...

    def advance(self, position: Int[Array, ""], taken: Int[Array, ""]) -> Int[Array, ""]:
        """The position after `taken` tasks."""
        ...

    def mean_runtime(self, params: Any) -> Float[Array, ""]: ...

    def mean_io_time(self, params: Any) -> Float[Array, ""]: ...


@struct.dataclass
class Random:
    """A Poisson process, with the runtimes, I/O times and payloads that the parameters of these names say."""

    def start(self, key: PRNGKeyArray) -> tuple[Int[Array, ""], Float[Array, ""]]:
        return jnp.int32(0), -jnp.log1p(-chance.uniforms(key, 1, 1)[0][0])

    def batch(self, key: PRNGKeyArray, position: Int[Array, ""], num: int, params: Any) -> Batch:
        gap, runtime, io_time, payload = chance.uniforms(key, 4, num)
        return Batch(
            gap=-jnp.log1p(-gap),
            runtime=params.runtime.quantile(runtime),
            io_time=params.io_time.quantile(io_time),
            payload=params.payload.quantile(payload),
        )

    def advance(self, position: Int[Array, ""], taken: Int[Array, ""]) -> Int[Array, ""]:
        return position

    def mean_runtime(self, params: Any) -> Float[Array, ""]:
        return params.runtime.mean()

    def mean_io_time(self, params: Any) -> Float[Array, ""]:
        return params.io_time.mean()


@struct.dataclass
class Recorded:
    """A record of K tasks, which repeats; its gaps are stretched to the rate that the parameters ask for.

    With `random_start`, an episode starts at a random task; otherwise, at the first one. The means are those of the
    whole that the load refers to: of the record itself, or of the part that was trained on (`recorded`).
    """

    gap: Float[Array, " K"] = parameter(AMOUNT)  # from each task to the next, in mean gaps
    runtimes: Float[Array, " K"] = parameter(AMOUNT)  # ms of work of each task
    io_times: Float[Array, " K"] = parameter(AMOUNT)  # ms of I/O of each task
    payloads: Float[Array, " K"] = parameter(AMOUNT)  # bytes of each task
    average_runtime: Float[Array, ""] = parameter(POSITIVE_AMOUNT)  # ms of work, by which the load is reckoned
    average_io_time: Float[Array, ""] = parameter(AMOUNT, 0.0)  # ms of I/O, by which it is reckoned
    random_start: Bool[Array, ""] = parameter(SWITCH, True)  # start at a random task

    def start(self, key: PRNGKeyArray) -> tuple[Int[Array, ""], Float[Array, ""]]:
        position = jax.random.randint(key, (), 0, self.gap.shape[0], dtype=jnp.int32)
        return jnp.where(self.random_start, position, 0), jnp.float32(0.0)

    def batch(self, key: PRNGKeyArray, position: Int[Array, ""], num: int, params: Any) -> Batch:
        place = (position + jnp.arange(num, dtype=jnp.int32)) % self.gap.shape[0]
        return Batch(
            gap=self.gap[place],
            runtime=self.runtimes[place],
            io_time=self.io_times[place],
            payload=self.payloads[place],
        )

    def advance(self, position: Int[Array, ""], taken: Int[Array, ""]) -> Int[Array, ""]:
        return (position + taken) % self.gap.shape[0]

    def mean_runtime(self, params: Any) -> Float[Array, ""]:
        return self.average_runtime

    def mean_io_time(self, params: Any) -> Float[Array, ""]:
        return self.average_io_time


SOURCES: Mapping[str, type[Source]] = {"random": Random, "recorded": Recorded}
