"""Checkpoints on disk: the learner's whole state, the policy apart from it, and what is needed to use either.

A checkpoints folder holds one folder a step, named by the number of updates made. In it lie `state` (everything that
training needs to go on), `policy` (what acting needs) and `about` (JSON: format, game, network, checksums). A step
appears under its name only when it is written whole.
"""

import contextlib
import dataclasses
import gc
import logging
import math
import os
import shutil
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from jaxdlb import games
from jaxdlb.networks import NetworkConfig, build_actor
from jaxdlb.policies.learned import LearnedPolicy, variable_shapes

FORMAT = 1
FOLDER = "checkpoints"  # its name in a run's folder
_ITEMS = ("state", "policy", "about")

PathLike = str | os.PathLike[str]
Arrays = dict[str, np.ndarray]


class CheckpointError(ValueError):
    """A folder that holds no checkpoint, one of something else, or one that is damaged."""


class _DamagedError(CheckpointError):
    """A step that was once whole."""


@dataclasses.dataclass(frozen=True)
class Location:
    """Where a user points to: a checkpoints folder, and a step where the path names one."""

    folder: Path
    step: int | None


class Writer:
    """Writes checkpoints into `folder`, in the background; keeps the `num_latest` newest and the best by utility.

    `about` (JSON-able) is saved with each of them. Close it, or use it as a context: a step still being written is
    finished then.
    """

    def __init__(self, folder: PathLike, about: Mapping[str, Any], *, num_latest: int = 2) -> None:
        import orbax.checkpoint as ocp
        from orbax.checkpoint import checkpoint_managers as managers

        keep = managers.AnyPreservationPolicy(
            [managers.LatestN(num_latest), managers.BestN(get_metric_fn=_utility, n=1)]
        )
        options = ocp.CheckpointManagerOptions(
            preservation_policy=keep,
            best_fn=_utility,  # the policy decides alone, but without this orbax does not write the utility down
            cleanup_tmp_directories=True,
        )
        self._about = dict(about)
        with _quiet():
            self._manager = ocp.CheckpointManager(Path(folder).absolute(), options=options)

    def save(self, step: int, state: PyTree, policy: PyTree, utility: float) -> None:
        """Begin to write a step; returns once the arrays have left the device.

        `utility` is the score by which the best step is kept.

        Raises:
            ValueError: a utility that is not finite, by which no step can be ranked.
        """
        import orbax.checkpoint as ocp

        if not math.isfinite(utility):
            raise ValueError(f"utility is {utility}; it must be finite, since checkpoints are ranked by it")
        parts = {"state": pack(state), "policy": pack(policy)}
        checksums = {name: checksum(arrays) for name, arrays in parts.items()}
        about = {"format": FORMAT, "step": step, "utility": utility, "checksums": checksums, **self._about}
        arguments = {name: ocp.args.StandardSave(arrays) for name, arrays in parts.items()}
        composite = ocp.args.Composite(about=ocp.args.JsonSave(about), **arguments)
        with _quiet():
            self._manager.save(step, args=composite, metrics={"utility": utility})

    def wait(self) -> None:
        """Return when every step begun is on disk."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        with _quiet():
            self._manager.close()

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _utility(metrics: Mapping[str, float]) -> float:
    return metrics["utility"]


def locate(path: PathLike, key: str = "checkpoint") -> Location:
    """The checkpoints that a path means: a run's folder, its checkpoints folder, or the folder of one step.

    `key` is what the path is called in messages.

    Raises:
        CheckpointError: nothing there, or nothing that is a checkpoint.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise CheckpointError(f"{key} is {str(path)!r}; it must be the folder of a run, and no such folder exists")
    if (folder / FOLDER).is_dir():
        folder = folder / FOLDER
    if steps(folder):
        return Location(folder, None)
    if folder.name.isdigit() and any((folder / item).is_dir() for item in _ITEMS):
        return Location(folder.parent, int(folder.name))
    raise CheckpointError(f"{key} is {str(path)!r}; it must be the folder of a run, and this holds no checkpoint")


def steps(folder: PathLike) -> list[int]:
    """The steps in a checkpoints folder, oldest first, damaged ones too; steps half written have other names."""
    entries = Path(folder).iterdir() if Path(folder).is_dir() else iter(())
    return sorted(int(entry.name) for entry in entries if entry.name.isdigit() and entry.is_dir())


