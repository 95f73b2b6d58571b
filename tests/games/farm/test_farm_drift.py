"""Speeds and churn are of the laws that the rules name: all that was drawn in the random farms, each draw once.

An episode may end before a draw, but never because of what it would have been, so that those that were made are a fair
sample. Kolmogorov and Smirnov's distance of n independent draws is above 2.3 / √n once in 20,000 times, and a
correlation above 4.5 / √n once in 150,000.
"""

import functools
import itertools

import numpy as np
import scipy.stats
from reference.farm_episodes import ABSENT, FARMS, GAMES, drawn_changes, drawn_speeds, played


@functools.cache
def deviations():
    """Of each farm that drifts and each period in it: how far all speeds are from the usual ones, in σ."""
    found = []
    for made in map(played, GAMES):
        drift, usual = np.asarray(made.params.drift, np.float64), np.asarray(made.params.speed, np.float64)
        of_farm = {}
        for (which, period), speeds in drawn_speeds(made):
            if drift[which] > 0.1:
                sigma = drift[which]
                of_farm.setdefault(which, {})[period] = np.log(speeds / usual[which]) / sigma + sigma / 2
        found += of_farm.values()
    return found


def assert_is_like(draws, law):
    assert len(draws) > 500
    assert scipy.stats.kstest(draws, law).statistic < 2.3 / len(draws) ** 0.5


def assert_uncorrelated(pairs):
    assert len(pairs) > 300
    assert abs(np.corrcoef(np.transpose(pairs))[0, 1]) < 4.5 / len(pairs) ** 0.5


def test_drifted_speeds_are_lognormal_with_the_usual_ones_as_their_means():
    assert_is_like(np.concatenate([each for of_farm in deviations() for each in of_farm.values()]), "norm")


def test_drifted_speeds_are_new_in_each_period_and_of_each_worker():
    later = [
        pair
        for of_farm in deviations()
        for period, each in of_farm.items()
        for pair in zip(each, of_farm.get(period + 1, ()), strict=False)
    ]
    beside = [pair for of_farm in deviations() for each in of_farm.values() for pair in itertools.pairwise(each)]
    assert_uncorrelated(later)
    assert_uncorrelated(beside)


def stays():
    """Of each change of each worker whether it then is there, and how long, in means of that; of rate 0, as it is."""
    found = {}
    for place, made in enumerate(map(played, GAMES)):
        rates = {True: np.asarray(made.params.failure_rate), False: np.asarray(made.params.rejoin_rate)}
        from_the_start = made.states["phase"][: FARMS // 2, 0] != ABSENT
        for (which, i, number), lasts in dict(drawn_changes(made)).items():
            is_there = (number % 2 == 0) == from_the_start[which, i]
            found[place, which, i, number] = is_there, lasts * np.float64(rates[is_there][which, i] or 1)
    return found


def test_times_there_and_away_are_exponential_and_without_end_where_the_rate_is_0():
    for kind in (True, False):
        times = np.array([lasts for is_there, lasts in stays().values() if is_there == kind])
        assert not kind or np.isinf(times).sum() > 500
        assert_is_like(times[np.isfinite(times)], "expon")


def test_times_there_and_away_are_new_after_each_change():
    every = stays()
    pairs = [
        (lasts, every[*worker, number + 1][1])
        for (*worker, number), (_, lasts) in every.items()
        if (*worker, number + 1) in every
    ]
    assert_uncorrelated(pairs)
    assert np.isclose(*np.transpose(pairs), rtol=1e-4).mean() < 0.01
