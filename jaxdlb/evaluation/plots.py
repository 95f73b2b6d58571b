"""Figures of an evaluation and of a training run, whatever the game.

Every function draws on a new figure and does without pyplot and its global state, so it can be called from any thread
and without a display.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Shaped
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from jaxdlb.drawing import layout
from jaxdlb.drawing.axes import plain, title
from jaxdlb.drawing.style import DASHED, DOTTED, DPI, GREY, INK, NORMAL, PALE, PAPER, SMALL
from jaxdlb.evaluation.numerals import mean_and_error
from jaxdlb.evaluation.results import BoundResult, Evaluation, PolicyResult
from jaxdlb.evaluation.roles import ROLES, Role, present, role_of
from jaxdlb.evaluation.sentences import episodes
from jaxdlb.evaluation.statistics import Estimate

LARGE_SPREAD = 20  # utilities that differ by more than this factor are drawn on a logarithmic scale
FAR_WORSE = 10  # times further from 0 than the best heuristic: heuristics beyond that are only counted in a figure
MOST_LEVELS = 5  # drawn beside a learning curve
MOST_ROLES = 4  # in one line of a legend, unless there is a bound, whose label is long
LIMIT: dict[str, Any] = {"color": INK, "linewidth": 1.2, "linestyle": DOTTED}  # the line that nobody can be beyond


class Judged(NamedTuple):
    """How checkpoints did in a column beside the utility, in episodes that were not trained on."""

    header: str  # of the column
    agent_rounds: Shaped[np.ndarray, " K"]
    values: Shaped[np.ndarray, "S K"]
    level: float  # what the heuristic with the best utility has in that column
    name: str  # of that heuristic
    lower_is_better: bool = True


def utilities(evaluation: Evaluation) -> Figure:
    """The mean of every policy with its 95% interval, in utility and in each column with a verdict, side by side.

    The best utility is on top, better is further right, and values stand beside the plots. Rows for which another one
    speaks, such as single seeds, are not drawn; nor are heuristics whose utility is more than `FAR_WORSE` times further
    from 0 than the best heuristic's, so that those worth comparing can be told apart: a line at the bottom says how
    many they are and how far they reach. Where less is better, or values are below 0, a scale is logarithmic if the
    policies drawn differ by more than the factor `LARGE_SPREAD`.
    """
    known = [
        each for each in evaluation.results if each.part_of is None and math.isfinite(each.columns["utility"].mean)
    ]
    known = sorted(known, key=lambda result: result.columns["utility"].mean)
    far = [result for result in known if _is_far_worse(result, evaluation)]
    results = [result for result in known if result not in far]
    judged = ["utility", *(name for name in evaluation.verdicts if _is_known(name, results))]
    size = (4.5 + 3.5 * len(judged), 1.5 + 0.32 * (len(results) + bool(far)))
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    panels = figure.subplots(1, len(judged), sharey=True, squeeze=False)[0]
    if not results:
        panels[0].set_axis_off()
        panels[0].text(0.5, 0.5, "Every episode ended before the warm-up did", ha="center", fontsize=NORMAL, color=INK)
        return figure
    for axes, column in zip(panels, judged, strict=True):
        _panel(axes, column, results, evaluation)
    _rows(panels[0], results, far, evaluation)
    note = "\ntimes worse: times further from 0 than the best heuristic" if far else ""
    panels[0].set_xlabel(panels[0].get_xlabel() + note, fontsize=NORMAL, color=INK)
    named = " and ".join(evaluation.columns[name][0].partition(",")[0] for name in judged)
    title(panels[0], f"{named[0].upper()}{named[1:]} of every policy", _setting(evaluation))
    roles = [role for role in present(evaluation) if role is not ROLES["part"]]
    _legend(figure, roles, next((evaluation.bounds[name] for name in judged if name in evaluation.bounds), None))
    return figure


def _is_known(column: str, results: Sequence[PolicyResult]) -> bool:
    return any(math.isfinite(result.columns[column].mean) for result in results)


def _is_far_worse(result: PolicyResult, evaluation: Evaluation) -> bool:
    """Whether a policy is a heuristic that is no rival to the best one; never where the best utility is not below 0."""
    best = evaluation.best.columns["utility"].mean
    return result.kind == "heuristic" and best < 0 and result.columns["utility"].mean < FAR_WORSE * best


def _panel(axes: Axes, column: str, results: Sequence[PolicyResult], evaluation: Evaluation) -> None:
    """One column of the results, a row for each, the last one on top; it is drawn as a cost that falls to the right."""
    verdict = evaluation.verdicts.get(column)
    sign = 1 if verdict is not None and verdict.lower_is_better else -1
    estimates = [result.columns[column] for result in results]
    means = sign * np.array([each.mean for each in estimates])
    least = np.nanmin([*means, *(min(sign * each.low, sign * each.high) for each in estimates)])
    bound = evaluation.bounds.get(column)
    drawn = means if bound is None else np.append(means, sign * bound.value.mean)
    _scale(axes, "x", drawn[np.isfinite(drawn)], least=np.nanmin([*drawn, least]), sign=sign)
    best = sign * evaluation.best.columns[column].mean
    axes.axvline(best, color=ROLES["best"].colour, linewidth=0.8, linestyle=DASHED, zorder=1)
    if bound is not None:
        axes.axvline(sign * bound.value.mean, **LIMIT, zorder=1)
    plain(axes)
    for row, result in enumerate(results):
        _interval(axes, row, sign, result.columns[column], role_of(result, evaluation))
    axes.invert_xaxis()
    axes.grid(axis="both", color=PALE, linewidth=0.8)
    header = "mean utility" if column == "utility" else evaluation.columns[column][0]
    scale = "" if axes.get_xscale() == "linear" else ", logarithmic scale"
    axes.set_xlabel(f"{header}{scale} (further right is better)", fontsize=NORMAL, color=INK)


def _rows(axes: Axes, results: Sequence[PolicyResult], far: Sequence[PolicyResult], evaluation: Evaluation) -> None:
    """The names of the results, the last one on top, and a row below them that counts those `far` worse."""
    labels = [*(layout.caption(result.name) for result in results), *_more(far)]
    axes.set_yticks([*range(len(results)), -1][: len(labels)], labels)
    for label, result in zip(axes.get_yticklabels(), results, strict=False):
        role = role_of(result, evaluation)
        label.set(color=role.colour if role.bold else INK, fontweight=_weight(role))
    axes.set_ylim(-1.7 if far else -0.7, len(results) - 0.3)
    if far:
        _count(axes, far)


def _count(axes: Axes, far: Sequence[PolicyResult]) -> None:
    """Fill the row of the heuristics that are not drawn, which are given worst first."""
    worst, least = (layout.number(far[place].columns["utility"].mean) for place in (0, -1))
    reach = worst if len(far) == 1 else f"{least} to {worst}"
    style: dict[str, Any] = {"va": "center", "fontsize": SMALL, "color": GREY}
    axes.text(1.02, -1, reach, transform=axes.get_yaxis_transform(), **style)
    axes.get_yticklabels()[-1].set(color=GREY)


def _more(far: Sequence[PolicyResult]) -> list[str]:
    """The label of that row, if there is one."""
    heuristics = "heuristic" if len(far) == 1 else "heuristics"
    return [f"{len(far)} more {heuristics}, over {FAR_WORSE} times worse"] if far else []


def learning_curve(
    agent_rounds: Shaped[np.ndarray, " T"] | Sequence[float],
    utility: Shaped[np.ndarray, "*S T"],
    levels: Mapping[str, float],
    seconds: Shaped[np.ndarray, " T"] | Sequence[float] | None = None,
    held_out: tuple[Shaped[np.ndarray, " K"], Shaped[np.ndarray, "S K"]] | None = None,
    others: Sequence[Judged] = (),
) -> Figure:
    """The mean utility during training, beside the best of `levels`, which are the utilities of other policies by name.

    With several seeds (`utility` [S, T]), the line is their median and the band reaches from the worst to the best.
    `seconds` [T], which must not decrease, are the wall time of training so far; they are shown along the top.
    `held_out`, agent-rounds [K] and utilities [S, K] in episodes that were not trained on, are drawn as dots, at the
    median of the seeds. Below, a panel for each of `others` shows what else policies are judged by in those episodes.
    """
    curves = np.atleast_2d(np.asarray(utility, np.float64))
    heights = [4.4 if seconds is None else 4.8, *[1.8] * len(others)]
    figure = Figure(figsize=(8, sum(heights)), dpi=DPI, layout="constrained")
    axes, *below = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights).ravel()
    levels = dict(sorted(levels.items(), key=lambda level: level[1])[-MOST_LEVELS:])
    costs = -np.concatenate([curves.ravel(), np.asarray(list(levels.values()), np.float64)])
    _scale(axes, "y", costs[np.isfinite(costs)], least=np.nanmin(costs))
    x = np.asarray(agent_rounds, np.float64)
    colour, label = ROLES["learned"].colour, "learned policy"
    if len(curves) > 1:
        label += f": median of {len(curves)} seeds, band from the worst to the best"
        axes.fill_between(x, -np.min(curves, axis=0), -np.max(curves, axis=0), color=colour, alpha=0.2, linewidth=0)
    marker = "o" if curves.shape[1] == 1 else None
    axes.plot(x, -np.median(curves, axis=0), color=colour, linewidth=1.8, marker=marker, label=label, zorder=3)
    if held_out is not None:
        axes.plot(
            held_out[0],
            -np.median(held_out[1], axis=0),
            color=INK,
            linestyle="",
            marker="o",
            markersize=4,
            label="in episodes held out",
            zorder=4,
        )
    axes.margins(x=0.01, y=0.06)
    axes.invert_yaxis()
    axes.xaxis.set_major_formatter(ticker.EngFormatter(sep=" "))
    axes.grid(axis="y", color=PALE, linewidth=0.8)
    scale = "" if axes.get_yscale() == "linear" else ", logarithmic"
    for panel, each in zip(below, others, strict=True):
        _held_out(panel, each)
    lowest = below[-1] if below else axes
    lowest.set_xlabel("agent-rounds of training (rounds played × agents)", fontsize=NORMAL, color=INK)
    axes.set_ylabel(f"mean utility{scale}", fontsize=NORMAL, color=INK)
    raised = 0.0 if seconds is None else 30.0  # clear of the wall-time axis
    title(axes, "Learning curve", "dashed: the best heuristics, as evaluated; higher is better", raised=raised)
    plain(axes)
    if seconds is not None:
        _wall_time(axes, x, np.asarray(seconds, np.float64))
    figure.legend(loc="outside lower center", frameon=False, fontsize=NORMAL, labelcolor=INK)
    _label_levels(figure, axes, levels)
    return figure


def _held_out(axes: Axes, judged: Judged) -> None:
    """Dots at the median of the seeds, lines from the worst to the best, and the level of the best heuristic."""
    least, middle, most = (np.asarray(of(judged.values, axis=0)) for of in (np.min, np.median, np.max))
    axes.vlines(judged.agent_rounds, least, most, color=GREY)
    axes.plot(judged.agent_rounds, middle, color=INK, linestyle="", marker="o", markersize=4, zorder=3)
    if math.isfinite(judged.level):
        axes.axhline(judged.level, color=ROLES["best"].colour, linewidth=1.4, linestyle=DASHED)
        style: dict[str, Any] = {"va": "center", "fontsize": SMALL, "color": INK, "fontweight": "bold"}
        label = f"{layout.number(judged.level)}  {layout.caption(judged.name)}"
        axes.text(1.05, judged.level, label, transform=axes.get_yaxis_transform(), **style)
    axes.margins(y=0.15)
    axes.grid(axis="y", color=PALE, linewidth=0.8)
    if judged.lower_is_better:
        axes.invert_yaxis()
    axes.set_ylabel(judged.header.replace(", ", ",\n"), fontsize=NORMAL, color=INK)
    plain(axes)


def _wall_time(axes: Axes, x: Float[np.ndarray, " T"], seconds: Float[np.ndarray, " T"]) -> None:
    """Label the top with round durations of wall time, each above the point that training had reached by then."""
    durations = np.array(layout.round_durations(float(seconds[-1])))
    places = np.interp(durations, [0.0, *seconds], [0.0, *x])
    low, high = axes.get_xlim()
    seen = (low <= places) & (places <= high)
    top = axes.secondary_xaxis("top")
    top.set_xticks(places[seen], [layout.duration(float(each)) for each in durations[seen]])
    top.spines[:].set_visible(False)
    top.tick_params(labelsize=SMALL, length=3, color=GREY, labelcolor=INK)
    top.set_xlabel("wall time of training", fontsize=SMALL, color=INK)


def _setting(evaluation: Evaluation) -> str:
    return f"{episodes(evaluation)}; bars: 95% intervals"


def _interval(axes: Axes, row: int, sign: int, estimate: Estimate, role: Role) -> None:
    """Draw a policy's mean and interval, times `sign`, and print its value in the margin."""
    ends = sorted((sign * estimate.low, sign * estimate.high))
    axes.plot(ends, [row, row], color=role.colour, linewidth=2.2, solid_capstyle="butt", zorder=2)
    axes.plot(sign * estimate.mean, row, markersize=6.5, zorder=3, **_marker(role))
    text = layout.true_minus(" ± ".join(part for part in mean_and_error(estimate) if part))
    style: dict[str, Any] = {"va": "center", "fontsize": SMALL, "color": INK, "fontweight": _weight(role)}
    axes.text(1.02, row, text, transform=axes.get_yaxis_transform(), **style)


