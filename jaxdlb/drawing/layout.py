"""How numbers are written in pictures, and how labels and points are placed: arithmetic, with no drawing."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Shaped

_UNITS = (("h", 3600), ("min", 60), ("s", 1))


def number(value: float) -> str:
    """A number as pictures print it: about three digits, with a true minus sign."""
    size = abs(value)
    decimals = 0 if size >= 99.5 else 1 if size >= 9.95 else 2
    return true_minus(f"{value:,.{decimals}f}")


def true_minus(text: str) -> str:
    """A number with a minus sign instead of a hyphen."""
    return text.replace("-", "−")


def caption(name: str, most: int = 44) -> str:
    """A name as pictures print it: cut to `most` characters, with dollar signs escaped, since they begin formulas."""
    shown = name if len(name) <= most else f"{name[: most - 1]}…"
    return " ".join(shown.split()).replace("$", r"\$")


def duration(seconds: float) -> str:
    """A duration as pictures print it: in the largest unit that divides it evenly, or else in seconds."""
    unit, size = next(((unit, size) for unit, size in _UNITS if seconds and seconds % size == 0), ("s", 1))
    return f"{seconds / size:g} {unit}"


def round_durations(longest: float, most: int = 6) -> list[float]:
    """Evenly spaced round numbers of seconds from 0 to `longest`, with at most `most` above 0."""
    step = next((step for step in _steps() if longest / step < most + 1), math.inf)
    return [0.0] if math.isinf(step) else [k * step for k in range(int(longest / step) + 1)]


def _steps() -> Iterator[float]:
    """Steps in which people count time, in seconds and increasing: 1, 2, 5, 10, … of larger and larger units."""
    small = [digit * 10.0**power for power in range(-3, 1) for digit in (1, 2, 5)]
    of_sixty = [digit * size for size in (1, 60) for digit in (10, 15, 30)]
    of_minutes = [digit * 60.0 for digit in (1, 2, 5)]
    hours = [digit * 3600.0 * 10.0**power for power in range(6) for digit in (1, 2, 5)]
    yield from sorted([*small, *of_sixty, *of_minutes, *hours])


def evenly_spaced(count: int, most: int) -> list[int]:
    """At most `most` of the indices below `count`, evenly spaced, starting with the first."""
    return list(range(0, count, math.ceil(count / most)))


def round_loads(heaviest: int) -> list[int]:
    """0, 1, 2, 5, 10, 20, 50, … up to `heaviest`."""
    return [0, *(d * 10**power for power in range(9) for d in (1, 2, 5) if d * 10**power <= heaviest)]


def spread_out(positions: Sequence[float], gap: float) -> list[float]:
    """Increasing positions, moved to lie at least `gap` apart; each group that touches stays centred where it was."""
    clusters: list[tuple[float, int]] = []  # centre and size of each run of labels that touch
    for position in positions:
        clusters.append((position, 1))
        while len(clusters) > 1 and _touch(clusters[-2], clusters[-1], gap):
            (centre, size), (other, other_size) = clusters[-2:]
            both = size + other_size
            clusters[-2:] = [((centre * size + other * other_size) / both, both)]
    return [centre + (k - (size - 1) / 2) * gap for centre, size in clusters for k in range(size)]


def _touch(lower: tuple[float, int], upper: tuple[float, int], gap: float) -> bool:
    return upper[0] - lower[0] < gap * (lower[1] + upper[1]) / 2


def shortened(values: Shaped[np.ndarray, "T N"], most: int) -> Float[np.ndarray, "S N"]:
    """At most `most` rows: if there are more, means over runs of equal length."""
    run = math.ceil(len(values) / most)
    starts = np.arange(0, len(values), run)
    lengths = np.diff(starts, append=len(values))
    return np.add.reduceat(np.asarray(values, np.float64), starts, axis=0) / lengths[:, None]


class Steps(NamedTuple):
    """A series in B bins of equal length, the last one perhaps shorter."""

    values: Float[np.ndarray, " B"]
    edges: Float[np.ndarray, " B1"]  # in steps, B1 = B + 1


def binned(series: Shaped[np.ndarray, " T"], most: int) -> Steps:
    """The means of a series over at most `most` bins."""
    values = shortened(series[:, None], most)[:, 0]
    run = math.ceil(len(series) / most)
    return Steps(values, np.minimum(np.arange(len(values) + 1) * run, len(series)).astype(np.float64))


def arcs(
    start: Float[np.ndarray, "M 2"], end: Float[np.ndarray, "M 2"], rise: Float[np.ndarray, " M"], num_points: int = 24
) -> Float[np.ndarray, "M P 2"]:
    """Points along a parabola from each start to its end, peaking about `rise` above the higher of the two."""
    return np.stack([on_arcs(start, end, rise, share) for share in np.linspace(0, 1, num_points)], axis=1)


def on_arcs(
    start: Float[np.ndarray, "M 2"], end: Float[np.ndarray, "M 2"], rise: Float[np.ndarray, " M"], share: Any
) -> Float[np.ndarray, "M 2"]:
    """The point of each arc at `share` of its length, which is one number or one per arc."""
    share = np.broadcast_to(share, rise.shape)[:, None]
    middle = np.stack([(start[:, 0] + end[:, 0]) / 2, np.maximum(start[:, 1], end[:, 1]) + 2 * rise], axis=1)
    return (1 - share) ** 2 * start + 2 * share * (1 - share) * middle + share**2 * end


def eased(share: Float[np.ndarray, "*M"]) -> Float[np.ndarray, "*M"]:
    """The share of a path covered after a share of the time: slow at both ends."""
    share = np.clip(share, 0, 1)
    return np.asarray(share * share * (3 - 2 * share))


def arrow_heads(
    tip: Float[np.ndarray, "M 2"],
    towards: Float[np.ndarray, "M 2"],
    scale: Float[np.ndarray, " 2"],
    size: float,
) -> Float[np.ndarray, "M 3 2"]:
    """Corners of triangles with their point at each `tip`, pointing along `towards`, `size` long in the picture.

    `scale` is the length of a unit of x and of y in the picture, so that arrowheads look the same on all axes.
    """
    along = towards * scale
    along = along / np.maximum(np.hypot(along[:, 0], along[:, 1]), 1e-9)[:, None]
    across = np.stack([-along[:, 1], along[:, 0]], axis=1)
    corners = [np.zeros_like(along), -size * along + 0.45 * size * across, -size * along - 0.45 * size * across]
    return tip[:, None] + np.stack(corners, axis=1) / scale


def boxes(heights: Float[np.ndarray, " N"], width: float, bottom: float = 0.0) -> Float[np.ndarray, "N 4 2"]:
    """Corners of bars of these heights standing side by side, the k-th centred on x = k."""
    left, right = np.arange(len(heights)) - width / 2, np.arange(len(heights)) + width / 2
    low = np.full(len(heights), bottom)
    corners = [(left, low), (left, heights), (right, heights), (right, low)]
    return np.stack([np.stack(corner, axis=1) for corner in corners], axis=1)


def marks(where: Bool[np.ndarray, " N"], height: float) -> Float[np.ndarray, "M 2"]:
    """Points at this height, one over each node that `where` selects."""
    nodes = np.flatnonzero(where)
    return np.stack([nodes, np.full(len(nodes), height)], axis=1)
