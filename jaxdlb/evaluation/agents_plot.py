"""The figure of the learning curves of single agents."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Shaped
from matplotlib import ticker
from matplotlib.figure import Figure

from jaxdlb.drawing import layout
from jaxdlb.drawing.axes import plain, title
from jaxdlb.drawing.style import DPI, INK, NORMAL, PALE, SMALL, line_styles

MOST_POINTS = 120  # of a curve: means over runs of updates where there are more
_CUT, _FAR = 2.0, 3  # percent of all values that are not shown where they lie so many times further down: the start


def curves(
    agent_rounds: Shaped[np.ndarray, " T"], values: Mapping[str, Shaped[np.ndarray, "S T"]], what: str
) -> Figure:
    """The `values` of each agent, by its label, and in black their mean over agents; of S seeds the medians.

    `what` they are, as in "utility", labels the vertical axis. Higher is better.
    """
    figure = Figure(figsize=(8, 4.6 + 0.2 * (len(values) // 6)), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    medians = np.array([np.median(each, axis=0) for each in values.values()])
    x = layout.shortened(np.asarray(agent_rounds, np.float64)[:, None], MOST_POINTS)[:, 0]
    lines = layout.shortened(medians.T, MOST_POINTS).T
    marker = "o" if len(x) == 1 else None
    for label, line, (colour, dashes) in zip(values, lines, line_styles(), strict=False):
        axes.plot(x, line, color=colour, linestyle=dashes, linewidth=1.1, marker=marker, label=label)
    everyone = np.median(np.mean([*values.values()], axis=0), axis=0)
    mean = layout.shortened(everyone[:, None], MOST_POINTS)[:, 0]
    axes.plot(x, mean, color=INK, linewidth=2.4, marker=marker, label="all agents, the mean", zorder=3)
    lowest, low, high = np.nanmin(lines), np.nanpercentile(lines, _CUT), np.nanmax(lines)
    if high - lowest > _FAR * (high - low) > 0:
        axes.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
    axes.margins(x=0.01)
    axes.xaxis.set_major_formatter(ticker.EngFormatter(sep=" "))
    axes.grid(axis="y", color=PALE, linewidth=0.8)
    plain(axes)
    axes.set_xlabel("agent-rounds of training (rounds played × agents)", fontsize=NORMAL, color=INK)
    axes.set_ylabel(f"mean {what}", fontsize=NORMAL, color=INK)
    seeds = len(next(iter(values.values())))
    told = f"medians of {seeds} seeds; higher is better" if seeds > 1 else "higher is better"
    title(axes, "Learning curves of the agents", f"{what} in training; {told}")
    figure.legend(loc="outside lower center", ncols=6, frameon=False, fontsize=SMALL, labelcolor=INK)
    return figure