def _marker(role: Role) -> dict[str, Any]:
    return {
        "marker": role.marker,
        "color": role.colour,
        "markerfacecolor": role.colour if role.filled else PAPER,
    }


def _weight(role: Role) -> str:
    return "bold" if role.bold else "normal"


def _legend(figure: Figure, roles: Sequence[Role], bound: BoundResult | None) -> None:
    handles = [Line2D([], [], label=role.meaning, **_marker(role)) for role in roles]
    if bound is not None:
        label = " ".join(part for part in ("no policy", bound.binds, "can be better") if part)
        handles.append(Line2D([], [], label=label, **LIMIT))
    style: dict[str, Any] = {"frameon": False, "fontsize": SMALL, "labelcolor": INK}
    columns = 3 if bound is not None or len(handles) > MOST_ROLES else len(handles)
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, **style)


def _label_levels(figure: Figure, axes: Axes, levels: Mapping[str, float]) -> None:
    """Draw horizontal lines, the best last; names in the right margin are moved apart so as not to overlap."""
    texts = []
    for rank, (name, level) in enumerate(levels.items(), start=1):
        best = rank == len(levels)
        axes.axhline(
            -level, color=ROLES["best"].colour if best else GREY, linewidth=1.4 if best else 0.9, linestyle=DASHED
        )
        label = f"{layout.number(level)}  {layout.caption(name)}"
        texts.append(axes.text(1.05, 0.5, label, transform=axes.transAxes, va="center", fontsize=SMALL, color=INK))
        texts[-1].set_fontweight("bold" if best else "normal")
    figure.draw_without_rendering()  # settles the layout, with room for the names in the margin
    figure.set_layout_engine("none")
    height_points = float(axes.get_window_extent().height) / figure.dpi * 72
    to_axes = axes.transData - axes.transAxes
    exact = [float(to_axes.transform((1, -level))[1]) for level in levels.values()]
    for text, y, at in zip(texts, exact, layout.spread_out(exact, 1.35 * SMALL / height_points), strict=True):
        text.set_y(at)
        leader = Line2D([1.0, 1.04], [y, at], color=GREY, linewidth=0.7, transform=axes.transAxes, clip_on=False)
        axes.add_artist(leader)


