"""The part of an animation that shows one rack: its artists, and where each of them is at a given time."""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import LogNorm, Normalize
from matplotlib.text import Text

from jaxdlb.drawing import layout
from jaxdlb.drawing.style import BAR, BLUE, GREEN, GREY, PAPER, SHADE, VERMILION
from jaxdlb.games.rack.clock import Unit
from jaxdlb.games.rack.replay import Flights, Kind, Replay, shown_queue
from jaxdlb.games.rack.scene import Scene, on_paths

SHADES = "Blues"  # of busy cores, from slow to fast: darker means faster
NUM_SHADES, LIGHTEST = 24, 9  # as many as an animation reproduces exactly; the first ones are too pale
FALL = 0.8  # slices for which a task is shown on its way from the central load balancer, which takes no time
SEEN = 0.75  # slices for which a packet is shown at least, so that none flies between two frames
COMFORTABLE = 30  # tasks that fall in a slice; if more do, they are smaller
TAIL = 0.3  # share of a path that is drawn behind what flies
COLOURS = np.array([BLUE, VERMILION, VERMILION, VERMILION])  # by `Kind`


class Panel:
    """One rack: `artists`, in drawing order, and `move(time)`, which puts them in their places."""

    def __init__(self, axes: Axes, status: Text, replayed: Replay, scene: Scene, units: tuple[Unit, Unit]) -> None:
        crowd, mark = len(replayed.falls.node) / replayed.num_slices, 34 if scene.column > 24 else 12
        size = float(np.clip(34 * COMFORTABLE / max(crowd, 1), 6, mark))
        self.artists: dict[str, Any] = {
            "down": axes.add_collection(PolyCollection([], color=SHADE)),
            "queues": axes.add_collection(PolyCollection([], color=BAR)),
            "blocks": axes.add_collection(LineCollection([], colors=PAPER, linewidths=1.2)),
            "cores": axes.add_collection(PolyCollection([], linewidths=0)),
            "io": axes.add_collection(PolyCollection([], linewidths=0)),
            "falling": axes.add_collection(LineCollection([], colors=GREEN, linewidths=1.4, alpha=0.35)),
            "tails": axes.add_collection(LineCollection([], linewidths=1.6, alpha=0.35)),
            "completions": axes.scatter([], [], s=0.8 * mark, marker="v", color=GREY, linewidths=0),
            "arrivals": axes.scatter([], [], s=size, color=GREEN, linewidths=0.6, edgecolors=PAPER),
            "requests": axes.scatter([], [], s=1.3 * size, marker="$?$", color=VERMILION, linewidths=0.3),
            "refusals": axes.scatter([], [], s=0.9 * size, marker="x", color=VERMILION, linewidths=1.6),
            "tasks": axes.scatter([], [], s=size, linewidths=0.6, edgecolors=PAPER),
            "status": status,
        }
        self._replay, self._scene = replayed, scene
        self._clock, self._response = units
        self._banks = {"cores": scene.core_bank(replayed.cores), "io": scene.io_bank(replayed.io_cores)}
        self._shades = {"cores": shades(replayed.core_perf), "io": shades(replayed.io_perf)}

    def move(self, time: float) -> None:
        """Put every artist where it belongs at `time`, in slices from the start of the recording."""
        replayed, scene = self._replay, self._scene
        since = time - replayed.first
        now = int(since)
        waiting = shown_queue(replayed.cpu_queue, since)
        in_line = shown_queue(replayed.io_queue, since)
        piles = ((waiting, False), (in_line, True))
        self.artists["queues"].set_verts(np.concatenate([scene.bars(queue, below=below) for queue, below in piles]))
        parts = [scene.between_tasks(queue, below=below) for queue, below in piles]
        self.artists["blocks"].set_segments(np.concatenate(parts))
        self.artists["down"].set_verts(scene.whole_columns(~replayed.alive[now]))
        self._fill("cores", replayed.core_busy[now])
        self._fill("io", replayed.io_busy[now])
        done = np.flatnonzero(replayed.completed[now + 1] > 0)
        self.artists["completions"].set_offsets(np.stack([scene.centres[done], np.full(len(done), scene.marks)], 1))
        self._move_falls(time, waiting)
        self._move_flights(under_way(replayed.flights, time), time, waiting)
        self.artists["status"].set_text(self._status(time, float(replayed.p99[now])))

    def _fill(self, name: str, busy: Bool[np.ndarray, "N C"]) -> None:
        """Fill the cells of busy cores; where cores share cells, as many cells as stand for them."""
        bank = self._banks[name]
        if bank.grid.share == 1:
            node, place = np.nonzero(busy)
            corners = self._scene.cell_at(node, place, bank)
        else:
            node, corners = self._scene.cells(np.sum(busy, axis=1), bank)
        self.artists[name].set(verts=corners, facecolors=self._shades[name][node])

    def _move_falls(self, time: float, queue: Float[np.ndarray, " N"]) -> None:
        falls = self._replay.falls
        which = (falls.lands - FALL <= time) & (time < falls.lands)
        share = (time - falls.lands[which] + FALL) / FALL
        end = self._scene.tops(falls.node[which], queue)
        start = np.stack([end[:, 0], np.full(len(end), self._scene.balancer[0])], axis=1)
        places = start + (end - start) * share[:, None]
        above = start + (end - start) * np.maximum(share - TAIL / 2, 0)[:, None]
        self.artists["arrivals"].set_offsets(places)
        self.artists["falling"].set_segments(np.stack([above, places], axis=1))

    def _move_flights(self, flying: Flights, time: float, queue: Float[np.ndarray, " N"]) -> None:
        start, end = self._scene.tops(flying.source, queue), self._scene.tops(flying.target, queue)
        rise = self._scene.rises(start, end)
        trails = on_paths(start, end, rise, progress(flying, time), TAIL)
        places, colours = trails[:, -1], COLOURS[flying.kind]
        is_task = (flying.kind == Kind.SENT) | (flying.kind == Kind.STOLEN)
        self.artists["tails"].set(segments=trails, colors=colours)
        self.artists["tasks"].set(offsets=places[is_task], facecolors=colours[is_task])
        self.artists["requests"].set_offsets(places[flying.kind == Kind.REQUEST])
        self.artists["refusals"].set_offsets(places[flying.kind == Kind.REFUSAL])

    def _status(self, time: float, p99: float) -> str:
        clock = f"{time * self._replay.dt * self._clock.per_ms:,.2f} {self._clock.name}"
        so_far = "–" if np.isnan(p99) else f"{layout.number(p99 * self._response.per_ms)} {self._response.name}"
        return f"{clock}    p99 so far {so_far}"


