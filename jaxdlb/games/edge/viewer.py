"""Pictures of recorded edge networks: requests over time, the network, its nodes, response times, and an animation."""

import math
import os
from collections.abc import Mapping
from typing import Any

from matplotlib import colormaps, ticker
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from jaxdlb.drawing import animation as animated
from jaxdlb.drawing import layout
from jaxdlb.drawing.axes import plain
from jaxdlb.drawing.figures import WIDTH, heading, legend
from jaxdlb.drawing.grid import Grid
from jaxdlb.drawing.style import BAR, DPI, INK, NORMAL, PALE, PAPER, SMALL, VERMILION
from jaxdlb.games.edge import charts, curves, shares
from jaxdlb.games.edge.panel import FINE_DASHES, SHARES, Moment, Panel, Scales, moment, scales_for
from jaxdlb.games.edge.replay import Replay, lost_share, replay
from jaxdlb.recording import Recording, check_drawable, frame_times

WHOLE = slice(None)

# Sizes of the animation in pixels; those of the second row are stacked vertically.
ALONE, BESIDE, LEFT, GAP, RIGHT = 600, 440, 78, 50, 18
MARGIN, TITLE, STRIP, UNDER, FOOTER = 10, 44, 64, 36, 64
MOST_OF_A_NAME = 40  # characters
SHORTEST = 0.42  # of its width: the height of a network's panel


def figures(recordings: Mapping[str, Recording]) -> dict[str, tuple[str, Figure]]:
    """Requests, inputs and bandwidths over time, the network, shares by input, the service model and response times.

    A caption and a figure, by file name without its suffix.

    Raises:
        ValueError: no recordings.
    """
    check_drawable(recordings)
    replays = {name: replay(recording) for name, recording in recordings.items()}
    return {
        "timeline": (
            "What came to each node, was served there and was lost there",
            charts.timeline(recordings, replays),
        ),
        "inputs": ("Requests that came to each node, and to all of them", charts.inputs(replays)),
        "bandwidth": ("Bandwidth of the links", charts.bandwidth(replays)),
        "network": ("Requests forwarded and rejected, in the mean over these steps", network(replays)),
        "policy": ("What nodes do with their requests, by how many come to them", shares.policy(replays)),
        "service": ("How nodes serve requests, by how many come", curves.service_model(recordings)),
        "responses": ("Response times of the requests served in these steps", curves.distribution(recordings)),
    }


def network(replays: Mapping[str, Replay]) -> Figure:
    """The mean over all steps, a network for each recording on shared scales."""
    moments = [moment(each, WHOLE) for each in replays.values()]
    scales = scales_for(replays.values(), moments)
    columns = min(len(replays), 2)
    rows = math.ceil(len(replays) / columns)
    side = 5.0 if columns == 1 else 0.45 * WIDTH
    flat = max(each.num_nodes for each in replays.values()) <= 2
    figure = Figure(figsize=(WIDTH, 1.5 + rows * side * (SHORTEST if flat else 1.0)), dpi=DPI, layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).ravel())
    for axes in panels:
        axes.set_axis_off()
    for axes, (name, replayed), now in zip(panels, replays.items(), moments, strict=False):
        Panel(axes, replayed, scales).show(now)
        axes.set_title(layout.caption(name, 28), fontsize=NORMAL, color=INK, fontweight="bold")
    bar = figure.colorbar(
        ScalarMappable(scales.norm, SHARES), ax=panels, pad=0.02, fraction=0.03, aspect=25, shrink=0.7
    )
    _dress_bar(bar)
    bar.set_label("requests at the node that it rejects", fontsize=SMALL, color=INK)
    legend(figure, _handles(scales), columns=2)
    heading(figure, "The network")
    return figure


def _dress_bar(bar: Any) -> None:
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=SMALL, length=0, colors=INK)
    bar.ax.yaxis.set_major_locator(ticker.MaxNLocator(4))
    bar.ax.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{100 * value:.0f}%"))


def _handles(scales: Scales) -> list[Any]:
    """What the marks of a network mean."""
    circle: dict[str, Any] = {"linestyle": "", "marker": "o", "markersize": 9}
    most = f"at most {layout.number(scales.flow)} per second" if scales.flow > 0 else "none"
    return [
        Line2D([], [], color=INK, markerfacecolor=PAPER, label="node: area in proportion to its capacity", **circle),
        Line2D([], [], color=BAR, linewidth=5, label=f"requests forwarded: {most}"),
        Line2D([], [], color=INK, linestyle=FINE_DASHES, label="input of the node, its area to the same scale"),
    ]


