"""What the tables of the page of validation are made of: cases that are simulated, and what theory says of them."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax

from docs.tables import Rows
from jaxdlb import evaluation
from jaxdlb.evaluation import Estimate
from jaxdlb.evaluation.numerals import written
from jaxdlb.games import GAMES

SEED = 2024
ENTRY = GAMES["dlb"]
AT_ONCE = {"transfer_delay": 0, "heartbeat_period": 1}  # nothing travels, and news is fresh every round


@dataclasses.dataclass(frozen=True)
class Effort:
    """How much is played."""

    num_episodes: int
    num_rounds: int
    warmup: int


@dataclasses.dataclass(frozen=True)
class Case:
    """A simulation, and what theory says of some of its columns."""

    name: str
    game: Any
    params: Any
    policy: Any
    exact: dict[str, float]  # by column
    effort: Effort

    def simulate(self, effort: Effort | None = None) -> dict[str, Estimate]:
        """The columns that theory speaks of, as `effort`, or the case's own, finds them."""
        sizes = dataclasses.asdict(effort or self.effort)
        key = jax.random.key(SEED)
        found = evaluation.evaluate(self.game, self.policy, lambda key: self.params, key, **sizes)
        return {name: evaluation.estimate(found[name]) for name in self.exact}


def table(cases: Sequence[Case]) -> Rows:
    """A row for each number that theory gives: it, the simulated mean with its 95% interval, and how far they are."""
    rows: Rows = [["case", "number", "theory", "simulated", "difference, half-intervals"]]
    for case in cases:
        found = case.simulate()
        for name, exact in case.exact.items():
            rows.append([case.name, case.game.columns[name].header, *compared(exact, found[name])])
    return rows


def compared(exact: float, found: Estimate) -> list[str]:
    """What theory says, what was simulated, and how far apart they are, in half-intervals."""
    return [theoretical(exact), written(found), f"{(found.mean - exact) / found.half_width:+.1f}"]


def theoretical(number: float) -> str:
    """A number without an error."""
    return f"{number:.4f}"
