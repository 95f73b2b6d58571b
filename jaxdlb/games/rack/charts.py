"""Figures of recorded racks: what each node did over time, and how long tasks took."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from jaxdlb.drawing import layout
from jaxdlb.drawing.axes import mark_percentiles, plain, plain_numbers, times_exceeded
from jaxdlb.drawing.figures import heading
from jaxdlb.drawing.style import (
    BLUE,
    DPI,
    GREEN,
    INK,
    NORMAL,
    PALE,
    SMALL,
    line_styles,
)
from jaxdlb.games.rack import responses
from jaxdlb.games.rack.clock import Unit, unit_for
from jaxdlb.games.rack.generator import expected_performance
from jaxdlb.recording import Recording

# Colours of nodes by speed, from slow to fast: lightness falls all the way, and all read on light and on dark pages.
SPEEDS = LinearSegmentedColormap.from_list("speeds", ["#e69f00", "#7d9f3c", GREEN, BLUE])
MOST_NAMED = 6  # nodes that a legend names; the colours of more are read from a scale
MOST_POINTS, FEWEST_POINTS = 200, 50  # of a line: as many as suit the number of lines that cross
POINTS_OF_ALL, SLICES_PER_POINT = 800, 5
LONG_QUEUE = 20  # tasks from which on queues are drawn on a logarithmic scale, linear below 1
WIDE_RANGE = 20  # the quotient of response times from which on their scale is logarithmic
SERIES = ("cpu_utilisation", "io_utilisation", "cpu_queue", "io_queue", "completed", "latency")
FEWEST_TASKS = 200  # for which the scale of shares has room: so it shows the last percentile that is marked
PERCENTILES = (50, 99)


class Binned(NamedTuple):
    """The six series of a recording, each of P points for N nodes; NaN where nothing was completed."""

    time: Float[np.ndarray, " P"]  # ms, the middle of each bin
    series: dict[str, Float[np.ndarray, "P N"]]  # utilisations in %, completed in tasks per ms, latency in ms


def binned(recording: Recording, most: int) -> Binned:
    """The series, averaged over at most `most` bins of equal length.

    The latency is the mean response time of the tasks completed in the bin, so bins with more tasks say no less.
    """
    metrics, dt = recording.timesteps.metrics, float(recording.params.dt)
    middles = np.arange(recording.num_rounds) + 0.5
    means = {
        name: layout.shortened(metrics[name], most)
        for name in ("cpu_utilisation", "io_utilisation", "cpu_queue", "io_queue", "completed", "latency_sum")
    }
    completed, latency_sum = means["completed"], means.pop("latency_sum")
    latency = np.divide(latency_sum, completed, out=np.full_like(completed, np.nan), where=completed > 0)
    return Binned(
        time=layout.shortened(middles[:, None], most)[:, 0] * dt,
        series=means
        | {
            "cpu_utilisation": 100 * means["cpu_utilisation"],
            "io_utilisation": 100 * means["io_utilisation"],
            "completed": completed / dt,
            "latency": latency,
        },
    )


def num_points(recording: Recording) -> int:
    """The most points of a line: fewer if many lines cross, and if few slices would stand behind each."""
    points = np.clip(POINTS_OF_ALL // len(recording.params.cores), FEWEST_POINTS, MOST_POINTS)
    return int(min(points, max(recording.num_rounds // SLICES_PER_POINT, FEWEST_POINTS // 2)))


# Over time


class Units(NamedTuple):
    """The units of a timeline: of its time axis, and of response times."""

    time: Unit
    latency: Unit


def timeline(recordings: Mapping[str, Recording]) -> Figure:
    """The six series of every node over time: a row for each series, a column for each of `recordings`.

    All panels of a row share their scale. A single recording gets two columns of three.
    """
    shown = [binned(recording, num_points(recording)) for recording in recordings.values()]
    units = _units(list(recordings.values()), shown)
    alone = len(recordings) == 1
    rows, columns = (3, 2) if alone else (len(SERIES), len(recordings))
    size = (1.4 + 3.7 * columns, (1.75 if alone else 1.4) * rows + 1.2)
    figure = Figure(figsize=size, dpi=DPI, layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.06))
    grid = figure.subplots(rows, columns, squeeze=False, sharex="col", sharey=False if alone else "row")
    panels = grid.reshape(len(SERIES), -1)
    colour_of = _Colours(list(recordings.values()), units.time)
    for row, name in zip(panels, SERIES, strict=True):
        for axes, recording, each in zip(row, recordings.values(), shown, strict=True):
            _draw_lines(axes, each, name, units, colour_of(recording))
        values = np.concatenate([each.series[name].ravel() for each in shown])
        _scale(list(row), name, values[np.isfinite(values)] * _factor(name, units))
        row[0].set_ylabel(_label(name, units), fontsize=SMALL, color=INK)
    if not alone:
        for axes, name in zip(grid[0], recordings, strict=True):
            axes.set_title(layout.caption(name), fontsize=NORMAL, color=INK, fontweight="bold", loc="left")
    for axes in grid[-1]:
        axes.set_xlabel(f"time, {units.time.name}", fontsize=SMALL, color=INK)
        axes.set_xlim(0, max(map(_length, recordings.values())) * units.time.per_ms)
        axes.xaxis.set_major_locator(ticker.MaxNLocator(5))
        axes.xaxis.set_major_formatter(plain_numbers())
    figure.align_ylabels()
    colour_of.explain(figure, next(iter(recordings.values())))
    title = f"Nodes over time: {layout.caption(next(iter(recordings)))}" if alone else "Nodes over time"
    heading(figure, title)
    return figure


def _units(recordings: Sequence[Recording], shown: Sequence[Binned]) -> Units:
    longest = max(map(_length, recordings))
    latencies = np.concatenate([each.series["latency"].ravel() for each in shown])
    known = latencies[np.isfinite(latencies)]
    return Units(time=unit_for(longest / 10), latency=unit_for(float(np.median(known)) if len(known) else math.nan))


def _label(name: str, units: Units) -> str:
    labels = {
        "cpu_utilisation": "CPU\nutilisation, %",
        "io_utilisation": "I/O\nutilisation, %",
        "cpu_queue": "tasks waiting\nfor a core",
        "io_queue": "tasks waiting\nfor I/O",
        "completed": f"tasks completed\nper {units.time.name}",
        "latency": f"mean response\ntime, {units.latency.name}",
    }
    return labels[name]


def _factor(name: str, units: Units) -> float:
    """By what the values of a series are multiplied to be in the units shown."""
    return {"completed": 1 / units.time.per_ms, "latency": units.latency.per_ms}.get(name, 1.0)


def _draw_lines(axes: Axes, shown: Binned, name: str, units: Units, colours: Float[np.ndarray, "N 4"]) -> None:
    """A line for each node; bins without a value, where nothing was completed, are left out."""
    values = shown.series[name] * _factor(name, units)
    few = values.shape[1] <= MOST_NAMED
    for node, colour in enumerate(colours):
        known = np.isfinite(values[:, node])
        axes.plot(
            shown.time[known] * units.time.per_ms,
            values[known, node],
            color=colour,
            linewidth=1.3 if few else 0.9,
            label=f"node {node}",
            solid_joinstyle="round",
        )


def _scale(row: Sequence[Axes], name: str, values: Float[np.ndarray, " V"]) -> None:
    """The scale that the panels of a row share, wide enough for all `values` in them, and their look."""
    most = float(values.max(initial=0.0))
    positive = values[values > 0]
    for axes in row:
        plain(axes)
        axes.grid(axis="y", color=PALE, linewidth=0.8)
        if name.endswith("utilisation"):
            axes.set(ylim=(-4, 104), yticks=[0, 25, 50, 75, 100])
        elif name.endswith("queue") and most > LONG_QUEUE:
            axes.set_yscale("symlog", linthresh=1, linscale=0.5)
            digits = (1, 3) if most < 300 else (1,)
            axes.set_yticks([0, *(d * 10**k for k in range(9) for d in digits if d * 10**k <= 1.6 * most)])
            axes.set_ylim(-0.12, 1.6 * most)
            axes.yaxis.set_major_formatter(plain_numbers())
            axes.yaxis.set_minor_locator(ticker.NullLocator())
        elif name == "latency" and len(positive) and most > WIDE_RANGE * positive.min():
            axes.set_yscale("log")
            axes.set_ylim(0.7 * positive.min(), 1.5 * most)
            axes.yaxis.set_major_formatter(plain_numbers())
            axes.yaxis.set_minor_locator(ticker.NullLocator())
        else:
            top = max(most, 1.0 if name.endswith("queue") else 1e-9)
            axes.set_ylim(-0.04 * top, 1.06 * top)
            axes.yaxis.set_major_locator(ticker.MaxNLocator(4, steps=[1, 2, 5, 10], integer=name.endswith("queue")))


class _Colours:
    """Which colour each node's lines have: by its expected performance, or by its index if all are equally fast."""

    def __init__(self, recordings: Sequence[Recording], unit: Unit) -> None:
        speeds = np.concatenate([_speeds(recording) for recording in recordings])
        self.by_speed = bool(np.ptp(speeds) > 1e-6 * speeds.max())
        self.unit = unit
        shown = speeds / self.unit.per_ms if self.by_speed else np.arange(len(recordings[0].params.cores))
        self.norm = Normalize(float(shown.min()), max(float(shown.max()), float(shown.min()) + 1e-9))

    def __call__(self, recording: Recording) -> Float[np.ndarray, "N 4"]:
        speeds = _speeds(recording)
        return SPEEDS(self.norm(speeds / self.unit.per_ms if self.by_speed else np.arange(len(speeds))))

    def explain(self, figure: Figure, recording: Recording) -> None:
        """A legend of few nodes, or a scale for many."""
        if len(recording.params.cores) > MOST_NAMED:
            bar = figure.colorbar(ScalarMappable(self.norm, SPEEDS), ax=figure.axes, pad=0.02, fraction=0.03, aspect=40)
            bar.outline.set_visible(False)
            bar.ax.tick_params(labelsize=SMALL, length=0, colors=INK)
            label = f"expected performance of the node, tasks per {self.unit.name}" if self.by_speed else "node"
            bar.set_label(label, fontsize=SMALL, color=INK)
            return
        names = [f"node {node}: {text}" for node, text in enumerate(_descriptions(recording))]
        handles = [
            Line2D([], [], color=colour, linewidth=2, label=name)
            for colour, name in zip(self(recording), names, strict=True)
        ]
        figure.legend(
            handles=handles,
            loc="outside lower left",
            ncols=min(len(handles), 2 if figure.get_figwidth() < 10 else 3),
            frameon=False,
            fontsize=SMALL,
            labelcolor=INK,
        )


