"""What makes a run's game small enough to be solved exactly: its first nodes, with news that is fresh; or a file."""

import shlex
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from jaxdlb import ranges
from jaxdlb.annotations import annotation_of, is_array, shape_of
from jaxdlb.parameters import PerSize, declarations

from . import build, paths
from .build import Scenario

CAPACITIES = {2: 12, 3: 6}  # by the number of nodes: with so few states, a policy takes a second or some
_NODES = 2  # of a game that has more than are listed there


def named(game: str) -> str:
    """The file in conf/game/ that is certified where nothing is said of the game."""
    return f"{game}_certified"


def overrides(settings: Any, scenario: Scenario) -> str:
    """The keys, as a shell takes them, that cut the game of these `settings` down: at most 3 nodes, as few states.

    Nodes keep their own rates, and the offered load stays where it is given; what varies by chance or with time, or
    keeps news from being fresh, is set to what an exact solution covers (`Common.covered`). A game of which episodes
    are solved is not cut down; in its place is the small one in conf/, if there is one.
    """
    if scenario.entry.common is None:
        small = named(settings.name)
        return f"game={small}" if (paths.CONF / "game" / f"{small}.yaml").exists() else ""
    return " ".join(shlex.quote(f"game.{each}") for each in _overrides(settings, scenario))


def whence(keys: Sequence[str]) -> str:
    """How the game that these keys make differs from that which it takes the place of."""
    return "and this one is small" if keys[0].startswith("game=") else "of whose first nodes this one is made"


def hint(settings: Any, scenario: Scenario) -> str:
    """What to append to the sentence that refuses a game: the keys that make a small one, if there are any."""
    keys = overrides(settings, scenario)
    if not keys:
        return ""
    whose = "" if scenario.entry.common is None else " of its first nodes"
    return f"; what would make a small game{whose}: {keys}"


def _overrides(settings: Any, scenario: Scenario) -> Iterator[str]:
    if not {"num_nodes", "capacity"} <= vars(settings).keys():  # a game whose sizes have other names
        return
    num_nodes = scenario.game.num_agents if scenario.game.num_agents in CAPACITIES else _NODES
    if num_nodes != scenario.game.num_agents:
        yield f"num_nodes={num_nodes}"
        yield from _of_nodes(settings, scenario, num_nodes)
    if settings.capacity > CAPACITIES[num_nodes]:
        yield f"capacity={CAPACITIES[num_nodes]}"
    common = scenario.entry.common
    assert common is not None
    for path, value in common.covered.items():
        if np.any(np.asarray(common.given(scenario.params, path)) != value):
            yield f"params.{path}={value}"
    if scenario.entry.recorded is not None and settings.trace.path:
        yield "trace.path=null"
    for path in ranges.flat(build.given_ranges(settings.randomise)):
        yield f"randomise.{path}=null"


def _of_nodes(settings: Any, scenario: Scenario, num_nodes: int) -> Iterator[str]:
    """The rates of the first nodes: lists as they were given, and what depends on the number of nodes by default."""
    for name, each in declarations(scenario.entry.params).items():
        given = getattr(settings.params, name)
        if isinstance(given, list):
            yield f"params.{name}={_listed(given[:num_nodes])}"
        elif given is None and isinstance(each.default, PerSize) and _is_per_node(scenario, name):
            yield f"params.{name}={_listed(np.asarray(getattr(scenario.params, name))[:num_nodes])}"


def _is_per_node(scenario: Scenario, name: str) -> bool:
    annotation = annotation_of(scenario.entry.params, name)
    return is_array(annotation) and shape_of(annotation) == ("N",)


def _listed(values: Any) -> str:
    return f"[{','.join(f'{float(each):.4g}' for each in values)}]"
