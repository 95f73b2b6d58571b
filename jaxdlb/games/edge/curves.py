"""Figures of what nodes can do and how long requests took: the service model, and distributions of response times."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from matplotlib import colormaps, ticker
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure

from jaxdlb.drawing import layout
from jaxdlb.drawing.axes import mark_percentiles, plain, plain_numbers, times_exceeded
from jaxdlb.drawing.figures import WIDTH, heading, legend
from jaxdlb.drawing.style import DPI, INK, PALE, SMALL, line_styles
from jaxdlb.games.edge import dynamics, responses, service
from jaxdlb.games.edge.replay import took_at_most
from jaxdlb.games.edge.types import Params
from jaxdlb.recording import Recording

MOST_NAMED = 6  # kinds of nodes that a legend names; the colours of more are read from a scale
MOST_RATES = 240  # points of a curve of the service model
BEYOND = 1.4  # rates go so much beyond the largest capacity
SCALE = ListedColormap(colormaps["viridis_r"](np.linspace(0.12, 1, 256)))  # lightness falls all the way
PERCENTILES = (50, 95, 99)
RAREST = 1e-3  # the share of requests down to which times are shown

# The service model


class Kind(NamedTuple):
    """Nodes that serve alike; times in seconds."""

    instances: int
    warm_time: float
    cold_time: float
    idle_time: float

    @property
    def capacity(self) -> float:
        """Requests per second."""
        return self.instances / self.warm_time

    def __str__(self) -> str:
        served = f"served in {self.warm_time:.3g} s, {self.cold_time:.3g} s by a new one"
        return f"{self.instances} instances: {served}; removed when idle for {self.idle_time:.3g} s"


class Curves(NamedTuple):
    """How each of K kinds of nodes fares at each of R rates; see `service.Service` and `dynamics.Served`."""

    reject_prob: Float[np.ndarray, "K R"]
    cold_prob: Float[np.ndarray, "K R"]
    service_time: Float[np.ndarray, "K R"]  # s; 0 where nothing is served


def kinds_of(params: Sequence[Params]) -> list[Kind]:
    """The kinds of nodes in these networks, the smallest first."""
    columns = [zip(each.instances, each.warm_time, each.cold_time, each.idle_time, strict=True) for each in params]
    kinds = {Kind(int(instances), *map(float, times)) for nodes in columns for instances, *times in nodes}
    return sorted(kinds, key=lambda kind: (kind.capacity, kind))


def curves(kinds: Sequence[Kind], rates: Int[np.ndarray, " R"], params: Params) -> Curves:
    """How these kinds fare, as the game serves a network of as many nodes as there are kinds and rates."""
    columns = {name: jnp.array([getattr(kind, name) for kind in kinds]) for name in Kind._fields}
    nodes: dict[str, Any] = {name: jnp.repeat(column, len(rates)) for name, column in columns.items()}
    most = max(1, *(kind.instances for kind in kinds))
    drawn = jax.device_get(_serve(jnp.tile(jnp.array(rates), len(kinds)), most, dataclasses.replace(params, **nodes)))
    return Curves(*(each.reshape(len(kinds), len(rates)) for each in drawn))


@partial(jax.jit, static_argnums=1)
def _serve(load: Int[Array, " N"], most: int, params: Params) -> tuple[Array, Array, Array]:
    times = params.warm_time, params.cold_time, params.idle_time
    cold_prob = service.perform(load.astype(np.float32), *times, params.instances, most).cold_prob
    served = dynamics.serve(load, most, params)
    return served.reject_prob, cold_prob, served.service_time


def service_model(recordings: Mapping[str, Recording]) -> Figure:
    """How nodes fare at any rate: rejections, cold starts and the mean service time, a line for each kind of node."""
    params = [recording.params for recording in recordings.values()]
    kinds = kinds_of(params)
    rates = _rates(kinds[-1].capacity)
    found = curves(kinds, rates, params[0])
    named = len(kinds) <= MOST_NAMED
    figure = Figure(figsize=(WIDTH, 3.2 + (0.2 * len(kinds) if named else 0)), dpi=DPI, layout="constrained")
    panels = figure.subplots(1, 3)
    titles = ("rejected,\n% of requests", "cold starts,\n% of requests", "mean service time,\nseconds")
    times = np.where(found.service_time > 0, found.service_time, np.nan)
    series: list[np.ndarray] = [100 * found.reject_prob, 100 * found.cold_prob, times]
    norm = Normalize(kinds[0].capacity, max(kinds[-1].capacity, kinds[0].capacity + 1e-9))
    looks = _looks(kinds, norm)
    for axes, title, values in zip(panels, titles, series, strict=True):
        for kind, line, look in zip(kinds, values, looks, strict=True):
            axes.plot(rates, line, label=str(kind), **look)
        _dress_curves(axes, title, rates)
    if named:
        legend(figure, panels[0].get_lines(), columns=1)
    else:
        bar = figure.colorbar(ScalarMappable(norm, SCALE), ax=list(panels), pad=0.02, fraction=0.04, aspect=25)
        bar.outline.set_visible(False)
        bar.ax.tick_params(labelsize=SMALL, length=0, colors=INK)
        bar.set_label("capacity of the node,\nrequests per second", fontsize=SMALL, color=INK)
    heading(figure, "How nodes serve requests")
    return figure


def _looks(kinds: Sequence[Kind], norm: Normalize) -> list[dict[str, Any]]:
    """Of the line of each kind: one that a legend can name, or of many the colour of its capacity."""
    if len(kinds) > MOST_NAMED:
        return [{"color": SCALE(norm(kind.capacity)), "linewidth": 1.0} for kind in kinds]
    styles = zip(kinds, line_styles(), strict=False)
    return [{"color": colour, "linestyle": dashes, "linewidth": 1.6} for _, (colour, dashes) in styles]


def _rates(capacity: float) -> Int[np.ndarray, " R"]:
    """Whole rates from 1 to beyond a capacity, evenly spaced."""
    most = max(10, math.ceil(BEYOND * capacity))
    return np.unique(np.rint(np.linspace(1, most, min(most, MOST_RATES))).astype(np.int32))


def _dress_curves(axes: Axes, title: str, rates: Int[np.ndarray, " R"]) -> None:
    plain(axes)
    axes.grid(color=PALE, linewidth=0.8)
    axes.set_title(title, fontsize=SMALL, color=INK, loc="left")
    axes.set_xlabel("requests per second at the node", fontsize=SMALL, color=INK)
    axes.set(xlim=(0, rates[-1]), ylim=(0, max(1.05 * axes.get_ylim()[1], 1e-6)))
    axes.xaxis.set_major_locator(ticker.MaxNLocator(4, integer=True))
    axes.yaxis.set_major_locator(ticker.MaxNLocator(5))
    axes.yaxis.set_major_formatter(plain_numbers())


# Response times


class Times(NamedTuple):
    """Of a policy's served requests, how many took at most `responses.TIMES`, and how many there were."""

    took_at_most: Float[np.ndarray, " 512"]
    total: float

    def percentile(self, percent: float) -> float:
        """Seconds."""
        return responses.percentile(self.took_at_most, self.total, percent)


