"""One column as one parameter of the game is swept, without any training: `python -m train.sweep over=… values=[…]`.

Plays every rule in the same episodes at each of the `values` of the parameter `over`, tuned for it, and draws the
column `cost` over the parameter or, if it is given, over the column `gain`. Which rules play, `evaluation.heuristics`
says. Prints the table, and writes it (sweep.txt, sweep.csv), figures/sweep.png, config.yaml and provenance.json into
`output`, or a new folder in `runs_dir`. With learned policies, train and train.evaluate do the same (evaluation.sweep).

Exit status: 0 when all went well; 2 when something given is wrong, of which one line on stderr says what, and then
nothing has been written.
"""

import copy
import dataclasses
import functools
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from omegaconf import MISSING, DictConfig

from jaxdlb import checkpoint
from jaxdlb.checks import did_you_mean
from jaxdlb.descriptions import describe
from jaxdlb.evaluation import remarks
from jaxdlb.evaluation import sweep as sweeps
from jaxdlb.evaluation.bounds import bound_samples
from jaxdlb.evaluation.rollouts import Samples, evaluate_all
from jaxdlb.evaluation.sweep import Line, Sweep
from jaxdlb.game import Entry
from jaxdlb.games import GAMES
from jaxdlb.parameters import declarations
from jaxdlb.policies import Policy
from jaxdlb.writing import named, write_whole

from . import build, cli, comparison, compose, provenance, run_folder, saved_config
from .build import Scenario
from .settings import Settings

_KEY = "evaluation.sweep"
_TABLE, _FIGURE = "sweep.csv", "sweep.png"


@dataclasses.dataclass
class SweepSettings(Settings):
    """Settings of a game and of those who play it, and what is swept."""

    over: str = MISSING  # a parameter of the game, by path, that is one number or drawn
    values: list[float] = MISSING  # of it, ascending
    cost: str | None = None  # the column on the vertical axis; null: the first that is judged beside the utility
    gain: str | None = None  # the column on the horizontal axis; null: the parameter itself
    output: str | None = None  # a new or empty folder; null: one by time and game in runs_dir


@dataclasses.dataclass(frozen=True)
class Plan:
    """A sweep that has been found right in everything."""

    given: DictConfig
    settings: Any
    folder: Path  # to be made
    command: str


def prepare(overrides: Sequence[str]) -> Plan:
    """Check everything; writes nothing.

    Raises:
        ValueError, OmegaConfBaseException: something given is wrong.
    """
    given = compose.from_conf(overrides, SweepSettings)
    settings = compose.settings(given, overrides)
    build.check(settings)
    check_over("", settings.game, settings)
    scenario = scenarios("", settings.game, settings)[0]
    if settings.cost is None:
        settings.cost = _judged(scenario)
    _check_columns("", settings, scenario)
    asked = {name: getattr(settings, name) for name in ("over", "values", "gain", "cost")}
    settings.evaluation.sweep = dataclasses.replace(settings.evaluation.sweep, **asked)
    folder = run_folder.asked_for(settings, "swept")
    return Plan(given, settings, folder, provenance.command("train.sweep", overrides))


def _judged(scenario: Scenario) -> str | None:
    """The first column that is judged beside the utility, if there is one."""
    return next((name for name, each in scenario.game.columns.items() if each.verdict is not None), None)


