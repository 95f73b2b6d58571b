"""The figure `pareto`: what policies trade in two columns, every setting of every rule beside what was learned."""

import itertools
from typing import Any

from jaxdlb.policies import Policy

from . import build, comparison, sweep
from .build import Scenario

NAME = "pareto"
_KEY = "evaluation.pareto"


def check(settings: Any) -> None:
    """Check the columns of the figure, if it is asked for.

    Raises:
        ValueError: a column that is not given, or unknown; on an axis one in which less is not better.
    """
    if NAME not in build.plots(settings):
        return
    asked, columns = settings.evaluation.pareto, build.scenario(settings.game).game.columns
    for key in ("across", "up", "colour"):
        sweep.check_column(f"{_KEY}.{key}", getattr(asked, key), columns)
    for key in ("across", "up"):
        sweep.check_less_is_better(f"{_KEY}.{key}", getattr(asked, key), columns)


def drawn(settings: Any, scenario: Scenario, learned: comparison.Learned) -> comparison.Figures:
    """The figure, if it is asked for; all policies play the episodes of the evaluation for it."""
    if NAME not in build.plots(settings):
        return {}
    from jaxdlb.evaluation import pareto_plot

    asked = settings.evaluation.pareto
    result = comparison.compare(scenario, settings.evaluation, _rules(scenario, settings.evaluation), learned, {})
    figure = pareto_plot.pareto(result, asked.across, asked.up, asked.colour)
    return {NAME: ("What policies trade: every setting of every rule beside what was learned", figure)}


def _rules(scenario: Scenario, evaluation: Any) -> list[Policy]:
    """Those that are listed; else every member of a grid, and of a box what tuning finds."""
    if evaluation.heuristics is not None:
        return comparison.heuristics(scenario, evaluation)
    families = scenario.entry.heuristics
    boxes = {name: family for name, family in families.items() if family.box is not None}
    of_grids = [each.members(scenario.game) for name, each in families.items() if name not in boxes]
    of_boxes = comparison.tuned(scenario, evaluation, boxes) if boxes else {}
    return [*itertools.chain.from_iterable(of_grids), *of_boxes.values()]
