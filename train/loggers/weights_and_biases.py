"""Weights & Biases: settings, metrics, the evaluation's table and figures, and the checkpoint as an artifact."""

import contextlib
import importlib.util
import itertools
import json
import os
import secrets
import statistics
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from jaxdlb.checks import check_choice
from jaxdlb.evaluation import Evaluation
from jaxdlb.writing import write_whole

from .. import provenance
from . import names
from .base import Progress, Row

MODES = ("online", "offline", "disabled")
_TIMES = ("agent_rounds", "seconds")  # of rows held out, which those of training have too
_ID_FILE = "wandb_run_id.txt"  # in the run's folder: a resumed run goes on under the same id
_MOST_SHOWN = 8  # seeds, or members of a population, each with curves of its own
_LONGEST_NAME = 128  # characters
_LONGEST_LIST = 256  # of resolved parameters: a recorded workload is only counted
_NOT_TOLD = ("logger", "run_dir", "runs_dir")  # groups and keys that do not tell the runs of a sweep apart


class WandbLogger:
    """Writes to wandb; everything but metrics that exist anyway is written once, at the end."""

    def __init__(self, folder: Path, settings: Any, config: Mapping[str, Any]) -> None:
        import wandb

        self._upload_checkpoint = settings.upload_checkpoint
        mode, begun = mode_of(settings), (folder / _ID_FILE).exists()
        name, group = (None, None) if begun else _name_and_group(folder)  # which a run that goes on has already
        self._run = wandb.init(
            project=settings.project,
            entity=settings.entity,
            group=settings.group or group,
            tags=list(settings.tags),
            name=name,
            id=_run_id(folder),
            resume="allow" if mode == "online" else None,
            dir=folder.absolute(),
            mode=mode,  # type: ignore[arg-type]
            config=_without_nulls(config) | _resolved(folder),
            # what git would add to the commit, the differences to it among that, is not wandb's to upload
            settings=wandb.Settings(console="off", silent=True, disable_git=True, git_commit=_commit()),
        )
        self._run.define_metric("agent_rounds")
        self._run.define_metric("*", step_metric="agent_rounds")

    def start(self, update: int, num_updates: int) -> None:
        pass

    def interval(self, rows: Sequence[Row], progress: Progress) -> None:
        for update, group in itertools.groupby(rows, key=lambda row: row["update"]):
            self._run.log(_over_seeds(list(group)), step=int(update))
        self._run.log({"agent_rounds_per_second": progress.agent_rounds_per_second}, step=progress.update)

    def held_out(self, rows: Sequence[Row]) -> None:
        columns = [{name: value for name, value in row.items() if name not in _TIMES} for row in rows]
        logged = {f"held_out/{name}": value for name, value in _over_seeds(columns).items()}
        self._run.log(logged, step=int(rows[0]["update"]))

    def ended(self, message: str) -> None:
        self._run.summary["ended"] = message

    def evaluation(self, evaluation: Any, figures: Mapping[str, Path]) -> None:
        import wandb

        columns, rows = _table(evaluation.results)
        pictures = {
            f"figures/{name}": wandb.Video(str(path), format="gif") if path.suffix == ".gif" else wandb.Image(str(path))
            for name, path in figures.items()
        }
        self._run.log({"evaluation": wandb.Table(columns=columns, data=rows)} | pictures)
        self._run.summary.update(_summary(evaluation))

    def close(self, checkpoint: Path | None) -> None:
        import wandb

        if checkpoint is not None and self._upload_checkpoint and not self._run.disabled:
            artifact = wandb.Artifact(
                f"checkpoint-{self._run.id}", type="checkpoint", metadata={"step": checkpoint.name}
            )
            artifact.add_dir(str(checkpoint))
            self._run.log_artifact(artifact)
        self._run.finish()


def check(settings: Any) -> None:
    """Raise ValueError, before anything is written, where wandb is missing, its mode unknown or nobody logged in."""
    if importlib.util.find_spec("wandb") is None:
        raise ValueError("logger is 'wandb'; it must be installed for that: pip install wandb")
    mode = mode_of(settings)
    check_choice("logger.mode" if settings.mode is not None else "WANDB_MODE", mode, MODES)
    names.check(settings)
    if mode == "online":
        _check_logged_in()


