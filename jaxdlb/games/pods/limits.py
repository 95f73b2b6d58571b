"""The figure of recorded pods that sets their limits against the budget."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from jaxdlb.drawing import layout
from jaxdlb.drawing.figures import WIDTH, heading, legend
from jaxdlb.drawing.style import (
    BLUE,
    DASHED,
    DPI,
    GREEN,
    GREY,
    INK,
    LOADS,
    NORMAL,
    OCHRE,
    PAPER,
    PURPLE,
    VERMILION,
    VIOLET,
)
from jaxdlb.games.pods import charts
from jaxdlb.games.pods.replay import Replay, fifths

PODS = (BLUE, OCHRE, GREEN, PURPLE, VIOLET, GREY)  # colours in turn; vermilion is kept for what goes wrong
MOST_BANDS = len(PODS)
FIFTHS = ("the fifth of pods that wants most CPU", "the next", "the middle", "the fourth", "the one that wants least")
HIGHEST = 1.5  # times the budget, up to which is shown what is asked for beyond it
LEAST = 1e-3  # of the budget: less cannot be seen, and may be a matter of rounding
DENIED: dict[str, Any] = {"facecolor": "none", "edgecolor": VERMILION, "hatch": "////", "linewidth": 0}


class Band(NamedTuple):
    """A part of the sum of all limits."""

    label: str
    colour: str
    limit: Float[np.ndarray, " T"]


def bands(replayed: Replay, *, by_pod: bool) -> list[Band]:
    """One for each pod, or for each fifth of many pods: the darker, the more CPU they want."""
    if by_pod:
        limit = np.nan_to_num(replayed.limit)
        return [Band(f"pod {k}", PODS[k % len(PODS)], limit[:, k]) for k in range(replayed.num_pods)]
    shades = colormaps[LOADS](np.linspace(0.85, 0.15, len(FIFTHS)))
    return [Band(*each) for each in zip(FIFTHS, map(to_hex, shades), fifths(replayed).T, strict=True)]


def limits(replays: Mapping[str, Replay]) -> Figure:
    """The limits of all pods, one upon the other, and what was asked for but denied on top of them."""
    by_pod = max(each.num_pods for each in replays.values()) <= MOST_BANDS
    columns = min(len(replays), 2)
    rows = -(-len(replays) // columns)
    figure = Figure(figsize=(WIDTH, 1.2 + 2.5 * rows), dpi=DPI, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for axes in panels.ravel()[len(replays) :]:
        axes.set_axis_off()
    for place, (axes, (name, replayed)) in enumerate(zip(panels.flat, replays.items(), strict=False)):
        shown = bands(replayed, by_pod=by_pod)
        _stack(axes, replayed, shown)
        axes.set_title(f"{layout.caption(name, 44)}\n{charts.summary(replayed)}", **charts.TITLE)
        axes.set_xlim(0, replayed.seconds)
        charts.dress(axes, low=place + columns >= len(replays), labelled=place % columns == 0)
    budget, highest = (max(each) for each in zip(*map(_tops, replays.values()), strict=True))
    panels[0, 0].set_ylim(0, 1.06 * min(max(highest, budget), HIGHEST * budget))
    figure.supylabel("sum of CPU limits, mc", fontsize=NORMAL, color=INK)
    handles: list[Any] = [Patch(color=each.colour, label=each.label) for each in shown]
    denied = Patch(label="asked for but denied", **DENIED)
    handles += [Line2D([], [], color=INK, linestyle=DASHED, label="budget"), denied]
    legend(figure, handles, columns=min(len(handles), 8) if by_pod else 4)
    heading(figure, "Limits of the pods")
    return figure


def _tops(replayed: Replay) -> tuple[float, float]:
    """The budget, and the highest sum of limits and of what was denied."""
    asked, _ = layout.binned(np.nansum(replayed.limit, axis=1) + replayed.denied, charts.MOST_BINS)
    return replayed.budget, float(asked.max())


def _stack(axes: Axes, replayed: Replay, shown: Sequence[Band]) -> None:
    below = np.zeros(1)
    for band in shown:
        limit, edges = layout.binned(band.limit, charts.MOST_BINS)
        below = np.broadcast_to(below, limit.shape)
        edges = edges * replayed.interval
        axes.stairs(below + limit, edges, baseline=below, fill=True, color=band.colour, linewidth=0, label=band.label)
        below = below + limit
        axes.stairs(below, edges, baseline=None, color=PAPER, linewidth=0.6)
    denied, _ = layout.binned(replayed.denied, charts.MOST_BINS)
    top = np.where(denied > LEAST * replayed.budget, below + denied, np.nan)
    axes.stairs(top, edges, baseline=below, fill=True, label="denied", **DENIED)
    axes.axhline(replayed.budget, color=INK, linewidth=1.2, linestyle=DASHED)