def times_of(recording: Recording) -> Times:
    """The distribution over all steps of a recording."""
    total = float(np.sum(recording.timesteps.metrics["served"], dtype=np.float64))
    return Times(took_at_most(recording, responses.TIMES), total)


def distribution(recordings: Mapping[str, Recording]) -> Figure:
    """The share of served requests that took longer, on logarithmic scales: a line for each of `recordings`.

    Lines further left and lower are better. The legend says percentiles.
    """
    found = {name: times_of(recording) for name, recording in recordings.items()}
    figure = Figure(figsize=(WIDTH, 4.0 + 0.2 * len(found)), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    looks = zip(found, found.values(), line_styles(), strict=False)
    lines = [_draw_times(axes, name, times, look) for name, times, look in looks]
    axes.set(xscale="log", yscale="log", ylim=(0.8 * RAREST, 1.3), xlim=_span(list(found.values())))
    times_exceeded(axes, PERCENTILES, "seconds", "served requests", narrow=300)
    legend(figure, lines, columns=1)
    heading(figure, "Response times")
    return figure


def _draw_times(axes: Axes, name: str, times: Times, look: tuple[str, str]) -> Any:
    """The line of a policy, with its percentiles marked."""
    colour, dashes = look
    longer = np.clip(1 - times.took_at_most / times.total, 0, 1) if times.total > 0 else np.full(512, np.nan)
    label = f"{layout.caption(name)}: {_summary(times)}"
    (line,) = axes.plot(responses.TIMES, longer, color=colour, linestyle=dashes, linewidth=1.8, label=label)
    mark_percentiles(axes, {percent: times.percentile(percent) for percent in PERCENTILES}, colour)
    return line


def _span(found: Sequence[Times]) -> tuple[float, float]:
    """Times from where the first few requests are served to where nearly all are."""
    ends = [each.percentile(percent) for each in found for percent in (5, 100 * (1 - RAREST))]
    known = [end for end in ends if math.isfinite(end)]
    return (0.8 * min(known), 1.2 * max(known)) if known else (responses.LEAST, responses.MOST)


def _summary(times: Times) -> str:
    """As in "p50 0.35 s, p95 1.5 s, p99 2.31 s"."""
    if not times.total > 0:
        return "no request served"
    return ", ".join(f"p{percent} {_seconds(times.percentile(percent))}" for percent in PERCENTILES)


def _seconds(time: float) -> str:
    return f"{time:.3g} s" if math.isfinite(time) else f"beyond {responses.MOST:,g} s"
