"""The figures of certificates: where an agent sends tasks away, and how far each policy is from the best."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from jaxdlb.drawing import layout
from jaxdlb.drawing.axes import plain, title
from jaxdlb.drawing.style import DPI, GREY, INK, LARGE, NORMAL, PALE, PAPER, SMALL
from jaxdlb.evaluation.roles import ROLES, Role
from jaxdlb.theory.certificate import NEAR, Certificate, migrates
from jaxdlb.theory.chain import Chain, Weights
from jaxdlb.theory.episode_certificate import EpisodeCertificate

_SHADES = "Blues"
_LEAST = 1e-4  # gaps below are drawn as this: the axis is logarithmic


def figures(chain: Chain, certificate: Certificate, shown: Mapping[str, Weights]) -> dict[str, tuple[str, Figure]]:
    """A caption and a figure of each, by file name; `shown` are the first agent's weights, by policy."""
    return {
        "switching": ("Which loads make the first agent send a task away", switching(chain, shown)),
        "gaps": ("How far each policy is from the best that agents can do", gaps(certificate)),
    }


def switching(chain: Chain, shown: Mapping[str, Weights]) -> Figure:
    """For each policy, how likely the first agent is to send away a task, by its own load and that of the second.

    Of more than two agents, the others are idle; and of the rounds modulo N, the first is shown.
    """
    size = chain.common.most + 1
    figure = Figure(figsize=(3.2 * len(shown) + 1.2, 4.3), dpi=DPI)
    figure.subplots_adjust(left=0.09, right=0.9, bottom=0.15, top=0.72, wspace=0.12)
    panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    plane = (chain.rounds == 0) & np.all(chain.loads[:, 2:] == 0, axis=1)
    for axes, (name, weights) in zip(panels, shown.items(), strict=True):
        likely = migrates(chain, weights, 0)[plane].reshape(size, size).T  # [load of the second, load of the first]
        image = _plane(axes, likely)
        axes.set_title(layout.caption(name, 30), fontsize=NORMAL, color=INK, loc="left")
        axes.set_xlabel("own load, tasks", fontsize=NORMAL, color=INK)
    panels[0].set_ylabel("load of the second node, tasks", fontsize=NORMAL, color=INK)
    bar = figure.colorbar(image, cax=figure.add_axes((0.92, 0.15, 0.015, 0.57)))
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=SMALL, length=0, labelcolor=INK)
    figure.text(0.09, 0.92, "When the first agent sends a task away", fontsize=LARGE, color=INK, fontweight="bold")
    subtitle = "probability after an arrival without a completion; white: it keeps the task"
    figure.text(0.09, 0.85, subtitle, fontsize=SMALL, color=GREY)
    return figure


def gaps(certificate: Certificate) -> Figure:
    """How far below the team optimum each policy is, and what deviating would bring, in percent, both logarithmic."""
    lines = [line for line in certificate.lines if line.kind != "optimal"][::-1]
    figure, axes = _markers(lines)
    for place, line in enumerate(lines):
        colour = ROLES[line.kind].colour
        ends = sorted((max(line.gap, _LEAST), max(line.nash_gap, _LEAST)))
        axes.plot(ends, [place, place], color=PALE, linewidth=2.5, zorder=1)
        bar: dict[str, Any] = {"marker": "|", "markersize": 7, "markeredgewidth": 2, "color": colour}
        axes.plot(max(line.nash_gap, _LEAST), place, linestyle="none", zorder=3, **bar)
    subtitle = "marker: how far below the team optimum; bar |: the most that an agent gains by deviating; dashed: 1%"
    title(axes, "Gaps, exactly", subtitle)
    _finish(figure, axes, lines, "share of the team optimum, or of an agent's reward")
    return figure


def behind(certificate: EpisodeCertificate) -> Figure:
    """How far behind the optimum of an episode each policy is, in percent, logarithmic."""
    lines = [line for line in certificate.lines if line.kind != "optimal"][::-1]
    figure, axes = _markers(lines)
    title(axes, "Behind the optimum", "what the optimum is better by; dashed: 1%")
    _finish(figure, axes, lines, "share of the optimum")
    return figure


def _markers(lines: Sequence[Any]) -> tuple[Figure, Axes]:
    """A row for each line, with its gap as the marker of its role."""
    figure = Figure(figsize=(9.5, 1.6 + 0.32 * len(lines)), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    for place, line in enumerate(lines):
        axes.plot(max(line.gap, _LEAST), place, zorder=3, **_marker(ROLES[line.kind]))
    return figure, axes


def _finish(figure: Figure, axes: Axes, lines: Sequence[Any], label: str) -> None:
    """Names, a logarithmic axis called `label` that begins where gaps are nothing, and a legend."""
    axes.axvline(NEAR, color=GREY, linewidth=1, linestyle=(0, (4, 3)), zorder=0)
    axes.set_xscale("log")
    axes.set_xlim(left=_LEAST * 0.8)
    axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda share, _: f"{100 * share:,.6g}%"))
    axes.set_yticks(range(len(lines)), [layout.caption(line.name, 44) for line in lines], fontsize=SMALL)
    axes.set_ylim(-0.6, len(lines) - 0.4)
    axes.set_xlabel(label, fontsize=NORMAL, color=INK)
    plain(axes)
    handles = [Line2D([], [], label=role.meaning, **_marker(role)) for role in _roles(lines)]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=SMALL)


def _roles(lines: Sequence[Any]) -> list[Role]:
    """The roles of these lines, in the order of legends."""
    kinds = {line.kind for line in lines}
    return [role for kind, role in ROLES.items() if kind in kinds]


def _marker(role: Role) -> dict[str, Any]:
    inside = role.colour if role.filled else PAPER
    return {
        "marker": role.marker,
        "markersize": 7,
        "linestyle": "none",
        "color": role.colour,
        "markerfacecolor": inside,
    }


def _plane(axes: Axes, likely: Float[np.ndarray, "K K"]) -> Any:
    """A heat map of probabilities."""
    image = axes.imshow(likely, origin="lower", cmap=_SHADES, vmin=0, vmax=1, aspect="equal", interpolation="nearest")
    axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True, nbins=6))
    axes.yaxis.set_major_locator(ticker.MaxNLocator(integer=True, nbins=6))
    plain(axes)
    return image
