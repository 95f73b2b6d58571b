"""Figures of recorded farms over time: how far the job is, what workers do, and the sizes of chunks."""

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib import colormaps, ticker
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from jaxdlb.drawing import layout
from jaxdlb.drawing.axes import plain, plain_numbers
from jaxdlb.drawing.figures import WIDTH, heading, legend
from jaxdlb.drawing.style import BAR, DPI, GREEN, GREY, INK, NORMAL, OCHRE, PALE, PAPER, SHADE, SMALL, VERMILION, VIOLET
from jaxdlb.games.farm.replay import Replay, handed_out, occupied

NARROWEST = 3.0  # inches: of a policy's column
FEW = 400  # chunks: they have edges, and larger marks
FEW_WORKERS = 8  # of so many, the chunks of each are joined by lines
SPEEDS = "viridis_r"  # colours of workers: the faster, the darker
TASKS: Mapping[str, dict[str, Any]] = {
    "done": {"color": BAR},
    "in hand": {"color": GREEN, "alpha": 0.55},
    "not in hand": {"color": PALE},
}
DOING: Mapping[str, dict[str, Any]] = {
    "computing": {"color": BAR},
    "communicating": {"color": OCHRE},
    "waiting": {"color": PALE},
    "declined": {"color": VIOLET, "alpha": 0.35},
    "absent": {"facecolor": PAPER, "edgecolor": SHADE, "hatch": "//////"},
}


def progress(replays: Mapping[str, Replay]) -> Figure:
    """Tasks done, in hand and not; and below, how many workers do what. A column for each policy."""
    figure, panels = _columns(replays, [1.0, 1.0], 4.6)
    for (name, replayed), (tasks, workers) in zip(replays.items(), panels, strict=True):
        _tasks(tasks, replayed)
        _workers(workers, replayed)
        _title(tasks, name)
        workers.set_xlabel("time", fontsize=NORMAL, color=INK)
    for axes, label in zip(panels[0], ("tasks", "workers"), strict=True):
        axes.set_ylabel(label, fontsize=NORMAL, color=INK)
    seen = {name for each in replays.values() for name, counts in occupied(each)[1].items() if np.any(counts > 0)}
    below = [Patch(label=name, **look) for name, look in DOING.items() if name in seen]
    above = [Patch(label=f"tasks {name}", **look) for name, look in TASKS.items()]
    legend(figure, _in_two_rows(above, below), columns=max(len(above), len(below)))
    heading(figure, "How far the job is, and what workers do")
    return figure


def _in_two_rows(above: list[Any], below: list[Any]) -> list[Any]:
    """The handles of a legend of two rows, in the order in which its columns are filled."""
    pairs = itertools.zip_longest(above, below, fillvalue=Patch(alpha=0, label=" "))
    return [handle for pair in pairs for handle in pair]


def _tasks(axes: Axes, replayed: Replay) -> None:
    """Stacked: they are J at any time."""
    instants, counts = handed_out(replayed)
    _stack(axes, instants, [counts[name] for name in TASKS], TASKS)
    _dress(axes, replayed.job)


def _workers(axes: Axes, replayed: Replay) -> None:
    """Stacked: they are N at any time."""
    instants, counts = occupied(replayed)
    _stack(axes, instants, [counts[name] for name in DOING], DOING)
    _dress(axes, len(replayed.workers))


def _stack(axes: Axes, times: Float[np.ndarray, " B"], counts: Any, looks: Mapping[str, dict[str, Any]]) -> None:
    """Areas upon one another, each as high as a count from one instant to the next; the last instant ends them."""
    below = np.zeros(len(times) - 1)
    for (name, look), count in zip(looks.items(), counts, strict=True):
        top = below + count[:-1]
        axes.stairs(top, times, baseline=below, fill=True, linewidth=0, label=name, **look)
        below = top
    axes.axvline(times[-1], color=INK, linewidth=1.0)


def _dress(axes: Axes, most: float) -> None:
    axes.set_ylim(0, most)
    axes.yaxis.set_major_locator(ticker.MaxNLocator(4, integer=True))
    axes.yaxis.set_major_formatter(plain_numbers())
    axes.xaxis.set_major_formatter(plain_numbers())
    plain(axes)


