"""Weights & Biases: config, metrics, the evaluation's table and figures, and the checkpoint as an artifact."""

import importlib.util
import itertools
import os
import secrets
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxdlb.checks import check_choice
from jaxdlb.writing import write_whole

from .base import Progress, Row

MODES = ("online", "offline", "disabled")
_TIMES = ("agent_rounds", "seconds")  # of rows held out, which those of training have too
_ID_FILE = "wandb_run_id.txt"  # in the run's folder: a resumed run goes on under the same id


class WandbLogger:
    """Writes to wandb; everything but metrics that exist anyway is written once, at the end."""

    def __init__(self, folder: Path, settings: Any, config: Mapping[str, Any]) -> None:
        import wandb

        self._upload_checkpoint = settings.upload_checkpoint
        mode = mode_of(settings)
        self._run = wandb.init(
            project=settings.project,
            entity=settings.entity,
            group=settings.group,
            tags=list(settings.tags),
            name=folder.name,
            id=_run_id(folder),
            resume="allow" if mode == "online" else None,
            dir=folder.absolute(),
            mode=mode,  # type: ignore[arg-type]
            config=dict(config),
            settings=wandb.Settings(console="off", silent=True, disable_git=True),
        )

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
        images = {f"figures/{name}": wandb.Image(str(path)) for name, path in figures.items()}
        self._run.log({"evaluation": wandb.Table(columns=columns, data=rows)} | images)
        for result in evaluation.results:
            for name, estimate in result.columns.items():
                self._run.summary[f"evaluation/{result.name}/{name}"] = estimate.mean

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


def _run_id(folder: Path) -> str:
    path = folder / _ID_FILE
    if not path.exists():
        write_whole(path, secrets.token_hex(4))
    return path.read_text(encoding="utf-8")


def _over_seeds(rows: Sequence[Row]) -> dict[str, float]:
    """The metrics of one update: their means over seeds and, where there are several, those of each."""
    names = [name for name in rows[0] if name not in ("update", "seed")]
    means = {name: statistics.fmean(row[name] for row in rows) for name in names}
    if len(rows) == 1:
        return means
    return means | {f"seed_{row['seed']:.0f}/{name}": row[name] for row in rows for name in names}


def _table(results: Iterable[Any]) -> tuple[list[str | int], list[list[Any]]]:
    """Header and rows: a policy's name, its kind, and mean and interval of each column."""
    results = list(results)
    parts = ("mean", "low", "high")
    columns = [f"{name} {part}" for name in results[0].columns for part in parts]
    rows = [[r.name, r.kind, *(getattr(e, part) for e in r.columns.values() for part in parts)] for r in results]
    return ["policy", "kind", *columns], rows
