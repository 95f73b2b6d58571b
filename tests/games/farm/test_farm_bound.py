"""The bound on makespans: the root that bisection finds, and below everything that is played."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

import jaxdlb
from jaxdlb import evaluation
from jaxdlb.games import GAMES
from jaxdlb.games.farm.bound import makespan_bound

GAME = jaxdlb.make("farm", num_workers=5)
NAMES = ("static", "guided", "oracle_weighted_factoring", "adaptive_weighted_factoring")
EXACT = 1e-5  # of a makespan, for float32


def farm(key):
    """A farm of constant speeds."""
    keys = jax.random.split(key, 7)

    def one(place, low, high, shape=()):
        return jnp.exp(jax.random.uniform(keys[place], shape, minval=np.log(low), maxval=np.log(high)))

    return dataclasses.replace(
        GAME.default_params(drift=0),
        job=jnp.int32(one(0, 1, 300)),
        task_time=one(1, 0.1, 10),
        comm_time=one(2, 0.01, 2),
        comm_per_task=one(3, 1e-4, 0.05),
        latency=one(4, 0.001, 2, (5,)),
        speed=one(5, 0.1, 5, (5,)),
        noise=jax.random.uniform(keys[6]),
    )


def one_of(farms, place):
    """One farm of many, in float64."""
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64)[place], farms)


def bisected(params, cost):
    """The least time at which workers can have done all, each from the first moment that it can have begun."""
    fastest_first = np.sort(params.speed)[::-1]
    begins = 2 * np.min(params.latency) + params.comm_time * (1 + np.arange(len(fastest_first)))
    low, high = 0.0, begins[0] + params.task_time * cost / fastest_first[0]
    for _ in range(100):
        middle = (low + high) / 2
        is_enough = np.sum(fastest_first * np.maximum(middle - begins, 0)) >= params.task_time * cost
        low, high = (low, middle) if is_enough else (middle, high)
    handing_out = params.comm_time + params.comm_per_task * params.job + 2 * np.min(params.latency)
    return max(high, handing_out)


def test_the_bound_is_the_root_that_bisection_finds():
    farms = jax.vmap(farm)(jax.random.split(jax.random.key(0), 300))
    costs = np.asarray(farms.job) * np.random.default_rng(0).uniform(0.5, 2, 300)
    found = jax.jit(jax.vmap(makespan_bound))(farms, jnp.float32(costs))
    wanted = [bisected(one_of(farms, place), costs[place]) for place in range(300)]
    np.testing.assert_allclose(found, wanted, rtol=EXACT)


def test_nobody_is_done_before_the_bound():
    rules = [GAMES["farm"].heuristics[name].make() for name in NAMES]
    played = evaluation.evaluate_all(GAME, rules, farm, jax.random.key(1), num_episodes=64, num_rounds=10_000, warmup=0)
    excess = np.array([each["excess"] for each in played])
    assert np.all(excess >= -EXACT)
    assert np.min(excess) < 0.05  # and it is no idle bound
