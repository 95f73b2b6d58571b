"""Figures of recorded pods over time: what pods use of their limits, and requests that wait."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Shaped
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from jaxdlb.drawing import layout
from jaxdlb.drawing.axes import plain, plain_numbers
from jaxdlb.drawing.figures import WIDTH, heading, legend
from jaxdlb.drawing.style import (
    BAR,
    DASHED,
    DPI,
    FAINT,
    GREEN,
    GREY,
    INK,
    NORMAL,
    OCHRE,
    PALE,
    SHADE,
    SMALL,
    VERMILION,
)
from jaxdlb.games.pods.replay import Replay, representative

MOST_PANELS = 6  # pods that have one
MOST_BINS = 288  # of a series
BETWEEN: dict[str, Any] = {"color": GREEN, "alpha": FAINT, "linewidth": 0}
LETTERS = 10  # of a name, an inch
TITLE: dict[str, Any] = {"fontsize": NORMAL, "color": INK, "fontweight": "bold", "loc": "left"}
SUBTITLE: dict[str, Any] = {"fontsize": SMALL, "color": INK, "fontweight": "bold", "loc": "left", "pad": 2}


def known(series: Shaped[np.ndarray, " T"]) -> layout.Steps:
    """The means of what is known of a series, over at most `MOST_BINS` bins; NaN where nothing is."""
    is_known = np.isfinite(series)
    values, edges = layout.binned(np.where(is_known, series, 0.0), MOST_BINS)
    share, _ = layout.binned(is_known, MOST_BINS)
    return layout.Steps(np.divide(values, share, out=np.full_like(values, np.nan), where=share > 0), edges)


def _are_many(replays: Mapping[str, Replay]) -> bool:
    """Whether there are more pods than have a panel."""
    return min(each.num_pods for each in replays.values()) > MOST_PANELS


def _of_how_many(replays: Mapping[str, Replay]) -> str:
    num_pods = min(each.num_pods for each in replays.values())
    return f" ({MOST_PANELS} of {num_pods:,} pods)" if _are_many(replays) else ""


def note(replays: Mapping[str, Replay]) -> str:
    """What a caption says of the choice of pods, where not all of them have a panel."""
    which = f"{MOST_PANELS} of the pods, evenly spaced from the one that wants most CPU to the one that wants least"
    return f": {which}, and all together" if _are_many(replays) else ""


def summary(replayed: Replay) -> str:
    """As in "0.88 cores, 21.3% late"."""
    share = replayed.column("violation_share")
    late = "no requests" if np.isnan(share) else f"{100 * share:.1f}% late"
    return f"{layout.number(replayed.column('cores'))} cores, {late}"


class Row(NamedTuple):
    """A row of panels, one for each policy, on a scale of their own."""

    label: str
    draw: Callable[[Axes, Replay], None]


def usage(replays: Mapping[str, Replay]) -> Figure:
    """The CPU that each pod used, its limit, and what the requests that came to it wanted."""
    shown = representative(replays.values(), MOST_PANELS)
    pods = [Row(f"pod {pod}", partial(_usage, pod=pod)) for pod in shown]
    many = _are_many(replays)
    totals = [Row("all pods", _total_usage)]
    figure = _rows(replays, pods, [Row("each of\nall pods", _spread), *totals] if many else totals)
    figure.supylabel("CPU, mc", fontsize=NORMAL, color=INK)
    handles = [
        Line2D([], [], color=INK, linewidth=1.4, label="limit"),
        Patch(color=BAR, label="used"),
        Line2D([], [], color=OCHRE, linewidth=1.3, label="wanted: rate of requests × mean work of one"),
        Line2D([], [], color=GREY, linewidth=1.1, linestyle=DASHED, label="budget"),
    ]
    handles += [Patch(label="limit of pods from 10% to 90%", **BETWEEN)] if many else []
    legend(figure, [*handles, *_absent(replays, shown)], columns=3 if many else None)
    heading(figure, f"What pods use of their limits{_of_how_many(replays)}")
    return figure


def _usage(axes: Axes, replayed: Replay, pod: int) -> None:
    _shade_absence(axes, replayed, pod)
    _draw_cpu(axes, replayed, *(each[:, pod] for each in (replayed.usage, replayed.limit, replayed.wanted)))


def _total_usage(axes: Axes, replayed: Replay) -> None:
    limit, wanted = (np.nansum(each, axis=1) for each in (replayed.limit, replayed.wanted))
    _draw_cpu(axes, replayed, replayed.metrics["usage"], limit, wanted)
    axes.axhline(replayed.budget, color=GREY, linewidth=1.1, linestyle=DASHED)
    axes.set_title(f"all pods: {summary(replayed)}", **SUBTITLE)


def _spread(axes: Axes, replayed: Replay) -> None:
    """Of the pods present: limits from 10% to 90%, and the medians of what they may and want to use."""
    low, middle, high, wanted = (
        known(np.nanquantile(_somewhere(each), level, axis=1))
        for each, level in [*((replayed.limit, level) for level in (0.1, 0.5, 0.9)), (replayed.wanted, 0.5)]
    )
    edges = middle.edges * replayed.interval
    axes.stairs(high.values, edges, baseline=low.values, fill=True, label="spread", **BETWEEN)
    axes.stairs(wanted.values, edges, baseline=None, color=OCHRE, linewidth=1.3, label="wanted")
    axes.stairs(middle.values, edges, baseline=None, color=INK, linewidth=1.4, label="limit")
    axes.set_title("medians of the pods present", **SUBTITLE)


def _somewhere(values: Float[np.ndarray, "T N"]) -> Float[np.ndarray, "T N"]:
    """The values, 0 where none are known in a step."""
    return np.where(np.isfinite(values).any(axis=1, keepdims=True), values, 0.0)


def _draw_cpu(
    axes: Axes,
    replayed: Replay,
    used: Shaped[np.ndarray, " T"],
    limit: Shaped[np.ndarray, " T"],
    wanted: Shaped[np.ndarray, " T"],
) -> None:
    values, edges = known(used)
    edges = edges * replayed.interval
    axes.stairs(values, edges, fill=True, color=BAR, linewidth=0, label="used")
    axes.stairs(known(wanted).values, edges, baseline=None, color=OCHRE, linewidth=1.3, label="wanted")
    axes.stairs(known(limit).values, edges, baseline=None, color=INK, linewidth=1.4, label="limit")


def requests(replays: Mapping[str, Replay]) -> Figure:
    """The requests that each pod holds, those past their objective, and how long requests take."""
    shown = representative(replays.values(), MOST_PANELS)
    pods = [Row(f"pod {pod}:\nheld", partial(_held, pod=pod)) for pod in shown]
    totals = [Row("requests\nper second", _total_requests), Row("mean response\ntime, s", _responses)]
    figure = _rows(replays, pods, totals, least=4)
    handles = [
        Patch(color=BAR, label="held at the end of the step"),
        Patch(color=VERMILION, label="late: past their objective"),
        Line2D([], [], color=INK, linewidth=1.4, label="all that came; their mean response time"),
        Line2D([], [], color=GREY, linewidth=1.1, linestyle=DASHED, label="objective"),
    ]
    legend(figure, [*handles, *_absent(replays, shown)], columns=3)
    heading(figure, f"Requests that wait{_of_how_many(replays)}")
    return figure


def _held(axes: Axes, replayed: Replay, pod: int) -> None:
    _shade_absence(axes, replayed, pod)
    late, edges = known(replayed.late[:, pod])
    held, edges = known(replayed.held[:, pod]).values, edges * replayed.interval
    axes.stairs(late, edges, fill=True, color=VERMILION, linewidth=0, label="late")
    axes.stairs(held, edges, baseline=np.nan_to_num(late), fill=True, color=BAR, linewidth=0, label="held")


def _total_requests(axes: Axes, replayed: Replay) -> None:
    violations(axes, replayed)
    axes.set_title(f"all pods: {summary(replayed)}", **SUBTITLE)


def violations(axes: Axes, replayed: Replay) -> None:
    """The requests that came to all pods, and those that were late."""
    arrivals, edges = known(replayed.metrics["arrivals"] / replayed.interval)
    violations, edges = known(replayed.metrics["violations"] / replayed.interval).values, edges * replayed.interval
    axes.stairs(violations, edges, fill=True, color=VERMILION, linewidth=0, label="violations")
    axes.stairs(arrivals, edges, baseline=None, color=INK, linewidth=1.2, label="arrivals")


def _responses(axes: Axes, replayed: Replay) -> None:
    """The mean of the requests completed in each bin, and the least and the greatest objective."""
    total, edges = known(replayed.metrics["response_sum"])
    count, _ = known(replayed.metrics["completions"])
    mean = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
    axes.stairs(mean, edges * replayed.interval, baseline=None, color=INK, linewidth=1.2, label="response")
    for objective in sorted({float(replayed.slo.min()), float(replayed.slo.max())}):
        axes.axhline(objective, color=GREY, linewidth=1.1, linestyle=DASHED)


def _rows(replays: Mapping[str, Replay], pods: Sequence[Row], totals: Sequence[Row], *, least: float = 1e-9) -> Figure:
    """A column for each policy: its pods on one scale, and below them totals, each row on a scale of its own.

    Scales of pods go up to `least` at least.
    """
    rows = [*pods, *totals]
    heights = [*[float(np.clip(5.5 / len(pods), 0.8, 1.4))] * len(pods), *[1.3] * len(totals)]
    size = (max(WIDTH, 0.8 + 2.6 * len(replays)), 1.5 + sum(heights))
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    grid = figure.subplots(len(rows), len(replays), squeeze=False, height_ratios=heights)
    for column, (name, replayed) in enumerate(replays.items()):
        grid[0, column].set_title(layout.caption(name, int(LETTERS * size[0] / len(replays))), **TITLE)
        for place, (axes, row) in enumerate(zip(grid[:, column], rows, strict=True)):
            row.draw(axes, replayed)
            axes.set_xlim(0, replayed.seconds)
            dress(axes, low=place == len(rows) - 1, labelled=column == 0)
            if column == 0:
                axes.set_ylabel(row.label, fontsize=SMALL, color=INK)
    _share_scale(grid[: len(pods)], least)
    for row in grid[len(pods) :]:
        _share_scale(row, 1e-9)
    figure.align_ylabels()
    return figure


def _share_scale(panels: Shaped[np.ndarray, "..."], least: float) -> None:
    most = max(axes.dataLim.y1 for axes in panels.flat)
    for axes in panels.flat:
        axes.set_ylim(0, 1.06 * max(most, least))


def dress(axes: Axes, *, low: bool, labelled: bool) -> None:
    """The look of a panel: numbers at the left of the first of a row, and under the last of a column."""
    plain(axes)
    axes.grid(axis="y", color=PALE, linewidth=0.8)
    axes.yaxis.set_major_locator(ticker.MaxNLocator(4))
    axes.yaxis.set_major_formatter(plain_numbers())
    axes.xaxis.set_major_locator(ticker.MaxNLocator(6))
    axes.tick_params(labelleft=labelled, labelbottom=low)
    if low:
        axes.set_xlabel("time, s", fontsize=SMALL, color=INK)


def absences(present: Bool[np.ndarray, " T"]) -> list[tuple[int, int]]:
    """The first step and the number of steps of each time in which a pod is absent."""
    steps = np.flatnonzero(np.diff(np.concatenate([[True], present, [True]]).astype(int)))
    return [(int(begin), int(end - begin)) for begin, end in zip(steps[::2], steps[1::2], strict=True)]


def _shade_absence(axes: Axes, replayed: Replay, pod: int) -> None:
    step = replayed.interval
    away = [(first * step, count * step) for first, count in absences(replayed.present[:, pod])]
    if away:
        axes.broken_barh(away, (0, 1), transform=axes.get_xaxis_transform(), color=SHADE, linewidth=0, label="absent")


def _absent(replays: Mapping[str, Replay], shown: Sequence[int]) -> list[Patch]:
    """What the shade means, where there is any."""
    away = any(not each.present[:, shown].all() for each in replays.values())
    return [Patch(color=SHADE, label="pod absent")] if away else []
