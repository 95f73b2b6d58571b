"""The picture of `python -m benchmarks`: throughput over environments, and the cost of a node over nodes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from jaxdlb.drawing.style import BLUE, GREEN, GREY, INK, PALE, VERMILION

# Okabe and Ito's colours, with a marker each for those who cannot tell them apart.
STYLES = ((BLUE, "o"), (VERMILION, "s"), (GREEN, "D"), ("#cc79a7", "^"), ("#56b4e9", "v"), ("#e69f00", "P"))
Result = dict[str, Any]
Results = Sequence[Result]


def draw(throughput: Results, growth: Results, race: Results, title: str, path: Path) -> None:
    """Write the picture as a PNG."""
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    _throughput(left, throughput, race)
    _growth(right, growth)
    figure.suptitle(title, color=INK, fontsize=12)
    figure.savefig(path, dpi=150)


def _throughput(axes: Axes, throughput: Results, race: Results) -> None:
    sizes = sorted({result["num_nodes"] for result in throughput})
    first = throughput[0]
    for num_nodes, (colour, marker) in zip(sizes, STYLES, strict=False):
        series = [result for result in throughput if _is_like(result, {**first, "num_nodes": num_nodes})]
        rates = [result["node_rounds_per_second"] for result in series]
        _line(axes, [result["num_envs"] for result in series], rates, 1e-6, colour, marker, f"N = {num_nodes}")
    for place, result in enumerate(race):
        rate = result["c_node_rounds_per_second"]["median"] * 1e-6
        label = None if place else "C, one thread"
        axes.axhline(rate, color=GREY, linewidth=0.9, linestyle=":", zorder=0, label=label)
    _dress(axes, "environments", "million node-rounds a second", "Throughput over environments")


def _is_like(result: Result, other: Result) -> bool:
    return all(result[name] == other[name] for name in ("num_nodes", "policy", "consume"))


def _growth(axes: Axes, growth: Results) -> None:
    nodes = [result["num_nodes"] for result in growth]
    colour, marker = STYLES[0]
    costs = [result["nanoseconds_per_node_round"] for result in growth]
    _line(axes, nodes, costs, 1, colour, marker, "a round")
    shares = [
        {end: cost["median"] * result["share_of_numbers"][end] for end in ("low", "median", "high")}
        for cost, result in zip(costs, growth, strict=True)
    ]
    colour, marker = STYLES[1]
    _line(axes, nodes, shares, 1, colour, marker, "its random numbers")
    _dress(axes, "nodes N", "nanoseconds a node and round", "Cost of a node over nodes")


def _line(
    axes: Axes,
    x: Sequence[int],
    spreads: Sequence[dict[str, float]],
    unit: float,
    colour: str,
    marker: str,
    label: str,
) -> None:
    """Medians, with the least and greatest as a band."""
    low, median, high = ([spread[end] * unit for spread in spreads] for end in ("low", "median", "high"))
    axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
    axes.plot(x, median, color=colour, marker=marker, markersize=4.5, linewidth=1.4, label=label)


def _dress(axes: Axes, x: str, y: str, title: str) -> None:
    axes.set_xscale("log", base=2)
    axes.set_ylim(bottom=0)
    axes.set_xlabel(x, color=INK)
    axes.set_ylabel(y, color=INK)
    axes.set_title(title, color=INK, fontsize=10.5, loc="left")
    axes.tick_params(colors=GREY)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.grid(axis="y", color=PALE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.legend(frameon=False, fontsize=8.5, labelcolor=INK)
