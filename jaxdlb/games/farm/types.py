"""The parameters, the state and the action of the farm."""

import enum
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int, Key

from jaxdlb.checks import POSITIVE_AMOUNT, POSITIVE_COUNT, PROBABILITY, SPEED, Interval
from jaxdlb.games.farm.costs import MOST_TASKS
from jaxdlb.parameters import parameter, per_size

Action = Int[Array, " N"]

TIME = Interval(0, 1e9)
RATE = Interval(0, 1e6)


class Phase(enum.IntEnum):
    """What a worker is about."""

    ABSENT = 0
    BUSY = 1
    WAITING = 2
    DECLINED = 3  # asked for nothing


def _from_one_to_five(game: Any) -> Any:
    return np.linspace(1, 5, game.num_workers)


@struct.dataclass(kw_only=True)
class Params:
    """Everything a user may sweep or randomise; every leaf is an array."""

    job: Int[Array, ""] = parameter(
        Interval(1, MOST_TASKS, integer=True), 1000, logarithmic=True
    )  # J: tasks of the job
    task_time: Float[Array, ""] = parameter(POSITIVE_AMOUNT, 1.0)  # t₁: time of a task of cost 1 at speed 1
    comm_time: Float[Array, ""] = parameter(TIME, 0.2, logarithmic=True)  # c: the master is busy so long with a request
    comm_per_task: Float[Array, ""] = parameter(TIME, 0.0)  # c₁: and so long for each task of the chunk
    latency: Float[Array, " N"] = parameter(TIME, 0.0)  # ℓ: one way between master and worker; occupies nobody
    speed: Float[Array, " N"] = parameter(  # s: tasks of cost 1 in a time t₁
        SPEED, per_size("evenly from 1 to 5", _from_one_to_five)
    )
    noise: Float[Array, ""] = parameter(  # ν: task k costs 1 + ν · (its entry of the table − 1)
        PROBABILITY, 1.0
    )
    drift: Float[Array, ""] = parameter(Interval(0, 10), 0.3)  # σ: spread of the logarithms of speeds over time
    drift_period: Float[Array, ""] = parameter(POSITIVE_AMOUNT, 10.0)  # how long a drifted speed holds
    failure_rate: Float[Array, " N"] = parameter(RATE, 0.0)  # of a worker that is there, per unit of time
    rejoin_rate: Float[Array, " N"] = parameter(RATE, 0.0)  # of a worker that is away, per unit of time
    join_time: Float[Array, " N"] = parameter(TIME, 0.0)  # when it first joins; 0: it is there from the start
    selfishness: Float[Array, ""] = parameter(PROBABILITY, 0.0)  # κ: weight of an agent's own utility in its reward
    horizon: Int[Array, ""] = parameter(POSITIVE_COUNT, 1_000_000)  # steps after which an episode is cut


@struct.dataclass
class State:
    """One farm between two events. Durations count down from now and are never differences of large clock readings.

    `waited`, `told_wait`, `compute_time`, `chunk_start` and `last_…` keep their values until the rules set them again.
    """

    time: Float[Array, ""]  # since the start
    remaining: Int[Array, ""]  # R: tasks not handed out, or handed out and lost
    next_task: Int[Array, ""]  # the first task never handed out
    returned: Int[Array, "M 2"]  # chunks that came back, oldest first: first task and count; M = 2N, unused rows are 0
    phase: Int[Array, " N"]  # Phase
    until_start: Float[Array, " N"]  # of the busy: until its chunk reaches it; negative since it did
    until_back: Float[Array, " N"]  # of the busy: until its results and next request reach the master
    compute_time: Float[Array, " N"]  # of its chunk, or of the last one
    chunk_start: Int[Array, " N"]  # the first task of it
    chunk_size: Int[Array, " N"]  # tasks in hand, 0: none
    waited: Float[Array, " N"]  # since its request came
    told_wait: Float[Array, " N"]  # how long it was told, when its request came, that it would wait
    until_change: Float[Array, " N"]  # until it fails or, if it is absent, joins; +∞: never
    changes: Int[Array, " N"]  # so far
    speed: Float[Array, " N"]  # now
    weighted_time: Float[Array, " N"]  # Σ n · time of the n-th chunk computed
    weighted_size: Float[Array, " N"]  # Σ n · tasks of it
    chunks_done: Int[Array, " N"]
    last_size: Int[Array, " N"]  # of the last chunk computed
    last_time: Float[Array, " N"]
    until_free: Float[Array, ""]  # until the master is free
    chunks: Int[Array, ""]  # handed out so far
    decider: Int[Array, ""]  # whose request is being served; N: nobody's
    start: Int[Array, ""]  # the entry of the table that is the cost of task 0
    over: Bool[Array, ""]
    step: Int[Array, ""]
    key: Key[Array, ""]  # of drift and churn

    @property
    def present(self) -> Bool[Array, " N"]:
        return self.phase != Phase.ABSENT

    @property
    def busy(self) -> Bool[Array, " N"]:
        return self.phase == Phase.BUSY

    @property
    def waiting(self) -> Bool[Array, " N"]:
        return self.phase == Phase.WAITING

    @property
    def holds_chunk(self) -> Bool[Array, " N"]:
        return self.chunk_size > 0

    @property
    def rows_used(self) -> Int[Array, ""]:
        """How many chunks came back and have not been handed out again."""
        return jnp.sum(self.returned[:, 1] > 0)

    @property
    def interval(self) -> tuple[Int[Array, ""], Int[Array, ""]]:
        """From which chunks are cut now: its first task, and L, their number.

        It is the oldest chunk that came back or, if there is none, what was never handed out.
        """
        first, count = self.returned[0]
        fresh = self.remaining - jnp.sum(self.returned[:, 1])
        return jnp.where(count > 0, first, self.next_task), jnp.where(count > 0, count, fresh)
