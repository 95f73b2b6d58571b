"""What comes to each pod in a step, and how its token bucket serves it: first in first out, exact request by request.

A bucket of b · x CPU-ms fills at x CPU-ms a second and pays for the work done: a pod works at its full speed p while
there are tokens, and at min(p, x) while there are none. This is the CPU bandwidth control of Linux, whose period is b.

Every pod is treated by itself. Requests stand on the leading axis and pods on the last, so that a whole batch of
clusters is one row (`mechanics.batches.in_one_row`): one request of every pod after the other takes a seventh of the
time of cumulative maxima along each pod's requests.
"""

import jax
import jax.numpy as jnp
from flax import struct
from jax.scipy.special import gammaln
from jaxtyping import Array, Bool, Float, Int

from jaxdlb.mechanics import chance

_TINY = 1e-30  # far below what a uniform number gives, and its logarithm is finite
_BEYOND = 3e38  # all times and amounts


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
class Requests:
    """S requests of each pod in the order in which they came; those that do not exist stand anywhere."""

    arrival: Float[Array, "S P"]  # a: since the step began, below 0 of those held
    work: Float[Array, "S P"]
    exists: Bool[Array, "S P"]


@struct.dataclass
class Served:
    """What becomes of them within the step."""

    departure: Float[Array, "S P"]  # d: since the step began; beyond Δ if the request is not complete then
    left: Float[Array, "S P"]  # work still to do at the end
    done: Float[Array, " P"]  # work done
    tokens: Float[Array, " P"]  # at the end


@struct.dataclass
class Outcome:
    """What a step makes of P pods; counts are of requests."""

    held: Int[Array, " P"]
    age: Float[Array, "K P"]
    work: Float[Array, "K P"]
    tokens: Float[Array, " P"]
    done: Float[Array, " P"]  # CPU-ms
    arrivals: Int[Array, " P"]
    completions: Int[Array, " P"]
    response_sum: Float[Array, " P"]  # of those complete, s
    violations: Int[Array, " P"]
    drops: Int[Array, " P"]
    is_truncated: Bool[Array, " P"]  # whether more would have come than fit in
    response: Float[Array, "S P"]  # of each request; not a number where it is not complete


def play(key: chance.KeyWords, pod: Int[Array, " P"], pods: Pods, max_arrivals: int) -> Outcome:
    """Stages 3 to 6 of a step: requests come, are served, are kept or dropped, and violate their objectives.

    The numbers of a pod come from its own `key` (two words, uint32 [P] each) and its index in the cluster.
    """
    new, is_truncated = arrive(key, pod, pods, max_arrivals)
    old = Requests(-pods.age, pods.work, jnp.arange(pods.age.shape[0])[:, None] < pods.held)
    requests = jax.tree.map(lambda *parts: jnp.concatenate(parts), old, new)
    served = serve(requests, pods)
    is_complete = requests.exists & (served.departure <= pods.interval)
    response = served.departure - requests.arrival
    arrivals, completions = _count(new.exists), _count(is_complete)
    kept = keep(requests, served, arrivals, completions, pods)
    return Outcome(
        **kept,
        tokens=served.tokens,
        done=served.done,
        arrivals=arrivals,
        completions=completions,
        response_sum=jnp.sum(jnp.where(is_complete, response, 0.0), axis=0),
        violations=violations(requests, served, completions + kept["held"], pods),
        drops=pods.held + arrivals - completions - kept["held"],
        is_truncated=is_truncated,
        response=jnp.where(is_complete, response, jnp.nan),
    )


def arrive(
    key: chance.KeyWords, pod: Int[Array, " P"], pods: Pods, max_arrivals: int
) -> tuple[Requests, Bool[Array, " P"]]:
    """3. The requests that come, [A, P], and where the last that can come still does, so that more may be left out.

    Of 2A uniform numbers U the first A make gaps −ln(1 − U)/λ and the last A works w̄ · E^θ / Γ(1 + θ), E = −ln(1 − U):
    where no rate depends on what is held, every policy meets the same requests under the same key.
    """
    gap, size = jnp.split(-jnp.log1p(-chance.uniform_rows_of(key, 2 * max_arrivals, pod)), 2)
    gap = jnp.where(pods.rate > 0, gap / jnp.maximum(pods.rate, _TINY), _BEYOND)
    mean = pods.work_mean * jnp.exp(-gammaln(1 + pods.work_shape))
    work = mean * jnp.exp(pods.work_shape * jnp.log(jnp.maximum(size, _TINY)))
    arrival = jax.lax.scan(_add, jnp.zeros_like(pods.rate), gap)[1]
    comes = arrival < pods.interval
    return Requests(arrival, work, comes), comes[-1]


def _add(total: Array, more: Array) -> tuple[Array, Array]:
    return total + more, total + more


