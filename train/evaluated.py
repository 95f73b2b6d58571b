"""Runs that have been compared with the heuristics, read back from their folders: nothing in these is ever executed."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from jaxdlb import evaluation
from jaxdlb.evaluation import Evaluation, PolicyResult
from jaxdlb.evaluation.results import from_csv
from jaxdlb.evaluation.rollouts import Samples

from . import compose, provenance
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
        return [each for each in self.result.results if each.kind != "learned"]

    @property
    def held_out(self) -> list[Row]:
        """The rows of held_out.csv, none of a later evaluation."""
        return metrics_file.read(self.folder, metrics_file.HELD_OUT)


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
            game=flat(saved["game"]),
            algorithm=_algorithm(saved),
            task=json.dumps([resolved[name] for name in ("game", "parameters", "randomise")], sort_keys=True),
            episodes=resolved["evaluation"],
            seed=told["seed"],
            num_seeds=told["num_seeds"],
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{given} cannot be read ({type(error).__name__}); it must be what a run wrote") from None
    if not result.learned:
        raise ValueError(f"{given} holds no learned policy; it must be the folder of a run, or of an evaluation of one")
    for name in (*run.learned, *(each.name for each in run.rules)):
        if name not in samples:
            raise ValueError(f"{given} holds no samples of {name}; its samples.csv must be that of its evaluation.json")
    return run


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
    learner = {name: value for name, value in flat(saved["learner"]).items() if name != "num_seeds"}
    network = {f"network.{name}": value for name, value in flat(saved["network"]).items()}
    return learner | network | {"total_agent_rounds": saved["total_agent_rounds"]}


def _json(given: str, name: str) -> Any:
    text = _text(given, name)
    try:
        return json.loads(text)
    except ValueError:
        raise ValueError(f"{Path(given) / name} is no JSON; it must be what a run wrote") from None


def _saved(given: str) -> dict[Any, Any]:
    """The settings as they were saved: interpolations, should there be any, stay text."""
    text = _text(given, compose.SAVED)
    try:
        saved = OmegaConf.to_container(OmegaConf.create(text), resolve=False)
    except Exception as error:
        where = Path(given) / compose.SAVED
        raise ValueError(f"{where} cannot be read ({type(error).__name__}); it must be what a run saved") from None
    return saved if isinstance(saved, dict) else {}


def _text(given: str, name: str) -> str:
    try:
        return (Path(given) / name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise ValueError(
            f"{given} holds no {name} that can be read; it must be the folder of a run that was compared with the "
            "heuristics, or of an evaluation of one"
        ) from None
