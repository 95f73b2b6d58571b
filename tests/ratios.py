"""Ratios of sums over independent episodes, against what they must be."""

import numpy as np


def assert_ratio(numerators, denominators, expected, largest, bias=0.0):
    """Assert the ratio of two sums over episodes within 4.5 standard errors, which must be at most so much of it.

    By so much of it as `bias` says it may be off besides.
    """
    ratio = numerators.sum() / denominators.sum()
    error = np.std(numerators - ratio * denominators, ddof=1) * len(numerators) ** 0.5 / denominators.sum()
    assert error <= largest * expected, "too few to tell"
    assert abs(ratio - expected) <= 4.5 * error + bias * expected, (ratio, expected, error)
