"""What the steps of a game report over time, on one cluster: thinned so that it stays small however long is played."""

import csv
import dataclasses
import io
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxdlb import recording
from jaxdlb.checks import POSITIVE, check_array
from jaxdlb.evaluation.side_by_side import Tally, began
from jaxdlb.game import Game, TimeStep
from jaxdlb.policies import Policy

MOST_ROWS = 1000
MOST_ENTRIES = 200_000  # rows × agents; fewer rows where there are many agents, but never fewer than `FEWEST_ROWS`
FEWEST_ROWS = 100
MOST_STEPS = 10**7  # in which the end must be reached: a clock that stands still never gets there
_COUNTED = ("steps", "elapsed")


@dataclasses.dataclass(frozen=True)
class Series:
    """What a policy's steps on one cluster reported, in R rows: each the mean over so many steps in succession.

    Mean × steps is the sum over a row, so that what was counted can be added up again. The last row may be over fewer
    steps than the others.
    """

    time: Float[np.ndarray, " R"]  # when the first step of a row began, in the game's own unit
    steps: Int[np.ndarray, " R"]  # of a row
    elapsed: Float[np.ndarray, " R"]  # the time that they took together
    scalars: Mapping[str, Float[np.ndarray, " R"]]  # the mean of each metric that is a number
    per_agent: Mapping[str, Float[np.ndarray, "R N"]]  # of each that is one number an agent; histograms are left out

    @property
    def steps_per_row(self) -> int:
        return int(self.steps[0])

    @property
    def in_rounds(self) -> bool:
        """Whether every step takes one unit of time, so that time counts rounds."""
        return bool(np.all(self.elapsed == self.steps))

    def thinned(self, most: int) -> "Series":
        """The same in at most `most` rows, each over as many rows as the others, the last perhaps over fewer."""
        starts = np.arange(0, len(self.time), math.ceil(len(self.time) / most))
        steps = np.add.reduceat(self.steps, starts)

        def means(values: Float[np.ndarray, "R ..."]) -> Float[np.ndarray, "S ..."]:
            return (np.add.reduceat((values.T * self.steps).T, starts).T / steps).T

        return Series(
            time=self.time[starts],
            steps=steps,
            elapsed=np.add.reduceat(self.elapsed, starts),
            scalars={name: means(each) for name, each in self.scalars.items()},
            per_agent={name: means(each) for name, each in self.per_agent.items()},
        )


class EndlessError(ValueError):
    """The time asked for was not reached."""


