"""Reads checkpoints: the state needed to continue a run, the policies that it trained, and a description of both."""

import contextlib
import dataclasses
import functools
import gc
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import PyTree

from jaxdlb import games
from jaxdlb.checkpoint.packing import (
    FOLDER,
    FORMAT,
    ITEMS,
    Arrays,
    CheckpointError,
    PathLike,
    alone,
    checksum,
    quiet,
    unpack,
)
from jaxdlb.checks import check_path
from jaxdlb.networks import STOCHASTIC, NetworkConfig, build_actor, check_heads
from jaxdlb.policies.fixed import NOBODY, Accompanied, Fixed, find
from jaxdlb.policies.learned import LearnedPolicy, variable_shapes

# what a description must hold for a policy to be loaded, by path, with its type
_ABOUT: Mapping[tuple[str, ...], Any] = {
    ("game", "name"): str,
    ("game", "sizes"): dict,
    ("network",): dict,
    ("share_parameters",): bool,
    ("num_seeds",): int,
}


class _DamagedError(CheckpointError):
    """A step that was complete once but cannot be read any more."""


@dataclasses.dataclass(frozen=True)
class Location:
    """What a user's path refers to: a checkpoints folder, and a step if the path names one."""

    folder: Path
    step: int | None


def locate(path: PathLike, key: str = "checkpoint") -> Location:
    """The checkpoints that a path refers to: a run folder, its checkpoints folder, or the folder of one step.

    `key` is what messages call the path.

    Raises:
        CheckpointError: there is no such folder, or it holds no checkpoint.
    """
    check_path(key, path)
    folder = Path(path)
    if not folder.is_dir():
        raise CheckpointError(f"{key} is {str(path)!r}; it must be the folder of a run, and no such folder exists")
    if (folder / FOLDER).is_dir():
        folder = folder / FOLDER
    if steps(folder):
        return Location(folder, None)
    if _is_step(folder.name) and any((folder / item).is_dir() for item in ITEMS):
        return Location(folder.parent, int(folder.name))
    raise CheckpointError(f"{key} is {str(path)!r}; it must be the folder of a run, and this holds no checkpoint")


def steps(folder: PathLike) -> list[int]:
    """The steps in a checkpoints folder, oldest first, including damaged ones; half-written steps have other names."""
    entries = Path(folder).iterdir() if Path(folder).is_dir() else iter(())
    return sorted(int(entry.name) for entry in entries if _is_step(entry.name) and entry.is_dir())


def _is_step(name: str) -> bool:
    """Whether a folder's name is a number as it is written; other digits than 0 to 9 are none."""
    return name.isascii() and name.isdigit() and str(int(name)) == name


def best_step(folder: PathLike) -> int:
    """The step with the highest score, and of equals the newest, in a checkpoints folder that holds at least one."""
    scores = {step: _score(Path(folder), step) for step in steps(folder)}
    return max(scores, key=lambda step: (scores[step], step))


def _score(folder: Path, step: int) -> float:
    """The utility that a step was saved with; −∞ where it cannot be read, so that a whole step is preferred."""
    try:
        return float(_read(folder, step)[0]["utility"])
    except (CheckpointError, KeyError, TypeError, ValueError):
        return -math.inf


def restore_state(path: PathLike, template: PyTree, step: int | None = None) -> tuple[int, PyTree]:
    """A step's number and the learner's state saved in it, with the structure, shapes and types of `template`.

    `template` is a state or its `jax.eval_shape`. If neither `step` nor the path names a step, the newest is read.

    Raises:
        CheckpointError: the step does not exist, was written by another program, does not fit `template`, or is
            damaged; in the last case, the message names the newest intact step. No other step is used instead.
    """
    folder, step = _choose(path, step)
    _, arrays = _read(folder, step, "state")
    return step, unpack(template, arrays, f"step {step} of {folder}")


def read_about(path: PathLike, step: int | None = None) -> dict[str, Any]:
    """The description saved with a step's arrays; of the newest step, if none is named.

    Raises:
        CheckpointError: as in `restore_state`.
    """
    return _read(*_choose(path, step))[0]