def restore_state(path: PathLike, template: PyTree, step: int | None = None) -> tuple[int, PyTree]:
    """The step and the learner's state saved in it, with the structure, shapes and types of `template`.

    `template` is the state or its `jax.eval_shape`. Without `step`, and where the path names none, the newest.

    Raises:
        CheckpointError: no such step, one of another program, one that does not fit `template`, or a damaged one; then
            the message names the newest step that is whole. No other step is taken in its place.
    """
    folder, step = _choose(path, step)
    _, arrays = _read(folder, step, "state")
    return step, unpack(template, arrays, f"step {step} of {folder}")


def read_about(path: PathLike, step: int | None = None) -> dict[str, Any]:
    """What is saved beside the arrays of a step; the newest, if none is named.

    Raises:
        CheckpointError: as `restore_state`.
    """
    return _read(*_choose(path, step))[0]


def read_policy(path: PathLike, template: PyTree, step: int | None = None, seed: int | None = None) -> PyTree:
    """The policy's arrays with the structure of `template`; with `seed`, that entry of their leading axis.

    Raises:
        CheckpointError: as `restore_state`.
    """
    folder, step = _choose(path, step)
    _, arrays = _read(folder, step, "policy")
    if seed is not None:
        arrays = {name: array[seed] for name, array in arrays.items()}
    return unpack(template, arrays, f"step {step} of {folder}")


def load_policy(
    path: PathLike, *, game: Any = None, step: int | None = None, seed: int = 0, greedy: bool = False
) -> LearnedPolicy:
    """The policy of a checkpoint, ready to act: `policy.init(game)`, `policy.act(key, carry, observation, params)`.

    `path` is a run's folder, its checkpoints folder or the folder of one step; without a step the newest is taken.
    `game` defaults to the game that it was trained in; a pointer network acts at other numbers of nodes too. `seed` is
    which of several seeds, if the run trained more than one. `greedy` takes the likeliest action rather than draw one.

    Raises:
        CheckpointError: no checkpoint, one of something else, or a damaged one.
        ValueError: a policy that does not fit `game`, or a seed that the run did not train.
    """
    folder, step = _choose(path, step)
    about = _read(folder, step)[0]
    trained_in = games.make(about["game"]["name"], **about["game"]["sizes"])
    settings: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in about["network"].items()}
    network = NetworkConfig(**settings)
    shared, num_seeds = about["share_parameters"], about["num_seeds"]
    if not 0 <= seed < num_seeds:
        raise ValueError(f"seed is {seed}; it must be one of those trained, 0 to {num_seeds - 1}")
    template = variable_shapes(trained_in, build_actor(trained_in, network, shared))
    variables = read_policy(folder, template, step, None if num_seeds == 1 else seed)
    acting_in = trained_in if game is None else game
    return LearnedPolicy(
        game=acting_in, actor=build_actor(acting_in, network, shared), variables=variables, greedy=greedy
    )


def describe(game: Any, network: NetworkConfig, share_parameters: bool, num_seeds: int) -> dict[str, Any]:
    """What `load_policy` must know beside the arrays, as a `Writer`'s `about`."""
    return {
        "game": {"name": game.name, "sizes": dataclasses.asdict(game)},
        "network": dataclasses.asdict(network),
        "share_parameters": share_parameters,
        "num_seeds": num_seeds,
    }


def set_aside_after(folder: PathLike, step: int, destination: PathLike) -> list[int]:
    """Move every step later than `step` to `destination`, and return them: a resumed run writes them anew."""
    later = [other for other in steps(folder) if other > step]
    for other in later:
        target = Path(destination) / str(other)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            shutil.rmtree(target)
        shutil.move(Path(folder) / str(other), target)
    return later


def pack(tree: PyTree) -> Arrays:
    """A pytree as NumPy arrays by the path of each leaf; random keys as their data, empty arrays left out."""
    leaves = {name: jax.random.key_data(leaf) if _is_key(leaf) else leaf for name, leaf in _named_leaves(tree)}
    return {name: np.asarray(leaf) for name, leaf in jax.device_get(leaves).items() if np.size(leaf)}


def unpack(template: PyTree, arrays: Arrays, source: str) -> PyTree:
    """The reverse of `pack`, given the structure, shapes and types.

    Raises:
        CheckpointError: names the first leaf that is missing, superfluous, or of another shape or type.
    """
    wanted = dict(_named_leaves(template))
    names = {name for name, leaf in wanted.items() if math.prod(leaf.shape)}
    for name in sorted(names ^ set(arrays)):
        problem = "lacks" if name in names else "has"
        raise CheckpointError(
            f"{source} {problem} {name}, so it was made with other settings; give those it was made with"
        )
    leaves = [_unpack_leaf(name, leaf, arrays, source) for name, leaf in wanted.items()]
    return jax.tree.unflatten(jax.tree.structure(template), leaves)


