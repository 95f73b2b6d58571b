"""The options of rules that are functions: their names in tables, their checks, the values that tuning tries."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jaxdlb.checks import Interval, check_array
from jaxdlb.game import Game


def labelled(family: str, options: Mapping[str, Any]) -> str:
    """A name for tables: the family's, with the options in the order of their names; switches only if they are on."""
    given = {name: value for name, value in sorted(options.items()) if value is not False}
    told = ", ".join(name if value is True else f"{name}={float(value):g}" for name, value in given.items())
    return f"{family}({told})" if told else family


def numbers(allowed: Mapping[str, Interval], **options: Any) -> dict[str, float]:
    """The options as numbers; raises ValueError for the first that is not within what is allowed of its name."""
    return {name: float(check_array(name, value, (), allowed[name])) for name, value in options.items()}


def tried(**values: Sequence[float]) -> Callable[[Game], Mapping[str, Sequence[Any]]]:
    """A grid that is the same for all sizes."""
    return lambda game: values
