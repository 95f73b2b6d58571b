"""Policies trained at several values of a parameter (`across`), beside every setting of every rule.

What they are compared in stands under `evaluation.frontier`.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxdlb import checkpoint, evaluation
from jaxdlb.evaluation import frontier, remarks
from jaxdlb.evaluation.frontier import Comparison, Hulls
from jaxdlb.evaluation.rollouts import EpisodeSums
from jaxdlb.evaluation.sweep import Line, Sweep
from jaxdlb.policies import Policy
from jaxdlb.writing import named, write_whole

from . import build, comparison, sweep
from .build import Scenario

JSON = "frontier.json"  # the last file to be written: where it is, all the others are
_KEY, _ACROSS = "evaluation.frontier", "across"
_LEAST_VALUES = 2

Table = dict[str, np.ndarray]  # of one group of policies, by column or metric: float64 [V, S, E]
Judged = tuple[Sweep, list[Hulls], list[Comparison]]  # a column of harm: the points, their hulls, and how they stand


def check(settings: Any) -> None:
    """Check everything that is asked of policies across values; writes nothing.

    Raises:
        ValueError: an unknown parameter or column, a column or a metric that does not fit, values that are refused or
            do not ascend, or another setting that has no meaning across values.
    """
    across, asked = settings.across, settings.evaluation.frontier
    if across.over is None:
        if across.values:
            raise ValueError(f"across.values is {list(across.values)}; it must not be given without across.over=…")
        return
    sweep.check_over(_ACROSS, settings.game, across, _LEAST_VALUES)
    game = sweep.scenarios(_ACROSS, settings.game, across)[0].game
    _check_nothing_else(settings)
    if not settings.evaluation.enabled:
        return
    named_columns = {"spent": asked.spent, "harm": asked.harm}
    named_columns |= {f"harms_besides[{index}]": name for index, name in enumerate(asked.harms_besides)}
    for key, name in named_columns.items():
        sweep.check_column(f"{_KEY}.{key}", name, game.columns)
        assert name is not None
        sweep.check_less_is_better(f"{_KEY}.{key}", name, game.columns)


def _check_nothing_else(settings: Any) -> None:
    """Raise ValueError for what is asked besides, and would judge policies across values as if they were one."""
    asked = settings.evaluation
    refused = {
        "evaluation.held_out_episodes": (asked.held_out_episodes, asked.held_out_episodes == 0, "0"),
        "evaluation.fresh_news": ("true", not asked.fresh_news, "false"),
        "evaluation.sweep.over": (repr(asked.sweep.over), asked.sweep.over is None, "null"),
        "plots": (settings.plots, not build.plots(settings), "null"),
    }
    for key, (value, fits, allowed) in refused.items():
        if not fits:
            shown = "null" if value is None else value
            raise ValueError(f"{key} is {shown}; it must be {allowed} with across.over, by which many policies differ")


def trained_on(settings: Any, scenario: Scenario) -> Scenario:
    """The clusters that a learner is trained on: across values at the first, of which no range decides any more."""
    if settings.across.over is None:
        return scenario
    return sweep.scenarios(_ACROSS, settings.game, settings.across)[0]


def is_written(folder: Path, agent_rounds: int) -> bool:
    """Whether a run's folder holds all of the comparison, after so much training."""
    try:
        found = json.loads((folder / JSON).read_text(encoding="utf-8"))
        return bool(found["settings"][comparison.TRAINED] == agent_rounds)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def execute(settings: Any, scenario: Scenario, folder: Path, about: Mapping[str, Any]) -> None:
    """Play, compare, draw and write; prints what comes of it. `about` is kept with the result."""
    from jaxdlb.evaluation import frontier_plot

    tables, kinds, members = _play(settings, scenario, folder)
    judged = [_judge(settings, scenario, column, tables, kinds, members) for column in _columns(settings, tables)]
    first = judged[0]
    figure = frontier_plot.hulls(first[0], first[1], first[2][0].beside if first[2] else None)
    told = list(_told(settings, scenario, tables))
    text = "\n\n".join([_heading(settings), *(frontier.to_text(each, rows) for each, _, rows in judged), *told])
    written: dict[str, Any] = {"settings": {**about, "seeds": settings.learner.num_seeds}, "told": told}
    written |= {"over": settings.across.over, "values": list(settings.across.values)}
    write_whole(folder / "frontier.txt", text + "\n")
    write_whole(folder / "frontier.csv", frontier.to_csv([(each, found) for each, found, _ in judged]))
    with named(folder / "frontier.png"):
        figure.savefig(folder / "frontier.png")
    written["columns"] = [frontier.to_json(*each) for each in judged]
    write_whole(folder / JSON, json.dumps(_without_nan(written), indent=2) + "\n")
    print(f"\n{text}")


def rules(settings: Any, scenario: Scenario) -> dict[str, list[Policy]]:
    """Every setting of every rule, by the rule's name.

    Those are all members of a grid, and for a box what tuning finds at each value. Where heuristics are listed, they
    are all there is.
    """
    asked, families = settings.evaluation, scenario.entry.heuristics
    found: dict[str, list[Policy]] = {}
    if asked.heuristics is not None:
        policies = build.heuristics(asked.heuristics, families)
        for entry, policy in zip(asked.heuristics, policies, strict=True):
            found.setdefault(build.named_with_options(entry, _KEY)[0], []).append(policy)
        return found
    boxes = {name: family for name, family in families.items() if family.box is not None}
    for name, family in families.items():
        if name not in boxes:
            found[name] = [family.make(**options) for options in family.combinations(scenario.game)]
    if boxes:
        for at in sweep.scenarios(_ACROSS, settings.game, settings.across):
            for name, policy in comparison.tuned(at, asked, boxes).items():
                found.setdefault(name, []).append(policy)
    return found