def animation(
    recordings: Mapping[str, Recording],
    path: str | os.PathLike[str],
    *,
    first_round: int = 0,
    num_frames: int = 100,
    frames_per_round: int = 4,
    seconds_per_round: float = 0.4,
) -> None:
    """Write an animated GIF of networks: one for each of `recordings` (keyed by policy name), on shared scales.

    Nodes are discs as large as their capacity, and darker the more they reject; a dashed circle is as large as their
    input. Lines are requests forwarded, with dots that go the same way. Below is what all nodes served and lost over
    the whole recording, with the present marked. There are at most `num_frames` frames, starting at step `first_round`
    and ending with the shortest recording.

    Raises:
        ValueError: no recordings, a `first_round` beyond the end of one of them, or a number below its minimum.
    """
    times = frame_times(recordings, first_round, num_frames, frames_per_round)
    steps = range(int(times[0]), int(times[-1]) + 1)
    replays = {name: replay(recording) for name, recording in recordings.items()}
    moments = {name: {step: moment(each, slice(step, step + 1)) for step in steps} for name, each in replays.items()}
    every = [now for shown in moments.values() for now in shown.values()]
    scales = scales_for(replays.values(), every)
    grid, graph = _grid(len(replays), flat=max(each.num_nodes for each in replays.values()) <= 2)
    figure = grid.figure()
    panels = [
        Day(figure, grid, graph, place, name, recordings[name], replays[name], moments[name], scales)
        for place, name in enumerate(recordings)
    ]
    _footer(figure, grid, scales)

    def move(time: float) -> None:
        for panel in panels:
            panel.move(time)

    moving = [artist for panel in panels for artist in panel.artists]
    seconds = seconds_per_round / frames_per_round
    animated.write(path, figure, moving, move, times, seconds, colours=[BAR], colour_map=SHARES)


def _grid(num_panels: int, *, flat: bool) -> tuple[Grid, float]:
    """Where panels stand, and the height of a network: less where the nodes of every one stand in a row."""
    side = ALONE if num_panels == 1 else BESIDE
    graph = side * (SHORTEST if flat else 0.9)
    return Grid(num_panels, side, TITLE + graph + STRIP + UNDER, LEFT, GAP, RIGHT, MARGIN, FOOTER), graph


class Day:
    """A recording in the animation: its name, what is lost, its network, and all of its requests over time."""

    def __init__(
        self,
        figure: Figure,
        grid: Grid,
        height: float,
        place: int,
        name: str,
        recording: Recording,
        replayed: Replay,
        moments: Mapping[int, Moment],
        scales: Scales,
    ) -> None:
        self._recording, self._moments, self._first = recording, moments, min(moments)
        left, top = grid.corner(place)
        self._status = grid.heading(figure, place, layout.caption(name, MOST_OF_A_NAME))
        graph = grid.axes(figure, left, top - TITLE - height, height)
        self.network = Panel(graph, replayed, scales)
        strip = grid.axes(figure, left, top - TITLE - height - STRIP, STRIP)
        _dress_strip(strip, replayed, labelled=place % grid.columns == 0)
        self._now = strip.axvline(0, color=INK, linewidth=1.5)
        self.artists = [*self.network.artists.values(), self._now, self._status]

    def move(self, time: float) -> None:
        """Put every artist where it belongs at `time`, in steps."""
        step = int(time)
        self.network.show(self._moments[step], time)
        self._now.set_xdata([time, time])
        now, since = (_percent(lost_share(self._recording, slice(first, step + 1))) for first in (step, self._first))
        self._status.set_text(f"step {step}    lost {now}, since step {self._first} {since}")


def _percent(share: float) -> str:
    return "–" if math.isnan(share) else f"{100 * share:.1f}%"


def _dress_strip(axes: Axes, replayed: Replay, *, labelled: bool) -> None:
    """All requests of the recording, served and lost."""
    charts.stack(axes, replayed.served.sum(axis=1), replayed.lost.sum(axis=1), charts.MOST_BINS)
    plain(axes)
    axes.set(xlim=(0, replayed.num_steps), ylim=(0, 1.05 * max(1.0, float(replayed.input_rate.sum(axis=1).max()))))
    axes.yaxis.set_major_locator(ticker.MaxNLocator(2, integer=True))
    axes.xaxis.set_major_locator(ticker.MaxNLocator(6, integer=True))
    axes.grid(axis="y", color=PALE, linewidth=0.8)
    axes.set_xlabel(charts.STEP, fontsize=SMALL, color=INK, labelpad=1)
    if labelled:
        axes.set_ylabel("requests\nper second", fontsize=SMALL, color=INK)


def _footer(figure: Figure, grid: Grid, scales: Scales) -> None:
    """The legend."""
    dark: dict[str, Any] = {"linestyle": "", "marker": "o", "markersize": 9, "color": INK}
    fill = colormaps[SHARES](1.0)
    handles = [
        *_handles(scales),
        Line2D(
            [], [], markerfacecolor=fill, label=f"node that rejects {100 * scales.share:.0f}% of its requests", **dark
        ),
        Patch(color=BAR, label="below: served by all nodes"),
        Patch(color=VERMILION, label="lost"),
    ]
    figure.legend(
        handles=handles,
        loc="center left",
        bbox_to_anchor=(8 / grid.width, 32 / grid.height),
        ncols=2,
        frameon=False,
        fontsize=SMALL,
        labelcolor=INK,
        handlelength=1.6,
        columnspacing=1.6,
    )
