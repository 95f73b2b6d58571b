"""Writes checkpoints in the background, completely or not at all."""

import contextlib
import dataclasses
import json
import math
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from jaxdlb.checkpoint.packing import FORMAT, PathLike, alone, checksum, pack, quiet
from jaxdlb.checkpoint.reader import steps
from jaxdlb.checks import COUNT, POSITIVE_COUNT, check_path, check_type, check_whole, shown
from jaxdlb.networks import STOCHASTIC, NetworkConfig, suited

_DELETED = ".deleted"  # in a checkpoints folder: steps on their way out, which no longer count
_OS_ERROR = re.compile(r"os_error_code='(\d+)'")  # how tensorstore tells of the operating system's errors


class Writer:
    """Writes checkpoints into `folder`, in the background; keeps the `num_latest` newest and the best by utility.

    `about`, which must be serialisable as JSON, is saved with each step. Close the writer, or use it as a context
    manager; either waits for a step that is still being written.

    A step that is not kept is renamed before its files are deleted, so that it is whole under its name or not there.
    What a process that was killed left of either, writing or deleting, the next writer removes.

    Raises:
        OSError: from every method, if a step could not be written; the steps before it are kept.
        ValueError: `folder` is no path or there is a file, `about` is no such mapping, or `num_latest` is below 1.
    """

    def __init__(self, folder: PathLike, about: Mapping[str, Any], *, num_latest: int = 2) -> None:
        import orbax.checkpoint as ocp
        from orbax.checkpoint import checkpoint_managers as managers

        _check(folder, about, num_latest)

        keep = managers.AnyPreservationPolicy(
            [managers.LatestN(num_latest), managers.BestN(get_metric_fn=_utility, n=1)]
        )
        options = ocp.CheckpointManagerOptions(
            preservation_policy=keep,
            best_fn=_utility,  # the preservation policy decides, but without this orbax does not save the utility
            cleanup_tmp_directories=True,
            create=False,  # which orbax wants where a process writes alone
            multiprocessing_options=alone(),
            todelete_subdir=_DELETED,
        )
        Path(folder).mkdir(parents=True, exist_ok=True)
        self._about = dict(about)
        self._folder = Path(folder)
        self._newest: int | None = None  # whose writing has started
        self._sweep()
        self._quiet = contextlib.ExitStack()  # until it is closed: orbax writes, and logs, in threads of its own
        self._quiet.enter_context(quiet())
        with self._written():
            self._manager = ocp.CheckpointManager(self._folder.absolute(), options=options)

    def save(
        self, step: int, state: PyTree, policy: PyTree, utility: float, about: Mapping[str, Any] | None = None
    ) -> None:
        """Start writing a step; returns once the arrays have been copied from the device.

        `utility` is the score by which the best step is chosen, which is kept and whose policy is loaded by default;
        `about` is saved with this step alone.

        Raises:
            ValueError: the step is no whole number; the utility is not finite, so that steps cannot be ranked by it; or
                the state or the policy is no pytree of arrays.
        """
        import orbax.checkpoint as ocp

        check_whole("step", step, COUNT)
        _check_utility(utility)
        _check_arrays("state", state)
        _check_arrays("policy", policy)
        items = {"state": pack(state), "policy": pack(policy)}
        checksums = {name: checksum(arrays) for name, arrays in items.items()}
        own = {"format": FORMAT, "step": step, "utility": utility, "checksums": checksums}
        told = {**own, **self._about, **(about or {})}
        arguments = {name: ocp.args.StandardSave(arrays) for name, arrays in items.items()}
        composite = ocp.args.Composite(about=ocp.args.JsonSave(told), **arguments)
        self.wait()
        self._newest = step
        with self._written():
            self._manager.save(step, args=composite, metrics={"utility": utility})

    def wait(self) -> None:
        """Block until every step whose writing has started is on disk, and those that it replaces are gone."""
        with self._written():
            self._manager.wait_until_finished()
        self._sweep()

    def close(self) -> None:
        """Wait, and end the threads that write."""
        with self._quiet, self._written():
            self._manager.close()
        self._sweep()

    def _sweep(self) -> None:
        """Remove the steps that have been renamed to be deleted."""
        for step in steps(self._folder / _DELETED):
            shutil.rmtree(self._folder / _DELETED / str(step), ignore_errors=True)
        with contextlib.suppress(OSError):  # it was not there, or holds something else
            (self._folder / _DELETED).rmdir()

    @contextlib.contextmanager
    def _written(self) -> Iterator[None]:
        """Have an error of the operating system, whichever library tells of it, be an OSError that names the step."""
        try:
            yield
        except Exception as error:
            if (code := _os_error(error)) is None:
                raise
            place = self._folder if self._newest is None else self._folder / str(self._newest)
            raise OSError(code, os.strerror(code), str(place)) from error

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _os_error(error: BaseException | None) -> int | None:
    """The number of the operating system's error that an exception is, tells of, or follows from."""
    while error is not None:
        if isinstance(error, OSError) and error.errno is not None:
            return error.errno
        if told := _OS_ERROR.search(str(error)):
            return int(told[1])
        error = error.__cause__ or error.__context__
    return None


