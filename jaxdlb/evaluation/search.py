"""The cross-entropy method over a box of options: where to look next, from what did best so far.

Options are searched as points of the unit box, each along its own span, by order of magnitude where that is what
counts. A cloud, a Gaussian with independent coordinates, is drawn from and fitted to the best of what was drawn, again
and again (Rubinstein 1999, doi 10.1023/A:1010091220143).
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, PRNGKeyArray

from jaxdlb.policies import Span

_OLD_SPREAD = 0.3  # how much of the old spread stays, so that a few lucky points do not end the search
_LEAST_SPREAD = 0.01


class Cloud(NamedTuple):
    """Where points are drawn: the means and standard deviations of a Gaussian over the unit box."""

    middle: Float[np.ndarray, " options"]
    spread: Float[np.ndarray, " options"]


def everywhere(num_options: int) -> Cloud:
    """As wide as the box."""
    return Cloud(np.full(num_options, 0.5), np.full(num_options, 0.3))


def draw(key: PRNGKeyArray, cloud: Cloud, num_points: int) -> Float[np.ndarray, "points options"]:
    """Points of the unit box: the middle of the cloud, and others drawn from it, moved to the edge from beyond."""
    noise = np.asarray(jax.random.normal(key, (num_points, len(cloud.middle))), np.float64)
    noise[0] = 0.0
    return np.clip(cloud.middle + cloud.spread * noise, 0.0, 1.0)


def fitted(
    cloud: Cloud,
    points: Float[np.ndarray, "points options"],
    scores: Float[np.ndarray, " points"],
    num_elites: int,
) -> Cloud:
    """The cloud around the points with the highest scores."""
    elites = points[np.argsort(-scores, kind="stable")[:num_elites]]
    spread = _OLD_SPREAD * cloud.spread + (1 - _OLD_SPREAD) * np.std(elites, axis=0)
    return Cloud(np.mean(elites, axis=0), np.maximum(spread, _LEAST_SPREAD))


def options_at(box: Mapping[str, Span], point: Float[np.ndarray, " options"]) -> dict[str, float]:
    """The options at a point of the unit box, to three digits, so that a name can tell them."""
    return {name: float(f"{_along(span, at):.3g}") for (name, span), at in zip(box.items(), point, strict=True)}


def _along(span: Span, at: float) -> float:
    if span.logarithmic:
        return float(span.low * (span.high / span.low) ** at)
    return span.low + (span.high - span.low) * float(at)
