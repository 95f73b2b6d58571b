"""The picture of a network, at one time or in the mean: its artists, and how they look when it does this or that."""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import Normalize

from jaxdlb.drawing import layout
from jaxdlb.drawing.style import BAR, BLUE, INK, MOST_LABELS, PALE, PAPER, SMALL
from jaxdlb.games.edge import ring
from jaxdlb.games.edge.replay import Replay

SHARES = "Oranges"  # of requests rejected: darker means more
FINE_DASHES = (0, (2.5, 1.5))  # of small circles
DOTS, FEW_DOTS = 3, 1  # on the link with most requests; where there are many links
PACE = 0.3  # of its way, that a dot covers in a step
PAD, SMALL_PAD = 0.36, 0.24  # around the nodes, for their labels: of two lines, of one
NARROW = 0.45  # at least so far up and down, where nodes stand in a row


@dataclasses.dataclass(frozen=True)
class Scales:
    """The ends of the scales that panels share."""

    flow: float  # requests per second on one link; 0 if there are none on any
    rate: float  # requests per second at one node: its capacity, or what comes to it
    share: float  # of requests rejected

    @property
    def norm(self) -> Normalize:
        """Of colours."""
        return Normalize(0, self.share)


@dataclasses.dataclass(frozen=True)
class Moment:
    """What a network does, at one time or in the mean."""

    input_rate: Float[np.ndarray, " N"]
    reject_share: Float[np.ndarray, " N"]  # of the requests at a node; 0 where there are none
    forwarded: Float[np.ndarray, "N N"]


def moment(replayed: Replay, steps: slice) -> Moment:
    """The mean over some steps; a share is one of requests, so busy steps count more."""
    load = replayed.load[steps].sum(axis=0)
    rejected = replayed.rejected[steps].sum(axis=0)
    return Moment(
        input_rate=replayed.input_rate[steps].mean(axis=0),
        reject_share=rejected / np.maximum(load, 1),
        forwarded=replayed.forwarded[steps].mean(axis=0),
    )


def scales_for(replays: Iterable[Replay], moments: Sequence[Moment]) -> Scales:
    """Wide enough for all of them."""
    share = max(float(each.reject_share.max()) for each in moments)
    rates = [*(each.capacity for each in replays), *(each.input_rate for each in moments)]
    return Scales(
        flow=max(float(each.forwarded.max()) for each in moments),
        rate=max(1.0, *(float(each.max()) for each in rates)),
        share=max(0.1, math.ceil(10 * share) / 10),
    )


class Panel:
    """One network: `artists`, in drawing order, and `show`, which makes them look as at some moment."""

    def __init__(self, axes: Axes, replayed: Replay, scales: Scales) -> None:
        num_nodes = replayed.num_nodes
        self._scales = scales
        self._centres = ring.places(num_nodes)
        self._radii = self._radius(replayed.capacity)
        self._source, self._target = np.nonzero(replayed.adjacency)
        self._ways = ring.ways(self._centres, self._radii, self._source, self._target)
        self._head = 0.42 * ring.largest_radius(num_nodes)
        self._width = float(np.clip(50 / num_nodes, 2, 7))
        _fit(axes, self._centres, ring.largest_radius(num_nodes))
        axes.add_collection(LineCollection(list(self._ways), colors=PALE, linewidths=0.8, zorder=0))
        discs = list(ring.discs(self._centres, self._radii))
        dot, fine = 5.0 * self._width, 1.1 if num_nodes <= MOST_LABELS else 0.6
        self.artists: dict[str, Any] = {
            "flows": axes.add_collection(LineCollection([], colors=BAR, zorder=1)),
            "heads": axes.add_collection(PolyCollection([], color=BLUE, linewidths=0, zorder=2)),
            "nodes": axes.add_collection(PolyCollection(discs, edgecolors=INK, linewidths=0.9, zorder=3)),
            "inputs": axes.add_collection(
                PolyCollection(
                    [], facecolors="none", edgecolors=INK, linewidths=fine, linestyles=[FINE_DASHES], zorder=4
                )
            ),
            "dots": axes.scatter([], [], s=dot, color=BLUE, linewidths=0.6, edgecolors=PAPER, zorder=5),
        }
        self.labels = self._label(axes, num_nodes)
        self.artists |= {f"label {node}": text for node, text in self.labels.items()}

    def _radius(self, rate: Float[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
        """Of discs whose areas are in proportion to rates."""
        return ring.largest_radius(len(rate)) * np.sqrt(rate / self._scales.rate)

    def _label(self, axes: Axes, num_nodes: int) -> dict[int, Any]:
        """The number of each node, outside the circle; where there is room, its share of rejections will follow."""
        away = self._centres if num_nodes > 1 else np.array([[0.0, 1.0]])
        at = self._centres + away * (ring.largest_radius(num_nodes) + 0.5 * _pad(num_nodes))
        style: dict[str, Any] = {"ha": "center", "va": "center", "color": INK, "linespacing": 1.05, "zorder": 6}
        small = num_nodes > MOST_LABELS
        return {
            node: axes.text(at[node, 0], at[node, 1], f"{node}", fontsize=7 if small else SMALL, **style)
            for node in layout.evenly_spaced(num_nodes, 64)
        }

    def show(self, now: Moment, time: float | None = None) -> None:
        """Make everything look as at this moment; at a `time`, in steps, dots are under way on links."""
        few = len(self._centres) <= MOST_LABELS
        most = DOTS if few else FEW_DOTS
        flow = now.forwarded[self._source, self._target]
        used = flow > 0
        ways, strength = self._ways[used], flow[used] / self._scales.flow
        tips = ways[:, -1]
        heads = layout.arrow_heads(tips, tips - ways[:, -4], np.ones(2), self._head)
        colours = colormaps[SHARES](self._scales.norm(now.reject_share))
        self.artists["flows"].set(segments=list(ways[:, :-1]), linewidths=0.5 + self._width * strength)
        self.artists["heads"].set_verts(heads)
        self.artists["nodes"].set_facecolors(colours)
        self.artists["inputs"].set_verts(ring.discs(self._centres, self._radius(now.input_rate)))
        self.artists["dots"].set_offsets(
            np.zeros((0, 2)) if time is None else _dots(ways, np.ceil(most * strength).astype(int), time)
        )
        if few:
            for node, text in self.labels.items():
                text.set_text(f"{node}\n{100 * now.reject_share[node]:.0f}%")


def _fit(axes: Axes, centres: ring.Points, largest: float) -> None:
    """Room for all nodes and their labels."""
    reach = np.abs(centres).max(axis=0) + largest + _pad(len(centres))
    axes.set(xlim=(-reach[0], reach[0]), aspect="equal")
    axes.set_ylim(-max(reach[1], NARROW), max(reach[1], NARROW))
    axes.set_axis_off()


def _pad(num_nodes: int) -> float:
    return PAD if num_nodes <= MOST_LABELS else SMALL_PAD


def _dots(ways: Float[np.ndarray, "M P 2"], count: Int[np.ndarray, " M"], time: float) -> Float[np.ndarray, "D 2"]:
    """So many dots on each way, evenly spaced."""
    way = np.repeat(np.arange(len(ways)), count)
    place = np.arange(len(way)) - np.repeat(np.cumsum(count) - count, count)
    return ring.on_ways(ways[way], (PACE * time + place / count[way]) % 1)