def _play(
    settings: Any, scenario: Scenario, folder: Path
) -> tuple[dict[str, Table], dict[str, str], dict[str, tuple[str, ...]]]:
    """Everybody in the same episodes: columns and metrics, the kind, and what each point is called, of each policy.

    The policies trained at a value play there; rules play on the clusters of the settings.
    """
    values, name = settings.across.values, settings.learner.name
    step = checkpoint.steps(folder / checkpoint.FOLDER)[-1]
    greedy = settings.evaluation.actions[0] == "greedy"
    trained = checkpoint.load_policies(folder, game=scenario.game, step=step, greedy=greedy)
    at_values = sweep.scenarios(_ACROSS, settings.game, settings.across)
    of_values = [
        _stacked(scenario, [_samples(settings, at, trained[place :: len(values)])])
        for place, at in enumerate(at_values)
    ]
    tables = {name: {column: np.concatenate([each[column] for each in of_values]) for column in of_values[0]}}
    kinds, members = {name: "learned"}, {name: tuple(f"{settings.across.over}={value:g}" for value in values)}
    every = rules(settings, scenario)
    samples = iter(_samples(settings, scenario, [policy for group in every.values() for policy in group]))
    for rule, group in every.items():
        tables[rule] = _stacked(scenario, [[next(samples)] for _ in group])
        kinds[rule], members[rule] = group[0].kind, tuple(policy.name for policy in group)
    return tables, kinds, members


def _samples(settings: Any, scenario: Scenario, policies: Sequence[Policy]) -> list[EpisodeSums]:
    lengths = build.lengths(settings.evaluation, scenario.entry)
    return evaluation.sums(
        scenario.game,
        policies,
        scenario.test,
        jax.random.key(settings.evaluation.seed),
        num_episodes=settings.evaluation.num_episodes,
        num_rounds=lengths.num_rounds,
        warmup=lengths.warmup,
    )


def _stacked(scenario: Scenario, samples: Sequence[Sequence[EpisodeSums]]) -> Table:
    """Columns, and metrics of one number in a step, of V points with S seeds each."""
    columns = [[evaluation.columns_of(scenario.game, each) for each in of_seeds] for of_seeds in samples]
    plain = [
        [{**sums, **each} for sums, each in zip(*pair, strict=True)] for pair in zip(samples, columns, strict=True)
    ]
    names = [name for name, value in plain[0][0].items() if value.ndim == 1]
    return {name: np.array([[each[name] for each in of_seeds] for of_seeds in plain]) for name in names}


def _columns(settings: Any, tables: Mapping[str, Table]) -> list[str]:
    """The columns of harm: the first always; others with a value in every episode, which is not that of the first."""
    asked = settings.evaluation.frontier
    besides = [name for name in asked.harms_besides if _is_known(name, tables)]
    same = {name for name in besides if all(np.array_equal(each[name], each[asked.harm]) for each in tables.values())}
    return [asked.harm, *(name for name in besides if name not in same)]


def _is_known(column: str, tables: Mapping[str, Table]) -> bool:
    return all(bool(np.isfinite(each[column]).all()) for each in tables.values())


def _judge(
    settings: Any,
    scenario: Scenario,
    column: str,
    tables: Mapping[str, Table],
    kinds: Mapping[str, str],
    members: Mapping[str, tuple[str, ...]],
) -> Judged:
    asked, across = settings.evaluation.frontier, settings.across
    headers = (scenario.game.columns[asked.spent].header, scenario.game.columns[column].header)
    lines = [Line(name, kinds[name], each[asked.spent], each[column], members[name]) for name, each in tables.items()]
    found = Sweep(across.over, tuple(across.values), headers, tuple(lines))
    of_lines = [frontier.hulls(line, lines) for line in lines]
    return found, of_lines, frontier.comparisons(found, of_lines)


def _heading(settings: Any) -> str:
    across, seeds = settings.across, settings.learner.num_seeds
    many = "1 training seed" if seeds == 1 else f"{seeds} training seeds"
    return (
        f"{settings.learner.name} trained at {len(across.values)} values of {across.over} from {across.values[0]:g} to "
        f"{across.values[-1]:g}, beside every setting of each rule; {many}, {settings.evaluation.num_episodes} episodes"
    )


def _told(settings: Any, scenario: Scenario, tables: Mapping[str, Table]) -> Iterator[str]:
    """What a reader must know besides: columns that ought to be 0 and are not, and those that are left out."""
    columns = scenario.game.columns
    warnings = remarks.warnings_of(columns)
    at_points = ((who, each, point) for who, each in tables.items() for point in range(len(each["utility"])))
    means = ((who, {name: float(each[name][point].mean()) for name in warnings}) for who, each, point in at_points)
    yield from remarks.warned(warnings, means)
    unknown = [name for name in settings.evaluation.frontier.harms_besides if not _is_known(name, tables)]
    if unknown:
        yield remarks.left_out(columns[name].header for name in unknown)


def _without_nan(data: Any) -> Any:
    """The same with null for what is no number, as JSON has it."""
    if isinstance(data, Mapping):
        return {str(name): _without_nan(value) for name, value in data.items()}
    if isinstance(data, list | tuple):
        return [_without_nan(each) for each in data]
    return None if isinstance(data, float) and not np.isfinite(data) else data