def load_policy(
    path: PathLike, *, game: Any = None, step: int | None = None, seed: int = 0, greedy: bool = False
) -> LearnedPolicy | Accompanied:
    """The policy of a checkpoint, ready to act: `policy.init(game)`, `policy.act(key, carry, observation, params)`.

    `path` is a run folder, its checkpoints folder or the folder of one step; if no step is named, the best is read.
    `game` defaults to the one that the policy was trained in; a pointer network can act at other numbers of nodes too.
    `seed` selects one of several seeds, if the run trained more than one. With `greedy`, the policy takes the likeliest
    action instead of drawing one at random. Agents that were fixed in training are played as they were there.

    Raises:
        CheckpointError: there is no checkpoint, or it does not belong here, or it is damaged.
        ValueError: the policy does not fit `game`, or the run did not train that seed.
    """
    policies = load_policies(path, game=game, step=step, greedy=greedy)
    if not 0 <= seed < len(policies):
        raise ValueError(f"seed is {seed}; it must be one of the trained seeds, 0 to {len(policies) - 1}")
    return dataclasses.replace(policies[seed], name=policy_name(greedy))


def load_policies(
    path: PathLike, *, game: Any = None, step: int | None = None, greedy: bool = False
) -> list[LearnedPolicy | Accompanied]:
    """Like `load_policy`, but the policies of all seeds in one read, named by `policy_name`, of several with the seed.

    Raises:
        CheckpointError: there is no checkpoint, or it does not belong here, or it is damaged.
        ValueError: the policies do not fit `game`.
    """
    folder, step = _choose(path, step, best_step)
    about, arrays = _read(folder, step, "policy")
    _check_about(about, arrays, f"step {step} of {folder}")
    try:
        trained_in, network = _trained_in(about["game"], game), _network(about["network"])
        acting_in = trained_in if game is None else game
        beside = _fixed(about, trained_in, acting_in).beside
        heads = about.get("heads", STOCHASTIC)  # what is not noted draws
        check_heads(heads)
    except CheckpointError:
        raise
    except (KeyError, TypeError, ValueError) as error:  # an argument that is not known, or one that is not allowed
        raise CheckpointError(f"step {step} of {folder} cannot be made a policy again: {error}") from None
    shared, num_seeds = about["share_parameters"], about["num_seeds"]
    template = variable_shapes(trained_in, build_actor(trained_in, network, shared, heads))
    only_one = num_seeds == 1
    seeds = [arrays if only_one else {name: array[seed] for name, array in arrays.items()} for seed in range(num_seeds)]
    actor = build_actor(acting_in, network, shared, heads)
    return [
        beside(
            LearnedPolicy(
                game=acting_in,
                actor=actor,
                variables=unpack(template, each, f"step {step} of {folder}"),
                greedy=greedy,
                name=policy_name(greedy, None if only_one else seed),
            )
        )
        for seed, each in enumerate(seeds)
    ]


def policy_name(greedy: bool = False, seed: int | None = None, *, fresh: bool = False) -> str:
    """What a loaded policy is called: learned, learned(greedy), learned(seed=1) or learned(greedy, seed=1).

    One that learned, and plays, with fresh news says so: learned(fresh news).
    """
    words = {"fresh news": fresh, "greedy": greedy, f"seed={seed}": seed is not None}
    said = [word for word, is_said in words.items() if is_said]
    return f"learned({', '.join(said)})" if said else "learned"


def _trained_in(about: Mapping[str, Any], game: Any) -> Any:
    """The game that a checkpoint was trained in, at its original sizes; made from `game`'s class if the names agree.

    A name by place is looked up only in modules that are imported already: a file that may be anyone's imports none.
    """
    name, sizes = about["name"], about["sizes"]
    if game is not None and game.name == name:
        return type(game)(**sizes)
    _check_imported("game", name, "game.name")
    return games.make(name, **sizes)


def _fixed(about: Mapping[str, Any], trained_in: Any, acting_in: Any) -> Fixed:
    """The agents beside which a policy was trained: elsewhere those of the same indices, played by the same rule.

    Raises:
        ValueError: the game to act in has no such agents, or no such heuristic.
    """
    if "fixed" not in about:
        return NOBODY
    agents, entry = about["fixed"]["agents"], about["fixed"]["policy"]
    options = {"name": entry} if isinstance(entry, str) else dict(entry)
    _check_imported("fixed_policy", options["name"], "learner.fixed_policy")
    owner = about["game"]["name"] if acting_in.name == trained_in.name else acting_in.name
    return find(acting_in, agents, games.heuristic(game=owner, **options))


