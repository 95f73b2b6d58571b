"""What comes to each pod in a step, and how its token bucket serves it: first in first out, exact request by request.

A bucket of b · x CPU-ms fills at x CPU-ms a second and pays for the work done: a pod works at its full speed p while
there are tokens, and at min(p, x) while there are none. This is the CPU bandwidth control of Linux, whose period is b.

Every pod is treated by itself. Requests stand on the leading axis and pods on the last, so that a whole batch of
clusters is one row (`mechanics.batches.in_one_row`): one request of every pod after the other takes a seventh of the
time of cumulative maxima along each pod's requests.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax.scipy.special import gammaln
from jaxtyping import Array, Bool, Float, Int

from jaxdlb.mechanics import chance

_TINY = 1e-30  # far below what a uniform number gives, and its logarithm is finite
_LEAST = 1e-15  # of rates and limits that something is divided by: its square too is a number, as derivatives need


@struct.dataclass
class Pods:
    """What P pods bring into a step; CPU in millicores, which is CPU-ms a second, work in CPU-ms, times in seconds."""

    rate: Float[Array, " P"]  # λ: requests a second that come
    work_mean: Float[Array, " P"]
    work_shape: Float[Array, " P"]
    limit: Float[Array, " P"]  # x′; 0 of an absent pod, which has no requests
    max_usage: Float[Array, " P"]  # p
    burst: Float[Array, " P"]  # b
    tokens: Float[Array, " P"]
    slo: Float[Array, " P"]
    interval: Float[Array, " P"]  # Δ
    held: Int[Array, " P"]
    age: Float[Array, "K P"]  # of those held, oldest first
    work: Float[Array, "K P"]  # still to do


@struct.dataclass
class Outcome:
    """What a step makes of P pods; counts are of requests."""

    held: Int[Array, " P"]
    age: Float[Array, "K P"]  # of those held, as in `Pods`
    work: Float[Array, "K P"]
    tokens: Float[Array, " P"]
    done: Float[Array, " P"]  # work, CPU-ms
    arrivals: Int[Array, " P"]
    completions: Int[Array, " P"]
    response_sum: Float[Array, " P"]  # of those complete, s
    violations: Int[Array, " P"]
    drops: Int[Array, " P"]
    is_truncated: Bool[Array, " P"]  # whether more would have come than fit in
    response: Float[Array, "S P"]  # of each request that is complete, s; NaN of the others


@struct.dataclass
class Request:
    """One request of each pod, where it exists."""

    exists: Bool[Array, " P"]
    arrival: Float[Array, " P"]  # a: since the step began, below 0 of one held
    work: Float[Array, " P"]  # to do


@struct.dataclass
class Served:
    """What a step makes of one request of each pod."""

    arrival: Float[Array, " P"]
    left: Float[Array, " P"]  # work still to do at the end
    response: Float[Array, " P"]  # of one that is complete, otherwise NaN


@struct.dataclass
class Tally:
    """What is kept of the requests of each pod up to some one; every field [P]."""

    work: Float[Array, " P"]  # V: of all of them
    latest_full: Float[Array, " P"]  # M; 0 before the first, which has V = 0
    latest_limit: Float[Array, " P"]  # L; likewise
    overflow: Float[Array, " P"]  # max of c · a_j − V_j over those that are new; 0 where it limits nothing
    done: Float[Array, " P"]  # D
    arrivals: Int[Array, " P"]
    completions: Int[Array, " P"]
    response_sum: Float[Array, " P"]
    violations: Int[Array, " P"]
    not_due: Int[Array, " P"]  # those that pass their objective after this step, if at all


def play(key: chance.KeyWords, pod: Int[Array, " P"], pods: Pods, max_arrivals: int) -> Outcome:
    """Stages 3 to 6 of a step: requests come, are served, are kept or dropped, and violate their objectives.

    The numbers of a pod come from its own `key` (two words, uint32 [P] each) and its index in the cluster. They are
    drawn in the loop, since what a loop carries is computed once: elsewhere, each number would take its key anew.
    """
    room = pods.age.shape[0]
    scale = pods.work_mean * jnp.exp(-gammaln(1 + pods.work_shape))

    def serve_held(tally: Tally, held: tuple[Int[Array, ""], Array, Array]) -> tuple[Tally, Served]:
        place, age, work = held
        return enter(tally, Request(place < pods.held, -age, work), pods)

    def serve_new(now: tuple[Tally, Array, chance.KeyWords], index: Int[Array, ""]) -> tuple[Any, Served]:
        tally, last, key = now
        request = arrive(key, pod, index, last, scale, pods)
        tally, served = enter(tally, request, pods)
        return (tally, request.arrival, key), served

    tally, old = jax.lax.scan(serve_held, no_requests(pods), (jnp.arange(room), pods.age, pods.work))
    now = tally, jnp.zeros_like(pods.rate), key
    (tally, last, _), new = jax.lax.scan(serve_new, now, jnp.arange(max_arrivals))
    served = jax.tree.map(lambda *parts: jnp.concatenate(parts), old, new)

    incomplete = pods.held + tally.arrivals - tally.completions
    held = jnp.minimum(incomplete, room)
    drops = incomplete - held
    age, work = keep(served, tally.completions, held, pods)
    return Outcome(
        held=held,
        age=age,
        work=work,
        tokens=tokens_at_end(tally, pods),
        done=tally.done,
        arrivals=tally.arrivals,
        completions=tally.completions,
        response_sum=tally.response_sum,
        # 6. A request dropped before it is due violates by that. Those not due are the last ones, as are those dropped.
        violations=tally.violations + jnp.minimum(drops, tally.not_due),
        drops=drops,
        is_truncated=last < pods.interval,
        response=served.response,
    )


def arrive(
    key: chance.KeyWords,
    pod: Int[Array, " P"],
    index: Int[Array, ""],
    last: Float[Array, " P"],
    scale: Float[Array, " P"],
    pods: Pods,
) -> Request:
    """3. The request after the one that came at `last`: where it comes too late for this step, it does not exist.

    Of two uniform numbers U, which depend on nothing but the key, the pod and the `index`, one makes the gap
    −ln(1 − U)/λ and one the work w̄ · E^θ / Γ(1 + θ) with E = −ln(1 − U); `scale` is w̄ / Γ(1 + θ). So where rates do
    not depend on what is held, every policy meets the same requests under the same key.
    """
    gap, size = (-jnp.log(1 - u) for u in chance.uniform_pair(key, pod, index))
    too_late = 2 * pods.interval  # what comes later does not matter, and has to be finite
    arrival = jnp.where(pods.rate > 0, last + gap / jnp.maximum(pods.rate, _LEAST), too_late)
    arrival = jnp.minimum(arrival, too_late)
    work = scale * jnp.exp(pods.work_shape * jnp.log(jnp.maximum(size, _TINY)))
    return Request(arrival < pods.interval, arrival, work)


def no_requests(pods: Pods) -> Tally:
    """The tally before the first request."""
    nothing, none = jnp.zeros_like(pods.limit), jnp.zeros_like(pods.held)
    return Tally(
        work=nothing,
        latest_full=nothing,
        latest_limit=nothing,
        overflow=nothing,
        done=nothing,
        arrivals=none,
        completions=none,
        response_sum=nothing,
        violations=none,
        not_due=none,
    )


def enter(tally: Tally, request: Request, pods: Pods) -> tuple[Tally, Served]:
    """4. The next request of each pod in the closed form of the token bucket, first in first out.

    With a_k, w_k arrival and work of request k, those held first, c = x′, C = b · c and T = min(tokens, C),

        W_k = w_1 + … + w_k,   V_k = W_k − w_k
        M_k = max over j ≤ k of max(a_j, 0) − V_j / p,   L_k = max over j ≤ k of max(a_j, 0) − V_j / c
        d_k = max(W_k / p + M_k, (W_k − C) / c + L_k, (W_k − T) / c)
        left_k = w_k − clip(min(p (Δ − M_k), c (Δ − L_k) + C, T + c Δ) − V_k, 0, w_k),   D = Σ (w_k − left_k)

    These are the three bounds on the work done by any time: full speed since a request came to an empty pod, a full
    bucket and the limit since then, and what the bucket began with and the limit from the start. A request is complete
    if d_k ≤ Δ, and violates its objective s (6.) if 0 < a_k + s ≤ Δ and d_k > a_k + s.
    """
    full, limit, end = pods.max_usage, jnp.maximum(pods.limit, _LEAST), pods.interval
    size = pods.burst * pods.limit
    content = jnp.minimum(pods.tokens, size)
    exists, before, begins = request.exists, tally.work, jnp.maximum(request.arrival, 0.0)
    own = jnp.where(exists, request.work, 0.0)
    work = before + own
    latest_full = _latest(exists, tally.latest_full, begins - before / full)
    latest_limit = _latest(exists, tally.latest_limit, begins - before / limit)
    within_bucket = jnp.maximum((work - size) / limit + latest_limit, (work - content) / limit)
    departure = jnp.maximum(work / full + latest_full, within_bucket)
    able = jnp.minimum(limit * (end - latest_limit) + size, content + limit * end)
    # Its own work less what is done of it: of a sum, a small request behind large ones would lose its digits.
    done = jnp.clip(jnp.minimum(full * (end - latest_full), able) - before, 0.0, own)
    is_new, is_complete = exists & (request.arrival >= 0), exists & (departure <= end)
    response, due = departure - request.arrival, request.arrival + pods.slo
    violates = exists & (due > 0) & (due <= end) & (departure > due)
    tally = Tally(
        work=work,
        latest_full=latest_full,
        latest_limit=latest_limit,
        overflow=_latest(is_new, tally.overflow, limit * request.arrival - before),
        done=tally.done + done,
        arrivals=tally.arrivals + is_new,
        completions=tally.completions + is_complete,
        response_sum=tally.response_sum + jnp.where(is_complete, response, 0.0),
        violations=tally.violations + violates,
        not_due=tally.not_due + (exists & (due > end)),
    )
    return tally, Served(request.arrival, own - done, jnp.where(is_complete, response, jnp.nan))


def _latest(exists: Array, so_far: Array, this: Array) -> Array:
    return jnp.where(exists, jnp.maximum(so_far, this), so_far)


def tokens_at_end(tally: Tally, pods: Pods) -> Float[Array, " P"]:
    """min(C, T + c Δ − D, min over new requests j of C + c (Δ − a_j) − (D − V_j)), in the terms of `enter`."""
    size, filled = pods.burst * pods.limit, pods.limit * pods.interval
    content = jnp.minimum(pods.tokens, size)
    return jnp.clip(jnp.minimum(content + filled, size + filled - tally.overflow) - tally.done, 0.0, size)


def keep(
    served: Served, completions: Int[Array, " P"], held: Int[Array, " P"], pods: Pods
) -> tuple[Float[Array, "K P"], Float[Array, "K P"]]:
    """5. Ages of the `held`, oldest first, and their work still to do; what is complete stands before all of them."""
    place = jnp.arange(pods.age.shape[0])[:, None]
    rank = completions + place
    slot = jnp.where(rank < pods.held, rank, len(place) + rank - pods.held)  # new ones stand behind all slots
    slot = jnp.where(place < held, slot, 0)

    def take(each: Float[Array, "S P"]) -> Float[Array, "K P"]:
        return jnp.take_along_axis(each, slot, axis=0, mode="promise_in_bounds")

    age, work = pods.interval - take(served.arrival), take(served.left)
    return jnp.where(place < held, age, 0.0), jnp.where(place < held, work, 0.0)
