"""Host-side checks of user input: an error is one sentence with the field, the offending entry and what is allowed."""

import dataclasses
import difflib
import math
import os
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Interval:
    """The allowed range of a number; `low_open` and `high_open` exclude the bounds themselves."""

    low: float
    high: float = math.inf
    low_open: bool = False
    high_open: bool = False
    integer: bool = False

    def __str__(self) -> str:
        kind = "an integer" if self.integer else "a finite number"
        if math.isinf(self.low) and math.isinf(self.high):
            return kind
        if math.isinf(self.high):
            return f"{kind} {'>' if self.low_open else '≥'} {self.low:.10g}"
        low, high = "(" if self.low_open else "[", ")" if self.high_open else "]"
        return f"{kind} in {low}{self.low:.10g}, {self.high:.10g}{high}"

    def contains(self, values: np.ndarray) -> np.ndarray:
        """Which entries are finite and within the range (and whole numbers, if integers are required)."""
        above = values > self.low if self.low_open else values >= self.low
        below = values < self.high if self.high_open else values <= self.high
        whole = values == np.floor(values) if self.integer else True
        return np.asarray(np.isfinite(values) & above & below & whole)

    def up_to(self, most: float) -> "Interval":
        """The part of the interval that is at most `most`."""
        return dataclasses.replace(self, high=min(self.high, most))


class Switch(Interval):
    """True or false."""

    def __str__(self) -> str:
        return "true or false"


PROBABILITY = Interval(0, 1)
POSITIVE_PROBABILITY = Interval(0, 1, low_open=True)
SHARE = Interval(0, 1, low_open=True, high_open=True)  # of a whole: neither nothing nor everything
NON_NEGATIVE = Interval(0)
LARGEST_INT = 2**31 - 1  # counts are stored as int32; a larger number would wrap around silently
_MOST_DIGITS = 20  # of a number that a message shows in full
COUNT = Interval(0, LARGEST_INT, integer=True)
POSITIVE_COUNT = Interval(1, LARGEST_INT, integer=True)
POSITIVE = Interval(0, low_open=True)
FINITE = Interval(-math.inf)
# What the numbers of a game stay within, so that rewards, and the squares that are made of them, stay within float32.
COST = Interval(0, 1e6)  # also a weight in a sum of costs
COMPLETION_PROBABILITY = Interval(1e-6, 1)  # of a node's tasks, over which their number is divided
SPEED = Interval(1e-6, 1e6)  # relative to another
AMOUNT = Interval(0, 1e12)  # of time, bytes or tasks, in whatever unit
POSITIVE_AMOUNT = Interval(1e-12, 1e12)
SIGNED_AMOUNT = Interval(-1e12, 1e12)
SWITCH = Switch(0, 1, integer=True)

_NO_NUMBERS = "SUc"  # kinds of NumPy's types: text, which it would read as numbers, and complex numbers
_LONGEST_SHOWN = 80  # characters


def check_array(name: str, value: Any, shape: tuple[int, ...], allowed: Interval) -> np.ndarray:
    """`value` as a NumPy array of exactly `shape` whose entries are all `allowed`.

    Raises:
        ValueError: names the field, the first offending entry and what is allowed.
    """
    array = as_numbers(name, value)
    if _holds_switches(value) and not isinstance(allowed, Switch):
        raise ValueError(f"{name} is {value!r}; it must be {allowed}, not true or false")
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}; it must have shape {shape}")
    bad = np.argwhere(~allowed.contains(array))
    if len(bad):
        where = f"{name}[{', '.join(map(str, bad[0]))}]" if array.ndim else name
        raise ValueError(f"{where} is {array[tuple(bad[0])]:g}; it must be {allowed}")
    return array


def broadcast_array(name: str, value: Any, shape: tuple[int, ...], allowed: Interval) -> np.ndarray:
    """Like `check_array`, but a single number is broadcast to `shape`."""
    array = as_numbers(name, value)
    if array.ndim == 0:
        check_array(name, value, (), allowed)
        return np.broadcast_to(array, shape)
    return check_array(name, value, shape, allowed)


def check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    """Raise ValueError unless `value` is one of `choices`; the message suggests the nearest."""
    if not isinstance(value, str) or value not in choices:
        hint = did_you_mean(value, choices, repr)
        raise ValueError(f"{name} is {value!r}; it must be one of {', '.join(choices)}{hint}")


def nearest(name: object, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The known name most similar to `name`; None if no similarity reaches `cutoff`, where 1 means equal."""
    return next(iter(difflib.get_close_matches(str(name), list(known), n=1, cutoff=cutoff)), None)


def did_you_mean(name: object, known: Iterable[str], written: Callable[[str], str] = str) -> str:
    """The end of a sentence that refuses `name`: "; did you mean …?", or "" if no known name is similar."""
    found = nearest(name, known)
    return f"; did you mean {written(found)}?" if found is not None else ""


def check_size(name: str, value: Any, least: int, most: int = LARGEST_INT) -> None:
    """Raise ValueError unless `value` is an int from `least` to `most`: a size of a game, a network or a learner."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"{name} is {value!r}; it must be an integer ≥ {least}")
    if value > most:
        digits = str(value)
        shown = digits if len(digits) <= _MOST_DIGITS else f"{digits[0]}e+{len(digits) - 1}"
        raise ValueError(f"{name} is {shown}; it must be at most {most}")


def check_whole(name: str, value: Any, allowed: Interval) -> None:
    """Raise ValueError unless `value` is an int within `allowed`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not allowed.low <= value <= allowed.high:
        raise ValueError(f"{name} is {value!r}; it must be {allowed}")


def check_switch(name: str, value: Any) -> None:
    """Raise ValueError unless `value` is true or false."""
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name} is {value!r}; it must be true or false")


def check_type(name: str, value: Any, wanted: type | tuple[type, ...], what: str) -> None:
    """Raise ValueError unless `value` is of one of the `wanted` types; `what` calls them by a name for people."""
    if not isinstance(value, wanted):
        raise ValueError(f"{name} is {shown(value)}; it must be {what}")


def check_path(name: str, value: Any) -> None:
    """Raise ValueError unless `value` is a path of at least one character: a str, or what `os.fspath` makes one."""
    if not isinstance(value, str | os.PathLike) or not isinstance(os.fspath(value), str) or not os.fspath(value):
        raise ValueError(f"{name} is {shown(value)}; it must be a path")


def shown(value: Any) -> str:
    """A value as messages show it: what is long is told by its type."""
    text = repr(value)
    short = len(text) <= _LONGEST_SHOWN and "\n" not in text
    return text if short else f"an object of the class {type(value).__name__}"


def as_numbers(name: str, value: Any) -> np.ndarray:
    """`value` as a NumPy array of float64; raises ValueError unless it is a number or a regular list of numbers."""
    try:
        array = np.asarray(value)
        if array.dtype.kind not in _NO_NUMBERS:
            return array.astype(np.float64)
    except (TypeError, ValueError):
        pass
    raise ValueError(f"{name} is {value!r}; it must be a number or a list of numbers")


def _holds_switches(value: Any) -> bool:
    return bool(np.asarray(value).dtype == np.bool_)
