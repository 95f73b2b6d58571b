"""The part of an animation that shows one cluster: its artists, and how they look at a given time."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.text import Text

from jaxdlb.drawing import layout
from jaxdlb.drawing.style import BAR, BLUE, GREY, INK, OCHRE, PALE, PAPER, SHADE, SMALL, VERMILION
from jaxdlb.games.pods.replay import Replay

MOST_PODS = 16  # that are shown one by one

# Heights in pixels, from the bottom of a panel upwards.
BUDGET, SPACE, WAITING, NAMES, LIMITS, ABOVE = 20, 22, 60, 34, 180, 6
HEIGHT = BUDGET + SPACE + WAITING + NAMES + LIMITS + ABOVE
FLOOR = BUDGET + SPACE + WAITING + NAMES  # of the limits

LABEL = -58  # pixels from the left end of a panel to the middle of what its scales are called
WIDEST, OF_THE_SLOT = 84, 0.66  # of a pod's bar: in pixels, and as a share of what there is for the pod
LONGEST_OVERHANG = 5  # pixels
WHOLE_BUDGET = 0.84  # of the width: what is denied goes beyond
LARGEST_BLOCK, SMALLEST_BLOCK = 12, 3  # of a request, with the gap to the next one, in pixels
LONGEST_LABEL = 14  # pixels of the budget that a pod's number takes

Corners = Float[np.ndarray, "M 4 2"]


@dataclasses.dataclass(frozen=True)
class Scene:
    """Where things stand in every panel, in pixels from its lower left corner; the scales are the same in all."""

    width: float
    pods: Sequence[int]  # those shown
    top: float  # mc, of the scale of limits
    most: int  # requests that a pod holds

    @property
    def bar(self) -> float:
        """The width of a pod's bar."""
        return min(WIDEST, OF_THE_SLOT * self.width / len(self.pods))

    @property
    def overhang(self) -> float:
        """Of a tick across a bar: so little that neighbours stay apart."""
        return min(LONGEST_OVERHANG, (self.width / len(self.pods) - self.bar) / 4)

    @functools.cached_property
    def left(self) -> Float[np.ndarray, " P"]:
        """The left ends of the bars."""
        slot = self.width / len(self.pods)
        return slot * (np.arange(len(self.pods)) + 0.5) - self.bar / 2

    @functools.cached_property
    def block(self) -> int:
        """From one request that waits to the next: as much as there is room for."""
        sizes = range(LARGEST_BLOCK, SMALLEST_BLOCK, -1)
        return next((size for size in sizes if self._room(size) >= self.most), SMALLEST_BLOCK)

    def _room(self, block: int) -> int:
        return int(self.bar // block) * (WAITING // block)

    def height(self, millicores: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        """At which so much CPU stands in the scale of limits."""
        return np.asarray(FLOOR + LIMITS * millicores / self.top)

    def blocks(self, count: Int[np.ndarray, " P"]) -> Corners:
        """So many requests of each pod, row by row from the top, as many as there is room for."""
        columns = max(int(self.bar // self.block), 1)
        shown = np.minimum(count, columns * (WAITING // self.block))
        pod = np.repeat(np.arange(len(shown)), shown)
        row, column = np.divmod(np.arange(len(pod)) - np.repeat(np.cumsum(shown) - shown, shown), columns)
        left, top = self.left[pod] + self.block * column, BUDGET + SPACE + WAITING - self.block * row
        size = self.block - (2 if self.block > 5 else 1)
        return boxes(left, left + size, top - size, top)


def boxes(left: Float[np.ndarray, " M"], right: Any, bottom: Any, top: Any) -> Corners:
    """Corners of upright rectangles; what is one number is so for all."""
    left, right, bottom, top = np.broadcast_arrays(left, right, bottom, top)
    corners = [(left, bottom), (left, top), (right, top), (right, bottom)]
    return np.stack([np.stack(corner, axis=1) for corner in corners], axis=1)


@dataclasses.dataclass(frozen=True)
class Moment:
    """N pods at some time; NaN where nothing is known, as in `Replay`."""

    present: Bool[np.ndarray, " N"]
    limit: Float[np.ndarray, " N"]
    usage: Float[np.ndarray, " N"]
    wanted: Float[np.ndarray, " N"]
    denied: float  # of all pods
    held: Int[np.ndarray, " N"]
    late: Int[np.ndarray, " N"]


def moment(replayed: Replay, time: float) -> Moment:
    """What a step is like, for its first half; then CPU changes to that of the next one."""
    step = int(time)
    following = min(step + 1, replayed.num_steps - 1)
    share = layout.eased(np.asarray((time - step - 0.5) / 0.5))

    def now(series: Float[np.ndarray, " T *N"]) -> np.ndarray:
        before, after = series[step], series[following]
        return np.where(np.isfinite(after), before + (after - before) * share, before)

    held, late = (np.nan_to_num(each[step]).astype(int) for each in (replayed.held, replayed.late))
    return Moment(
        present=replayed.present[step],
        limit=now(replayed.limit),
        usage=now(replayed.usage),
        wanted=now(replayed.wanted),
        denied=float(now(replayed.denied)),
        held=held,
        late=late,
    )


class Panel:
    """One cluster: `artists`, in drawing order, and `move(time)`, which puts them in their places."""

    def __init__(self, axes: Axes, status: Text, replayed: Replay, scene: Scene) -> None:
        self._replay, self._scene = replayed, scene
        middle: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": SMALL, "color": INK, "zorder": 6}
        few = len(scene.pods) <= MOST_PODS // 2
        centres = scene.left + scene.bar / 2
        for place, pod in zip(centres, scene.pods, strict=True):
            axes.text(place, FLOOR - 9, f"pod {pod}" if few else f"{pod}", **middle)
        outline: dict[str, Any] = {"facecolors": "none", "edgecolors": INK}
        hatched: dict[str, Any] = {"facecolors": "none", "edgecolors": VERMILION, "hatch": "/////", "linewidths": 0}
        whole = boxes(np.full(1, 0.5), WHOLE_BUDGET * scene.width, 0.5, BUDGET)
        self.artists: dict[str, Any] = {
            "absent": axes.add_collection(PolyCollection([], facecolors=SHADE, linewidths=0, zorder=1)),
            "used": axes.add_collection(PolyCollection([], facecolors=BAR, linewidths=0, zorder=2)),
            "limits": axes.add_collection(PolyCollection([], **outline, linewidths=1.4, zorder=3)),
            "wanted": axes.add_collection(PolyCollection([], facecolors=OCHRE, linewidths=0, zorder=4)),
            "waiting": axes.add_collection(PolyCollection([], facecolors=BLUE, linewidths=0, zorder=2)),
            "late": axes.add_collection(PolyCollection([], facecolors=VERMILION, linewidths=0, zorder=3)),
            "shares": axes.add_collection(PolyCollection([], edgecolors=PAPER, linewidths=1, zorder=2)),
            "denied": axes.add_collection(PolyCollection([], **hatched, zorder=1)),
            "budget": axes.add_collection(PolyCollection(list(whole), **outline, linewidths=1.2, zorder=5)),
            "status": status,
        }
        self.counts = [axes.text(place, FLOOR - 23, "", **middle) for place in centres]
        self.numbers = [axes.text(0, BUDGET / 2, f"{pod}", **middle) for pod in scene.pods]
        self.others = axes.text(0, BUDGET / 2, "others", **middle)
        texts = [*self.counts, *self.numbers, self.others]
        self.artists |= {f"text {place}": text for place, text in enumerate(texts)}
        _dress(axes, scene, replayed.budget)

    def move(self, time: float) -> None:
        """Put every artist where it belongs at `time`, in steps."""
        now, scene = moment(self._replay, time), self._scene
        pods = np.asarray(scene.pods)
        present, held, late = now.present[pods], now.held[pods], now.late[pods]
        self._stand("absent", ~present, FLOOR, np.full(len(pods), float(FLOOR + LIMITS)))
        self._stand("used", np.isfinite(now.usage[pods]), FLOOR, scene.height(now.usage[pods]))
        self._stand("limits", present, FLOOR, scene.height(now.limit[pods]))
        wanted = scene.height(now.wanted[pods])
        self._stand("wanted", present, wanted - 1.5, wanted + 1.5, wider=scene.overhang)
        self.artists["waiting"].set_verts(scene.blocks(held))
        self.artists["late"].set_verts(scene.blocks(late))
        for text, count, is_present in zip(self.counts, held, present, strict=True):
            text.set_text(f"{count}" if is_present else "–")
        self._share_budget(now)
        self.artists["status"].set_text(self._status(int(time)))

    def _stand(self, name: str, which: Bool[np.ndarray, " P"], bottom: Any, top: Any, *, wider: float = 0) -> None:
        """Draw the bars of the pods that `which` selects."""
        left = self._scene.left - wider
        corners = boxes(left, left + self._scene.bar + 2 * wider, bottom, top)
        self.artists[name].set_verts(corners[which])

    def _share_budget(self, now: Moment) -> None:
        """The limits side by side: of the pods that are shown, of all others, and what was denied."""
        scene, limit = self._scene, np.nan_to_num(now.limit)
        shown = limit[np.asarray(scene.pods)]
        pixels = WHOLE_BUDGET * scene.width / self._replay.budget
        ends = pixels * np.concatenate([[0.0], np.cumsum([*shown, limit.sum() - shown.sum()])])
        colours = [BAR] * len(shown) + [SHADE]
        self.artists["shares"].set(verts=boxes(ends[:-1], ends[1:], 0, BUDGET), facecolors=colours)
        for text, left, right in zip([*self.numbers, self.others], ends[:-1], ends[1:], strict=True):
            text.set_x((left + right) / 2)
            text.set_visible(bool(right - left > (3 if text is self.others else 1) * LONGEST_LABEL))
        beyond = min(ends[-1] + pixels * now.denied, scene.width)
        is_visible = beyond - ends[-1] > 1
        self.artists["denied"].set_verts(boxes(ends[-1:], beyond, 0, BUDGET) if is_visible else [])

    def _status(self, step: int) -> str:
        replayed, seconds = self._replay, step * self._replay.interval
        share = replayed.column("violation_share", slice(step + 1))
        late = "–" if np.isnan(share) else f"{100 * share:.1f}%"
        cores = layout.number(float(np.nansum(replayed.limit[step])) / 1000)
        return f"{seconds:g} s    {cores} cores    late so far {late}"


def _dress(axes: Axes, scene: Scene, budget: float) -> None:
    """Draw what does not move: the scale of limits, the whole budget, and what stands at each height."""
    axes.set(xlim=(0, scene.width), ylim=(0, HEIGHT))
    axes.set_axis_off()
    step = _round_step(scene.top)
    left: dict[str, Any] = {"ha": "right", "va": "center", "color": GREY, "fontsize": SMALL}
    for value in np.arange(0, scene.top, step):
        height = float(scene.height(np.asarray(value)))
        axes.plot([0, scene.width], [height, height], color=INK if value == 0 else PALE, linewidth=0.8, zorder=0)
        axes.text(-6, height, f"{value:,g}", **left)
    axes.text(LABEL, FLOOR + LIMITS / 2, "CPU, mc", rotation=90, **left | {"ha": "center"})
    axes.text(-6, FLOOR - 23, "waiting", **left)
    axes.text(-6, BUDGET / 2, "budget", **left)
    said = f"{budget:,.0f} mc"
    axes.text(WHOLE_BUDGET * scene.width, BUDGET + 9, said, **left)


def _round_step(top: float) -> float:
    """Between numbers at the scale: 1, 2 or 5 times a power of ten, so that there are at most six."""
    power = 10.0 ** np.floor(np.log10(top / 5))
    return float(next(power * digit for digit in (1, 2, 5, 10) if top / (power * digit) <= 6))
