"""What a run may be resumed with, and `resume=auto`, by which one command line starts a run or goes on with it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from jaxdlb import checkpoint

from . import comparison, compose, saved_config, sweep, tradeoff
from .settings import Settings

AUTO = "auto"  # resume=./auto is a folder of that name
FIXED = ("game", "learner", "network", "seed", "across")  # what a resumed run cannot change


def automatic(given: DictConfig, overrides: Sequence[str]) -> tuple[DictConfig, Path | None]:
    """What to train with where `given` says resume=auto, and the folder of the run to go on with; None: it starts.

    Raises:
        ValueError: `run_dir` is not given, `resume_step` is, or the folder holds something else or another run.
    """
    if given.run_dir is None:
        raise ValueError(f"run_dir is null; it must be given with resume={AUTO}, as the folder to start or go on in")
    if given.resume_step is not None:
        raise ValueError(
            f"resume_step is {given.resume_step}; it must not be given with resume={AUTO}, which goes on from the "
            f"newest (resume={given.run_dir} takes it)"
        )
    folder = Path(given.run_dir)
    goes_on = bool(checkpoint.steps(folder / checkpoint.FOLDER))
    if goes_on or (folder / saved_config.FILE).exists():
        saved = compose.from_run(folder, saved_config.code(overrides), Settings, resumed=True)
        check_same(plain(saved), plain(given))
    given = given.copy()
    given.resume = None
    return given, folder if goes_on else None


def check_same(saved: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Raise ValueError if what is given, as plain values, makes another run of the one that saved its settings."""
    for key in FIXED:
        if difference := _difference(key, saved[key], given[key]):
            raise ValueError(f"{difference} in a run that is resumed")


def is_evaluated(folder: Path, settings: Any, agent_rounds: int) -> bool:
    """Whether a run's folder holds all of the comparison that its settings ask for, after so much training."""
    if not settings.evaluation.enabled:
        return True
    if settings.across.over is not None:
        return tradeoff.is_written(folder, agent_rounds)
    try:
        found = json.loads((folder / comparison.JSON).read_text(encoding="utf-8"))
        told, has_price = found["settings"][comparison.TRAINED], found.get("staleness") is not None
    except (OSError, ValueError, KeyError, TypeError):
        return False
    if settings.evaluation.fresh_news and not has_price:
        return False
    return told == agent_rounds and (settings.evaluation.sweep.over is None or sweep.is_written(folder))


def plain(given: DictConfig) -> dict[str, Any]:
    """Settings as plain values, resolved."""
    container = OmegaConf.to_container(given, resolve=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def _difference(key: str, before: Any, after: Any) -> str | None:
    """The first key at or below `key` at which two plain values differ, as the start of a sentence."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        names = [*after, *(name for name in before if name not in after)]
        below = (_difference(f"{key}.{name}", before.get(name), after.get(name)) for name in names)
        return next(filter(None, below), None)
    return None if before == after else f"{key} is {after!r}; it must stay {before!r}"
