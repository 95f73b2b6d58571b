"""Training: many updates in one compiled program, one visit to the host an interval."""

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, PyTree

from jaxdlb.checkpoint import Writer
from jaxdlb.learners.sharding import Placement

from .loggers import Logger, Progress, Row, metrics_file
from .population import Metrics, Population
from .signals import Signals, StoppedError

Agree = Callable[[int | None], int | None]  # on a signal, among all processes, from what each has received
HeldOut = Callable[[PyTree], list[dict[str, float]]]  # from the policies' variables: the columns of each seed or member
Program = Callable[[PyTree, np.int32], tuple[PyTree, Metrics]]  # from a state and a number of updates, compiled
_SECONDS_BETWEEN_LOOKS = 0.005
_CAUSES = ("utility", "reward", "loss")  # parts of metrics' names; a later one may follow from an earlier


class DivergedError(Exception):
    """A metric of an update is not finite; the message names both, and what is left."""


@dataclasses.dataclass(frozen=True)
class Schedule:
    """How long to train, and how often to look."""

    num_updates: int
    agent_rounds_per_update: int  # of one seed
    logging_interval: int  # updates
    checkpoint_interval: int  # updates


def train(
    population: Population,
    state: PyTree,
    schedule: Schedule,
    writer: Writer | None,
    loggers: Sequence[Logger],
    seconds_before: float = 0.0,
    held_out: HeldOut | None = None,
    placement: Placement | None = None,
    agree: Agree = lambda received: received,
    signals: Signals | None = None,
    program: Program | None = None,
) -> PyTree:
    """Train until the schedule is spent, and return the state; `state` is donated.

    The `program` is what `compiled` gave for these shapes; without one, it is compiled here.

    With a `placement` the state is spread over devices as it says. Of several processes one has the writer.

    A checkpoint is saved at the first visit to the host after every `checkpoint_interval` updates, at the end, and when
    a signal asks to stop. It is scored by the mean utility over seeds, or by the best member's, in the episodes held
    out or, without one, in training since the last visit. `signals` are those in use, and defer what they hear; None:
    this function's own.

    Raises:
        DivergedError: a metric became NaN or infinite, in every member of a population; what was saved before is kept.
        StoppedError: SIGINT or SIGTERM came; a checkpoint of the last update has been saved.
    """
    fetched = (lambda tree: tree) if placement is None else placement.fetched
    update, clock = _of_any_seed(fetched(state.num_updates)), _Clock(seconds_before)
    for logger in loggers:
        logger.start(update, schedule.num_updates)
    if update == schedule.num_updates:
        return state
    with contextlib.ExitStack() as stack:
        if signals is None:
            signals = stack.enter_context(Signals())
            stack.enter_context(signals.deferred())
        run = program or compiled(population, state, schedule.logging_interval, placement)
        clock.start()
        stopped = agree(signals.asked())
        while update < schedule.num_updates and stopped is None:
            count = min(_until_multiple(update, schedule.logging_interval), schedule.num_updates - update)
            state, metrics = run(state, np.int32(count))
            rows = _rows(_fetched(metrics, count), update, schedule, clock.total)
            clock.updates += count
            _tell(loggers, rows, update + count, schedule, population.size, clock)
            _check_finite(rows, population.size if population.evolves else 1)
            due = _until_multiple(update, schedule.checkpoint_interval) <= count
            update += count
            stopped = agree(signals.asked())  # once a visit: what is asked for later is for the next one
            if due or update == schedule.num_updates or stopped is not None:
                whole = fetched(state)
                if writer is not None:
                    variables = population.learner.policy_variables(whole)
                    judged = [] if held_out is None else _judged(held_out(variables), rows, loggers)
                    policy, score, about = population.kept(variables, _scores(judged, rows, population.size))
                    writer.save(update, whole, policy, score, about)
        if stopped is not None:
            raise StoppedError(stopped, update)
    return state


def _scores(judged: Sequence[Row], rows: Sequence[Row], size: int) -> Float[np.ndarray, " S"]:
    """The utility of each seed or member in episodes held out or, where these tell nothing, in training.

    It is NaN for a member that has diverged, however well it happens to play.
    """
    whole = np.array([not _not_finite(row) for row in rows[-size:]])
    held_out = np.array([row["utility"] for row in judged])
    trained = [_mean(rows[member::size], "utility") for member in range(size)]
    known = len(held_out) > 0 and np.isfinite(held_out[whole]).all()
    return np.where(whole, held_out if known else trained, np.nan)


