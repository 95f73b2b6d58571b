"""Training: many updates in one compiled program, one visit to the host an interval."""

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PyTree

from jaxdlb.checkpoint import Writer
from jaxdlb.learners.sharding import Placement

from .loggers import Logger, Progress, Row, metrics_file
from .signals import Signals, StoppedError

Agree = Callable[[int | None], int | None]  # on a signal, among all processes, from what each has received
HeldOut = Callable[[PyTree], list[dict[str, float]]]  # from a policy's variables: the columns of each seed
Metrics = dict[str, Array]  # of K updates, and of S seeds where there are several: float32 [K] or [K, S]
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


@dataclasses.dataclass(frozen=True)
class Population:
    """A learner trained with one seed or, side by side in one program, with several."""

    learner: Any
    seed: int
    num_seeds: int

    def init(self) -> PyTree:
        """The state before the first update; with several seeds every leaf has a leading axis of them."""
        key = jax.random.key(self.seed)
        if self.num_seeds == 1:
            return jax.jit(self.learner.init)(key)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(self.num_seeds))
        return jax.jit(jax.vmap(self.learner.init))(keys)

    def template(self) -> PyTree:
        """Structure, shapes and types of the state."""
        return jax.eval_shape(self.init)

    def update(self, state: PyTree) -> tuple[PyTree, dict[str, Array]]:
        """One update of every seed."""
        return self.learner.update(state) if self.num_seeds == 1 else jax.vmap(self.learner.update)(state)

    def interval(self, state: PyTree, count: Int[Array, ""], most: int) -> tuple[PyTree, Metrics]:
        """`count` updates, at most `most`, and the metrics of each; rows from `count` on are zeros.

        `count` is traced: an interval cut short, at the end or after a resume, runs the very same program.
        """
        shapes = jax.eval_shape(self.update, state)[1]
        rows = jax.tree.map(lambda leaf: jnp.zeros((most, *leaf.shape), leaf.dtype), shapes)

        def advance(index: Int[Array, ""], carry: tuple[PyTree, Metrics]) -> tuple[PyTree, Metrics]:
            state, rows = carry
            state, metrics = self.update(state)
            return state, jax.tree.map(lambda all_, one: all_.at[index].set(one), rows, metrics)

        return jax.lax.fori_loop(0, count, advance, (state, rows))


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
    a signal asks to stop. It is scored by the mean utility over seeds in the episodes held out or, without one, in
    training since the last visit. `signals` are those in use, and defer what they hear; None: this function's own.

    Raises:
        DivergedError: a metric became NaN or infinite; what was saved before is kept.
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
            _tell(loggers, rows, update + count, schedule, population.num_seeds, clock)
            _check_finite(rows)
            due = _until_multiple(update, schedule.checkpoint_interval) <= count
            update += count
            stopped = agree(signals.asked())  # once a visit: what is asked for later is for the next one
            if due or update == schedule.num_updates or stopped is not None:
                whole = fetched(state)
                if writer is not None:
                    variables = population.learner.policy_variables(whole)
                    judged = [] if held_out is None else _judged(held_out(variables), rows, loggers)
                    writer.save(update, whole, variables, _score(judged, rows))
        if stopped is not None:
            raise StoppedError(stopped, update)
    return state


def _score(judged: Sequence[Row], rows: Sequence[Row]) -> float:
    """The mean utility in episodes held out or, where there is none, in training."""
    held_out = _mean(judged, "utility") if judged else math.nan
    return held_out if math.isfinite(held_out) else _mean(rows, "utility")


def _judged(columns: list[dict[str, float]], rows: Sequence[Row], loggers: Sequence[Logger]) -> list[Row]:
    """The rows of an evaluation in episodes held out, one a seed, after the loggers have been told of them."""
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
        everywhere = placement.everywhere
        where = {
            "in_shardings": (placement.state, everywhere),
            "out_shardings": (placement.state, everywhere),
        }
    program = jax.jit(lambda state, count: population.interval(state, count, most), donate_argnums=0, **where)
    return program.lower(state, np.int32(0)).compile()


def _fetched(metrics: Metrics, count: int) -> dict[str, np.ndarray]:
    """The metrics on the host, [count, S]; waits in short naps, so that a signal's handler runs meanwhile."""
    while not all(leaf.is_ready() for leaf in metrics.values()):  # type: ignore[attr-defined]
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    return {name: leaf[:count].reshape(count, -1) for name, leaf in jax.device_get(metrics).items()}


def _rows(metrics: dict[str, np.ndarray], update: int, schedule: Schedule, seconds: float) -> list[Row]:
    """One row for each update and seed."""
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
    num_seeds: int,
    clock: _Clock,
) -> None:
    progress = Progress(
        update=update,
        num_updates=schedule.num_updates,
        agent_rounds=update * schedule.agent_rounds_per_update,
        agent_rounds_per_second=schedule.agent_rounds_per_update * num_seeds / clock.seconds_per_update,
        seconds_left=(schedule.num_updates - update) * clock.seconds_per_update,
        utility=_mean(rows, "utility"),
    )
    for logger in loggers:
        logger.interval(rows, progress)


def _check_finite(rows: Sequence[Row]) -> None:
    """Raise DivergedError at the first update with a metric that is not finite; causes are named before effects."""
    for row in rows:
        bad = sorted((name for name, value in row.items() if not math.isfinite(value)), key=_rank)
        if bad:
            seed = f" of seed {row['seed']:.0f}" if rows[-1]["seed"] else ""
            also = f" (and {', '.join(bad[1:])} with it)" if bad[1:] else ""
            raise DivergedError(
                f"training stopped at update {row['update']:.0f}{seed}: {bad[0]} is {row[bad[0]]}{also}"
            )


def _rank(metric: str) -> int:
    """How early a metric stands among causes."""
    return next((rank for rank, cause in enumerate(_CAUSES) if cause in metric), len(_CAUSES))


def _mean(rows: Sequence[Row], name: str) -> float:
    return float(np.mean([row[name] for row in rows]))


def _until_multiple(update: int, interval: int) -> int:
    """Updates until the next multiple of `interval`, at least 1."""
    return interval - update % interval


def _of_any_seed(values: Array) -> int:
    """The one value that all seeds share."""
    return int(np.ravel(jax.device_get(values))[0])