def _check_imported(what: str, name: str, key: str) -> None:
    """Raise CheckpointError for a name by place in a module that is not imported yet."""
    if ":" in name and name.partition(":")[0] not in sys.modules:
        raise CheckpointError(
            f"{what} is {name!r} in the checkpoint, and what a checkpoint names is not imported; import "
            f"{name.partition(':')[0]} before, or name it on the command line as {key}={name}"
        )


def newest_step(folder: PathLike) -> int:
    """The last step in a checkpoints folder that holds at least one."""
    return steps(folder)[-1]


def _choose(path: PathLike, step: int | None, default: Callable[[PathLike], int] = newest_step) -> tuple[Path, int]:
    location = locate(path)
    step = location.step if step is None else step
    known = steps(location.folder)
    if step is None:
        return location.folder, default(location.folder)
    if step not in known:
        raise CheckpointError(f"step is {step}; it must be one of those in {location.folder}: {_listed(known)}")
    return location.folder, step


def _network(about: Mapping[str, Any]) -> NetworkConfig:
    settings: dict[str, Any] = {key: tuple(each) if isinstance(each, list) else each for key, each in about.items()}
    return NetworkConfig(**settings)


def _entry(part: Any, name: str) -> Any:
    return part.get(name) if isinstance(part, dict) else None


def _check_about(about: Mapping[str, Any], arrays: Arrays, where: str) -> None:
    """Raise CheckpointError unless a description says all that a policy needs, in the types that `describe` writes."""
    for key, type_ in _ABOUT.items():
        value: Any = functools.reduce(_entry, key, about)
        if not isinstance(value, type_) or isinstance(value, bool) is not (type_ is bool):
            raise CheckpointError(f"{where} says of {'.'.join(key)} {value!r}; it must be what jaxdlb writes")
    num_seeds = about["num_seeds"]
    if num_seeds < 1 or (num_seeds > 1 and any(array.shape[:1] != (num_seeds,) for array in arrays.values())):
        raise CheckpointError(f"{where} says of num_seeds {num_seeds}; it must be as many as its arrays hold")


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

    if not any((folder / str(step) / item).is_dir() for item in ITEMS):
        raise CheckpointError(f"step {step} of {folder} is no checkpoint of jaxdlb: it has none of {', '.join(ITEMS)}")
    json = lambda: ocp.Checkpointer(ocp.JsonCheckpointHandler(), multiprocessing_options=alone())  # noqa: E731
    about = _restored(json, folder / str(step) / "about")
    found = about.get("format") if isinstance(about, dict) else None
    if found != FORMAT:
        raise CheckpointError(f"step {step} of {folder} has the format {found!r}; it must be {FORMAT}")
    if part is None:
        return about, {}
    standard = lambda: ocp.StandardCheckpointer(multiprocessing_options=alone())  # noqa: E731
    arrays = _restored(standard, folder / str(step) / part)
    arrays = {name: np.asarray(array) for name, array in arrays.items()}
    checksums = about.get("checksums")
    if not isinstance(checksums, dict) or checksum(arrays) != checksums.get(part):
        raise _DamagedError(f"step {step} of {folder} is damaged: the checksum of its {part} is wrong")
    return about, arrays


def _restored(checkpointer: Callable[[], Any], path: Path) -> Any:
    """What orbax reads from `path`; any exception it raises means that the step is damaged."""
    with quiet(), checkpointer() as reader:
        try:
            return reader.restore(path.absolute())
        except Exception as error:
            reason = type(error).__name__
            gc.collect()  # while warnings from its coroutines, which end here, are still silenced
    raise _DamagedError(
        f"step {path.parent.name} of {path.parent.parent} is damaged: its {path.name} cannot be read ({reason})"
    )


def _alternative(folder: Path, step: int, part: str | None) -> str:
    """The end of the message about a damaged step: which other step to use."""
    for other in reversed([other for other in steps(folder) if other != step]):
        with contextlib.suppress(CheckpointError):
            _open(folder, other, part)
            return f"step {other} is whole and can be named in its place"
    return "no other step there is whole"


def _listed(known: Sequence[int]) -> str:
    return ", ".join(map(str, known))
