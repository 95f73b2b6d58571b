"""Units in which pictures write times that the rack counts in ms."""

from typing import NamedTuple


class Unit(NamedTuple):
    """A unit of time: `per_ms` of them are a ms."""

    name: str
    per_ms: float


UNITS = (Unit("s", 0.001), Unit("ms", 1.0), Unit("µs", 1000.0), Unit("ns", 1_000_000.0))


def unit_for(ms: float) -> Unit:
    """The largest unit in which a time is at least 1, or else the smallest; ms for what is no time (0, NaN)."""
    if not ms > 0:
        return Unit("ms", 1.0)
    return next((unit for unit in UNITS if ms * unit.per_ms >= 1 - 1e-6), UNITS[-1])