def checksum(arrays: Arrays) -> int:
    """CRC-32 over names and bytes of all arrays."""
    value = 0
    for name in sorted(arrays):
        value = zlib.crc32(name.encode(), value)
        value = zlib.crc32(np.ascontiguousarray(arrays[name]).tobytes(), value)
    return value


def _unpack_leaf(name: str, leaf: Any, arrays: Arrays, source: str) -> jax.Array:
    plain = jax.eval_shape(jax.random.key_data, leaf) if _is_key(leaf) else leaf
    array = arrays.get(name, np.zeros(plain.shape, plain.dtype))
    if array.shape != plain.shape or array.dtype != plain.dtype:
        raise CheckpointError(
            f"{source} holds {name} as {array.dtype} {list(array.shape)}; "
            f"it must be {plain.dtype} {list(plain.shape)} to fit these settings"
        )
    if _is_key(leaf):
        return jax.random.wrap_key_data(jnp.asarray(array), impl=_key_impl(leaf))
    return jnp.asarray(array)


def _named_leaves(tree: PyTree) -> list[tuple[str, Any]]:
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return [(jax.tree_util.keystr(path, simple=True, separator=".") or "value", leaf) for path, leaf in leaves]


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _key_impl(leaf: Any) -> Any:
    """The generator of typed keys, of which only shape and type may be known."""
    found = []
    jax.eval_shape(lambda keys: found.append(jax.random.key_impl(keys)), leaf)
    return found[0]


def _choose(path: PathLike, step: int | None) -> tuple[Path, int]:
    location = locate(path)
    step = location.step if step is None else step
    known = steps(location.folder)
    if step is None:
        return location.folder, known[-1]
    if step not in known:
        raise CheckpointError(f"step is {step}; it must be one of those in {location.folder}: {_listed(known)}")
    return location.folder, step


def _read(folder: Path, step: int, part: str | None = None) -> tuple[dict[str, Any], Arrays]:
    """`about` and the arrays of one part of a step, checked.

    Raises:
        CheckpointError: a step of another program, or a damaged one, with the newest whole step named.
    """
    try:
        return _open(folder, step, part)
    except _DamagedError as error:
        raise CheckpointError(f"{error}; {_alternative(folder, step, part)}") from None


def _open(folder: Path, step: int, part: str | None) -> tuple[dict[str, Any], Arrays]:
    import orbax.checkpoint as ocp

    if not any((folder / str(step) / item).is_dir() for item in _ITEMS):
        raise CheckpointError(f"step {step} of {folder} is no checkpoint of jaxdlb: it has none of {', '.join(_ITEMS)}")
    about = _restored(lambda: ocp.Checkpointer(ocp.JsonCheckpointHandler()), folder / str(step) / "about")
    found = about.get("format") if isinstance(about, dict) else None
    if found != FORMAT:
        raise CheckpointError(f"step {step} of {folder} has the format {found!r}; it must be {FORMAT}")
    if part is None:
        return about, {}
    arrays = _restored(ocp.StandardCheckpointer, folder / str(step) / part)
    arrays = {name: np.asarray(array) for name, array in arrays.items()}
    if checksum(arrays) != about["checksums"][part]:
        raise _DamagedError(f"step {step} of {folder} is damaged: the checksum of its {part} is wrong")
    return about, arrays


def _restored(checkpointer: Callable[[], Any], path: Path) -> Any:
    """What orbax reads from `path`; whatever else it raises, a damaged step is what it means."""
    with _quiet(), checkpointer() as reader:
        try:
            return reader.restore(path.absolute())
        except Exception as error:
            reason = type(error).__name__
            gc.collect()  # while what its coroutines complain of at their end is still silenced
    raise _DamagedError(
        f"step {path.parent.name} of {path.parent.parent} is damaged: its {path.name} cannot be read ({reason})"
    )


def _alternative(folder: Path, step: int, part: str | None) -> str:
    """The rest of the sentence on a damaged step: which other step to take."""
    for other in reversed([other for other in steps(folder) if other != step]):
        with contextlib.suppress(CheckpointError):
            _open(folder, other, part)
            return f"step {other} is whole and can be named in its place"
    return "no other step there is whole"


def _listed(known: Sequence[int]) -> str:
    return ", ".join(map(str, known))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence orbax's log and the complaints of its abandoned coroutines: errors reach the user as exceptions."""
    log = logging.getLogger("absl")
    level, hook = log.level, sys.unraisablehook
    log.setLevel(logging.CRITICAL)
    sys.unraisablehook = lambda unraisable: None
    try:
        yield
    finally:
        log.setLevel(level)
        sys.unraisablehook = hook
