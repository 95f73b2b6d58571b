"""What the same learner reaches with fresh news, for a row of a run's comparison: `evaluation.fresh_news`.

It is trained after the run's own learner, with the same settings, seeds and budget, on the same clusters but for their
news, in a folder of the run; and it is compared where it was trained. What fresh news is, the game's entry says.
"""

import dataclasses
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxdlb import checkpoint
from jaxdlb.evaluation import Fresh

from . import command_line, comparison, launchers
from .build import Scenario

FOLDER = "fresh_news"  # in a run's folder: its checkpoints, metrics.csv and held_out.csv
KEY = "evaluation.fresh_news"
_LOOKED_AT = 64  # clusters, where they are drawn at random, to see whether any has stale news


def check(settings: Any, scenario: Scenario) -> None:
    """Raise ValueError if the price of stale news is asked for where there is none."""
    if settings.evaluation.fresh_news and (why := _why_not(scenario)):
        raise ValueError(f"{KEY} is true; it must be false {why}")


def scenario_of(scenario: Scenario) -> Scenario:
    """The same clusters with fresh news, in a game that says what that is."""
    fresh = scenario.entry.fresh
    assert fresh is not None
    return dataclasses.replace(
        scenario,
        params=fresh(scenario.params),
        train=lambda key: fresh(scenario.train(key)),
        test=lambda key: fresh(scenario.test(key)),
    )


def steps(folder: Path) -> list[int]:
    """The steps of the learner with fresh news in a run's folder, oldest first."""
    return checkpoint.steps(folder / FOLDER / checkpoint.FOLDER)


def rival(folder: Path, scenario: Scenario, settings: Any) -> Fresh:
    """What a run's folder holds of it, for `comparison.compare`; `settings` are those of the evaluation.

    Raises:
        ValueError: it cannot be read, or does not fit the game.
    """
    how = settings.actions[0]
    greedy = how == "greedy"
    found = checkpoint.load_policies(folder / FOLDER, game=scenario.game, greedy=greedy)
    several = len(found) > 1
    names = [checkpoint.policy_name(greedy, seed if several else None, fresh=True) for seed in range(len(found))]
    return Fresh(
        of=comparison.row(how, len(found)),
        policies=[dataclasses.replace(each, name=name) for each, name in zip(found, names, strict=True)],
        sample_params=scenario_of(scenario).test,
        row=comparison.row(how, len(found), fresh=True) if several else None,
    )


def rival_of_saved(folder: Path, scenario: Scenario, settings: Any, overrides: Sequence[str]) -> Fresh | None:
    """The same of a run that is evaluated again, if it is asked for.

    What the run alone asks for is left out where it cannot be, as on clusters with fresh news, with a warning.

    Raises:
        ValueError: it is asked for on the command line, and cannot be.
    """
    if not settings.fresh_news:
        return None
    if (why := _why_not(scenario) or _why_not_whole(folder)) is None:
        return rival(folder, scenario, settings)
    if command_line.value_of(KEY, overrides) is not None:
        raise ValueError(f"{KEY} is true; it must be false {why}")
    warnings.warn(launchers.as_called(f"the row of {KEY} is left out {why}"), stacklevel=2)
    return None


def _why_not(scenario: Scenario) -> str | None:
    """Where there is no price of stale news to tell; None where there is one."""
    if scenario.entry.fresh is None:
        return f"in {scenario.entry.name}, which does not say what fresh news is"
    return "where news is fresh already" if _is_fresh(scenario) else None


def _is_fresh(scenario: Scenario) -> bool:
    """Whether fresh news changes nothing, in none of the clusters looked at."""
    fresh = scenario.entry.fresh
    assert fresh is not None
    clusters = map(scenario.test, jax.random.split(jax.random.key(0), _LOOKED_AT))
    return all(jax.tree.all(jax.tree.map(np.array_equal, each, fresh(each))) for each in clusters)


def _why_not_whole(folder: Path) -> str | None:
    """Where a run's folder does not hold it, trained for as long as the run itself; None where it does."""
    own, fresh = (max(each, default=0) for each in (checkpoint.steps(folder / checkpoint.FOLDER), steps(folder)))
    if own == fresh:
        return None
    trained = f"{fresh} of its {own} updates" if fresh else "nothing"
    return f"where the run has trained {trained} with fresh news (python -m train resume={folder} {KEY}=true goes on)"
