"""The figure of how long requests took, where the game counts that."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxdlb.drawing import layout
from jaxdlb.drawing.axes import mark_percentiles, times_exceeded
from jaxdlb.drawing.figures import WIDTH, heading, legend
from jaxdlb.drawing.style import DASHED, DPI, GREY, line_styles
from jaxdlb.games.pods.columns import BINS
from jaxdlb.games.pods.replay import Replay

HISTOGRAM = "response_histogram"
PERCENTILES = (50, 95, 99)
RAREST = 1e-3  # the share of requests down to which times are shown
NARROW = 300  # the quotient of times below which ticks stand between powers of ten


def are_counted(replays: Mapping[str, Replay]) -> bool:
    """Whether all recordings say how long requests took."""
    return all(HISTOGRAM in each.metrics for each in replays.values())


def exceeding(histogram: Float[np.ndarray, " B"]) -> tuple[Float[np.ndarray, " K"], Float[np.ndarray, " K"]]:
    """Times in seconds, and the share of requests that took longer: from the shortest to the last that any exceeds."""
    share = 1 - np.concatenate([[0.0], np.cumsum(histogram)]) / max(float(histogram.sum()), 1.0)
    filled = np.flatnonzero(histogram)
    shown = slice(filled[0], filled[-1] + 1) if len(filled) else slice(0)
    return BINS.edges[shown], share[shown]


def distribution(replays: Mapping[str, Replay]) -> Figure:
    """The share of completed requests that took longer, on logarithmic scales: a line for each policy.

    Lines further left and lower are better. The legend says percentiles; dashed are the objectives.
    """
    figure = Figure(figsize=(WIDTH, 4.0 + 0.2 * len(replays)), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    looks = zip(replays.items(), line_styles(), strict=False)
    lines = [_draw(axes, name, replayed, look) for (name, replayed), look in looks]
    axes.set(xscale="log", yscale="log", ylim=(0.8 * RAREST, 1.3))
    for objective in sorted({float(end) for each in replays.values() for end in (each.slo.min(), each.slo.max())}):
        objectives = axes.axvline(objective, color=GREY, linewidth=1.1, linestyle=DASHED, label="objective")
    times_exceeded(axes, PERCENTILES, "s", "completed requests", narrow=NARROW)
    legend(figure, [*lines, objectives], columns=1)
    heading(figure, "Response times")
    return figure


def _draw(axes: Axes, name: str, replayed: Replay, look: tuple[str, str]) -> Any:
    """The line of a policy, with its percentiles marked."""
    colour, dashes = look
    histogram = np.asarray(np.sum(replayed.metrics[HISTOGRAM], axis=0), np.float64)
    times = {percent: BINS.percentile(histogram, percent) for percent in PERCENTILES}
    said = ", ".join(f"p{percent} {time:.3g} s" for percent, time in times.items())
    label = f"{layout.caption(name)}: {said if histogram.sum() else 'no request completed'}"
    (line,) = axes.plot(*exceeding(histogram), color=colour, linestyle=dashes, linewidth=1.8, label=label)
    if histogram.sum():
        mark_percentiles(axes, times, colour)
    return line