def _scale(axes: Axes, direction: str, costs: Float[np.ndarray, " R"], least: float, sign: int = -1) -> None:
    """Set a scale of costs on which all of `costs` can be told apart; its tick labels are costs times `sign`.

    `least` is the smallest value that will be drawn; it may be 0 or below if an interval reaches that far.
    """
    axis, set_scale = {"x": (axes.xaxis, axes.set_xscale), "y": (axes.yaxis, axes.set_yscale)}[direction]
    floor, top = np.min(costs[costs > 0], initial=np.inf), np.max(costs, initial=0.0)
    if top <= LARGE_SPREAD * floor:
        axis.set_major_formatter(_Signed(sign))
        return
    if least > 0.1 * floor:
        set_scale("log")
        axis.set_major_locator(
            ticker.LogLocator(subs=(1, 2, 5) if top < 100 * floor else (1, 3) if top < 1000 * floor else (1,))
        )
    else:  # values that are not above 0 have no logarithm: below the least positive cost, this scale is linear
        set_scale("symlog", linthresh=floor)
        decades = np.arange(math.ceil(np.log10(floor)), math.floor(np.log10(top)) + 1)
        axis.set_major_locator(ticker.FixedLocator([0, *(10.0**decades)]))
    axis.set_minor_formatter(ticker.NullFormatter())
    axis.set_major_formatter(ticker.FuncFormatter(lambda cost, _: layout.true_minus(f"{0 + sign * cost:,.6g}")))


class _Signed(ticker.ScalarFormatter):
    """Labels an axis of costs with costs times a sign."""

    def __init__(self, sign: int) -> None:
        super().__init__()
        self.sign = sign

    def __call__(self, x: float, pos: int | None = None) -> str:
        return super().__call__(0 + self.sign * x, pos)
