"""Sentences that numbers need beside them: of what ought not to have happened, and of what there is no number."""

import math
from collections.abc import Iterable, Mapping

from jaxdlb.game import Column

Warnings = Mapping[str, tuple[str, str]]  # by column that ought to be 0: its header, and what is wrong where it is not


def warnings_of(columns: Mapping[str, Column]) -> Warnings:
    """The columns of a game that warn."""
    return {name: (column.header, column.warning) for name, column in columns.items() if column.warning}


def warned(warnings: Warnings, means: Iterable[tuple[str, Mapping[str, float]]]) -> list[str]:
    """A sentence for each column that is above 0 for anybody, with the most that it is.

    `means` tell who, and by column that one's mean; columns may be missing there, and NaN counts as 0.
    """
    everybody = list(means)
    sentences = []
    for name, (header, warning) in warnings.items():
        known = [(each[name], who) for who, each in everybody if not math.isnan(each.get(name, math.nan))]
        most, who = max(known, default=(0.0, ""))
        if most > 0:
            sentences.append(f"{warning}: {with_unit(header, f'up to {most:.3g}')}, with {who}.")
    return sentences


def left_out(headers: Iterable[str]) -> str:
    """Which columns there are no numbers of; "" if there are numbers of all."""
    quoted = ", ".join(f"“{header}”" for header in headers)
    return f"Left out, since some episodes leave nothing to divide by: {quoted}." if quoted else ""


def with_unit(header: str, numbers: str) -> str:
    """Numbers of a column with its name before and its unit behind, both from its header."""
    label, _, unit = header.partition(", ")
    return f"{label} {numbers} {unit}".rstrip()