@struct.dataclass
class _Bucket:
    """What the closed form keeps of the requests of each pod up to some one."""

    work: Float[Array, " P"]  # W: of all of them
    latest_full: Float[Array, " P"]  # M
    latest_limit: Float[Array, " P"]  # L
    left: Float[Array, " P"]
    overflow: Float[Array, " P"]  # min of V_j − c · a_j over those that are new


def serve(requests: Requests, pods: Pods) -> Served:
    """4. First in first out by the token bucket: with a_k, w_k arrival and work of request k, those held first,

        W_k = w_1 + … + w_k,   V_k = W_k − w_k,   c = x′,   C = b · c,   T = min(tokens, C)
        M_k = max over j ≤ k of max(a_j, 0) − V_j / p,   L_k = max over j ≤ k of max(a_j, 0) − V_j / c
        d_k = max(W_k / p + M_k, (W_k − C) / c + L_k, (W_k − T) / c)
        left_k = W_k − clip(min(p (Δ − M_k), c (Δ − L_k) + C, T + c Δ), V_k, W_k)
        tokens = min(C, T + c Δ − D, min over new j of C + c (Δ − a_j) − (D − V_j)),   D = Σ (w_k − left_k)

    These are the three bounds on the work done by any time: full speed since a request came to an empty pod, a full
    bucket and the limit since then, and what the bucket began with and the limit from the start.
    """
    full, limit, end = pods.max_usage, jnp.maximum(pods.limit, _TINY), pods.interval
    size = pods.burst * pods.limit
    content = jnp.minimum(pods.tokens, size)

    def enter(bucket: _Bucket, request: Requests) -> tuple[_Bucket, tuple[Array, Array]]:
        before, begins = bucket.work, jnp.maximum(request.arrival, 0.0)
        work = before + jnp.where(request.exists, request.work, 0.0)
        latest_full = _latest(request.exists, bucket.latest_full, begins - before / full)
        latest_limit = _latest(request.exists, bucket.latest_limit, begins - before / limit)
        within_bucket = jnp.maximum((work - size) / limit + latest_limit, (work - content) / limit)
        departure = jnp.maximum(work / full + latest_full, within_bucket)
        able = jnp.minimum(limit * (end - latest_limit) + size, content + limit * end)
        left = work - jnp.clip(jnp.minimum(full * (end - latest_full), able), before, work)
        is_new = request.exists & (request.arrival >= 0)
        overflow = -_latest(is_new, -bucket.overflow, limit * request.arrival - before)
        return _Bucket(work, latest_full, latest_limit, bucket.left + left, overflow), (departure, left)

    nothing = jnp.zeros_like(limit)
    empty = _Bucket(nothing, nothing - _BEYOND, nothing - _BEYOND, nothing, nothing + _BEYOND)
    bucket, (departure, left) = jax.lax.scan(enter, empty, requests)
    done = bucket.work - bucket.left
    tokens = jnp.minimum(content + limit * end, size + limit * end + bucket.overflow) - done
    return Served(departure, left, done, jnp.clip(tokens, 0.0, size))


def _latest(exists: Array, so_far: Array, this: Array) -> Array:
    return jnp.where(exists, jnp.maximum(so_far, this), so_far)


def keep(
    requests: Requests, served: Served, arrivals: Int[Array, " P"], completions: Int[Array, " P"], pods: Pods
) -> dict[str, Array]:
    """5. `held`, and `age` and `work` of those held, [K, P]: the oldest that are not complete, as many as there is room.

    Those that are complete are the first ones; of the rest, those held before stand before the new ones.
    """
    room = pods.age.shape[0]
    held = jnp.minimum(pods.held + arrivals - completions, room)
    rank = completions + jnp.arange(room)[:, None]
    slot = jnp.where(rank < pods.held, rank, room + rank - pods.held)
    is_kept = jnp.arange(room)[:, None] < held
    slot = jnp.where(is_kept, slot, 0)

    def take(each: Float[Array, "S P"]) -> Float[Array, "K P"]:
        return jnp.where(is_kept, jnp.take_along_axis(each, slot, axis=0, mode="promise_in_bounds"), 0.0)

    age = jnp.where(is_kept, pods.interval - take(requests.arrival), 0.0)
    return {"held": held, "age": age, "work": take(served.left)}


def violations(
    requests: Requests, served: Served, num_stay: Int[Array, " P"], pods: Pods
) -> Int[Array, " P"]:
    """6. Requests whose age reaches their objective in this step, and those dropped that had not violated before.

    `num_stay` is how many of the oldest are complete or kept: the others are dropped.
    """
    due = requests.arrival + pods.slo
    violates = (due > 0) & (due <= pods.interval) & (served.departure > due)
    slots, room = jnp.arange(len(due))[:, None], pods.age.shape[0]
    rank = jnp.where(slots < room, slots, slots - room + pods.held)
    return _count(requests.exists & (violates | ((rank >= num_stay) & (due > pods.interval))))


def _count(these: Bool[Array, "S P"]) -> Int[Array, " P"]:
    return jnp.sum(these, axis=0, dtype=jnp.int32)
