"""What tasks cost: a table that every episode reads from a place of its own.

So a reset draws one number and not one for each task, the cost of a chunk is one difference of prefix sums however
large the chunk is, every policy meets the same tasks, and a task that is handed out twice costs the same twice.
"""

import dataclasses
import functools
import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxdlb import columns
from jaxdlb.checks import shown
from jaxdlb.mechanics.rounding import settled

MOST_TASKS = 65_536  # in a job; the table is at least as long
LAWS = ("deterministic", "uniform", "exponential", "lognormal", "trace")
_COLUMN = columns.Column("trace", "cost")
_SEED = 1993  # of the tables of the laws


@dataclasses.dataclass(frozen=True)
class Costs:
    """The costs of tasks by a law of mean 1, or as a file lists them; a constant of the programs that use it.

    Raises:
        ValueError: a trace without a file, one that cannot be read, or one with a cost that is negative or no number,
            or in which all are 0.
    """

    law: str  # one of LAWS
    cv: float  # coefficient of variation of `lognormal`
    trace: str | None  # a CSV file with a column `cost`

    def __post_init__(self) -> None:
        if self.law == "trace" and not self.trace:
            raise ValueError(f"trace is {shown(self.trace)}; it must be a CSV file with a column named cost")
        if self.law != "trace" and self.trace:
            raise ValueError(f"trace is {self.trace!r}; it must not be given where task_law is {self.law!r}")
        _table(self)

    @property
    def table(self) -> Float[np.ndarray, " L"]:
        """Costs of mean 1, float64: 65,536 draws of the law, or whole repetitions of the trace to as many or more."""
        return _table(self)

    def of_chunk(
        self, place: Int[Array, ""], size: Int[Array, ""], noise: Float[Array, ""] | float
    ) -> Float[Array, ""]:
        """What `size` ≤ 65,536 tasks cost from an entry of the table on, within 10⁻⁶ of it.

        That is (1 − ν) · x + ν · their sum in the table.
        """
        sums = _prefix_sums(self)
        place = place % (len(sums) // 2)
        first, last = jnp.asarray(sums)[place], jnp.asarray(sums)[place + size]
        listed = (last[0] - first[0]) + (last[1] - first[1])
        return settled((1 - noise) * size, size) + settled(noise * listed, size)

    def of_each(self, place: Int[Array, ""], noise: Float[Array, ""]) -> Float[Array, " 65536"]:
        """The cost of each of the tasks from an entry of the table on."""
        table = self.table.astype(np.float32)
        listed = jnp.asarray(table)[(place + jnp.arange(MOST_TASKS)) % len(table)]
        return (1 - noise) + noise * listed


@functools.lru_cache(maxsize=8)
def _table(costs: Costs) -> Float[np.ndarray, " L"]:
    listed = _read(str(costs.trace)) if costs.law == "trace" else _drawn(costs.law, costs.cv)
    repeated = np.tile(listed, math.ceil(MOST_TASKS / len(listed)))
    return repeated / np.mean(repeated)


def _drawn(law: str, cv: float) -> Float[np.ndarray, " L"]:
    """Draws of a law of mean 1, the same whenever they are made."""
    random = np.random.default_rng(_SEED)
    if law == "uniform":
        return random.uniform(0, 2, MOST_TASKS)
    if law == "exponential":
        return random.exponential(1, MOST_TASKS)
    if law == "lognormal":
        sigma = math.sqrt(math.log1p(cv**2))
        return random.lognormal(-(sigma**2) / 2, sigma, MOST_TASKS)
    return np.ones(MOST_TASKS)


def _read(path: str) -> Float[np.ndarray, " R"]:
    costs = columns.read_column(path, _COLUMN)
    if not np.any(costs > 0):
        raise ValueError(f"{path}: every cost is 0; at least one must be positive")
    return costs


@functools.lru_cache(maxsize=8)
def _prefix_sums(costs: Costs) -> Float[np.ndarray, "P 2"]:
    """Sums of the first 0, 1, … costs, each as a float32 and what it leaves out.

    They go through the table twice, since a chunk may begin near its end.
    """
    sums = np.concatenate([[0.0], np.cumsum(np.tile(costs.table, 2))])
    rounded = sums.astype(np.float32)
    return np.stack([rounded, (sums - rounded).astype(np.float32)], axis=1)
