"""How numbers are written in pictures, and how labels and points find room: arithmetic without any drawing."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Shaped


def number(value: float) -> str:
    """A number as pictures print it: about three digits, and a true minus."""
    size = abs(value)
    decimals = 0 if size >= 99.5 else 1 if size >= 9.95 else 2
    return true_minus(f"{value:,.{decimals}f}")


def true_minus(text: str) -> str:
    """A number with a minus sign in place of the hyphen."""
    return text.replace("-", "−")


def caption(name: str, most: int = 44) -> str:
    """A name as pictures print it: at most so many characters, its dollar signs no formula."""
    shown = name if len(name) <= most else f"{name[: most - 1]}…"
    return " ".join(shown.split()).replace("$", r"\$")


def evenly(count: int, most: int) -> list[int]:
    """At most `most` of the indices below `count`, evenly apart, the first among them."""
    return list(range(0, count, math.ceil(count / most)))


def round_loads(heaviest: int) -> list[int]:
    """0, 1, 2, 5, 10, 20, 50 … up to `heaviest`."""
    return [0, *(d * 10**power for power in range(9) for d in (1, 2, 5) if d * 10**power <= heaviest)]


def apart(positions: Sequence[float], gap: float) -> list[float]:
    """Increasing positions moved so as to lie at least `gap` apart; those that touch stay centred where they were."""
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
    """At most `most` rows: means over equal runs of rows, where there are more."""
    run = math.ceil(len(values) / most)
    starts = np.arange(0, len(values), run)
    lengths = np.diff(starts, append=len(values))
    return np.add.reduceat(np.asarray(values, np.float64), starts, axis=0) / lengths[:, None]


def arcs(
    start: Float[np.ndarray, "M 2"], end: Float[np.ndarray, "M 2"], rise: Float[np.ndarray, " M"], num_points: int = 24
) -> Float[np.ndarray, "M P 2"]:
    """Points along a parabola from each start to its end, whose top lies about `rise` above the higher of them."""
    return np.stack([on_arcs(start, end, rise, share) for share in np.linspace(0, 1, num_points)], axis=1)


def on_arcs(
    start: Float[np.ndarray, "M 2"], end: Float[np.ndarray, "M 2"], rise: Float[np.ndarray, " M"], share: Any
) -> Float[np.ndarray, "M 2"]:
    """The point of each arc at `share` of its way, one number or one an arc."""
    share = np.broadcast_to(share, rise.shape)[:, None]
    middle = np.stack([(start[:, 0] + end[:, 0]) / 2, np.maximum(start[:, 1], end[:, 1]) + 2 * rise], axis=1)
    return (1 - share) ** 2 * start + 2 * share * (1 - share) * middle + share**2 * end


def boxes(heights: Float[np.ndarray, " N"], width: float, bottom: float = 0.0) -> Float[np.ndarray, "N 4 2"]:
    """Corners of bars of these heights that stand side by side, the k-th around x = k."""
    left, right = np.arange(len(heights)) - width / 2, np.arange(len(heights)) + width / 2
    low = np.full(len(heights), bottom)
    corners = [(left, low), (left, heights), (right, heights), (right, low)]
    return np.stack([np.stack(corner, axis=1) for corner in corners], axis=1)


def marks(where: Bool[np.ndarray, " N"], height: float) -> Float[np.ndarray, "M 2"]:
    """Points at this height over the nodes where something is so."""
    nodes = np.flatnonzero(where)
    return np.stack([nodes, np.full(len(nodes), height)], axis=1)
