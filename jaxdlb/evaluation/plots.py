"""Pictures of an evaluation, a training run and a game; the only module that imports matplotlib.

Every function draws on a figure of its own, without pyplot and its global state, so it can be called from any thread
and without a display. Colours are those of Okabe and Ito, which colour-blind readers can tell apart; where a colour
carries meaning, so does a marker or a label.
"""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped, UInt8
from matplotlib import colormaps, ticker
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import Normalize, PowerNorm, to_rgba_array
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from jaxdlb.checks import check_size
from jaxdlb.evaluation import layout, motion
from jaxdlb.evaluation.gif import write_gif
from jaxdlb.evaluation.rollouts import Recording
from jaxdlb.evaluation.tables import Evaluation, PolicyResult, parts

INK, GREY, PALE = "#22303c", "#6b7885", "#e4e8ec"
BLUE, GREEN, VERMILION = "#0072b2", "#009e73", "#d55e00"
BAR, SHADE = "#a9cbe4", "#d5dade"
FAINT = 0.35  # opacity of the paths that tasks take
AGES = "YlOrBr"  # colours of the age of news, from fresh to old
DPI = 150
LARGE_SPREAD = 20  # utilities that differ by more than this factor are drawn on a logarithmic scale
SMALL, NORMAL, LARGE = 8.5, 10, 13  # sizes of letters in points
MOST_NODE_LABELS = 16
MOST_LEVELS = 5  # beside a learning curve
MOST_COLUMNS = 600  # of a heat map

# How a kind of policy is drawn: colour, marker, whether the marker is filled.
STYLES = {
    "learned": (VERMILION, "D", True),
    "best heuristic": (BLUE, "o", True),
    "heuristic": (GREY, "o", True),
    "oracle": (GREEN, "s", False),
}


