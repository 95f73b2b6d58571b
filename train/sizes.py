"""Sizes that cannot fit, whatever the program: what must be held at once, compared with the memory of this machine.

Each amount is a lower bound that follows from the sizes alone, so that a launch is refused before anything is made by
them. What a program needs beyond that shows only once it is compiled.
"""

import dataclasses
import itertools
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jax

from jaxdlb.annotations import annotation_of, is_array, shape_of
from jaxdlb.game import Game
from jaxdlb.parameters import declarations

_BYTES = 4  # of a float32
_COPIES = 3  # of each weight: itself, and the two moments of Adam
_GATES = 6  # of a GRU: three that read the input, three that read the memory
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB")


@dataclasses.dataclass(frozen=True)
class Amount:
    """Something that must be held."""

    what: str
    sizes: Mapping[str, int]  # that it follows from, by key
    num_bytes: int


def check(amounts: Iterable[Amount]) -> None:
    """Check that nothing is asked for that is larger than the memory.

    Raises:
        ValueError: names the key with the largest number, what it makes too large, and both sizes.
    """
    most = memory()
    for each in amounts:
        if each.num_bytes > most:
            key = max(each.sizes, key=lambda name: each.sizes[name])
            raise ValueError(
                f"{key} is {each.sizes[key]}; it must be smaller, since {each.what} would take at least "
                f"{_shown(each.num_bytes)}, and there are {_shown(most)} of memory"
            )


def memory() -> int:
    """Bytes of this machine's memory, and of that of its devices where they have one of their own."""
    own = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return own + sum((device.memory_stats() or {}).get("bytes_limit", 0) for device in jax.local_devices())


def of_cluster(game: Game, params: type) -> Iterator[Amount]:
    """The parameters of one cluster, each dimension whose length is free counted as 1; `params` is their class."""
    arrays = [annotation for name in declarations(params) if is_array(annotation := annotation_of(params, name))]
    numbers = sum(math.prod(game.dims.get(dim, 1) for dim in shape_of(each)) for each in arrays)
    yield Amount("the parameters of one cluster", _sizes(game), _BYTES * numbers)


def of_training(settings: Any, game: Game, config: Any) -> Iterator[Amount]:
    """What is observed in a rollout, the network's weights, and the metrics between two visits to the host.

    `config` are the learner's settings with all that is chosen for the game; those that it does not have count as 1.
    """
    seeds = {"learner.num_seeds": settings.learner.num_seeds}
    if settings.across.over is not None:
        seeds["the number of across.values"] = len(settings.across.values)
    played = {f"learner.{name}": getattr(config, name, 1) for name in ("num_envs", "rollout_length")} | seeds
    yield Amount("what is observed in a rollout", _sizes(game) | played, _observed(game) * math.prod(played.values()))
    for name in ("hidden", "critic_hidden"):
        widths = getattr(settings.network, name)
        weights = sum(widths) + sum(one * other for one, other in itertools.pairwise(widths))
        weights += _GATES * widths[-1] ** 2 if settings.network.recurrent else 0
        sizes = {f"network.{name}[{index}]": width for index, width in enumerate(widths)} | seeds
        yield Amount("the weights of the network", sizes, _BYTES * _COPIES * weights * math.prod(seeds.values()))
    rows = {"logging_interval": min(settings.logging_interval, settings.total_agent_rounds)} | seeds
    yield Amount("the metrics of an interval", rows, _BYTES * math.prod(rows.values()))


def of_evaluation(evaluation: Any, game: Game) -> Iterator[Amount]:
    """What is observed in the episodes, candidates or recorded rounds that are played or kept side by side."""
    for name in ("num_episodes", "tuning_episodes", "tuning_candidates", "held_out_episodes", "recorded_rounds"):
        number = getattr(evaluation, name) or 0
        sizes = _sizes(game) | {f"evaluation.{name}": number}
        yield Amount(f"what is observed in {number} at once", sizes, _observed(game) * number)


def _sizes(game: Game) -> dict[str, int]:
    fields = {f"game.{each.name}": getattr(game, each.name) for each in dataclasses.fields(game)}  # type: ignore[arg-type]
    return {key: size for key, size in fields.items() if isinstance(size, int)}


def _observed(game: Game) -> int:
    """Bytes that all agents of a cluster observe in a step."""
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(game.observation_shapes))


def _shown(num_bytes: int) -> str:
    """A number of bytes in three digits, with its unit."""
    power = min((len(str(num_bytes)) - 1) // 3, len(_UNITS) - 1)
    return f"{num_bytes / 1000**power:.3g} {_UNITS[power]}"