def carry_out(plan: Plan) -> None:
    """Play, print and write."""
    settings = plan.settings
    sweep, told = _play(settings, {})
    folder = plan.folder if settings.output else run_folder.create_new(plan.folder)
    _write(folder, sweep, "\n\n".join([sweeps.to_text(sweep), *told]))
    compose.save(plan.given, folder)
    scenario = build.scenario(settings.game)
    provenance.write(folder, settings, scenario, plan.command, update=None)
    print(f"written to {folder}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (without the program's name), and return the exit status."""
    return cli.main(__doc__, SweepSettings, prepare, carry_out, arguments)


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
    _check_columns(_KEY, asked, scenarios(_KEY, settings.game, asked)[0])
    _beside(settings)


def _under(key: str, name: str) -> str:
    """The key of that name below another, or at the top."""
    return f"{key}.{name}" if key else name


def _check_columns(key: str, asked: Any, scenario: Scenario) -> None:
    """Raise ValueError unless there is the column of the cost and, if one is given, that of the gain."""
    for axis in ("gain", "cost"):
        if axis == "cost" or asked.gain is not None:
            check_column(_under(key, f"{axis}"), getattr(asked, axis), scenario.game.columns)


def check_over(key: str, game: Any, asked: Any, least: int = 1) -> None:
    """Raise ValueError unless a parameter of the game that is one number is asked for, and values of it ascend.

    What is asked under `key` has `over` and `values`, of which there must be `least`.
    """
    _check_is_number(_under(key, "over"), game, asked.over)
    if len(asked.values) < least or list(asked.values) != sorted(set(asked.values)):
        many = {1: "one value", 2: "two values"}[least]
        raise ValueError(
            f"{_under(key, 'values')} is {list(asked.values)}; it must hold at least {many}, in ascending order"
        )


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


def check_less_is_better(key: str, name: str, columns: Mapping[str, Any]) -> None:
    """Raise ValueError for a column, under `key`, of which more is better."""
    verdict = columns[name].verdict
    if name == "utility" or (verdict is not None and not verdict.lower_is_better):
        raise ValueError(f"{key} is {name!r}; it must be a column in which less is better")


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
    sweep, told = _play(settings, {settings.learner.name: next(iter(learned.values()))} | _beside(settings))
    up_to = asked.values[len(asked.values) // 2] if asked.up_to is None else asked.up_to
    text = "\n\n".join([*(sweeps.conclusion(sweep, line, up_to) for line in sweep.learned), *told])
    print()
    _write(folder, sweep, text)


def _write(folder: Path, sweep: Sweep, text: str) -> None:
    """Draw it, write it and print the text."""
    from jaxdlb.evaluation.sweep_plot import frontier

    table, figure = sweeps.to_csv(sweep), frontier(sweep)  # all there is to say, before the first file
    figures = folder / comparison.FIGURES
    figures.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "sweep.txt", text + "\n")
    with named(figures / _FIGURE):
        figure.savefig(figures / _FIGURE)
    write_whole(folder / _TABLE, table)  # last: where it is, the others are
    print(text)


def scenarios(key: str, game: Any, asked: Any) -> list[Scenario]:
    """The game and its clusters at each of the `values` of the parameter `over` that are asked for under `key`.

    Raises:
        ValueError: a value that is refused, or another setting of the game.
    """
    found = []
    for index, value in enumerate(asked.values):
        with build.renamed(f"game.params.{asked.over}", _under(key, f"values[{index}]")):
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
    gain = asked.over if asked.gain is None else columns[asked.gain].header
    lines = [
        Line(
            name=label,
            kind=kind,
            gain=_gained(asked, [table[label] for table in tables]),
            cost=np.stack([table[label][asked.cost] for table in tables]),
            members=tuple(each[label] for each in names),
        )
        for label, kind in kinds.items()
    ]
    warnings = remarks.warnings_of(columns)
    means = (
        (label, {name: float(each[name].mean()) for name in warnings}) for at in tables for label, each in at.items()
    )
    found = Sweep(
        over=asked.over,
        values=tuple(asked.values),
        headers=(gain, columns[asked.cost].header),
        lines=tuple(lines),
        gains=asked.gain is not None,
        meaning=_meaning(settings.game.name, asked.over),
        bound=None if asked.gain is not None else _bound(at_values, settings.evaluation),
    )
    return found, remarks.warned(warnings, means)


def _meaning(game: str, over: str) -> str:
    """What the declaration of a parameter says of it; "" for one within a law, or a shorthand."""
    return next((each.meaning for each in describe(GAMES.find(game).params) if each.name == over), "")


def _gained(asked: Any, samples: Sequence[Samples]) -> np.ndarray:
    """The gain [values, seeds, episodes]; where no column is gained, the value itself."""
    if asked.gain is not None:
        return np.stack([each[asked.gain] for each in samples])
    shape = np.stack([each[asked.cost] for each in samples]).shape
    return np.broadcast_to(np.asarray(asked.values)[:, None, None], shape)


def _bound(at_values: Sequence[Scenario], settings: Any) -> Line | None:
    """What no policy's mean cost is below at each value; None where nothing is known of all, or it is no such bound."""
    asked, bound = settings.sweep, at_values[0].game.columns[settings.sweep.cost].bound
    if bound is None or not bound.is_least:
        return None
    samples = [bound_samples(each.game, each.test, **_sizes(settings, each))[asked.cost] for each in at_values]
    cost = np.stack(samples)[:, None]
    gain = np.broadcast_to(np.asarray(asked.values)[:, None, None], cost.shape)
    return Line(bound.of, "bound", gain, cost) if np.isfinite(cost).all() else None


def _sizes(settings: Any, scenario: Scenario) -> dict[str, Any]:
    """Which episodes are played at a value, and how long they are."""
    lengths = build.lengths(settings, scenario.entry)
    sizes = {"num_episodes": settings.num_episodes, "num_rounds": lengths.num_rounds, "warmup": lengths.warmup}
    return {"key": jax.random.key(settings.seed), **sizes}


def _samples(scenario: Scenario, settings: Any, groups: Mapping[str, Sequence[Policy]]) -> dict[str, Samples]:
    """The columns of each group of policies, [seeds, episodes]."""
    everyone = [policy for group in groups.values() for policy in group]
    samples, found = iter(evaluate_all(scenario.game, everyone, scenario.test, **_sizes(settings, scenario))), {}
    for label, group in groups.items():
        mine = [next(samples) for _ in group]
        found[label] = {column: np.stack([each[column] for each in mine]) for column in scenario.game.columns}
    return found


if __name__ == "__main__":
    cli.tune()
    sys.exit(main())
