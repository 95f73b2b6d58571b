"""Histograms of response times, and percentiles from them."""

import functools
import math

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxdlb.games.rack import responses

MOST_TASKS = 40
times = st.floats(1.001 * responses.LEAST, 0.999 * responses.MOST)
alike = st.tuples(times, st.integers(1, MOST_TASKS)).map(lambda each: [each[0]] * each[1])


@functools.cache
def counter():
    return jax.jit(responses.count)


def histogram_of(response):
    padded = np.zeros(MOST_TASKS, np.float32)
    padded[: len(response)] = response
    return np.asarray(counter()(responses.none(), padded, np.arange(MOST_TASKS) < len(response)))


@given(response=st.lists(times, min_size=1, max_size=MOST_TASKS) | alike, percent=st.sampled_from([50, 95, 99, 99.9]))
def test_a_percentile_is_within_1_percent_of_the_exact_one(response, percent):
    exact = sorted(response)[math.ceil(round(percent * len(response) / 100, 6)) - 1]
    assert responses.percentile(histogram_of(response), percent) == pytest.approx(exact, rel=0.01)


@given(response=st.lists(times, max_size=MOST_TASKS))
def test_every_task_is_in_the_bin_of_its_response_time(response):
    """Up to what the logarithm's rounding moves from one side of an edge to the other."""
    place = np.repeat(np.arange(responses.NUM_BINS), histogram_of(response))
    assert len(place) == len(response)
    for time, bin in zip(sorted(response), place, strict=True):
        assert responses.EDGES[bin] * (1 - 1e-5) <= time <= responses.EDGES[bin + 1] * (1 + 1e-5)


def test_what_lies_beyond_the_grid_counts_as_its_ends():
    histogram = histogram_of([0.0, 1e-9, 1e9])
    assert histogram[0] == 2
    assert histogram[-1] == 1


def test_the_percentile_of_nothing_is_not_a_number():
    assert math.isnan(responses.percentile(np.zeros(responses.NUM_BINS), 99))


def test_a_percentile_counts_tasks_without_rounding():
    """99.9% of 1000 tasks are 999, whatever 99.9 / 100 is in binary."""
    histogram = np.zeros(responses.NUM_BINS)
    histogram[[100, 900]] = 999, 1
    assert responses.percentile(histogram, 99.9) < responses.EDGES[101]