def under_way(flights: Flights, time: float) -> Flights:
    """The flights that are shown at `time`: those that are under way, and those that just were for too short a time."""
    return flights.only((flights.departs <= time) & (time < np.maximum(flights.lands, flights.departs + SEEN)))


def progress(flights: Flights, time: float) -> Float[np.ndarray, " K"]:
    """The share of its path that each has covered at `time`."""
    return np.clip((time - flights.departs) / np.maximum(flights.lands - flights.departs, SEEN), 0, 1)


def shades(speed: Float[np.ndarray, " N"]) -> Float[np.ndarray, "N 4"]:
    """Colours of the busy cores of nodes with these speeds, from the slowest to the fastest."""
    low, high = float(speed.min()), float(speed.max())
    if high <= low * (1 + 1e-6):
        return shade(np.full(len(speed), 0.6))
    norm = LogNorm(low, high) if high > 4 * low else Normalize(low, high)
    return shade(np.asarray(norm(speed)))


def shade(share: Float[np.ndarray, " N"]) -> Float[np.ndarray, "N 4"]:
    """Colours from light (0) to dark (1), of those that an animation reproduces exactly."""
    place: Int[np.ndarray, " N"] = np.rint(LIGHTEST + share * (NUM_SHADES - 2 - LIGHTEST)).astype(int)
    return colormaps[SHADES](place / (NUM_SHADES - 1))
