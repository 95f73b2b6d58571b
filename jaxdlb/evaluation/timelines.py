"""Pictures of series over time, whatever the game: a panel for each of its metrics, with its meaning above."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib import colormaps, ticker
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from jaxdlb.drawing import layout
from jaxdlb.drawing.axes import plain
from jaxdlb.drawing.style import DASHED, DPI, GREY, INK, LARGE, LINES, MARKERS, NORMAL, PALE, SHADE, SMALL
from jaxdlb.evaluation.series import Series

MOST_POINTS, FEWEST_POINTS = 200, 50  # of a line
MOST_CORNERS = 1600  # points of all the lines in a panel of agents, if that leaves each enough
MOST_POLICIES = 5  # in one panel
MOST_COLUMNS = 3  # of panels: policies side by side
LARGE_SPREAD = 20  # policies that differ by more than this factor are drawn on a logarithmic scale
AGENTS = "viridis_r"  # colours of agents where there are more than can be told apart: the later, the darker
HEADER, FOOTER, LEGEND_LINE, PANEL, TALL_PANEL = 0.65, 0.2, 0.24, 1.75, 2.15  # heights in inches


def figures(
    series: Mapping[str, Series], meanings: Mapping[str, str], warmup: float = 0.0
) -> dict[str, tuple[str, Figure]]:
    """A caption and a figure of the scalars over time and, if a game has any, of what is one number an agent.

    `series` are keyed by the name of the policy, `meanings` are `game.metrics`. Until `warmup`, if it is given, the
    background is shaded. Only the first `MOST_POLICIES` are drawn, and agents of the first `MOST_COLUMNS`.

    Raises:
        ValueError: no series.
    """
    if not series:
        raise ValueError("series is empty; there must be at least 1 to draw")
    drawn = {"timeline": ("What happened on one cluster over time", _cluster(series, meanings, warmup))}
    if next(iter(series.values())).per_agent:
        drawn["timeline_agents"] = ("What happened at each agent of that cluster", _agents(series, meanings, warmup))
    return drawn


def _cluster(series: Mapping[str, Series], meanings: Mapping[str, str], warmup: float) -> Figure:
    """A panel for each scalar metric, with a line for each policy."""
    shown = {name: each.thinned(MOST_POINTS) for name, each in list(series.items())[:MOST_POLICIES]}
    names = list(next(iter(shown.values())).scalars)
    footer = FOOTER + LEGEND_LINE * math.ceil(len(shown) / 2)
    figure, panels = _grid(len(names), min(len(names), 2), PANEL, footer)
    for panel, name in zip(panels, names, strict=True):
        _heading(panel, name, meanings[name])
        for place, (policy, each) in enumerate(shown.items()):
            _line(panel, each, each.scalars[name], place, layout.caption(policy, 60))
        _scale(panel, [each.scalars[name] for each in shown.values()])
        _dress(panel, warmup)
    _title(figure, panels, "One cluster over time", shown, warmup, len(series) - len(shown))
    _legend(figure, *panels[0].get_legend_handles_labels(), columns=min(len(shown), 2))
    return figure


def _agents(series: Mapping[str, Series], meanings: Mapping[str, str], warmup: float) -> Figure:
    """A panel for each metric of the agents and each policy, with a line for each agent."""
    first = next(iter(series.values()))
    names = list(first.per_agent)
    num_agents = first.per_agent[names[0]].shape[1]
    points = min(max(MOST_CORNERS // num_agents, FEWEST_POINTS), MOST_POINTS)
    shown = {name: each.thinned(points) for name, each in list(series.items())[:MOST_COLUMNS]}
    cells = [(name, policy) for name in names for policy in shown]
    columns = len(shown) if len(shown) > 1 else min(len(names), 2)
    figure, panels = _grid(len(cells), columns, TALL_PANEL, FOOTER + LEGEND_LINE)
    styles = _styles(num_agents)
    for panel, (name, policy) in zip(panels, cells, strict=True):
        beside = "" if len(shown) == 1 else f": {layout.caption(policy, 32)}"
        _heading(panel, name, meanings[name], beside, columns)
        for agent, style in enumerate(styles):
            panel.plot(_middles(shown[policy]), shown[policy].per_agent[name][:, agent], **style)
    for start in range(0, len(cells), len(shown)):
        _on_one_scale(panels[start : start + len(shown)], warmup)
    alone = f": {layout.caption(next(iter(shown)), 60)}" if len(shown) == 1 else ""
    _title(figure, panels, f"Each agent over time{alone}", shown, warmup, len(series) - len(shown))
    if num_agents > 2 * len(LINES):
        _shades(figure, panels, num_agents)
    else:
        labels = ["agent 0", *map(str, range(1, num_agents))]
        _legend(figure, panels[0].lines[:num_agents], labels, columns=num_agents)
    return figure


def _grid(count: int, columns: int, height: float, footer: float) -> tuple[Figure, list[Axes]]:
    """A figure with so many panels of that `height` on one axis of time, between a title and a `footer`, in inches."""
    rows = math.ceil(count / columns)
    size = (13.0 if columns > 2 else 10.0, HEADER + height * rows + footer)
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    rect = (0, footer / size[1], 1, 1 - (footer + HEADER) / size[1])
    figure.get_layout_engine().set(rect=rect, h_pad=0.06, w_pad=0.08, wspace=0.03)  # type: ignore[union-attr, call-arg]
    every = figure.subplots(rows, columns, sharex=True, squeeze=False).ravel()
    for axes in every[count:]:
        axes.set_axis_off()
    for axes in every[max(count - columns, 0) : count]:  # what stands lowest in its column
        axes.tick_params(labelbottom=True)
    return figure, list(every[:count])


def _heading(axes: Axes, name: str, meaning: str, beside: str = "", columns: int = 2) -> None:
    """The name of a metric, in bold, above its meaning."""
    wrapped = textwrap.wrap(layout.caption(meaning, 240), 72 if columns < 3 else 58)
    axes.set_title("\n".join(wrapped), fontsize=SMALL, color=GREY, loc="left", pad=5)
    above = 9 + 1.3 * SMALL * len(wrapped)
    text = layout.caption(name.replace("_", " ")) + beside
    style: dict[str, Any] = {"fontsize": NORMAL, "color": INK, "fontweight": "bold"}
    axes.annotate(text, (0, 1), (0, above), xycoords="axes fraction", textcoords="offset points", **style)


def _line(axes: Axes, series: Series, values: Float[np.ndarray, " R"], place: int, label: str) -> None:
    """A policy's line: markers far apart tell it from others where colours do not."""
    apart = max(len(values) // 6, 1)
    first = min((place * apart) // MOST_POLICIES, len(values) - 1)
    style: dict[str, Any] = {"marker": MARKERS[place], "markersize": 4.5, "markevery": (first, apart), "linewidth": 1.2}
    axes.plot(_middles(series), values, color=LINES[place], label=label, zorder=2.9 - 0.1 * place, **style)


def _middles(series: Series) -> Float[np.ndarray, " R"]:
    return series.time + series.elapsed / 2


def _scale(axes: Axes, curves: Sequence[Float[np.ndarray, " _"]]) -> None:
    """A logarithmic scale where the curves differ by orders of magnitude, linear around 0; else a linear one."""
    sizes = [size for size in (float(np.median(np.abs(each))) for each in curves) if size > 0]
    if not sizes or max(sizes) <= LARGE_SPREAD * min(sizes):
        axes.yaxis.set_major_locator(ticker.MaxNLocator(4, steps=[1, 2, 5, 10], min_n_ticks=3))
    else:
        threshold = 10.0 ** math.floor(math.log10(min(sizes)))
        axes.set_yscale("symlog", linthresh=threshold)
        powers = threshold * 100.0 ** np.arange(8)
        axes.yaxis.set_major_locator(ticker.FixedLocator([*(-powers[::-1]), 0, *powers]))
        axes.yaxis.set_minor_locator(ticker.NullLocator())
    axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: layout.true_minus(f"{value:,.6g}")))


