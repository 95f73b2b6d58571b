"""Suites: many runs in one command, one after another, each in a folder of its own below one."""

import dataclasses
import functools
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from . import compose, launch, paths, resuming, writable

Prepare = Callable[[Path, Sequence[str]], Callable[[], Any]]  # from a folder and a command line: what is to be done


@dataclasses.dataclass(frozen=True)
class Run:
    """A cluster of the suite, and what is to be done for it."""

    name: str
    folder: Path
    carry_out: Callable[[], Any] | None  # None where its result is there already


def split(overrides: Sequence[str], own: Sequence[str]) -> tuple[list[str], list[str]]:
    """A command line parted into the keys of the launcher itself, and those that go to every run."""
    mine = [text for text in overrides if text.partition("=")[0] in own]
    return mine, [text for text in overrides if text not in mine]


def read(path: str) -> tuple[list[str], dict[str, list[str]]]:
    """What all runs have in common, and each cluster's own keys, by name.

    Raises:
        ValueError: a file that cannot be read, or is no suite.
    """
    found = Path(path) if Path(path).exists() else paths.ROOT / path
    try:
        content: Any = OmegaConf.to_container(OmegaConf.load(found))
        return list(content["common"]), {str(name): list(keys) for name, keys in content["clusters"].items()}
    except (OSError, OmegaConfBaseException, KeyError, TypeError, AttributeError, ValueError) as error:
        reason = type(error).__name__
        raise ValueError(f"suite is {path!r}; it must be a YAML file with common and clusters ({reason})") from None


def chosen(settings: Any, clusters: Mapping[str, Any]) -> list[str]:
    """The names of the clusters to run: those of `only`, or all; raises ValueError for one that is not there."""
    wanted = list(clusters) if settings.only is None else list(settings.only)
    for name in wanted:
        if name not in clusters:
            raise ValueError(f"only holds {name!r}; it must hold names of {settings.suite}: {', '.join(clusters)}")
    return wanted


def runs(output: str, overrides: Mapping[str, Sequence[str]], result: str, prepare: Prepare) -> tuple[Path, list[Run]]:
    """The folder of all runs, and a run for each cluster's command line; one whose `result` is there is not prepared.

    Raises:
        ValueError: a folder that cannot be written, and whatever `prepare` refuses.
    """
    writable.check_folder("output", Path(output))
    folders = {name: Path(output) / re.sub(r"[^\w.]+", "_", name) for name in overrides}
    done = [name for name, folder in folders.items() if (folder / result).exists()]
    return Path(output), [
        Run(name, folder, None if name in done else prepare(folder, overrides[name]))
        for name, folder in folders.items()
    ]


def training(folder: Path, overrides: Sequence[str]) -> Callable[[], Any]:
    """Trains and compares on a cluster, or goes on with it."""
    given = [*overrides, f"run_dir={folder}", f"resume={resuming.AUTO}"]
    return functools.partial(launch.execute, launch.prepare(compose.from_conf(given), given))


def carry_out(runs: Sequence[Run]) -> None:
    """Run what has not been run, one after another."""
    for number, run in enumerate(runs):
        print(f"{run.name} ({number + 1} of {len(runs)})", file=sys.stderr, flush=True)
        if run.carry_out is not None:
            run.carry_out()
            jax.clear_caches()
