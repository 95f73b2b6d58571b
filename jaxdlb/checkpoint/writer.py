"""Writes checkpoints in the background, completely or not at all."""

import dataclasses
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxtyping import PyTree

from jaxdlb.checkpoint.packing import FORMAT, PathLike, checksum, pack, quiet
from jaxdlb.checkpoint.reader import steps
from jaxdlb.networks import NetworkConfig, suited


class Writer:
    """Writes checkpoints into `folder`, in the background; keeps the `num_latest` newest and the best by utility.

    `about`, which must be serialisable as JSON, is saved with each step. Close the writer, or use it as a context
    manager; either waits for a step that is still being written.
    """

    def __init__(self, folder: PathLike, about: Mapping[str, Any], *, num_latest: int = 2) -> None:
        import orbax.checkpoint as ocp
        from orbax.checkpoint import checkpoint_managers as managers

        keep = managers.AnyPreservationPolicy(
            [managers.LatestN(num_latest), managers.BestN(get_metric_fn=_utility, n=1)]
        )
        options = ocp.CheckpointManagerOptions(
            preservation_policy=keep,
            best_fn=_utility,  # the preservation policy decides, but without this orbax does not save the utility
            cleanup_tmp_directories=True,
        )
        self._about = dict(about)
        with quiet():
            self._manager = ocp.CheckpointManager(Path(folder).absolute(), options=options)

    def save(
        self, step: int, state: PyTree, policy: PyTree, utility: float, about: Mapping[str, Any] | None = None
    ) -> None:
        """Start writing a step; returns once the arrays have been copied from the device.

        `utility` is the score by which the best step is chosen, which is kept and whose policy is loaded by default;
        `about` is saved with this step alone.

        Raises:
            ValueError: the utility is not finite, so that steps cannot be ranked by it.
        """
        import orbax.checkpoint as ocp

        if not math.isfinite(utility):
            raise ValueError(f"utility is {utility}; it must be finite, since checkpoints are ranked by it")
        items = {"state": pack(state), "policy": pack(policy)}
        checksums = {name: checksum(arrays) for name, arrays in items.items()}
        own = {"format": FORMAT, "step": step, "utility": utility, "checksums": checksums}
        arguments = {name: ocp.args.StandardSave(arrays) for name, arrays in items.items()}
        composite = ocp.args.Composite(about=ocp.args.JsonSave({**own, **self._about, **(about or {})}), **arguments)
        with quiet():
            self._manager.save(step, args=composite, metrics={"utility": utility})

    def wait(self) -> None:
        """Block until every step whose writing has started is on disk."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        with quiet():
            self._manager.close()

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _utility(metrics: Mapping[str, float]) -> float:
    return metrics["utility"]


def describe(
    game: Any, network: NetworkConfig, share_parameters: bool, num_seeds: int, *, found_as: str | None = None
) -> dict[str, Any]:
    """What `load_policy` must know besides the arrays, for a `Writer`'s `about`.

    `found_as` is the name to give `jaxdlb.make` if it is not the game's own: package.module:ENTRY.
    """
    return {
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
