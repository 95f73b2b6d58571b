"""The part of an animation that shows the nodes of one cluster: its artists, and how they look at a given time."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.text import Text

from jaxdlb.drawing import layout
from jaxdlb.drawing.style import BAR, BLUE, DOTTED, GREY, INK, NORMAL, OCHRE, PALE, PAPER, SHADE, SMALL, VERMILION
from jaxdlb.games.cluster.charts import percent
from jaxdlb.games.cluster.reference import TIERS
from jaxdlb.games.cluster.replay import Replay

MOST_NODES = 50  # of a tier that are shown

# Heights in pixels, from the top of a panel downwards.
DISPATCHERS, SPACE, CORES, WAITING = 14, 14, 62, 36
TIER = SPACE + CORES + WAITING
MOST_WANTED = 2.0  # times the cores of a node, up to which bars grow
TASK, MOST_TASKS = 4.0, 8  # of a task that waits: its height, and how many are shown
WIDEST, OF_THE_SLOT = 64, 0.72  # of a node's bar: in pixels, and as a share of what there is for the node
LARGEST = 10  # of a dispatcher's square
DOT = 3.0  # radius of a task on its way
HATCHED: dict[str, Any] = {"facecolors": PAPER, "edgecolors": OCHRE, "hatch": "//////", "linewidths": 0}

Corners = Float[np.ndarray, "B 4 2"]


@dataclasses.dataclass(frozen=True)
class Scene:
    """Where things stand in every panel, in pixels from its lower left corner."""

    width: float
    tiers: Sequence[Sequence[int]]  # the nodes that are shown of each

    @property
    def height(self) -> float:
        return DISPATCHERS + TIER * sum(1 for nodes in self.tiers if nodes)

    @functools.cached_property
    def nodes(self) -> list[int]:
        """All that are shown."""
        return [node for nodes in self.tiers for node in nodes]

    @functools.cached_property
    def pitch(self) -> float:
        """From one node to the next."""
        return self.width / max(len(nodes) for nodes in self.tiers)

    @property
    def bar(self) -> float:
        return min(WIDEST, OF_THE_SLOT * self.pitch)

    @functools.cached_property
    def left(self) -> Float[np.ndarray, " B"]:
        """The left ends of the bars."""
        places = [place for nodes in self.tiers for place in range(len(nodes))]
        return self.pitch * np.asarray(places, np.float64) + (self.pitch - self.bar) / 2

    @functools.cached_property
    def floor(self) -> Float[np.ndarray, " B"]:
        """Where each bar stands."""
        present = [nodes for nodes in self.tiers if nodes]
        rows = np.repeat(np.arange(float(len(present))), [len(nodes) for nodes in present])
        return float(self.height - DISPATCHERS - SPACE - CORES) - TIER * rows

    def dispatchers(self, count: int) -> tuple[Float[np.ndarray, " M"], float]:
        """The left ends of so many squares, and how large they are."""
        pitch = self.width / count
        size = min(LARGEST, 0.75 * pitch)
        return pitch * np.arange(count) + (pitch - size) / 2, size


def boxes(left: Float[np.ndarray, " B"], right: Any, bottom: Any, top: Any) -> Corners:
    """Corners of upright rectangles; what is one number is so for all."""
    left, right, bottom, top = np.broadcast_arrays(left, right, bottom, top)
    corners = [(left, bottom), (left, top), (right, top), (right, bottom)]
    return np.stack([np.stack(corner, axis=1) for corner in corners], axis=1)


class Panel:
    """One cluster: `artists`, in drawing order, and `move(time)`, which puts them in their places."""

    def __init__(self, axes: Axes, status: Text, replayed: Replay, scene: Scene) -> None:
        self._replay, self._scene = replayed, scene
        self._shown = np.asarray(scene.nodes)
        num_nodes = len(replayed.tier)
        self._place = np.full(num_nodes + 2, -1)  # among those shown, of a node; N and −1 have none
        self._place[self._shown] = np.arange(len(self._shown))

        def bars(colour: str, order: int) -> Any:
            return axes.add_collection(PolyCollection([], facecolors=colour, linewidths=0, zorder=order))

        self.artists: dict[str, Any] = {
            "asleep": bars(SHADE, 1),
            "wakes": axes.add_collection(PolyCollection([], **HATCHED, zorder=1)),
            "wanted": bars(BAR, 2),
            "beyond": bars(OCHRE, 2),
            "late": bars(VERMILION, 2),
            "waiting": bars(BLUE, 2),
            "free": bars(PALE, 2),
            "busy": bars(BLUE, 3),
            "dropped": bars(VERMILION, 4),
            "ways": axes.add_collection(LineCollection([], colors=GREY, linewidths=0.7, zorder=4)),
            "tasks": axes.scatter([], [], s=(2 * DOT) ** 2, c=INK, linewidths=0, zorder=5),
        }
        self.counts = [
            axes.text(-6, scene.height - DISPATCHERS - TIER * row - SPACE - CORES - 11, "", **_SIDE)
            for row in range(sum(1 for nodes in scene.tiers if nodes))
        ]
        self.artists |= {f"count {row}": text for row, text in enumerate(self.counts)} | {"status": status}
        _dress(axes, scene, replayed)

    def move(self, time: float) -> None:
        """Put every artist where it belongs at `time`, in steps: tasks are placed in the first half of each."""
        step = int(time)
        self._stand(step, float(layout.eased(np.asarray((time - step - 0.5) / 0.5))))
        self._send(step, time - step)
        self.artists["status"].set_text(self._status(step))

    def _stand(self, step: int, share: float) -> None:
        """The nodes, so much of the way from a step to the next one."""
        scene, moments, following = self._scene, self._replay.moments, min(step + 1, self._replay.num_steps)
        is_after = share > 0.5

        def now(series: Any) -> Any:
            return series[following if is_after else step][self._shown]

        def between(series: Any) -> Any:
            return ((1 - share) * series[step] + share * series[following])[self._shown]

        wanted = np.minimum(between(moments.wanted), MOST_WANTED)
        unit = CORES / MOST_WANTED
        everywhere = np.ones(len(self._shown), bool)
        self._bars("asleep", now(moments.asleep), scene.floor, scene.floor + unit)
        self._bars("wakes", now(moments.wakes), scene.floor, scene.floor + unit)
        self._bars("wanted", everywhere, scene.floor, scene.floor + unit * np.minimum(wanted, 1))
        self._bars("beyond", wanted > 1, scene.floor + unit, scene.floor + unit * wanted)
        late, in_time = between(moments.late), between(moments.in_time)
        shown_late = np.minimum(late, MOST_TASKS)
        shown = np.minimum(late + in_time, MOST_TASKS)
        low = scene.floor - 2
        self._bars("late", shown_late > 0, low - TASK * shown_late, low)
        self._bars("waiting", shown > shown_late, low - TASK * shown, low - TASK * shown_late)
        waiting, tier = moments.waiting[following if is_after else step], self._replay.tier
        rows = [k for k, nodes in enumerate(scene.tiers) if nodes]
        for text, row in zip(self.counts, rows, strict=True):
            text.set_text(f"{int(waiting[tier == row].sum()):,} wait")

    def _bars(self, name: str, which: Bool[np.ndarray, " B"], bottom: Any, top: Any) -> None:
        left = self._scene.left
        self.artists[name].set_verts(boxes(left, left + self._scene.bar, bottom, top)[which])

    def _send(self, step: int, share: float) -> None:
        """The dispatchers, and their tasks on their way."""
        scene, node = self._scene, self._replay.node[step]
        left, size = scene.dispatchers(len(node))
        squares = boxes(left, left + size, scene.height - size, scene.height)
        is_there = share < 0.5
        dropped = node == len(self._replay.tier)
        busy = (node >= 0) & ~dropped & is_there
        self.artists["dropped"].set_verts(squares[dropped & is_there])
        self.artists["busy"].set_verts(squares[busy])
        self.artists["free"].set_verts(squares[~busy & ~(dropped & is_there)])
        start, end = self._ways(node, left + size / 2) if is_there else (np.zeros((0, 2)), np.zeros((0, 2)))
        at = start + (end - start) * layout.eased(np.asarray(2 * share))
        self.artists["ways"].set_segments(np.stack([start, end], axis=1))
        self.artists["tasks"].set_offsets(at)

    def _ways(
        self, node: Int[np.ndarray, " M"], from_: Float[np.ndarray, " M"]
    ) -> tuple[Float[np.ndarray, "B 2"], Float[np.ndarray, "B 2"]]:
        """From dispatchers to the nodes on which their tasks are placed, as far as these are shown."""
        scene, place = self._scene, self._place[node]
        which = place >= 0
        to = place[which]
        start = np.stack([from_[which], np.full(len(to), scene.height - LARGEST)], axis=1)
        return start, np.stack([scene.left[to] + scene.bar / 2, scene.floor[to] + CORES / MOST_WANTED], axis=1)

    def _status(self, step: int) -> str:
        replayed = self._replay
        kept = percent(replayed.column("sla", slice(step + 1)))
        slot = min(int(np.sum(replayed.passes[: step + 1])), len(replayed.slots.power)) - 1
        watts = float(np.sum(replayed.slots.power[slot])) if slot >= 0 else np.nan
        said = "–" if np.isnan(watts) else layout.number(watts / 1000)
        return f"{replayed.begins[step]:g} s    {said} kW    deadlines kept so far {kept}"


_SIDE: dict[str, Any] = {"ha": "right", "va": "center", "color": GREY, "fontsize": SMALL}


def _dress(axes: Axes, scene: Scene, replayed: Replay) -> None:
    """Draw what does not move: what stands in each row, and the height of all cores."""
    axes.set(xlim=(0, scene.width), ylim=(0, scene.height))
    axes.set_axis_off()
    axes.text(-6, scene.height - LARGEST / 2, "dispatchers", **_SIDE)
    present = [(name, nodes) for name, nodes in zip(TIERS, scene.tiers, strict=True) if nodes]
    for row, (name, nodes) in enumerate(present):
        floor = scene.height - DISPATCHERS - TIER * row - SPACE - CORES
        right = scene.pitch * len(nodes)
        axes.plot([0, right], [floor, floor], color=INK, linewidth=0.8, zorder=3)
        top = floor + CORES / MOST_WANTED
        axes.plot([0, right], [top, top], color=GREY, linewidth=0.9, linestyle=DOTTED, zorder=3)
        axes.text(-6, top, "all cores", **_SIDE)
        axes.text(-6, floor + CORES - 6, name, **_SIDE | {"color": INK, "fontsize": NORMAL, "fontweight": "bold"})
