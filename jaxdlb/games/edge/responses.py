"""Response times as a distribution: how many requests took at most each of some times, and percentiles from that."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxdlb.games.edge.types import Params

LEAST, MOST, NUM_TIMES = 1e-4, 1e3, 512  # seconds
TIMES = np.geomspace(LEAST, MOST, NUM_TIMES)  # float64 [NUM_TIMES], neighbours differ by 3%


def cumulative(
    service_times: str,
    served: Float[Array, "N N"],
    round_trip: Float[Array, "N N"],
    cold_share: Float[Array, " N"],
    params: Params,
    times: Float[Array, " T"],
) -> Float[Array, " T"]:
    """How many of the requests `served` from i to j took at most each of `times` (s), which must rise."""
    begun = jnp.stack([served * cold_share, served * (1 - cold_share)])
    means = jnp.stack([params.cold_time, params.warm_time])[:, None]
    return _CUMULATIVE[service_times](begun, round_trip, means, times)


def _exponential(
    begun: Float[Array, "2 N N"],
    round_trip: Float[Array, "N N"],
    mean: Float[Array, "2 1 N"],
    times: Float[Array, " T"],
) -> Float[Array, " T"]:
    """Those that have spent their round trip, less those still in service.

    All in service of one kind at one node end at the same rate, whenever they came. So from one time to the next what
    is in service shrinks by a factor, and those are added whose round trip lies in between: [T, N] exponentials rather
    than [T, N, N], and none that overflows.
    """
    first = jnp.searchsorted(times, round_trip)  # of the times: that by which the round trip is over
    since = jnp.append(times, jnp.inf)[first] - round_trip
    queues = mean.size  # a kind and a node
    place = first * queues + jnp.arange(queues).reshape(mean.shape)
    in_service = _dealt_out(begun * jnp.exp(-since / mean), place, len(times) * queues).reshape(-1, queues)
    over = _dealt_out(jnp.sum(begun, axis=0), first, len(times))
    remains = jnp.exp(-jnp.diff(times, prepend=times[:1])[:, None] / mean.ravel())

    def advance(before: tuple[Array, Array], k: Int[Array, ""]) -> tuple[tuple[Array, Array], Array]:
        done, waiting = before[0] + over[k], before[1] * remains[k] + in_service[k]
        return (done, waiting), done - jnp.sum(waiting)

    # by index: as inputs of the scan, the arrays of a batch would be transposed, which takes several times as long
    nothing = jnp.float32(0.0), jnp.zeros(queues)
    return jax.lax.scan(advance, nothing, jnp.arange(len(times)))[1]


def _deterministic(
    begun: Float[Array, "2 N N"],
    round_trip: Float[Array, "N N"],
    mean: Float[Array, "2 1 N"],
    times: Float[Array, " T"],
) -> Float[Array, " T"]:
    """Those whose round trip and service are over."""
    return jnp.cumsum(_dealt_out(begun, jnp.searchsorted(times, round_trip + mean), len(times)))


_CUMULATIVE = {"exponential": _exponential, "deterministic": _deterministic}


def _dealt_out(amounts: Float[Array, "*S"], place: Int[Array, "*S"], count: int) -> Float[Array, " {count}"]:
    """The sum of the amounts at each of `count` places; those beyond are left out."""
    exists = place < count
    places, added = jnp.where(exists, place, 0), jnp.where(exists, amounts, 0.0)
    # flat, and to places that are known to exist: otherwise XLA takes some ten times as long
    return jnp.zeros(count).at[places.ravel()].add(added.ravel(), mode="promise_in_bounds")


def percentile(took_at_most: Float[np.ndarray, " 512"], total: float, percent: float) -> float:
    """The time (s) within which `percent`% of `total` requests were served, of which so many took at most `TIMES`.

    It is linear in the logarithm of the time within a cell; `LEAST` if it is shorter, infinite if it is longer than
    `MOST`, and NaN if there were no requests.
    """
    if not total > 0:
        return math.nan
    wanted = percent / 100 * total
    place = int(np.searchsorted(took_at_most, wanted))
    if place in (0, NUM_TIMES):
        return LEAST if place == 0 else math.inf
    below, above = took_at_most[place - 1 : place + 1]
    share = (wanted - below) / (above - below)
    return float(TIMES[place - 1] ** (1 - share) * TIMES[place] ** share)
