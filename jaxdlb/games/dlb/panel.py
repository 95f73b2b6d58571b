"""The part of an animation that shows one game: its artists, and where each of them is at a given time."""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import Normalize
from matplotlib.text import Text

from jaxdlb.drawing import layout
from jaxdlb.drawing.style import AGES, BAR, BLUE, DASHED, FAINT, GREEN, GREY, INK, MOST_LABELS, SHADE, VERMILION
from jaxdlb.games.dlb.replay import Flights, Replay, balanced, shown_load

HEARD = GREY
BOTTOM = -0.1  # bottom of the node axes, as a share of their top: leaves room for completions below the bars
REFUSED = 0.88  # how far along its path a refused request is crossed out: clear of the bar and of other arrowheads
ROOM = 1.45  # top of the node axes relative to the highest bar: leaves room for flying tasks and for arrivals


@dataclasses.dataclass(frozen=True)
class Scales:
    """The ends of the scales that panels share."""

    load: float  # tasks
    age: float  # rounds

    @property
    def top(self) -> float:
        """The top of the node axes."""
        return ROOM * self.load


class Panel:
    """One game: `artists`, in drawing order, and `move(time)`, which puts them in their places."""

    def __init__(
        self, nodes: Axes, strip: Axes, status: Text, replayed: Replay, scales: Scales, first_round: int
    ) -> None:
        few = replayed.num_nodes <= MOST_LABELS
        size = 60 if few else 18
        heard = LineCollection([], colors=HEARD, linewidths=1.1 if few else 0.7, linestyles=[DASHED])
        paths = LineCollection([], linewidths=1.0, alpha=FAINT)
        ages = np.zeros((1, replayed.num_nodes))
        extent = (-0.5, replayed.num_nodes - 0.5, -0.5, 0.5)
        self.artists: dict[str, Any] = {
            "down": nodes.add_collection(PolyCollection([], color=SHADE)),
            "bars": nodes.add_collection(PolyCollection([], color=BAR)),
            "floor": nodes.axhline(0, color=INK, linewidth=0.8),
            "heard": nodes.add_collection(heard),
            "balanced": nodes.add_collection(LineCollection([], colors=INK, linewidths=2)),
            "paths": nodes.add_collection(paths),
            "heads": nodes.add_collection(PolyCollection([], linewidths=0)),
            "starts": nodes.scatter([], [], s=0.4 * size, linewidths=1.2, facecolors="white"),
            "arrivals": nodes.scatter([], [], s=0.8 * size, marker="v", color=GREEN),
            "completions": nodes.scatter([], [], s=0.5 * size, marker="v", color=GREY),
            "requests": nodes.scatter([], [], s=1.1 * size, marker="$?$", color=VERMILION, linewidths=0.3),
            "refused": nodes.scatter([], [], s=0.9 * size, marker="x", color=VERMILION, linewidths=1.8),
            "tasks": nodes.scatter([], [], s=size, linewidths=0.6, edgecolors="white"),
            "ages": strip.imshow(ages, cmap=AGES, norm=Normalize(0, scales.age), extent=extent, aspect="auto"),
            "status": status,
        }
        self._replay, self._scales, self._first_round = replayed, scales, first_round
        corners = nodes.transData.transform([(0, 0), (1, 1)])
        self._pixels = corners[1] - corners[0]  # per unit of x and of y
        self._head = 9.0 if few else 5.0
        self._width = min(0.6, 0.1 + 0.1 * replayed.num_nodes)

    def move(self, time: float) -> None:
        """Put every artist where it belongs at `time`."""
        replayed, top, round = self._replay, self._scales.top, int(time)
        load = shown_load(replayed, time)
        everywhere = np.full(replayed.num_nodes, top)
        outline = layout.boxes(replayed.heard_load[round], 1.35 * self._width)
        self.artists["bars"].set_verts(layout.boxes(load, self._width))
        self.artists["heard"].set_segments(outline)
        self.artists["balanced"].set_segments(layout.boxes(balanced(load, replayed.speed), self._width)[:, 1:3])
        self.artists["down"].set_verts(layout.boxes(everywhere, 1.0, BOTTOM * top)[~replayed.alive[round]])
        self.artists["arrivals"].set_offsets(layout.marks(replayed.arrived[round], 0.97 * top))
        self.artists["completions"].set_offsets(layout.marks(replayed.completed[round], 0.55 * BOTTOM * top))
        self.artists["ages"].set_data(replayed.heard_age[round][None])
        self._move_flights(replayed.flights.at(time), np.minimum(load, 0.9 * top), time)
        past = replayed.utility[self._first_round : round + 1]
        mean, now = (layout.number(float(value)) for value in (np.mean(past), past[-1]))
        self.artists["status"].set_text(f"round {round}    utility {now}    mean so far {mean}")

    def _move_flights(self, flying: Flights, load: Float[np.ndarray, " N"], time: float) -> None:
        """Draw each flight from a ring to an arrowhead: requests go to the victim, tasks to their receiver."""
        top, requesting = self._scales.top, flying.requesting(time)
        origin = np.where(requesting, flying.target, flying.source)
        goal = np.where(requesting, flying.source, flying.target)
        start, end = self._tops(origin, load), self._tops(goal, load)
        rise = top * (0.06 + 0.3 * np.abs(origin - goal) / len(load))
        rise = np.minimum(rise, 0.93 * top - np.maximum(start[:, 1], end[:, 1]))  # keep clear of the arrivals above
        places = layout.on_arcs(start, end, rise, flying.progress(time))
        colours = np.where(flying.asked, VERMILION, BLUE)
        refused = flying.refused & (flying.progress(time) >= 1)
        heads = layout.arrow_heads(end, end - layout.on_arcs(start, end, rise, 0.93), self._pixels, self._head)
        self.artists["paths"].set(segments=layout.arcs(start, end, rise), colors=colours)
        self.artists["heads"].set(verts=heads[~refused], facecolors=colours[~refused])
        self.artists["starts"].set(offsets=start[~refused], edgecolors=colours[~refused])
        self.artists["requests"].set_offsets(places[requesting & ~refused])
        self.artists["refused"].set_offsets(layout.on_arcs(start, end, rise, REFUSED)[refused])
        self.artists["tasks"].set(offsets=places[~requesting], facecolors=colours[~requesting])

    @staticmethod
    def _tops(node: Int[np.ndarray, " M"], load: Float[np.ndarray, " N"]) -> Float[np.ndarray, "M 2"]:
        return np.stack([node, load[node]], axis=1).astype(np.float64)
