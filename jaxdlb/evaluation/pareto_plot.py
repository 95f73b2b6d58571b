"""The figure of what policies trade: two columns against each other, and a third one as colour."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib import colormaps, ticker
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from jaxdlb.drawing import layout
from jaxdlb.drawing.axes import plain, title
from jaxdlb.drawing.style import DPI, GREY, INK, NORMAL, PALE, SMALL
from jaxdlb.evaluation.results import Evaluation, PolicyResult
from jaxdlb.evaluation.sentences import episodes

FAR = 2.5  # times as much as the best rule has of a column: what is beyond is not drawn
_COLOURS = "viridis"
_MARKERS, _LEARNED = "osD^v<>Phpd8", "*"
_AREA, _AREA_LEARNED = 46, 260  # of markers
_WIDEST = 26  # characters of a name


def pareto(evaluation: Evaluation, across: str, up: str, colour: str) -> Figure:
    """Two columns of every policy, the less the better, and a third one as the colour of its marker.

    A line joins the settings of a rule that none of its others beats in both; crosses are 95% intervals, and what was
    learned has a star. Settings with more than `FAR` times as much of a column as the best one are left out.
    """
    rows = [each for each in evaluation.results if each.part_of is None]
    near = [each for each in rows if not any(_is_far(each, rows, name) for name in (across, up))] or rows
    colours = np.array([each.columns[colour].mean for each in near])
    paint = ScalarMappable(Normalize(colours.min(), colours.max()), colormaps[_COLOURS])
    figure = Figure(figsize=(9.5, 5.6), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    for place, group in enumerate(_families(near).values()):
        shades = paint.to_rgba(np.array([each.columns[colour].mean for each in group]))
        _draw(axes, group, (across, up), shades, place)
    axes.grid(color=PALE, linewidth=0.8)
    plain(axes)
    for axis, name in (("x", across), ("y", up)):
        _scale(axes, axis, evaluation, name, [each.columns[name].mean for each in near])
    bar = figure.colorbar(paint, ax=axes, shrink=0.5, anchor=(0, 0), pad=0.01)
    bar.set_label(evaluation.columns[colour][0], fontsize=SMALL, color=INK)
    bar.ax.tick_params(labelsize=SMALL, colors=INK)
    style: dict[str, Any] = {"frameon": False, "fontsize": SMALL, "labelcolor": INK}
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), **style)
    spoken, other = (evaluation.columns[name][0].partition(",")[0] for name in (up, across))
    far = f"; {len(rows) - len(near)} settings lie far beyond" if len(rows) > len(near) else ""
    told = f"{episodes(evaluation)}; lines: each rule's best settings; crosses: 95%{far}"
    title(axes, f"{spoken[0].upper()}{spoken[1:]} against {other}", told)
    return figure


def _is_far(row: PolicyResult, rows: Sequence[PolicyResult], column: str) -> bool:
    """Whether it is a rule that has far more of a column than the best rule."""
    least = min((each.columns[column].mean for each in rows if each.kind != "learned"), default=0.0)
    return row.kind != "learned" and row.columns[column].mean > FAR * least


def _families(rows: Sequence[PolicyResult]) -> Mapping[str, list[PolicyResult]]:
    """The settings of each rule, and every policy that was learned, by name."""
    found: dict[str, list[PolicyResult]] = {}
    for row in rows:
        name = row.name if row.kind == "learned" else row.name.partition("(")[0]
        found.setdefault(name, []).append(row)
    return found


def _draw(
    axes: Axes, group: Sequence[PolicyResult], names: tuple[str, str], colours: Float[np.ndarray, "S 4"], place: int
) -> None:
    """The settings of one rule, or a learned policy."""
    x, y = ([each.columns[name] for each in group] for name in names)
    means = [each.mean for each in x], [each.mean for each in y]
    is_learned = group[0].kind == "learned"
    label = layout.caption(group[0].name if is_learned else group[0].name.partition("(")[0], _WIDEST)
    cross: dict[str, Any] = {"color": GREY, "linewidth": 0.8, "zorder": 2}
    axes.hlines(means[1], [each.low for each in x], [each.high for each in x], **cross)
    axes.vlines(means[0], [each.low for each in y], [each.high for each in y], **cross)
    axes.plot(*_unbeaten(*means), color=GREY, linewidth=0.9, zorder=1)
    look: dict[str, Any] = {"marker": _MARKERS[place % len(_MARKERS)], "s": _AREA, "zorder": 3}
    if is_learned:
        look = {"marker": _LEARNED, "s": _AREA_LEARNED, "zorder": 4}
    axes.scatter(*means, c=colours, edgecolors=INK, linewidths=0.7, label=label, **look)


def _unbeaten(x: Sequence[float], y: Sequence[float]) -> tuple[list[float], list[float]]:
    """The points that no other one is below and left of, from left to right."""
    points = sorted(zip(x, y, strict=True))
    kept = [point for place, point in enumerate(points) if all(point[1] < each[1] for each in points[:place])]
    return [each for each, _ in kept], [each for _, each in kept]


def _scale(axes: Axes, axis: str, evaluation: Evaluation, column: str, values: Sequence[float]) -> None:
    """Says what an axis shows; it is logarithmic where no value is 0, since what is far away matters less."""
    verdict = evaluation.verdicts.get(column)
    told = "" if verdict is None else " (less is better)"
    axes.set(**{f"{axis}label": f"{evaluation.columns[column][0]}{told}"})
    drawn: Axis = getattr(axes, f"{axis}axis")
    drawn.label.set(fontsize=NORMAL, color=INK)
    if min(values) <= 0:
        return
    axes.set(**{f"{axis}scale": "log"})
    step = 1.0 if max(values) > 2 * min(values) else 0.5
    drawn.set_major_locator(ticker.LogLocator(subs=np.arange(1, 10, step).tolist()))
    drawn.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    drawn.set_minor_formatter(ticker.NullFormatter())