def play(
    game: Game,
    policies: Sequence[Policy],
    params: Any,
    key: PRNGKeyArray,
    *,
    num_rounds: float,
    by_time: bool = False,
    most_rows: int | None = None,
) -> dict[str, Series]:
    """The series of each policy on one cluster, by name; all face the random events of `recording.record` by that key.

    Steps are reported up to `num_rounds` or, `by_time`, those that begin in that time; a true end ends them. Rows are
    as fine as `most_rows` allow, by default `MOST_ROWS`, and of as many steps for all policies.

    Raises:
        ValueError: no duration.
        EndlessError: `MOST_STEPS` steps did not take that long.
    """
    length = jnp.float32(check_array("num_rounds", num_rounds, (), POSITIVE))
    fitting = max(MOST_ENTRIES // game.num_agents, FEWEST_ROWS)
    rows = min(MOST_ROWS, fitting) if most_rows is None else most_rows
    players = {each.name: jax.jit(partial(_sums, game, each, rows, by_time)) for each in policies}
    counted = {name: each(params, key, length, MOST_STEPS) for name, each in players.items()}
    for name, (sums, reached) in counted.items():
        if not reached:
            took = float(sums["elapsed"].sum())
            raise EndlessError(f"{MOST_STEPS:,} steps of {name} took a time of {took:g}, less than {num_rounds:g}")
    longest = max(int(sums["steps"].sum()) for sums, _ in counted.values())
    steps_per_row = math.ceil(longest / rows)
    return {name: _series(game, each(params, key, length, steps_per_row)[0]) for name, each in players.items()}


def _sums(
    game: Game,
    policy: Policy,
    num_rows: int,
    by_time: bool,
    params: Any,
    key: PRNGKeyArray,
    length: Float[Array, ""],
    steps_per_row: Int[Array, ""],
) -> tuple[dict[str, Float[Array, "R ..."]], Bool[Array, ""]]:
    """What is reported, summed over the steps of each of R rows; and whether the end was reached."""
    first = recording.begin(game, policy, params, key)
    nothing = {name: jnp.zeros((num_rows, *jnp.shape(each))) for name, each in _reported(game, first.timestep).items()}

    def play_round(carry: tuple) -> tuple:
        round, clock, _, now, sums = carry
        after, _ = recording.play_round(game, policy, params, key, now, round)
        took = after.timestep.elapsed if by_time else jnp.float32(1)
        counts = began(clock, took) < length
        add = {name: jnp.where(counts, each, 0.0) for name, each in _reported(game, after.timestep).items()}
        sums = {name: each.at[round // steps_per_row].add(add[name]) for name, each in sums.items()}
        return round + 1, clock.add(took), after.timestep.discount > 0, after, sums

    def plays_on(carry: tuple) -> Bool[Array, ""]:
        round, clock, goes_on, *_ = carry
        return goes_on & (clock.total < length) & (round < MOST_STEPS)

    start = (jnp.int32(0), Tally(jnp.float32(0), jnp.float32(0)), jnp.bool(True), first, nothing)
    _, clock, goes_on, _, sums = jax.lax.while_loop(plays_on, play_round, start)
    return sums, ~goes_on | (clock.total >= length)


def _reported(game: Game, timestep: TimeStep) -> dict[str, Any]:
    """What a step adds to a row: its metrics that are one number, or one an agent."""
    shapes = ((), (game.num_agents,))
    metrics = {name: each for name, each in timestep.metrics.items() if jnp.shape(each) in shapes}
    return metrics | {"steps": jnp.float32(1), "elapsed": timestep.elapsed}


def _series(game: Game, sums: Mapping[str, Any]) -> Series:
    """Means from sums; rows without a step are left out."""
    totals = {name: np.asarray(each, np.float64) for name, each in sums.items()}
    kept = totals["steps"] > 0
    steps, elapsed = (totals[name][kept] for name in _COUNTED)
    means = {name: (each[kept].T / steps).T for name, each in totals.items() if name not in _COUNTED}
    return Series(
        time=np.concatenate([[0.0], np.cumsum(elapsed)[:-1]]),
        steps=steps.astype(int),
        elapsed=elapsed,
        scalars={name: means[name] for name in game.metrics if name in means and means[name].ndim == 1},
        per_agent={name: means[name] for name in game.metrics if name in means and means[name].ndim == 2},
    )


def to_csv(series: Mapping[str, Series]) -> str:
    """The scalars as CSV: a line for each policy and row, with `policy`, `time`, `steps`, `elapsed` and the metrics."""
    first = next(iter(series.values()))
    lines = (
        [name, *row]
        for name, each in series.items()
        for row in zip(*_numbers([each.time, each.steps, each.elapsed, *each.scalars.values()]), strict=True)
    )
    return _csv(["policy", "time", "steps", "elapsed", *first.scalars], lines)


def agents_to_csv(series: Mapping[str, Series]) -> str:
    """What is one number an agent as CSV: a line for each policy, row and agent; "" where a game has no such metric.

    The fields are `policy`, `time`, `steps`, `agent` (from 0) and the metrics.
    """
    first = next(iter(series.values()))
    if not first.per_agent:
        return ""
    lines = itertools.chain.from_iterable(_lines_of_agents(name, each) for name, each in series.items())
    return _csv(["policy", "time", "steps", "agent", *first.per_agent], lines)


def _lines_of_agents(name: str, series: Series) -> Iterable[list[str]]:
    num_agents = next(iter(series.per_agent.values())).shape[1]
    agents = np.tile(np.arange(num_agents), len(series.time))
    times, steps = (np.repeat(each, num_agents) for each in (series.time, series.steps))
    values = _numbers([times, steps, agents, *(each.ravel() for each in series.per_agent.values())])
    return ([name, *row] for row in zip(*values, strict=True))


def _numbers(columns: Iterable[np.ndarray]) -> list[list[str]]:
    """Columns of numbers in the digits that single precision is good for."""
    return [[f"{value:.8g}" for value in column.tolist()] for column in columns]


def _csv(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(lines)
    return file.getvalue()
