"""The games, and the registry that finds them by name."""

import difflib
import inspect
from collections.abc import Callable
from typing import Any

from jaxdlb.games.dlb import DLB

REGISTRY: dict[str, Callable[..., Any]] = {DLB.name: DLB}


def make(name: str, **sizes: Any) -> Any:
    """The game called `name`, with its static `sizes`.

    Raises:
        ValueError: an unknown name (the message lists the known ones and the nearest), an unknown size, or a size out
            of range.
    """
    if name not in REGISTRY:
        nearest = difflib.get_close_matches(str(name), REGISTRY, n=1)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
        raise ValueError(f"game is {name!r}; it must be one of {', '.join(REGISTRY)}{hint}")
    known = inspect.signature(REGISTRY[name]).parameters
    unknown = [size for size in sizes if size not in known]
    if unknown:
        raise ValueError(f"{unknown[0]} is not a size of {name}; its sizes are {', '.join(known)}")
    return REGISTRY[name](**sizes)