def _judged(columns: list[dict[str, float]], rows: Sequence[Row], loggers: Sequence[Logger]) -> list[Row]:
    """The rows of an evaluation in episodes held out, one a seed or member, after telling the loggers of them."""
    leading = [{name: row[name] for name in metrics_file.LEADING} for row in rows[-len(columns) :]]
    judged = [row | each for row, each in zip(leading, columns, strict=True)]
    for logger in loggers:
        logger.held_out(judged)
    return judged


class _Clock:
    """Seconds of training, without those of compiling; `seconds_before` are of the run that is resumed."""

    def __init__(self, seconds_before: float) -> None:
        self.updates = 0  # made since the start
        self._before = seconds_before
        self._since = time.perf_counter()

    def start(self) -> None:
        self._since = time.perf_counter()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._since

    @property
    def total(self) -> float:
        return self._before + self.seconds

    @property
    def seconds_per_update(self) -> float:
        return self.seconds / self.updates


def compiled(population: Population, state: PyTree, most: int, placement: Placement | None = None) -> Program:
    """The program of an interval of at most `most` updates, for states like this one, which may be of shapes alone."""
    where: dict[str, Any] = {}
    if placement is not None:
        where = {
            "in_shardings": (placement.state, placement.everywhere),
            "out_shardings": (placement.state, placement.metrics),
        }
    program = jax.jit(lambda state, count: population.interval(state, count, most), donate_argnums=0, **where)
    return program.lower(state, np.int32(0)).compile()


def _fetched(metrics: Metrics, count: int) -> dict[str, np.ndarray]:
    """The metrics on the host, [count, S]; waits in short naps, so that a signal's handler runs meanwhile."""
    while not all(leaf.is_ready() for leaf in metrics.values()):  # type: ignore[attr-defined]
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    return {name: leaf[:count].reshape(count, -1) for name, leaf in jax.device_get(metrics).items()}


def _rows(metrics: dict[str, np.ndarray], update: int, schedule: Schedule, seconds: float) -> list[Row]:
    """One row for each update, and seed or member."""
    count, num_seeds = next(iter(metrics.values())).shape
    return [
        {
            "update": update + k + 1,
            "seed": seed,
            "agent_rounds": (update + k + 1) * schedule.agent_rounds_per_update,
            "seconds": seconds,
        }
        | {name: float(values[k, seed]) for name, values in metrics.items()}
        for k in range(count)
        for seed in range(num_seeds)
    ]


def _tell(
    loggers: Sequence[Logger],
    rows: list[Row],
    update: int,
    schedule: Schedule,
    size: int,
    clock: _Clock,
) -> None:
    progress = Progress(
        update=update,
        num_updates=schedule.num_updates,
        agent_rounds=update * schedule.agent_rounds_per_update,
        agent_rounds_per_second=schedule.agent_rounds_per_update * size / clock.seconds_per_update,
        seconds_left=(schedule.num_updates - update) * clock.seconds_per_update,
        utility=_mean(rows, "utility"),
    )
    for logger in loggers:
        logger.interval(rows, progress)


def _check_finite(rows: Sequence[Row], together: int = 1) -> None:
    """Raise DivergedError at the first update with a metric that is not finite; causes are named before effects.

    Of members that train `together`, others take the place of one that diverges: all must have.
    """
    for start in range(0, len(rows), together):
        row, bad = rows[start], [_not_finite(each) for each in rows[start : start + together]]
        if all(bad):
            first, *others = bad[0]
            seed = f" of seed {row['seed']:.0f}" if rows[-1]["seed"] and together == 1 else ""
            also = f" (and {', '.join(others)} with it)" if others else ""
            every = f" in the first of {together} members, none of which is whole" if together > 1 else ""
            raise DivergedError(
                f"training stopped at update {row['update']:.0f}{seed}: {first} is {row[first]}{also}{every}"
            )


def _not_finite(row: Row) -> list[str]:
    """The metrics that are not finite, causes first."""
    return sorted((name for name, value in row.items() if not math.isfinite(value)), key=_rank)


def _rank(metric: str) -> int:
    """How early a metric stands among causes."""
    return next((rank for rank, cause in enumerate(_CAUSES) if cause in metric), len(_CAUSES))


def _mean(rows: Sequence[Row], name: str) -> float:
    """Over what is finite: members may diverge, and others take their place."""
    values = [row[name] for row in rows if math.isfinite(row[name])]
    return float(np.mean(values)) if values else math.nan


def _until_multiple(update: int, interval: int) -> int:
    """Updates until the next multiple of `interval`, at least 1."""
    return interval - update % interval


def _of_any_seed(values: Array) -> int:
    """The one value that all seeds share."""
    return int(np.ravel(jax.device_get(values))[0])
