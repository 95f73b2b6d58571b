"""The comparison as one parameter of the game is swept: `evaluation.sweep`."""

import copy
import functools
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxdlb import checkpoint
from jaxdlb.checks import did_you_mean
from jaxdlb.evaluation import remarks
from jaxdlb.evaluation import sweep as sweeps
from jaxdlb.evaluation.rollouts import Samples, evaluate_all
from jaxdlb.evaluation.sweep import Line, Sweep
from jaxdlb.game import Entry
from jaxdlb.games import GAMES
from jaxdlb.parameters import declarations
from jaxdlb.policies import Policy
from jaxdlb.writing import named, write_whole

from . import build, comparison, saved_config
from .build import Scenario

_KEY = "evaluation.sweep"
_TABLE, _FIGURE = "sweep.csv", "sweep.png"


def check(settings: Any) -> None:
    """Check everything that is asked of a sweep; writes nothing.

    Raises:
        ValueError: an unknown parameter or column, values that are refused or do not ascend, no such run, or one whose
            policy does not fit the game.
    """
    asked = settings.evaluation.sweep
    if asked.over is None:
        return
    check_over(_KEY, settings.game, asked)
    if asked.up_to is not None and not asked.up_to >= asked.values[0]:
        raise ValueError(f"{_KEY}.up_to is {asked.up_to:g}; it must be at least the first value, {asked.values[0]:g}")
    columns = scenarios(_KEY, settings.game, asked)[0].game.columns
    for axis in ("gain", "cost"):
        check_column(f"{_KEY}.{axis}", getattr(asked, axis), columns)
    _beside(settings)


def check_over(key: str, game: Any, asked: Any, least: int = 1) -> None:
    """Raise ValueError unless a parameter of the game that is one number is asked for, and values of it ascend.

    What is asked under `key` has `over` and `values`, of which there must be `least`.
    """
    _check_is_number(f"{key}.over", game, asked.over)
    if len(asked.values) < least or list(asked.values) != sorted(set(asked.values)):
        many = {1: "one value", 2: "two values"}[least]
        raise ValueError(f"{key}.values is {list(asked.values)}; it must hold at least {many}, in ascending order")


def _check_is_number(key: str, game: Any, over: str) -> None:
    """Raise ValueError unless `over` is a parameter of the game that is one number, for all its entries."""
    numbers = _numbers(GAMES.find(game.name), game.params)
    if over not in numbers:
        known = f"it must be one of {', '.join(numbers)}{did_you_mean(over, numbers)}"
        raise ValueError(f"{key} is {over!r}; {known}")
    shorthand = GAMES.find(game.name).shorthands.get(over)
    beside = [name for name in (shorthand.sets if shorthand else ()) if getattr(game.params, name) is not None]
    if beside:
        raise ValueError(
            f"{key} is {over!r} and game.params.{beside[0]} is given too; give only one, since {over} sets "
            f"{beside[0]} (game.params.{beside[0]}=null)"
        )
    drawn = _ranges_of(game, over) is not None
    if not drawn and not isinstance(numbers[over], int | float | None):
        raise ValueError(f"{key} is {over!r}; it must be one number, and game.params.{over} is {numbers[over]!r}")


def check_column(key: str, name: str | None, columns: Mapping[str, Any]) -> None:
    """Raise ValueError unless a column that there is is named under `key`."""
    if name is None:
        raise ValueError(f"{key} is not given; it must be one of {', '.join(columns)}")
    if name not in columns:
        raise ValueError(
            f"{key} is {name!r}; it must be one of {', '.join(columns)}{did_you_mean(name, columns, repr)}"
        )


def _numbers(entry: Entry, params: Any) -> dict[str, Any]:
    """What the settings say of every parameter that holds numbers, by path: those of the law that is chosen too."""
    declared, found = declarations(entry.params), {name: getattr(params, name) for name in entry.shorthands}
    for name, each in declared.items():
        given = getattr(params, name)
        if each.laws is None:
            found[name] = given
        elif given.kind in each.laws:
            below = declarations(each.laws[given.kind])
            found |= {f"{name}.{field}": getattr(given, field) for field in below}
    return found


def _ranges_of(game: Any, path: str) -> Any:
    return functools.reduce(getattr, path.split("."), game.randomise)


def is_written(folder: Path) -> bool:
    """Whether a run's folder holds all of a sweep."""
    return (folder / _TABLE).exists()


def execute(settings: Any, learned: comparison.Learned, folder: Path) -> None:
    """Play, draw and write the sweep, if one is asked for; prints what comes of it."""
    asked = settings.evaluation.sweep
    if asked.over is None:
        return
    from jaxdlb.evaluation.sweep_plot import frontier

    sweep, told = _play(settings, {settings.learner.name: next(iter(learned.values()))} | _beside(settings))
    up_to = asked.values[len(asked.values) // 2] if asked.up_to is None else asked.up_to
    text = "\n\n".join([*(sweeps.conclusion(sweep, line, up_to) for line in sweep.learned), *told])
    table, figure = sweeps.to_csv(sweep), frontier(sweep)  # all there is to say, before the first file
    figures = folder / comparison.FIGURES
    figures.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "sweep.txt", text + "\n")
    with named(figures / _FIGURE):
        figure.savefig(figures / _FIGURE)
    write_whole(folder / _TABLE, table)  # last: where it is, the others are
    print(f"\n{text}")