def utilities(evaluation: Evaluation) -> Figure:
    """The mean utility per round of every policy with its 95% interval, the best on top, values printed beside.

    The scale is logarithmic in −utility where the policies differ by more than a factor `LARGE_SPREAD`.
    """
    results = sorted(evaluation.results, key=lambda result: result.columns["utility"].mean)
    figure = Figure(figsize=(8, 1.5 + 0.32 * len(results)), dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    estimates = [result.columns["utility"] for result in results]
    means, bests = (-np.array([getattr(each, end) for each in estimates]) for end in ("mean", "high"))
    _scale(axes, "x", means, least=np.nanmin([means, bests]))
    for row, result in enumerate(results):
        _interval(axes, row, result, _kind(result, evaluation))
    axes.axvline(-evaluation.best.columns["utility"].mean, color=BLUE, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
    _plain(axes)
    axes.set_yticks(range(len(results)), [layout.caption(result.name) for result in results])
    for label, result in zip(axes.get_yticklabels(), results, strict=True):
        kind = _kind(result, evaluation)
        label.set(color=STYLES[kind][0] if kind != "heuristic" else INK)
        label.set_fontweight("bold" if kind in ("learned", "best heuristic") else "normal")
    axes.set_ylim(-0.7, len(results) - 0.3)
    axes.invert_xaxis()
    axes.grid(axis="both", color=PALE, linewidth=0.8)
    scale = "" if axes.get_xscale() == "linear" else ", logarithmic scale"
    axes.set_xlabel(f"mean utility per round{scale} (further right is better)", fontsize=NORMAL, color=INK)
    _title(axes, "Utility of every policy", _setting(evaluation))
    _legend_of_kinds(figure, {_kind(result, evaluation) for result in results})
    return figure


def learning_curve(
    agent_rounds: Shaped[np.ndarray, " T"] | Sequence[float],
    utility: Shaped[np.ndarray, "*S T"],
    levels: Mapping[str, float],
) -> Figure:
    """The mean utility per round over training, against the best of `levels`: the utilities of policies by name.

    With several seeds (`utility` [S, T]) the line is their median and the band reaches from the worst to the best.
    """
    curves = np.atleast_2d(np.asarray(utility, np.float64))
    figure = Figure(figsize=(8, 4.4), dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    levels = dict(sorted(levels.items(), key=lambda level: level[1])[-MOST_LEVELS:])
    costs = -np.concatenate([curves.ravel(), np.asarray(list(levels.values()), np.float64)])
    _scale(axes, "y", costs[np.isfinite(costs)], least=np.nanmin(costs))
    x = np.asarray(agent_rounds, np.float64)
    label = "learned policy"
    if len(curves) > 1:
        label += f": median of {len(curves)} seeds, band from the worst to the best"
        axes.fill_between(x, -np.min(curves, axis=0), -np.max(curves, axis=0), color=VERMILION, alpha=0.2, linewidth=0)
    marker = "o" if curves.shape[1] == 1 else None
    axes.plot(x, -np.median(curves, axis=0), color=VERMILION, linewidth=1.8, marker=marker, label=label, zorder=3)
    axes.margins(x=0.01, y=0.06)
    axes.invert_yaxis()
    axes.xaxis.set_major_formatter(ticker.EngFormatter(sep=" "))
    axes.grid(axis="y", color=PALE, linewidth=0.8)
    scale = "" if axes.get_yscale() == "linear" else ", logarithmic"
    axes.set_xlabel("agent-rounds of training (rounds played × nodes)", fontsize=NORMAL, color=INK)
    axes.set_ylabel(f"mean utility per round{scale}", fontsize=NORMAL, color=INK)
    _title(axes, "Learning curve", "dashed: the best heuristics, as evaluated; higher is better")
    _plain(axes)
    figure.legend(loc="outside lower center", frameon=False, fontsize=NORMAL, labelcolor=INK)
    _label_levels(figure, axes, levels)
    return figure


def heat_maps(recordings: Mapping[str, Recording]) -> Figure:
    """Loads over nodes and rounds, a panel for each of `recordings` (by the policy's name), all on one colour scale.

    Nodes are ordered by their speed q, the slowest at the bottom.
    """
    columns = min(len(recordings), 2)
    rows = math.ceil(len(recordings) / columns)
    num_nodes = max(recording.load.shape[1] for recording in recordings.values())
    panel_height = min(1.6 + 0.17 * min(num_nodes, MOST_NODE_LABELS), 4.5)
    figure = Figure(figsize=(1.2 + 4.2 * columns, 0.7 + panel_height * rows), dpi=DPI, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    heaviest = max(1, *(int(recording.load.max()) for recording in recordings.values()))
    # Many queues are short and few are long: the square root of the load spreads the colours over the short ones.
    norm = PowerNorm(0.5, 0, heaviest) if heaviest > 10 else Normalize(0, heaviest)
    for axes, (name, recording) in zip(panels, recordings.items(), strict=False):
        order = np.argsort(recording.completion_prob, kind="stable")
        image = axes.imshow(
            layout.shortened(recording.load, MOST_COLUMNS)[:, order].T,
            extent=(0, len(recording.load), -0.5, len(order) - 0.5),
            norm=norm,
            cmap="YlGnBu",
            origin="lower",
            aspect="auto",
            interpolation="nearest",
        )
        axes.set_title(layout.caption(name), fontsize=NORMAL, color=INK, fontweight="bold", loc="left")
        shown = layout.evenly(len(order), MOST_NODE_LABELS)
        axes.set_yticks(shown, [f"{order[k]}: q = {recording.completion_prob[order[k]]:.2f}" for k in shown])
        axes.set_xlabel("round", fontsize=NORMAL, color=INK)
        axes.xaxis.set_major_locator(ticker.MaxNLocator(6, integer=True))
        _plain(axes)
    for axes in panels[len(recordings) :]:
        axes.set_axis_off()
    for axes in panels[: len(recordings) : columns]:
        axes.set_ylabel("node: speed", fontsize=NORMAL, color=INK)
    bar = figure.colorbar(image, ax=list(panels), pad=0.02, fraction=0.04, ticks=layout.round_loads(heaviest))
    bar.outline.set_visible(False)
    bar.set_label("load (tasks held)", fontsize=NORMAL, color=INK)
    bar.ax.tick_params(labelsize=SMALL, color=GREY, labelcolor=INK)
    figure.suptitle("Loads over time", fontsize=LARGE, color=INK, fontweight="bold", x=0.01, ha="left")
    return figure


def animation(
    recording: Recording,
    path: str | os.PathLike[str],
    *,
    title: str,
    first_round: int = 0,
    num_frames: int = 100,
    frames_per_round: int = 4,
    seconds_per_round: float = 0.4,
) -> None:
    """Write an animated GIF of the game, from `first_round` of the recording on.

    Nodes are bars of their load, over their speed q; dots are tasks that migrate or are stolen, crosses are refused
    steal requests; triangles are arrivals (above) and completions (below); the strip is the age of what is known of
    each node; a node that is down is shaded. There are as many frames as asked for, or as the recording has.

    Raises:
        ValueError: a `first_round` beyond the recording, or a number of frames below 1.
    """
    check_size("num_frames", num_frames, 1)
    check_size("frames_per_round", frames_per_round, 1)
    if not 0 <= first_round < len(recording.load):
        raise ValueError(
            f"first_round is {first_round}; it must be within 0 … {len(recording.load) - 1}, the recording"
        )
    num_frames = min(num_frames, (len(recording.load) - first_round) * frames_per_round)
    times = first_round + np.arange(num_frames) / frames_per_round
    frames = list(_frames(recording, title, times))
    named = to_rgba_array([INK, GREY, PALE, BLUE, GREEN, VERMILION, BAR, SHADE, "white"])
    paths = FAINT * named + (1 - FAINT) * to_rgba_array(["white"])
    colours = np.concatenate([named, paths, colormaps[AGES](np.linspace(0, 1, 24))])[:, :3]
    write_gif(path, frames, np.rint(255 * colours).astype(np.uint8), seconds_per_round / frames_per_round)


def _frames(recording: Recording, title: str, times: Float[np.ndarray, " F"]) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    """The pictures at `times`, in rounds. What never moves is drawn once; each frame draws only the rest over it."""
    shown = slice(int(times[0]), int(times[-1]) + 1)
    top = 1.4 * max(4, int(motion.loads_before(recording)[shown].max()), int(recording.load[shown].max()))
    ages = Normalize(0, max(1.0, float(recording.heard_age[shown].max())))
    figure = Figure(figsize=(9, 4.9), dpi=100, facecolor="white")
    canvas = FigureCanvasAgg(figure)
    artists = _moving_artists(*_stage(figure, recording, top, ages), ages, recording.load.shape[1])
    figure.text(0.06, 0.945, layout.caption(title, 60), fontsize=LARGE, fontweight="bold", color=INK, va="center")
    canvas.draw()
    background = canvas.copy_from_bbox(figure.bbox)
    flights = motion.flights(recording)
    for share, time in zip(np.linspace(0, 1, len(times)), times, strict=True):
        artists["elapsed"].set_xdata([0, share])
        _move(artists, recording, flights.at(time), time, top)
        canvas.restore_region(background)
        for artist in artists.values():
            figure.draw_artist(artist)
        yield np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _stage(figure: Figure, recording: Recording, top: float, ages: Normalize) -> tuple[Axes, Axes]:
    """Axes for the nodes and for the strip of ages below them, with all that does not move."""
    num_nodes = recording.load.shape[1]
    nodes, strip = figure.add_axes((0.06, 0.255, 0.92, 0.57)), figure.add_axes((0.06, 0.19, 0.92, 0.045))
    nodes.set(ylim=(-0.08 * top, top))
    nodes.set_ylabel("load (tasks held)", fontsize=SMALL, color=INK)
    nodes.yaxis.set_major_locator(ticker.MaxNLocator(5, integer=True, min_n_ticks=3))
    nodes.grid(axis="y", color=PALE, linewidth=0.8)
    strip.set(ylim=(-0.5, 0.5), yticks=[])
    for axes in (nodes, strip):
        axes.set(xlim=(-0.6, num_nodes - 0.4), xticks=[])
        _plain(axes)
    shown, few = layout.evenly(num_nodes, 64), num_nodes <= MOST_NODE_LABELS
    strip.set_xticks(shown, [f"{recording.completion_prob[k]:.2f}" for k in shown], rotation=0 if few else 90)
    strip.tick_params(axis="x", labelsize=SMALL if few else 6.5)
    scale = figure.add_axes((0.74, 0.048, 0.24, 0.022))
    bar = figure.colorbar(ScalarMappable(ages, AGES), cax=scale, orientation="horizontal")
    bar.outline.set_visible(False)
    bar.ax.xaxis.set_major_locator(ticker.MaxNLocator(4, integer=True))
    bar.ax.tick_params(labelsize=SMALL, length=0, colors=INK, pad=2)
    text: dict[str, Any] = {"fontsize": SMALL, "color": GREY, "va": "center"}
    figure.text(0.05, 0.2125, "age", ha="right", **text)
    figure.text(0.05, 0.16 if few else 0.15, "q", ha="right", **text)
    figure.text(0.06, 0.058, "q: speed of the node", **text)
    figure.text(0.73, 0.058, "age of what is heard of the node (rounds)", ha="right", **text)
    handles = [
        Line2D([], [], linestyle="", marker="v", color=GREEN, label="arrival"),
        Line2D([], [], linestyle="", marker="v", color=GREY, label="completion"),
        Line2D([], [], marker="o", color=BLUE, label="migrated task"),
        Line2D([], [], marker="o", color=VERMILION, label="stolen task"),
        Line2D([], [], linestyle="", marker="x", color=VERMILION, label="refused request"),
        Line2D([], [], color=INK, linewidth=2, label="balanced load"),
        Patch(color=SHADE, label="down"),
    ]
    style = {"frameon": False, "fontsize": SMALL, "labelcolor": INK, "handlelength": 1.2, "columnspacing": 1.2}
    figure.legend(handles=handles, loc="center left", bbox_to_anchor=(0.05, 0.875), ncols=len(handles), **style)
    return nodes, strip


def _moving_artists(nodes: Axes, strip: Axes, ages: Normalize, num_nodes: int) -> dict[str, Any]:
    """Every artist that changes from frame to frame, in the order in which they are drawn."""
    size = 60 if num_nodes <= MOST_NODE_LABELS else 18
    artists = {
        "down": nodes.add_collection(PolyCollection([], color=SHADE)),
        "bars": nodes.add_collection(PolyCollection([], color=BAR)),
        "floor": nodes.axhline(0, color=INK, linewidth=0.8),
        "balanced": nodes.add_collection(LineCollection([], colors=INK, linewidths=2)),
        "paths": nodes.add_collection(LineCollection([], linewidths=1.0, alpha=FAINT)),
        "arrivals": nodes.scatter([], [], s=0.8 * size, marker="v", color=GREEN),
        "completions": nodes.scatter([], [], s=0.5 * size, marker="v", color=GREY),
        "refused": nodes.scatter([], [], s=0.7 * size, marker="x", color=VERMILION),
        "tasks": nodes.scatter([], [], s=size, linewidths=0.6, edgecolors="white"),
        "ages": strip.imshow(
            np.zeros((1, num_nodes)), cmap=AGES, norm=ages, extent=(-0.5, num_nodes - 0.5, -0.5, 0.5), aspect="auto"
        ),
        "status": nodes.figure.text(0.98, 0.945, "", fontsize=NORMAL, color=INK, ha="right", va="center"),
        "elapsed": nodes.figure.add_artist(Line2D([0, 0], [1, 1], color=BAR, linewidth=8)),
    }
    for artist in artists.values():
        artist.set_animated(True)
    return artists


def _move(artists: Mapping[str, Any], recording: Recording, flying: motion.Flights, time: float, top: float) -> None:
    """Put every artist where it is at a time."""
    round = int(time)
    load, q = motion.shown_load(recording, time), recording.completion_prob
    balanced = np.mean(load / q) * q
    width = min(0.7, 0.1 + 0.1 * len(q))
    artists["bars"].set_verts(layout.boxes(load, width))
    artists["balanced"].set_segments(layout.boxes(balanced, width)[:, 1:3])
    artists["down"].set_verts(layout.boxes(np.full(len(q), top), 1.0, -0.08 * top)[~recording.alive[round]])
    artists["arrivals"].set_offsets(layout.marks(recording.arrived[round], 0.97 * top))
    artists["completions"].set_offsets(layout.marks(recording.completed[round], -0.045 * top))
    start, end = (np.stack([node, load[node]], axis=1) for node in (flying.source, flying.target))
    rise = top * (0.06 + 0.3 * np.abs(flying.source - flying.target) / len(q))
    rise = np.minimum(rise, 0.93 * top - np.maximum(start[:, 1], end[:, 1]))  # keep clear of the arrivals above
    colours = np.where(flying.refused, GREY, np.where(flying.stolen, VERMILION, BLUE))
    places = layout.on_arcs(start, end, rise, flying.progress(time))
    artists["paths"].set(segments=layout.arcs(start, end, rise), colors=colours)
    artists["tasks"].set(offsets=places[~flying.refused], facecolors=colours[~flying.refused])
    artists["refused"].set_offsets(places[flying.refused])
    artists["ages"].set_data(recording.heard_age[round][None])
    utility = layout.number(float(recording.metrics["utility"][round]))
    artists["status"].set_text(f"round {round}    utility {utility}")


def _kind(result: PolicyResult, evaluation: Evaluation) -> str:
    return "best heuristic" if result.name == evaluation.best_heuristic else result.kind


def _setting(evaluation: Evaluation) -> str:
    return (
        f"{evaluation.num_episodes:,} episodes of {evaluation.num_rounds:,} rounds, the first {evaluation.warmup:,} "
        "left out; bars: 95% intervals"
    )


def _interval(axes: Axes, row: int, result: PolicyResult, kind: str) -> None:
    """A policy's mean, its interval, and its value in the margin."""
    colour, marker, filled = STYLES[kind]
    estimate = result.columns["utility"]
    axes.plot([-estimate.high, -estimate.low], [row, row], color=colour, linewidth=2.2, solid_capstyle="butt", zorder=2)
    face = colour if filled else "white"
    axes.plot(-estimate.mean, row, marker, color=colour, markerfacecolor=face, markersize=6.5, zorder=3)
    text = layout.true_minus(" ± ".join(part for part in parts(estimate) if part))
    weight = "bold" if kind in ("learned", "best heuristic") else "normal"
    style: dict[str, Any] = {"va": "center", "fontsize": SMALL, "color": INK, "fontweight": weight}
    axes.text(1.02, row, text, transform=axes.get_yaxis_transform(), **style)


def _legend_of_kinds(figure: Figure, kinds: set[str]) -> None:
    meanings = {"oracle": "oracle (sees true loads)"}
    handles = [
        Line2D([], [], color=colour, marker=marker, markerfacecolor=colour if filled else "white", label=label)
        for kind, (colour, marker, filled) in STYLES.items()
        if (label := meanings.get(kind, kind)) and kind in kinds
    ]
    style: dict[str, Any] = {"frameon": False, "fontsize": SMALL, "labelcolor": INK}
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), **style)


def _label_levels(figure: Figure, axes: Axes, levels: Mapping[str, float]) -> None:
    """Horizontal lines, the best last, with names in the right margin that are moved apart where they would overlap."""
    texts = []
    for rank, (name, level) in enumerate(levels.items(), start=1):
        best = rank == len(levels)
        axes.axhline(-level, color=BLUE if best else GREY, linewidth=1.4 if best else 0.9, linestyle=(0, (4, 3)))
        label = f"{layout.number(level)}  {layout.caption(name)}"
        texts.append(axes.text(1.05, 0.5, label, transform=axes.transAxes, va="center", fontsize=SMALL, color=INK))
        texts[-1].set_fontweight("bold" if best else "normal")
    figure.draw_without_rendering()  # settles the layout, with room for the names in the margin
    figure.set_layout_engine("none")
    height_points = float(axes.get_window_extent().height) / figure.dpi * 72
    to_axes = axes.transData - axes.transAxes
    exact = [float(to_axes.transform((1, -level))[1]) for level in levels.values()]
    for text, y, at in zip(texts, exact, layout.apart(exact, 1.35 * SMALL / height_points), strict=True):
        text.set_y(at)
        leader = Line2D([1.0, 1.04], [y, at], color=GREY, linewidth=0.7, transform=axes.transAxes, clip_on=False)
        axes.add_artist(leader)


def _scale(axes: Axes, direction: str, costs: Float[np.ndarray, " R"], least: float) -> None:
    """A scale of −utility on which all of `costs` can be told apart; its tick labels are utilities.

    `least` is the least of all that will be drawn, which may be 0 or below where an interval reaches that far.
    """
    axis, set_scale = {"x": (axes.xaxis, axes.set_xscale), "y": (axes.yaxis, axes.set_yscale)}[direction]
    floor, top = np.min(costs[costs > 0], initial=np.inf), np.max(costs, initial=0.0)
    if top <= LARGE_SPREAD * floor:
        axis.set_major_formatter(_Negated())
        return
    if least > 0.1 * floor:
        set_scale("log")
        axis.set_major_locator(
            ticker.LogLocator(subs=(1, 2, 5) if top < 100 * floor else (1, 3) if top < 1000 * floor else (1,))
        )
    else:  # what is not above 0 has no logarithm: below the least cost above 0 this scale is linear
        set_scale("symlog", linthresh=floor)
        decades = np.arange(math.ceil(np.log10(floor)), math.floor(np.log10(top)) + 1)
        axis.set_major_locator(ticker.FixedLocator([0, *(10.0**decades)]))
    axis.set_minor_formatter(ticker.NullFormatter())
    axis.set_major_formatter(ticker.FuncFormatter(lambda cost, _: layout.true_minus(f"{0 - cost:,.6g}")))


class _Negated(ticker.ScalarFormatter):
    """Labels of utilities on an axis of costs."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return super().__call__(0 - x, pos)


def _title(axes: Axes, title: str, subtitle: str) -> None:
    axes.set_title(subtitle, fontsize=SMALL, color=GREY, loc="left", pad=8)
    style: dict[str, Any] = {"fontsize": LARGE, "color": INK, "fontweight": "bold"}
    axes.annotate(title, (0, 1), (0, 24), xycoords="axes fraction", textcoords="offset points", **style)


def _plain(axes: Axes) -> None:
    """No frame, quiet ticks, the grid behind the data."""
    axes.spines[:].set_visible(False)
    axes.tick_params(labelsize=SMALL, length=0, colors=INK)
    axes.tick_params(which="minor", length=0)
    axes.set_axisbelow(True)