def _dress(axes: Axes, warmup: float) -> None:
    """What all panels share: 0 in sight, a grid, and the warm-up in grey."""
    axes.margins(x=0.01)
    axes.set_xlim(left=0)
    axes.set_ylim(*_limits(axes))
    axes.grid(axis="y", color=PALE, linewidth=0.8)
    axes.xaxis.set_major_locator(ticker.MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: layout.true_minus(f"{value:,.10g}")))
    if warmup > 0:
        axes.axvspan(0, warmup, color=SHADE, alpha=0.45, linewidth=0, zorder=0)
    plain(axes)


def _on_one_scale(panels: Sequence[Axes], warmup: float) -> None:
    """Dress the panels that show one metric, which reach from the lowest value in any of them to the highest."""
    first, *others = panels
    _scale(first, [])
    for panel in others:
        panel.sharey(first)
    for panel in panels:
        _dress(panel, warmup)


def _limits(axes: Axes) -> tuple[float, float]:
    """From the lowest value to the highest, and to 0, of all panels on one scale; with less room beyond 0."""
    beside = axes.get_shared_y_axes().get_siblings(axes)
    low, high = min(0.0, *(each.dataLim.ymin for each in beside)), max(0.0, *(each.dataLim.ymax for each in beside))
    high = 1.0 if low == high else high
    scale = axes.transScale
    start, end = scale.transform([(0.0, low), (0.0, high)])[:, 1]
    room = 0.08 * (end - start)
    ends = [(0.0, start - room * (0.4 if low == 0 else 1)), (0.0, end + room * (0.4 if high == 0 else 1))]
    bottom, top = scale.inverted().transform(ends)[:, 1]
    return float(bottom), float(top)