def sizes(replays: Mapping[str, Replay]) -> Figure:
    """The tasks of each chunk over the time when it was handed out, by the speed of its worker."""
    figure, panels = _columns(replays, [1.0], 3.6)
    shade, scale = _shades(replays)
    largest = max(int(each.chunks.tasks.max(initial=1)) for each in replays.values())
    for (name, replayed), (axes,) in zip(replays.items(), panels, strict=True):
        chunks, few = replayed.chunks, len(replayed.chunks.tasks) <= FEW
        if len(replayed.workers) <= FEW_WORKERS:
            _paths(axes, replayed, shade)
        look: dict[str, Any] = {"s": 30 if few else 9, "linewidths": 0.7 if few else 0.2, "edgecolors": PAPER}
        axes.scatter(
            chunks.asked, chunks.tasks, c=shade(replayed.speed[chunks.worker]), zorder=3, label="chunks", **look
        )
        lost = chunks.lost
        ring: dict[str, Any] = {"s": 3 * look["s"], "linewidths": 1.2 if few else 0.6}
        axes.scatter(chunks.asked[lost], chunks.tasks[lost], label="lost", **LOST, **ring)
        axes.axvline(replayed.end, color=INK, linewidth=1.0)
        _logarithmic(axes, largest)
        _title(axes, name)
        axes.set_xlabel("time", fontsize=NORMAL, color=INK)
    panels[0][0].set_ylabel("tasks of a chunk", fontsize=NORMAL, color=INK)
    if any(each.chunks.lost.any() for each in replays.values()):
        circle: dict[str, Any] = {"marker": "o", "linestyle": "", "markersize": 8, "markeredgecolor": VERMILION}
        legend(figure, [Line2D([], [], color="none", label="chunk that was lost with its worker", **circle)])
    _bar(figure, panels, scale)
    heading(figure, "Sizes of chunks")
    return figure


LOST: dict[str, Any] = {"facecolors": "none", "edgecolors": VERMILION, "zorder": 4}


def _paths(axes: Axes, replayed: Replay, shade: Any) -> None:
    """A thin line through the chunks of each worker."""
    chunks = replayed.chunks
    for worker in replayed.workers:
        own = chunks.worker == worker
        axes.plot(chunks.asked[own], chunks.tasks[own], color=shade(replayed.speed[worker]), linewidth=0.7, zorder=2)


def _shades(replays: Mapping[str, Replay]) -> tuple[Any, ScalarMappable]:
    """The colour of a worker of any speed, and the scale that tells it."""
    speeds = np.concatenate([each.speed[each.workers] for each in replays.values()])
    low, high = float(speeds.min()), float(speeds.max())
    wide = high > 20 * low
    limits = (low, high) if high > low else (0.9 * low, 1.1 * high)
    scale = ScalarMappable((LogNorm if wide else Normalize)(*limits), colormaps[SPEEDS])
    return scale.to_rgba, scale


def _bar(figure: Figure, panels: list[list[Axes]], scale: ScalarMappable) -> None:
    """The scale of speeds, beside the panels."""
    bar = figure.colorbar(scale, ax=[axes for column in panels for axes in column], pad=0.01, aspect=28)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=SMALL, length=0, labelcolor=INK)
    bar.set_label("speed of the worker", fontsize=NORMAL, color=INK)


def _logarithmic(axes: Axes, largest: int) -> None:
    axes.set_yscale("log")
    axes.set_ylim(0.8, 1.4 * largest)
    axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5) if largest < 1000 else (1,)))
    axes.yaxis.set_minor_locator(ticker.NullLocator())
    axes.yaxis.set_major_formatter(plain_numbers())
    axes.xaxis.set_major_formatter(plain_numbers())
    axes.grid(axis="y", color=PALE, linewidth=0.8)
    plain(axes)


def _columns(replays: Mapping[str, Replay], heights: list[float], height: float) -> tuple[Figure, list[list[Axes]]]:
    """A figure with a column of panels for each policy, on the same axes."""
    width = max(WIDTH, 1.2 + NARROWEST * len(replays))
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    every = figure.subplots(
        len(heights), len(replays), sharex=True, sharey="row", squeeze=False, gridspec_kw={"height_ratios": heights}
    )
    longest = max(each.end for each in replays.values())
    every[0, 0].set_xlim(-0.015 * longest, 1.015 * longest)
    every[0, 0].xaxis.set_major_locator(ticker.MaxNLocator(6))
    return figure, [list(column) for column in every.T]


def _title(axes: Axes, name: str) -> None:
    """The name of the policy, with its options in a line of their own."""
    family, _, options = layout.caption(name, 120).partition("(")
    axes.set_title(options.removesuffix(")"), fontsize=SMALL, color=GREY, loc="left", pad=4)
    look: dict[str, Any] = {"fontsize": NORMAL, "color": INK, "fontweight": "bold"}
    raised = 17 if options else 4
    axes.annotate(family, (0, 1), (0, raised), xycoords="axes fraction", textcoords="offset points", **look)