def scenarios(key: str, game: Any, asked: Any) -> list[Scenario]:
    """The game and its clusters at each of the `values` of the parameter `over` that are asked for under `key`.

    Raises:
        ValueError: a value that is refused, or another setting of the game.
    """
    found = []
    for index, value in enumerate(asked.values):
        with build.renamed(f"game.params.{asked.over}", f"{key}.values[{index}]"):
            found.append(build.scenario(_at(game, asked.over, value)))
    return found


def _at(settings: Any, over: str, value: float) -> Any:
    """The settings of the game at one value of the parameter, which then is neither drawn nor set by another one."""
    game, shorthands = copy.deepcopy(settings), GAMES.find(settings.name).shorthands
    sets = {name: each.sets for name, each in shorthands.items()}
    setters = [name for name, fields in sets.items() if over in fields]
    for path in (over, *setters, *sets.get(over, ())):
        _set(game.randomise, path, None)
    for path in setters:
        _set(game.params, path, None)
    _set(game.params, over, value)
    return game


def _set(settings: Any, path: str, value: Any) -> None:
    *outer, name = path.split(".")
    setattr(functools.reduce(getattr, outer, settings), name, value)


def _beside(settings: Any) -> dict[str, Sequence[Policy]]:
    """The policies of the other runs, by the names of their learners.

    Raises:
        ValueError: no such run, or one whose policy does not fit the game.
    """
    asked, found = settings.evaluation.sweep, dict[str, Sequence[Policy]]()
    if not asked.beside:
        return found
    scenario = scenarios(_KEY, settings.game, asked)[0]
    for index, path in enumerate(asked.beside):
        key = f"{_KEY}.beside[{index}]"
        if path in asked.beside[:index]:
            raise ValueError(f"{key} is {path!r}; it must be listed once")
        located = checkpoint.locate(path, key)
        name = str(saved_config.read(located.folder.parent)["learner"].get("name"))
        label = name if name != settings.learner.name and name not in found else f"{name} of {path}"
        try:
            learned = comparison.learned(located.folder, scenario, settings.evaluation, located.step)
        except ValueError as error:
            raise ValueError(f"{key} is {path!r}: {error}") from None
        found[label] = next(iter(learned.values()))
    return found


def _play(settings: Any, learned: Mapping[str, Sequence[Policy]]) -> tuple[Sweep, list[str]]:
    """Every policy in the same episodes at each value, and what went wrong there; the rules are tuned for it."""
    asked, names = settings.evaluation.sweep, []
    tables: list[dict[str, Samples]] = []
    at_values = scenarios(_KEY, settings.game, asked)
    for value, scenario in zip(asked.values, at_values, strict=True):
        print(f"{asked.over} {value:g}", file=sys.stderr, flush=True)
        rules = {name: [rule] for name, rule in comparison.labelled_heuristics(scenario, settings.evaluation).items()}
        groups = {**learned, **rules}
        tables.append(_samples(scenario, settings.evaluation, groups))
        names.append({label: group[0].name if len(group) == 1 else label for label, group in groups.items()})
    kinds = {label: group[0].kind for label, group in groups.items()}
    columns = at_values[0].game.columns
    headers = tuple(columns[axis].header for axis in (asked.gain, asked.cost))
    lines = [
        Line(
            name=label,
            kind=kind,
            gain=np.stack([table[label][asked.gain] for table in tables]),
            cost=np.stack([table[label][asked.cost] for table in tables]),
            members=tuple(each[label] for each in names),
        )
        for label, kind in kinds.items()
    ]
    warnings = remarks.warnings_of(columns)
    means = (
        (label, {name: float(each[name].mean()) for name in warnings}) for at in tables for label, each in at.items()
    )
    found = Sweep(asked.over, tuple(asked.values), (headers[0], headers[1]), tuple(lines))
    return found, remarks.warned(warnings, means)


def _samples(scenario: Scenario, settings: Any, groups: Mapping[str, Sequence[Policy]]) -> dict[str, Samples]:
    """The columns of each group of policies, [seeds, episodes]."""
    lengths = build.lengths(settings, scenario.entry)
    everyone = [policy for group in groups.values() for policy in group]
    played = evaluate_all(
        scenario.game,
        everyone,
        scenario.test,
        jax.random.key(settings.seed),
        num_episodes=settings.num_episodes,
        num_rounds=lengths.num_rounds,
        warmup=lengths.warmup,
    )
    samples, found = iter(played), {}
    for label, group in groups.items():
        mine = [next(samples) for _ in group]
        found[label] = {column: np.stack([each[column] for each in mine]) for column in scenario.game.columns}
    return found