def _title(
    figure: Figure, panels: Sequence[Axes], title: str, series: Mapping[str, Series], warmup: float, left_out: int
) -> None:
    """The title, what a point is, how many policies are left out, and the axis of time."""
    longest = max(series.values(), key=lambda each: len(each.time))
    width = longest.steps_per_row
    point = "each point is one step" if width == 1 else f"each point is the mean of {width} steps"
    more = f"; policies not drawn: {left_out}" if left_out else ""
    shaded = "; shaded: the warm-up, which the table leaves out" if warmup > 0 else ""
    unit = "round" if all(each.in_rounds for each in series.values()) else "time"
    height = figure.get_figheight()
    figure.text(0.01, 1 - 0.3 / height, title, fontsize=LARGE, color=INK, fontweight="bold")
    figure.text(0.01, 1 - 0.53 / height, f"{point}{shaded}{more}", fontsize=SMALL, color=GREY)
    for axes in panels:
        if axes.xaxis.get_tick_params()["labelbottom"]:
            axes.set_xlabel(unit, fontsize=NORMAL, color=INK)


def _styles(num_agents: int) -> list[dict[str, Any]]:
    """The look of each agent's line: colours and dashes that can be told apart, or shades where agents are many."""
    if num_agents > 2 * len(LINES):
        shades = colormaps[AGENTS](np.linspace(0.05, 1, num_agents))
        return [{"color": shade, "linewidth": 0.7, "alpha": 0.8} for shade in shades]
    dashes = ("-", DASHED)
    looks = [(LINES[k % len(LINES)], dashes[k // len(LINES)]) for k in range(num_agents)]
    return [{"color": colour, "linestyle": dash, "linewidth": 1.1} for colour, dash in looks]


def _legend(figure: Figure, handles: Sequence[Any], labels: Sequence[str], columns: int) -> None:
    """One legend for all panels, at the foot."""
    spacing = {"handlelength": 1.5, "handletextpad": 0.5, "columnspacing": 1.2}
    style: dict[str, Any] = {"frameon": False, "fontsize": SMALL, "labelcolor": INK, **spacing}
    place = (0.5, 0.06 / figure.get_figheight())
    figure.legend(handles, labels, loc="lower center", bbox_to_anchor=place, ncols=columns, **style)


def _shades(figure: Figure, panels: Sequence[Axes], num_agents: int) -> None:
    """The scale of the shades of many agents, at the foot."""
    height = figure.get_figheight()
    axes = figure.add_axes((0.3, 0.28 / height, 0.4, 0.1 / height))
    bar = figure.colorbar(ScalarMappable(Normalize(0, num_agents - 1), AGENTS), cax=axes, orientation="horizontal")
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=SMALL, length=0, labelcolor=INK)
    figure.text(0.29, 0.33 / height, "agent", fontsize=NORMAL, color=INK, ha="right", va="center")
