"""One node without peers is a birth–death chain whose stationary law is known in closed form, `theory.one_node_law`."""

import functools

import jax
import numpy as np
import pytest
from reference.episodes import clusters, no_ops
from scipy import stats

from jaxdlb.games.dlb import DLB
from jaxdlb.theory import one_node_law, one_node_load

GAME = DLB(1, capacity=64, max_delay=0)
RATES = [(0.3, 0.5), (0.45, 0.6), (0.2, 0.7)]
# A run starts with one task and forgets that within some 60 rounds: of 300, those from 100 on are stationary.
EPISODES, ROUNDS, WARMUP = 2000, 300, 100
LONGEST = 12  # longer queues are counted together


@functools.cache
def play():
    """Loads after each round, and its arrivals and completions, for every (p, q): [rates, episode, round]."""
    arrival, completion = (np.repeat(rate, EPISODES)[:, None] for rate in zip(*RATES, strict=True))
    size = len(RATES) * EPISODES
    params = clusters(GAME, size, arrival_prob=arrival, completion_prob=completion, initial_load=1)

    @jax.jit
    @jax.vmap
    def run(key, params):
        def play_round(state, key):
            state, timestep = GAME.step(key, state, no_ops(1), params)
            return state, (state.load[0], timestep.metrics["arrivals"], timestep.metrics["completions"])

        reset_key, step_key = jax.random.split(key)
        start, _ = GAME.reset(reset_key, params)
        return jax.lax.scan(play_round, start, jax.random.split(step_key, ROUNDS))[1]

    observed = run(jax.random.split(jax.random.key(41), size), params)
    return [np.asarray(leaf).reshape(len(RATES), EPISODES, ROUNDS) for leaf in observed]


def stationary_law(p, q):
    law = one_node_law(p, q, LONGEST - 1)
    return np.append(law, 1 - law.sum())


@pytest.mark.parametrize("case", range(len(RATES)), ids=str)
def test_the_load_has_the_stationary_law(case):
    """χ² of the last loads of independent episodes; a right simulator is refused for one seed in a thousand."""
    final = np.minimum(play()[0][case, :, -1], LONGEST)
    expected = EPISODES * stationary_law(*RATES[case])
    observed = np.bincount(final, minlength=LONGEST + 1)
    kept = int(np.sum(np.cumsum(expected[::-1])[::-1] >= 5))  # the tail is pooled until it is expected 5 times
    pooled = [np.append(counts[: kept - 1], counts[kept - 1 :].sum()) for counts in (observed, expected)]
    assert kept >= 3
    assert stats.chisquare(*pooled).pvalue > 1e-3


@pytest.mark.parametrize("case", range(len(RATES)), ids=str)
def test_the_mean_load_and_the_throughput_are_the_chains(case):
    """Within 4 standard errors over independent episodes, which must be small: under 2% of the mean."""
    p, q = RATES[case]
    load, arrivals, completions = (values[case, :, WARMUP:] for values in play())
    for values, expected in ((load, one_node_load(p, q)), (arrivals, p), (completions, p)):
        means = values.mean(axis=1)
        error = means.std(ddof=1) / np.sqrt(EPISODES)
        assert error < 0.02 * expected
        assert abs(means.mean() - expected) < 4 * error


@pytest.mark.parametrize("case", range(len(RATES)), ids=str)
def test_the_mean_response_time_is_littles(case):
    """Each task's rounds from arrival to completion, first come first served, against L/p.

    The excess over L/p, summed over the tasks of an episode that arrived from WARMUP on (and 100 rounds before the
    end, so that all of them are completed), has mean 0: within 4 standard errors over episodes, under 2% of L/p.
    """
    p, q = RATES[case]
    expected = one_node_load(p, q) / p
    excess, tasks = [], 0
    for arrivals, completions in zip(play()[1][case], play()[2][case], strict=True):
        came, went = np.flatnonzero(arrivals), np.flatnonzero(completions)[1:]  # but for the initial task
        counted = (came >= WARMUP) & (came < ROUNDS - 100)
        last = np.sum(came < ROUNDS - 100)
        assert len(went) >= last
        response = (went[:last] - came[:last])[counted[:last]]
        excess.append(np.sum(response - expected))
        tasks += len(response)
    error = np.std(excess, ddof=1) * np.sqrt(EPISODES)
    assert error / tasks < 0.02 * expected
    assert abs(np.sum(excess)) < 4 * error