def _check(folder: Any, about: Any, num_latest: Any) -> None:
    """Raise ValueError for what a writer cannot be made with."""
    check_path("folder", folder)
    present = next(each for each in (Path(folder), *Path(folder).absolute().parents) if each.exists())
    if not present.is_dir():
        raise ValueError(f"folder is {str(folder)!r}; it must be a folder, and {str(present)!r} is a file")
    check_type("about", about, Mapping, "a mapping that JSON can hold")
    try:
        json.dumps(dict(about))
    except (TypeError, ValueError) as error:
        raise ValueError(f"about is {shown(about)}; it must be a mapping that JSON can hold ({error})") from None
    check_whole("num_latest", num_latest, POSITIVE_COUNT)


def _check_utility(utility: Any) -> None:
    rank = "it must be finite, since checkpoints are ranked by it"
    if isinstance(utility, bool | str) or np.ndim(utility) or utility is None:
        raise ValueError(f"utility is {shown(utility)}; it must be a number")
    if not math.isfinite(utility):
        raise ValueError(f"utility is {utility}; {rank}")


def _check_arrays(name: str, tree: Any) -> None:
    leaves = jax.tree.leaves(tree)
    bad = next((leaf for leaf in leaves if not isinstance(leaf, jax.Array | np.ndarray | np.generic)), None)
    if bad is not None or not leaves:
        holds = "nothing" if bad is None else shown(bad)
        raise ValueError(f"{name} holds {holds}; it must be a pytree of arrays, at least one")


def _utility(metrics: Mapping[str, float]) -> float:
    return metrics["utility"]


def describe(
    game: Any,
    network: NetworkConfig,
    share_parameters: bool,
    num_seeds: int,
    *,
    found_as: str | None = None,
    fixed: tuple[Sequence[int], Any] = ((), None),
    heads: str = STOCHASTIC,
) -> dict[str, Any]:
    """What `load_policy` must know besides the arrays, for a `Writer`'s `about`.

    `found_as` is the name to give `jaxdlb.make` if it is not the game's own: package.module:ENTRY. `fixed` are the
    agents that a heuristic played all along, and that heuristic: its name, or {name: …} with options. `heads` is the
    kind of the actor's heads, which is noted unless it is the one that draws.
    """
    agents, played_by = fixed
    told: dict[str, Any] = {"fixed": {"agents": list(agents), "policy": played_by}} if agents else {}
    told |= {} if heads == STOCHASTIC else {"heads": heads}
    return told | {
        "game": {"name": found_as or game.name, "sizes": dataclasses.asdict(game)},
        "network": dataclasses.asdict(suited(game, network)),
        "share_parameters": share_parameters,
        "num_seeds": num_seeds,
    }


def set_aside_after(folder: PathLike, step: int, destination: PathLike) -> list[int]:
    """Move every step later than `step` to `destination` and return their numbers: a resumed run will rewrite them."""
    later = [other for other in steps(folder) if other > step]
    for other in later:
        target = Path(destination) / str(other)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            shutil.rmtree(target)
        shutil.move(Path(folder) / str(other), target)
    return later
