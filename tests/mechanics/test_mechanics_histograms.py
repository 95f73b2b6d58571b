"""Histograms on a logarithmic grid, and percentiles from them."""

import functools
import math

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxdlb.mechanics.histograms import Bins

MOST_VALUES = 40
BINS = Bins(least=1e-3, num=700, growth=1.02)
values = st.floats(1.001 * BINS.edges[0], 0.999 * BINS.edges[-1])
alike = st.tuples(values, st.integers(1, MOST_VALUES)).map(lambda each: [each[0]] * each[1])


@functools.cache
def counter():
    return jax.jit(BINS.count)


def histogram_of(numbers):
    padded = np.zeros(MOST_VALUES, np.float32)
    padded[: len(numbers)] = numbers
    return np.asarray(counter()(BINS.none(), padded, np.arange(MOST_VALUES) < len(numbers)))


def test_each_edge_is_so_many_times_the_one_before():
    assert len(BINS.edges) == 701 and BINS.edges[0] == 1e-3
    np.testing.assert_allclose(BINS.edges[1:] / BINS.edges[:-1], 1.02, rtol=1e-12)


@given(numbers=st.lists(values, min_size=1, max_size=MOST_VALUES) | alike, percent=st.sampled_from([50, 95, 99, 99.9]))
def test_a_percentile_is_within_1_percent_of_the_exact_one(numbers, percent):
    exact = sorted(numbers)[math.ceil(round(percent * len(numbers) / 100, 6)) - 1]
    assert BINS.percentile(histogram_of(numbers), percent) == pytest.approx(exact, rel=0.01)


@given(numbers=st.lists(values, max_size=MOST_VALUES))
def test_every_value_is_in_its_bin(numbers):
    """Up to what the logarithm's rounding moves from one side of an edge to the other."""
    place = np.repeat(np.arange(BINS.num), histogram_of(numbers))
    assert len(place) == len(numbers)
    for number, bin in zip(sorted(numbers), place, strict=True):
        assert BINS.edges[bin] * (1 - 1e-5) <= number <= BINS.edges[bin + 1] * (1 + 1e-5)


def test_what_lies_beyond_the_grid_counts_as_its_ends():
    histogram = histogram_of([0.0, 1e-9, 1e9, math.inf])
    assert (histogram[0], histogram[-1], histogram.sum()) == (2, 2, 4)


def test_what_does_not_count_is_in_no_bin_whatever_it_is():
    made = counter()(BINS.none(), np.float32([np.nan, np.inf, 1, 2] * 10), np.arange(40) % 4 == 2)
    assert made.sum() == 10 == made.max()


def test_counts_add_up_to_what_there_was_before():
    once = histogram_of([0.5, 7.0])
    twice = counter()(once, np.full(MOST_VALUES, 0.5, np.float32), np.arange(MOST_VALUES) < 3)
    assert (twice - once).max() == 3 == (twice - once).sum()


def test_the_percentile_of_nothing_is_not_a_number():
    assert math.isnan(BINS.percentile(np.zeros(BINS.num), 99))


def test_a_percentile_counts_without_rounding():
    """99.9% of 1000 are 999, whatever 99.9 / 100 is in binary."""
    histogram = np.zeros(BINS.num)
    histogram[[100, 600]] = 999, 1
    assert BINS.percentile(histogram, 99.9) < BINS.edges[101]