def _speeds(recording: Recording) -> Float[np.ndarray, " N"]:
    """Expected performance of each node, tasks per ms."""
    return np.asarray(expected_performance(recording.params), np.float64) / float(recording.params.dt)


def _descriptions(recording: Recording) -> list[str]:
    """What each node has, as in "8 cores of speed 10, 32 I/O of speed 2"."""
    params = recording.params
    columns = zip(params.cores, params.core_perf, params.io_cores, params.io_perf, strict=True)
    return [
        f"{cores} cores of speed {perf:.3g}, {io} I/O of speed {io_perf:.3g}" for cores, perf, io, io_perf in columns
    ]


# Response times


def distribution(recordings: Mapping[str, Recording]) -> Figure:
    """The share of completed tasks that took longer, on logarithmic scales: a line for each of `recordings`.

    Lines further left and lower are better. The legend says percentiles and throughput.
    """
    totals = {name: _histogram(recording) for name, recording in recordings.items()}
    unit = _typical_unit(list(totals.values()))
    figure = Figure(figsize=(8.2, 4.2 + 0.24 * len(recordings)), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    for (name, histogram), (colour, dashes) in zip(totals.items(), line_styles(), strict=False):
        label = f"{layout.caption(name)}: {_summary(recordings[name], histogram, unit)}"
        times, share = exceeding(histogram)
        axes.plot(times * unit.per_ms, share, color=colour, linestyle=dashes, linewidth=1.8, label=label)
        if len(times):
            at = {percent: responses.percentile(histogram, percent) * unit.per_ms for percent in PERCENTILES}
            mark_percentiles(axes, at, colour)
    axes.set(xscale="log", yscale="log")
    most = max(int(histogram.sum()) for histogram in totals.values())
    axes.set_ylim(0.6 / max(most, FEWEST_TASKS), 1.5)
    times_exceeded(axes, PERCENTILES, unit.name, "completed tasks", narrow=WIDE_RANGE)
    figure.legend(loc="outside lower left", frameon=False, fontsize=SMALL, labelcolor=INK, handlelength=2.6)
    heading(figure, "Response times")
    return figure


def exceeding(histogram: Float[np.ndarray, " B"]) -> tuple[Float[np.ndarray, " K"], Float[np.ndarray, " K"]]:
    """Response times (ms) and the share of tasks above each, from the shortest to the last that any task exceeds."""
    total = max(float(histogram.sum()), 1.0)
    share = 1 - np.concatenate([[0.0], np.cumsum(histogram)]) / total
    filled = np.flatnonzero(histogram)
    shown = slice(filled[0], filled[-1] + 1) if len(filled) else slice(0)
    return responses.EDGES[shown], np.asarray(share[shown])


def _histogram(recording: Recording) -> Float[np.ndarray, " B"]:
    return np.asarray(np.sum(recording.timesteps.metrics["responses"], axis=0), np.float64)


def _typical_unit(histograms: Sequence[Float[np.ndarray, " B"]]) -> Unit:
    return unit_for(responses.percentile(np.sum(histograms, axis=0), 50))


def _summary(recording: Recording, histogram: Float[np.ndarray, " B"], unit: Unit) -> str:
    """Percentiles and throughput, as in "p50 1.2 ms, p99 8.1 ms, 1.9 tasks per ms"."""
    if not histogram.sum():
        return "no task completed"
    times = [
        f"p{percent} {layout.number(responses.percentile(histogram, percent) * unit.per_ms)} {unit.name}"
        for percent in PERCENTILES
    ]
    rate = histogram.sum() / _length(recording) / unit.per_ms
    return ", ".join([*times, f"{layout.number(rate)} tasks per {unit.name}"])


def _length(recording: Recording) -> float:
    """ms."""
    return recording.num_rounds * float(recording.params.dt)
