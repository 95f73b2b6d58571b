"""The command lines that a sweep will run or, where a sweeper chooses as it goes, some that it may choose."""

import itertools
from collections.abc import Mapping, Sequence

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep

Choices = Mapping[str, Sequence[str]]  # by key (with hydra's + or ~ before it): the values as the command line has them


def command_lines(overrides: Sequence[Override], *, proposes: bool) -> list[list[str]]:
    """The command lines to check before the first job is run.

    Those of every combination or, where the sweeper `proposes` values by itself, each value of a choice and both ends
    of an interval, with the first value of every other key: what lies between two ends is as allowed as they are.

    Raises:
        ValueError: an interval, where the sweeper does not propose values.
    """
    choices = {each.get_key_element(): _values(each, proposes=proposes) for each in overrides}
    combinations = _one_by_one(choices) if proposes else itertools.product(*choices.values())
    return [[f"{key}={value}" for key, value in zip(choices, each, strict=True)] for each in combinations]


def swept_keys(overrides: Sequence[Override]) -> list[str]:
    """The keys that take several values."""
    return [each.get_key_element() for each in overrides if each.is_sweep_override()]


def _one_by_one(choices: Choices) -> list[tuple[str, ...]]:
    first = {key: values[0] for key, values in choices.items()}
    others = [first | {key: value} for key, values in choices.items() for value in values[1:]]
    return [tuple(each.values()) for each in (first, *others)]


def _values(override: Override, *, proposes: bool) -> list[str]:
    if not override.is_sweep_override():
        return [override.get_value_element_as_str()]
    span = override.value()
    if isinstance(span, IntervalSweep):
        if not proposes:
            raise ValueError(
                f"{override.get_key_element()} is {override.get_value_string()}; it must be values with commas between "
                "them, or hydra/sweeper=optuna be given, which chooses from an interval"
            )
        return [str(span.start), str(span.end)]
    if proposes and isinstance(span, RangeSweep) and not span.shuffle:
        return [str(span.start), str(span.stop)]  # Optuna takes the last one in
    values = list(override.sweep_string_iterator())
    if not values:
        raise ValueError(f"{override.get_key_element()} is {override.get_value_string()}; it must hold a value")
    return values
