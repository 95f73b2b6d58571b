"""One node without peers is a queue of which much is known in closed form, and the rack must meet it.

Errors are standard errors over independent episodes; a check that allows 4.5 of them refuses a right simulator for one
seed in 150,000, and the seeds are fixed.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from ratios import assert_ratio
from reference.rack_episodes import stack
from scipy import stats

from jaxdlb import theory
from jaxdlb.games.rack import Action, Rack
from jaxdlb.games.rack.responses import EDGES, percentile
from jaxdlb.mechanics.distributions import Bimodal, Constant, Exponential, Pareto

GAME = Rack(1, max_cores=4, max_io_cores=1, max_tasks=256, max_arrivals=40, max_delay=0)
EPISODES, NUM_SLICES, WARMUP = 48, 260, 40
LAWS = (Exponential(1.0), Constant(1.0), Bimodal(0.5, 5.5, 0.1), Pareto(0.75, 4.0))  # of the mean 1, ms
MEAN_SQUARE = (2.0, 1.0, 0.9 * 0.5**2 + 0.1 * 5.5**2, 0.75**2 * 4 / 2)
CASES = {  # the law, the number of cores, the load
    "exponential": (0, 1, 0.6),
    "constant": (1, 1, 0.75),
    "bimodal": (2, 1, 0.5),
    "pareto": (3, 1, 0.7),
    "exponential, four cores": (0, 4, 0.75),
}


@struct.dataclass
class OneOf:
    """One of several distributions, so that one compiled program plays all of them."""

    which: jax.Array

    def quantile(self, u):
        return jnp.stack([law.quantile(u) for law in LAWS])[self.which]

    def mean(self):
        return jnp.stack([law.mean() for law in LAWS])[self.which]


def params_of(which, cores, load):
    rate = load * cores
    fields = dict(cores=cores, core_perf=1.0, arrival_rate=rate, dt=16 / rate, latency=0.0)
    return GAME.default_params(runtime=Constant(1.0), **fields).replace(runtime=OneOf(jnp.int32(which)))


@functools.cache
def play():
    """By case, in independent episodes: the histogram, the sum of responses, and the tasks present after each slice."""

    @jax.jit
    @jax.vmap
    def run(key, params):
        stay = Action(dispatch=jnp.zeros(1, jnp.int32), steal=jnp.zeros(1, jnp.int32))

        def play_slice(carry, inputs):
            state, sums = carry
            key, counts = inputs
            state, timestep = GAME.step(key, state, stay, params)
            sums = {name: sum + counts * timestep.metrics[name] for name, sum in sums.items()}
            return (state, sums), timestep.metrics["total_load"]

        state, start = GAME.reset(key, params)
        nothing = {name: jnp.zeros_like(start.metrics[name]) for name in ("responses", "latency_sum", "drops")}
        inputs = (jax.random.split(jax.random.fold_in(key, 1), NUM_SLICES), jnp.arange(NUM_SLICES) >= WARMUP)
        (_, sums), load = jax.lax.scan(play_slice, (state, nothing), inputs)
        return sums, load[WARMUP:]

    params = stack([params_of(*case) for case in CASES.values() for _ in range(EPISODES)])
    sums, load = jax.tree.map(np.asarray, run(jax.random.split(jax.random.key(61), len(CASES) * EPISODES), params))
    assert not np.any(sums["drops"])
    each = {"histogram": sums["responses"], "total": sums["latency_sum"][:, 0], "load": load}
    return {
        case: {name: values.reshape(len(CASES), EPISODES, -1)[i] for name, values in each.items()}
        for i, case in enumerate(CASES)
    }


def counts(case):
    return play()[case]["histogram"].sum(axis=1)


@pytest.mark.parametrize("case", [case for case in CASES if CASES[case][1] == 1])
def test_the_mean_response_time_at_one_core_is_pollaczeks_and_khinchines(case):
    which, _, load = CASES[case]
    expected = 1.0 + theory.pollaczek_khinchine(load, 1.0, MEAN_SQUARE[which])
    assert_ratio(play()[case]["total"][:, 0], counts(case), expected, largest=0.02)


@pytest.mark.parametrize("case", [case for case in CASES if CASES[case][0] == 0])
def test_the_mean_response_time_at_many_cores_is_erlangs(case):
    _, cores, load = CASES[case]
    expected = theory.mmc_response(load * cores, 1.0, cores)
    assert_ratio(play()[case]["total"][:, 0], counts(case), expected, largest=0.02)


@pytest.mark.parametrize("case", [case for case in CASES if CASES[case][0] == 0])
def test_all_cores_are_busy_as_often_as_erlang_says(case):
    """Tasks that arrive at random see what is seen at the ends of slices, so that is also how many of them wait."""
    _, cores, load = CASES[case]
    busy = np.mean(play()[case]["load"] >= cores, axis=1)
    expected = theory.erlang_c(load * cores, cores)
    assert_ratio(busy, np.ones(EPISODES), expected, largest=0.02)


def test_the_response_times_of_one_exponential_core_have_their_law():
    """The share of tasks within each of 30 response times, from the shortest to the longest."""
    histogram = play()["exponential"]["histogram"]
    within = np.cumsum(histogram, axis=1)
    rate = 1 - CASES["exponential"][2]
    for share in np.append(np.linspace(0.02, 0.98, 28), [0.99, 0.999]):
        place = np.searchsorted(EDGES, theory.mm1_response_quantile(1 - rate, 1.0, share))
        assert_ratio(within[:, place - 1], within[:, -1], stats.expon.cdf(EDGES[place] * rate), largest=0.06)


@pytest.mark.parametrize("percent", [50, 95, 99])
def test_the_percentiles_of_one_exponential_core_are_those_of_its_law(percent):
    """A percentile errs by the share of tasks below it over the density there, and by 1% for its bin."""
    histogram, rate = play()["exponential"]["histogram"], 1 - CASES["exponential"][2]
    expected = theory.mm1_response_quantile(1 - rate, 1.0, percent / 100)
    place = np.searchsorted(EDGES, expected)
    below = np.sum(histogram[:, :place], axis=1) / histogram.sum(axis=1)
    error = below.std(ddof=1) / EPISODES**0.5 / (rate * (1 - percent / 100))
    assert error < 0.03 * expected
    assert abs(percentile(histogram.sum(axis=0), percent) - expected) <= 0.01 * expected + 4.5 * error
