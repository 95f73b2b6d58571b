"""Who listens to a run; the group `logger` chooses. Progress and metrics.csv there always are."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jaxdlb.checks import check_choice

from .base import Logger, Progress, Row
from .console import Console

__all__ = ["Logger", "Progress", "Row", "check", "make"]


def check(settings: Any) -> None:
    """Raise ValueError if the logger chosen is unknown or cannot be had; writes nothing."""
    check_choice("logger.name", settings.name, tuple(_FURTHER))
    if settings.name == "wandb":
        from . import weights_and_biases

        weights_and_biases.check(settings)


def make(settings: Any, folder: Path, config: Mapping[str, Any]) -> list[Logger]:
    """The loggers of a run, `config` being all its settings as plain values."""
    return [Console(folder), *_FURTHER[settings.name](settings, folder, config)]


def _wandb(settings: Any, folder: Path, config: Mapping[str, Any]) -> list[Logger]:
    from .weights_and_biases import WandbLogger  # imported only when chosen

    return [WandbLogger(folder, settings, config)]


_FURTHER: dict[str, Callable[[Any, Path, Mapping[str, Any]], list[Logger]]] = {
    "console": lambda settings, folder, config: [],
    "wandb": _wandb,
}
