"""Where the numbers in a folder come from: seeds, what the settings came to, versions, device and command lines.

This stands beside config.yaml and not in it. A run is resumed and evaluated again by its config, in which null means
"as the game has it": at another number of nodes that is another array, and an array in place of the null would be
refused there, as would a parameter beside the shorthand that set it.
"""

import contextlib
import dataclasses
import importlib.metadata
import json
import platform
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

import jaxdlb
from jaxdlb.parameters import declarations, kind_of
from jaxdlb.policies import Policy
from jaxdlb.writing import write_whole

from . import build, launchers
from .build import Scenario

FILE = "provenance.json"
_PACKAGES = ("jax", "jaxlib", "flax", "optax")
_FOLDERS = re.compile(r"(?<![\w.~/-])/+(?:[^/,'\"\]}]+/+)*")  # of an absolute path, down to its last name


def write(
    folder: Path,
    settings: Any,
    scenario: Scenario,
    command: str,
    *,
    update: int | None,
    further: Mapping[str, Any] | None = None,
) -> None:
    """Write provenance.json into `folder`; launches that are told of there already are kept.

    `command` is the command line of this launch, which begins at, or evaluates, what `update` updates have made, None
    where nothing learned takes part; `further` are settings that only this launcher comes to, by group.
    """
    launch = {"command": command, "update": update, "versions": versions(), "device": device()}
    told = {
        "seed": settings.seed,
        "num_seeds": settings.learner.num_seeds,
        "resolved": resolved(settings, scenario) | dict(further or {}),
        "launches": [*_launches(folder), launch],
    }
    write_whole(folder / FILE, json.dumps(told, indent=2, ensure_ascii=False) + "\n")


def resolved(settings: Any, scenario: Scenario) -> dict[str, Any]:
    """What the settings of game and evaluation came to, without nulls, as JSON-compatible data by group.

    `parameters` are those of the cluster that all others are drawn around, with a recorded input its held-out part;
    `game.default_params(**parameters)` makes them again.
    """
    lengths = build.lengths(settings.evaluation, scenario.entry)
    return {
        "game": {"name": settings.game.name, **values(scenario.game)},
        "parameters": values(scenario.params),
        "randomise": build.given_ranges(settings.game.randomise),
        "evaluation": {
            "seed": settings.evaluation.seed,
            "num_episodes": settings.evaluation.num_episodes,
            "num_rounds": lengths.num_rounds,
            "warmup": lengths.warmup,
        },
    }


def values(instance: Any) -> dict[str, Any]:
    """The fields of a dataclass that are not None, as JSON-compatible data.

    Arrays are nested lists, a law has its `kind`, a policy is its name.
    """
    declared = declarations(instance)
    laws = {name: each.laws for name, each in declared.items() if each.laws is not None}
    fields = {field.name: getattr(instance, field.name) for field in dataclasses.fields(instance)}
    return {
        name: {"kind": kind_of(laws[name], type(value)), **values(value)} if name in laws else _plain(value)
        for name, value in fields.items()
        if value is not None
    }


def command(module: str, overrides: Sequence[str]) -> str:
    """A command line as users give it, but for the folders of absolute paths, which tell of a machine and not of a run.

    Each stands as an ellipsis before the last name of its path.
    """
    return shlex.join([*launchers.words(module), *(_FOLDERS.sub("…/", text) for text in overrides)])


def versions() -> dict[str, str]:
    """The versions of Python, of the library, and of what it computes with."""
    of_packages = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return {"python": platform.python_version(), "jaxdlb": jaxdlb.__version__, **of_packages}


def device() -> dict[str, Any]:
    """What JAX computes on."""
    first, *_ = devices = jax.devices()
    return {"platform": first.platform, "kind": first.device_kind, "count": len(devices)}


def _plain(value: Any) -> Any:
    if isinstance(value, jax.Array | np.ndarray):
        return _numbers(np.asarray(value))
    if isinstance(value, Policy):
        return value.name
    return list(value) if isinstance(value, tuple) else value


def _numbers(array: np.ndarray) -> Any:
    """Nested lists, or a number, in the fewest digits that read back as the same array: 0.3 and not 0.30000001."""
    if array.dtype.kind != "f":
        return array.tolist()
    return np.array([float(str(each)) for each in array.ravel()]).reshape(array.shape).tolist()


def _launches(folder: Path) -> list[Any]:
    """The launches that a folder's file tells of; none where there is no such file, or it holds something else."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return list(json.loads((folder / FILE).read_text(encoding="utf-8"))["launches"])
    return []
