"""Where the nodes of a drawn network stand, and the ways between them: arithmetic, with no drawing."""

import numpy as np
from jaxtyping import Float, Int

Points = Float[np.ndarray, "M 2"]

LARGEST, OF_THE_GAP = 0.22, 0.3  # the radius of the largest disc; at most this share of the way to the next node
# How far the middle of a way lies further in than the straight line, and to its left, as shares of its length; so the
# ways there and back can be told apart.
INWARD, LEFT = 0.06, 0.1
CLEAR = 1.2  # of the largest radius: the distance at which a way passes the nodes in between


def places(num_nodes: int) -> Points:
    """On a circle around 0 of radius 1, clockwise from the top; two stand side by side, one in the middle."""
    if num_nodes == 1:
        return np.zeros((1, 2))
    first = -0.5 * np.pi if num_nodes == 2 else 0.0
    turn = first + 2 * np.pi * np.arange(num_nodes) / num_nodes
    return np.stack([np.sin(turn), np.cos(turn)], axis=1)


def largest_radius(num_nodes: int) -> float:
    """The radius of the largest disc: so small that neighbours on the circle stay well apart."""
    return min(LARGEST, OF_THE_GAP * 2 * float(np.sin(np.pi / max(num_nodes, 2))))


def discs(centres: Points, radii: Float[np.ndarray, " M"], num_points: int = 48) -> Float[np.ndarray, "M P 2"]:
    """Corners of polygons as good as round."""
    turn = 2 * np.pi * np.arange(num_points) / num_points
    return centres[:, None] + radii[:, None, None] * np.stack([np.cos(turn), np.sin(turn)], axis=1)


def ways(
    centres: Float[np.ndarray, "N 2"],
    radii: Float[np.ndarray, " N"],
    source: Int[np.ndarray, " M"],
    target: Int[np.ndarray, " M"],
    num_points: int = 24,
) -> Float[np.ndarray, "M P 2"]:
    """Points along the way from disc to disc, clear of the nodes in between."""
    start, end = centres[source], centres[target]
    along, straight = end - start, (start + end) / 2
    across = np.stack([-along[:, 1], along[:, 0]], axis=1)
    inward = 2 * _inward(len(centres), along, straight)[:, None]
    middle = straight - inward * _unit(straight) + 2 * LEFT * across
    start = start + radii[source, None] * _unit(middle - start)
    end = end + radii[target, None] * _unit(middle - end)
    return np.stack([_between(start, middle, end, share) for share in np.linspace(0, 1, num_points)], axis=1)


def _inward(num_nodes: int, along: Points, straight: Points) -> Float[np.ndarray, " M"]:
    """How far the middle of each way lies further in than that of the straight line, but never beyond the centre."""
    length, depth = (np.hypot(each[:, 0], each[:, 1]) for each in (along, straight))
    passing = length > 1.01 * 2 * np.sin(np.pi / max(num_nodes, 2))  # there are nodes in between
    clear = CLEAR * largest_radius(num_nodes) + LEFT * length - (1 - depth)
    return np.minimum(np.maximum(INWARD * length, np.where(passing, clear, 0.0)), depth / 2)


def _unit(vectors: Points) -> Points:
    return vectors / np.maximum(np.hypot(vectors[:, 0], vectors[:, 1]), 1e-12)[:, None]


def _between(start: Points, middle: Points, end: Points, share: float) -> Points:
    """A quadratic Bézier curve."""
    return (1 - share) ** 2 * start + 2 * share * (1 - share) * middle + share**2 * end


def on_ways(way: Float[np.ndarray, "M P 2"], share: Float[np.ndarray, " M"]) -> Points:
    """The point at `share` of each way."""
    place = share * (way.shape[1] - 1)
    before = np.minimum(place.astype(int), way.shape[1] - 2)
    beyond = (place - before)[:, None]
    rows = np.arange(len(way))
    return (1 - beyond) * way[rows, before] + beyond * way[rows, before + 1]
