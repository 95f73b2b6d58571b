"""One pod with a constant limit is a queue of which much is known in closed form, and the game must meet it.

Errors are standard errors over independent episodes; a check that allows 4.5 of them refuses a right simulator for one
seed in 150,000, and the seeds are fixed.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ratios import assert_ratio
from scipy import stats

from jaxdlb import theory
from jaxdlb.games.pods import Pods
from jaxdlb.games.pods.columns import BINS

EPISODES, WARMUP = 64, 30


def play(game, cases, steps, seed):
    """By case, in independent episodes: what steps after the warm-up report, [EPISODES, steps]."""

    @jax.jit
    @jax.vmap
    def run(key, params):
        def advance(state, key):
            state, timestep = game.step(key, state, jnp.zeros((1, 1)), params)
            return state, timestep.metrics

        keys = jax.random.split(key, steps + 1)
        return jax.lax.scan(advance, game.reset(keys[0], params)[0], keys[1:])[1]

    params = [game.default_params(demand="constant", **case) for case in cases]
    stacked = jax.tree.map(lambda *leaves: jnp.repeat(jnp.stack(leaves), EPISODES, axis=0), *params)
    metrics = run(jax.random.split(jax.random.key(seed), len(params) * EPISODES), stacked)
    assert not np.any(metrics["drops"]) and not np.any(metrics["truncated"])
    shape = (len(cases), EPISODES, steps)
    return [
        {name: np.asarray(each).reshape(*shape, *each.shape[2:])[i] for name, each in metrics.items()}
        for i in range(len(cases))
    ]


def constant(limit, **fields):
    """A limit that nobody can change."""
    return {"min_limit": limit, "max_limit": limit, "initial_limit": limit, "budget": limit} | fields


# M/G/1: without a bucket, a limit of 100 mc serves 10 CPU-ms in 0.1 s on the average

SERVICE = 0.1
SHAPES = {0.0: 7.5, 1.0: 6.0, 2.0: 4.0}  # with the rates; loads of 0.75, 0.6 and 0.4


@functools.cache
def queues():
    game = Pods(1, queue_capacity=200, max_arrivals=40, percentiles=True)
    cases = [
        constant(100, burst=0, work_mean=10, work_shape=shape, rate=rate, interval=1.5, max_usage=1000)
        for shape, rate in SHAPES.items()
    ]
    return dict(zip(SHAPES, play(game, cases, WARMUP + 160, 71), strict=True))


def after_warmup(shape, name):
    return queues()[shape][name][:, WARMUP:].sum(axis=1)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_mean_response_time_is_pollaczeks_and_khinchines(shape):
    """Within 4.5 standard errors, each at most 2% of it, or 4% where work is heavy-tailed."""
    mean_square = SERVICE**2 * math.gamma(1 + 2 * shape) / math.gamma(1 + shape) ** 2
    expected = SERVICE + theory.pollaczek_khinchine(SHAPES[shape], SERVICE, mean_square)
    assert_ratio(
        after_warmup(shape, "response_sum"), after_warmup(shape, "completions"), expected, largest=0.02 * max(1, shape)
    )


def test_exponential_responses_have_their_law():
    """The share of responses within each of 20 times, from the shortest to the longest."""
    within, rate = np.cumsum(after_warmup(1.0, "response_histogram"), axis=1), (1 - SHAPES[1.0] * SERVICE) / SERVICE
    for share in np.append(np.linspace(0.03, 0.97, 18), [0.99, 0.999]):
        place = np.searchsorted(BINS.edges, theory.mm1_response_quantile(SHAPES[1.0], SERVICE, share))
        assert_ratio(within[:, place - 1], within[:, -1], stats.expon.cdf(BINS.edges[place] * rate), largest=0.06)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_cpu_used_is_the_work_that_comes(shape):
    steps = np.full(EPISODES, queues()[shape]["usage"].shape[1] - WARMUP)
    assert_ratio(after_warmup(shape, "usage"), steps, SHAPES[shape] * 10, largest=0.025)


# The machine repair model: users who think and wait for their answer

USERS, THINKING, STEP = 5, 1.0, 0.01


def machine_repair_throughput(users, thinking, service):
    """Answers a second: P(n wait) ∝ U! / (U − n)! · (service / thinking)ⁿ, and somebody waits at (1 − P(0))."""
    weights = [math.perm(users, n) * (service / thinking) ** n for n in range(users + 1)]
    return (1 - weights[0] / sum(weights)) / service


@pytest.mark.parametrize("service", [0.2, 0.6])
def test_the_throughput_of_users_who_wait_is_that_of_the_machine_repair_model(service):
    """Rates are those of the start of a step, so the throughput is off by about half a step per service, 2.5%."""
    made = waiting_users()[service]
    completions = made["completions"][:, 1000:].sum(axis=1)
    expected = machine_repair_throughput(USERS, THINKING, service)
    seconds = np.full(EPISODES, 2000 * STEP)
    assert_ratio(completions, seconds, expected, largest=0.02, bias=0.5 * STEP / service)


@functools.cache
def waiting_users():
    game, services = Pods(1, queue_capacity=8, max_arrivals=4), (0.2, 0.6)
    cases = [
        constant(100, burst=0, work_mean=100 * service, rate=USERS / THINKING, feedback=1 / THINKING, interval=STEP)
        for service in services
    ]
    return dict(zip(services, play(game, cases, 3000, 72), strict=True))


# Any bucket


def test_work_in_any_window_is_paid_for_by_the_bucket_and_the_limit_and_within_full_speed():
    """At most b · x + x · y and p · y in y seconds, up to float32's rounding of sums; all of it where work waits."""
    game, draws, steps = Pods(1, queue_capacity=8, max_arrivals=16), np.random.default_rng(0), 30

    def drawn(*choices):
        """Of each case one of these, as likely each; a pair stands for a number between the two."""
        each = [draws.uniform(*one, 400) if isinstance(one, tuple) else np.full(400, one) for one in choices]
        return draws.permuted(np.stack(each), axis=0)[0].astype(np.float32)

    burst, full, interval = drawn(0, 0.1, (0, 5)), drawn(50, 100, (100, 2000)), drawn(0.05, 0.5)
    pods = {"max_usage": full, "work_mean": drawn(1, 5, 30), "work_shape": drawn(0, 1, 3)}
    one = game.default_params(demand="constant", rate=16, **constant(100))
    cases = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (400, *leaf.shape)), one)
    cases = cases.replace(burst=burst, interval=interval, **{name: each[:, None] for name, each in pods.items()})

    def run(params, key):
        def advance(state, key):
            state, timestep = game.step(key, state, jnp.zeros((1, 1)), params)
            return state, (timestep.metrics["usage"] * params.interval, jnp.sum(state.work))

        keys = jax.random.split(key, steps)
        return jax.lax.scan(advance, game.reset(key, params)[0], keys)[1]

    work, waits = jax.jit(jax.vmap(run))(cases, jax.random.split(jax.random.key(5), 400))
    done = np.concatenate([np.zeros((400, 1)), np.cumsum(np.float64(work), axis=1)], axis=1)
    for length in range(1, steps + 1):
        windows, seconds = done[:, length:] - done[:, :-length], length * interval
        bucket, speed = 100 * burst + 100 * seconds, full * seconds
        most = np.minimum(bucket, speed)[:, None]
        assert (windows <= most * (1 + 1e-5)).all()
    busy = np.asarray(waits > 0).all(axis=1)
    assert busy.sum() > 20
    np.testing.assert_allclose(done[busy, -1], most[busy, 0], rtol=0.1)
