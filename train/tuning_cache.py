"""What was tuned, in the user's cache folder, so that the same clusters are not searched twice.

Each result is a file of its own, named by a hash of all that it follows from: the game, the clusters, the family, the
sizes of the tuning and its seed, and the code that plays. A file that cannot be read is not believed, and a folder that
cannot be written is no hindrance.
"""

import contextlib
import dataclasses
import hashlib
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

import jaxdlb
from jaxdlb.evaluation import Tuned
from jaxdlb.policies import Family
from jaxdlb.writing import user_cache, write_whole

from .build import Scenario

_FOLDER = "tuned"
_ROOMS = ("mechanics", "policies", "games", "evaluation")  # of the library: who plays, and by what rules
_NUM_CLUSTERS = 4  # are drawn and hashed: they tell what clusters are drawn from


def places(scenario: Scenario, families: Mapping[str, Family], seed: int, sizes: Mapping[str, int]) -> dict[str, Path]:
    """Where the result for each family is kept, by name."""
    game, folder = scenario.game, user_cache() / _FOLDER
    common = _hash(
        f"{game!r} {seed} {sorted(sizes.items())} {jax.__version__}".encode(),
        *_clusters(scenario, seed),
        *(path.read_bytes() for path in [*_library(), *_source(type(game))]),
    )

    def place(name: str, family: Family) -> Path:
        tried = None if family.grid is None else family.grid(game), None if family.box is None else family.box(game)
        sources = [path.read_bytes() for path in _source(family.make)]
        return folder / f"{_hash(f'{common} {name} {tried}'.encode(), *sources)}.json"

    return {name: place(name, family) for name, family in families.items()}


def read(place: Path, family: Family) -> Tuned | None:
    """What was found for `family`; None where nothing is known, or the file holds something else."""
    try:
        told = json.loads(place.read_text(encoding="utf-8"))
        return Tuned(policy=family.make(**told["options"]), **told)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def keep(place: Path, tuned: Tuned) -> None:
    """Write what was found, if anything was played for it."""
    told = {field.name: getattr(tuned, field.name) for field in dataclasses.fields(tuned) if field.name != "policy"}
    with contextlib.suppress(OSError, TypeError):
        if tuned.agent_rounds:
            place.parent.mkdir(parents=True, exist_ok=True)
            write_whole(place, json.dumps(told))


def _clusters(scenario: Scenario, seed: int) -> Iterable[bytes]:
    """The first of the clusters that are drawn from the seed."""
    draw = jax.jit(scenario.train)
    for number in range(_NUM_CLUSTERS):
        params = draw(jax.random.fold_in(jax.random.key(seed), number))
        yield str(jax.tree.structure(params)).encode()
        for leaf in jax.tree.leaves(params):
            yield f"{leaf.shape} {leaf.dtype}".encode() + np.asarray(leaf).tobytes()


def _library() -> list[Path]:
    """The library's files that say how a policy plays."""
    library = Path(jaxdlb.__file__).parent
    return sorted([*library.glob("*.py"), *(path for room in _ROOMS for path in (library / room).rglob("*.py"))])


def _source(thing: Any) -> list[Path]:
    """The file that defines a class or a function, which may be a user's own; none where there is no such file."""
    file = getattr(sys.modules.get(thing.__module__), "__file__", None)
    return [Path(file)] if file is not None else []


def _hash(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()
