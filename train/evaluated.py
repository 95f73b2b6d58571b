"""Runs that have been compared with the heuristics, read back from their folders: nothing in these is ever executed."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxdlb import evaluation
from jaxdlb.evaluation import Evaluation, PolicyResult
from jaxdlb.evaluation.results import from_csv
from jaxdlb.evaluation.rollouts import Samples

from . import comparison, provenance, saved_config
from .loggers import Row, metrics_file

Flat = Mapping[str, Any]  # settings by dotted path


@dataclasses.dataclass(frozen=True)
class EvaluatedRun:
    """A run, or a later evaluation of one, and how its learner's policies did."""

    given: str  # the folder as it was given
    folder: Path
    result: Evaluation
    samples: Mapping[str, Samples]
    game: Flat  # its settings, with the name under `name`
    algorithm: Flat  # what was trained, and for how long
    task: str  # the same for all evaluations in the same game, on the same clusters
    episodes: Mapping[str, Any]  # which of them were played, and for how long
    seed: int
    num_seeds: int
    agent_rounds: int  # of training; 0 where the evaluation does not say
    held_out: Sequence[Row]  # the rows of held_out.csv, none of a later evaluation

    @property
    def learned(self) -> list[str]:
        """The names of the learner's policies, one a training seed, in the way to act that the conclusion is about."""
        row = self.result.learned[0]
        if row.num_seeds == 1:
            return [row.name]
        members = [each.name for each in self.result.results if each.part_of == row.name and each.num_seeds == 1]
        return sorted(members, key=lambda name: (len(name), name))  # by the seed's number

    @property
    def rules(self) -> list[PolicyResult]:
        """The rows of whom nothing was trained."""
        return [each for each in self.result.results if each.kind not in ("learned", "fresh")]


def read(given: str) -> EvaluatedRun:
    """The run in a folder.

    Raises:
        ValueError: the folder does not hold what a comparison writes, or holds no learned policy.
    """
    folder = Path(given)
    found = _json(given, "evaluation.json")
    told = _json(given, provenance.FILE)
    saved = _saved(given)
    try:
        result = evaluation.from_json(found)
        samples = from_csv(_text(given, "samples.csv"))
        resolved = told["resolved"]
        run = EvaluatedRun(
            given=given,
            folder=folder,
            result=result,
            samples=samples,
            game=_settings(saved["game"]),
            algorithm=_algorithm(saved),
            task=json.dumps([resolved[name] for name in ("game", "parameters", "randomise")], sort_keys=True),
            episodes=dict(resolved["evaluation"]),
            seed=int(told["seed"]),
            num_seeds=int(told["num_seeds"]),
            agent_rounds=int(result.settings.get(comparison.TRAINED, 0)),
            held_out=_held_out(folder),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{given} cannot be read ({type(error).__name__}); it must be what a run wrote") from None
    _check(run)
    return run


def _check(run: EvaluatedRun) -> None:
    """Raise ValueError unless there is a learned policy, and samples of all who played the episodes."""
    if not run.result.learned or not run.learned:
        raise ValueError(
            f"{run.given} holds no learned policy; it must be the folder of a run, or of an evaluation of one"
        )
    for name in (*run.learned, *(each.name for each in run.rules)):
        own = run.samples.get(name, {})
        if any(len(own.get(column, ())) != run.result.num_episodes for column in run.result.columns):
            raise ValueError(
                f"{run.given} does not hold all samples of {name}; its samples.csv must be that of its evaluation.json"
            )


def flat(settings: Mapping[str, Any], parent: str = "") -> dict[str, Any]:
    """Settings by their dotted paths; lists are values."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        path = f"{parent}{name}"
        found |= flat(value, f"{path}.") if isinstance(value, Mapping) else {path: value}
    return found


def labels(settings: Sequence[Flat]) -> list[str]:
    """What to call each of several settings that differ: its `name`, and what not all of that name have alike."""
    called = [_label(each, [other for other in settings if other["name"] == each["name"]]) for each in settings]
    return [name if called.count(name) == 1 else f"{name} #{place + 1}" for place, name in enumerate(called)]


def _label(own: Flat, alike: Sequence[Flat]) -> str:
    told = {path: value for path, value in own.items() if any(other.get(path) != value for other in alike)}
    differing = ", ".join(f"{path}={_plain(value)}" for path, value in told.items() if value is not None)
    return f"{own['name']}({differing})" if differing else str(own["name"])


def _plain(value: Any) -> str:
    return f"[{','.join(map(_plain, value))}]" if isinstance(value, list) else str(value)


def _algorithm(saved: Mapping[Any, Any]) -> dict[str, Any]:
    learner = {name: value for name, value in _settings(saved["learner"]).items() if name != "num_seeds"}
    network = {f"network.{name}": value for name, value in flat(saved["network"]).items()}
    return learner | network | {"total_agent_rounds": saved["total_agent_rounds"]}


def _settings(saved: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a group, which have a name."""
    return {"name": saved["name"], **flat(saved)}


def _held_out(folder: Path) -> list[Row]:
    rows = metrics_file.read(folder, metrics_file.HELD_OUT)
    if any(name not in row for row in rows for name in metrics_file.LEADING):
        raise ValueError(f"{metrics_file.HELD_OUT} lacks some of {', '.join(metrics_file.LEADING)}")
    return rows


def _json(given: str, name: str) -> Any:
    text = _text(given, name)
    try:
        return json.loads(text)
    except ValueError:
        raise ValueError(f"{Path(given) / name} is no JSON; it must be what a run wrote") from None


def _saved(given: str) -> dict[Any, Any]:
    _text(given, saved_config.FILE)
    saved = saved_config.plain(Path(given) / saved_config.FILE)
    return saved if isinstance(saved, dict) else {}


def _text(given: str, name: str) -> str:
    try:
        return (Path(given) / name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise ValueError(
            f"{given} holds no {name} that can be read; it must be the folder of a run that was compared with the "
            "heuristics, or of an evaluation of one"
        ) from None