def mode_of(settings: Any) -> str:
    """The config's mode, else that of WANDB_MODE, else online."""
    return settings.mode if settings.mode is not None else os.environ.get("WANDB_MODE") or "online"


def _check_logged_in() -> None:
    import wandb

    try:
        wandb.Api()  # on a terminal it asks for the key
    except wandb.errors.UsageError:
        raise ValueError(
            "logger.mode is 'online'; it must be offline or disabled where nobody is logged in (run `wandb login`)"
        ) from None


def _name_and_group(folder: Path) -> tuple[str, str | None]:
    """What to call a run, and what it belongs to: in a sweep its overrides and the sweep's folder, else its folder."""
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return folder.name, None
    told = [text for text in HydraConfig.get().overrides.task if _key(text).partition(".")[0] not in _NOT_TOLD]
    return _shortened(", ".join(told)) or folder.name, folder.absolute().parent.name


def _key(override: str) -> str:
    return override.lstrip("+~").partition("=")[0]


def _shortened(name: str) -> str:
    """A name without its middle where it is too long: what a sweep varies mostly stands at one of the ends."""
    half = (_LONGEST_NAME - 1) // 2
    return name if len(name) <= _LONGEST_NAME else f"{name[:half]}…{name[-half:]}"


def _without_nulls(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings, but for those that stand for what the game has: these are told as they were resolved."""
    return {
        name: _without_nulls(value) if isinstance(value, Mapping) else value
        for name, value in settings.items()
        if value is not None
    }


def _resolved(folder: Path) -> dict[str, Any]:
    """What provenance.json tells of the launch: what all settings came to, versions and device."""
    with contextlib.suppress(FileNotFoundError):
        told = json.loads((folder / provenance.FILE).read_text(encoding="utf-8"))
        launch = told["launches"][-1]
        return {"resolved": _brief(told["resolved"]), "versions": launch["versions"], "device": launch["device"]}
    return {}


def _brief(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _brief(each) for name, each in value.items()}
    return f"{len(value)} entries" if isinstance(value, list) and len(value) > _LONGEST_LIST else value


def _commit() -> str | None:
    """The commit that the working directory has checked out; None where it is no checkout, or there is no git."""
    try:
        told = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return told.stdout.strip()


def _summary(evaluation: Evaluation) -> dict[str, float | str]:
    """Means under keys that are the same whatever played: no tuned option of a heuristic is in a name."""
    learned, best = evaluation.learned[0], evaluation.best
    told: dict[str, float | str] = {"evaluation/best_heuristic/name": best.name}
    told |= {f"evaluation/learned/{name}": each.mean for name, each in learned.columns.items()}
    told |= {f"evaluation/best_heuristic/{name}": each.mean for name, each in best.columns.items()}
    told |= {f"evaluation/above_best_heuristic/{name}": each.mean for name, each in learned.differences.items()}
    if (price := evaluation.staleness) is not None:
        told |= {f"evaluation/lost_by_stale_news/{name}": each.mean for name, each in price.differences.items()}
    return told | {f"evaluation/{name}": learned.columns[name].mean for name in ("utility", *evaluation.verdicts)}


def _run_id(folder: Path) -> str:
    path = folder / _ID_FILE
    if not path.exists():
        write_whole(path, secrets.token_hex(4))
    return path.read_text(encoding="utf-8")


def _over_seeds(rows: Sequence[Row]) -> dict[str, float]:
    """The metrics of one update: means over seeds or members and, of several, those of each; of many, of the best."""
    names = [name for name in rows[0] if name not in ("update", "seed")]
    means = {name: statistics.fmean(row[name] for row in rows) for name in names}
    if len(rows) == 1:
        return means
    if len(rows) > _MOST_SHOWN:
        best = max(rows, key=lambda row: row["utility"])
        return means | {f"best/{name}": best[name] for name in names}
    return means | {f"seed_{row['seed']:.0f}/{name}": row[name] for row in rows for name in names}


def _table(results: Iterable[Any]) -> tuple[list[str | int], list[list[Any]]]:
    """Header and rows: a policy's name, its kind, and mean and interval of each column."""
    results = list(results)
    parts = ("mean", "low", "high")
    columns = [f"{name} {part}" for name in results[0].columns for part in parts]
    rows = [[r.name, r.kind, *(getattr(e, part) for e in r.columns.values() for part in parts)] for r in results]
    return ["policy", "kind", *columns], rows
