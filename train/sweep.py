"""The comparison as one parameter of the game is swept: `evaluation.sweep`."""

import copy
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxdlb import checkpoint
from jaxdlb.evaluation import sweep as sweeps
from jaxdlb.evaluation.rollouts import evaluate_all
from jaxdlb.evaluation.sweep import Line, Sweep
from jaxdlb.policies import Policy
from jaxdlb.writing import write_whole
from train import build, comparison, compose
from train.build import Scenario

_KEY = "evaluation.sweep"


def check(settings: Any) -> None:
    """Check everything that is asked of a sweep; writes nothing.

    Raises:
        ValueError: an unknown parameter or column, values that are refused or do not ascend, or no such run.
    """
    asked = settings.evaluation.sweep
    if asked.over is None:
        return
    if not asked.values or list(asked.values) != sorted(set(asked.values)):
        raise ValueError(f"{_KEY}.values is {list(asked.values)}; it must hold at least one value, in ascending order")
    if not isinstance(getattr(settings.game.params, asked.over, []), int | float | None):
        known = [name for name, each in vars(settings.game.params).items() if isinstance(each, int | float | None)]
        raise ValueError(f"{_KEY}.over is {asked.over!r}; it must be one of {', '.join(known)}")
    columns = _scenarios(settings)[0].game.columns
    for axis in ("gain", "cost"):
        if getattr(asked, axis) not in columns:
            raise ValueError(f"{_KEY}.{axis} is {getattr(asked, axis)!r}; it must be one of {', '.join(columns)}")
    for folder in asked.beside:
        checkpoint.locate(folder)


def execute(settings: Any, learned: comparison.Learned, folder: Path) -> None:
    """Play, draw and write the sweep, if one is asked for; prints what comes of it."""
    asked = settings.evaluation.sweep
    if asked.over is None:
        return
    from jaxdlb.evaluation.sweep_plot import frontier

    sweep = _play(settings, {settings.learner.name: next(iter(learned.values()))} | _beside(settings))
    up_to = asked.values[len(asked.values) // 2] if asked.up_to is None else asked.up_to
    text = "\n\n".join(sweeps.conclusion(sweep, line, up_to) for line in sweep.learned)
    figures = folder / comparison.FIGURES
    figures.mkdir(parents=True, exist_ok=True)
    frontier(sweep).savefig(figures / "sweep.png")
    write_whole(folder / "sweep.csv", sweeps.to_csv(sweep))
    write_whole(folder / "sweep.txt", text + "\n")
    print(f"\n{text}")


def _scenarios(settings: Any) -> list[Scenario]:
    """The game and its clusters at each value."""
    asked, scenarios = settings.evaluation.sweep, []
    for value in asked.values:
        game = copy.deepcopy(settings.game)
        setattr(game.params, asked.over, value)
        setattr(game.randomise, asked.over, None)
        scenarios.append(build.scenario(game))
    return scenarios


def _beside(settings: Any) -> dict[str, Sequence[Policy]]:
    """The policies of the other runs, by the names of their learners."""
    scenario, found = build.scenario(settings.game), {}
    for path in settings.evaluation.sweep.beside:
        located = checkpoint.locate(path)
        name = compose.settings(compose.from_run(located.folder.parent, [], type(settings)), []).learner.name
        label = name if name != settings.learner.name and name not in found else f"{name} of {path}"
        learned = comparison.learned(located.folder, scenario, settings.evaluation, located.step)
        found[label] = next(iter(learned.values()))
    return found


def _play(settings: Any, learned: Mapping[str, Sequence[Policy]]) -> Sweep:
    """Every policy in the same episodes at each value; the rules are tuned for it."""
    asked, tables, names = settings.evaluation.sweep, [], []
    for value, scenario in zip(asked.values, scenarios := _scenarios(settings), strict=True):
        print(f"{asked.over} {value:g}", file=sys.stderr, flush=True)
        rules = {name: [rule] for name, rule in comparison.labelled_heuristics(scenario, settings.evaluation).items()}
        groups = {**learned, **rules}
        tables.append(_samples(scenario, settings.evaluation, groups))
        names.append({label: group[0].name if len(group) == 1 else label for label, group in groups.items()})
    kinds = {label: group[0].kind for label, group in groups.items()}
    headers = tuple(scenarios[0].game.columns[axis].header for axis in (asked.gain, asked.cost))
    lines = [
        Line(
            name=label,
            kind=kind,
            gain=np.stack([table[label][0] for table in tables]),
            cost=np.stack([table[label][1] for table in tables]),
            members=tuple(each[label] for each in names),
        )
        for label, kind in kinds.items()
    ]
    return Sweep(asked.over, tuple(asked.values), (headers[0], headers[1]), tuple(lines))


def _samples(
    scenario: Scenario, settings: Any, groups: Mapping[str, Sequence[Policy]]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Gain and cost of each group of policies, [seeds, episodes]."""
    lengths, asked = build.lengths(settings, scenario.entry), settings.sweep
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
        found[label] = (np.stack([each[asked.gain] for each in mine]), np.stack([each[asked.cost] for each in mine]))
    return found
