"""The host's checks of numbers: which are allowed, and how a refusal reads."""

import math
import re

import numpy as np
import pytest

from jaxdlb.checks import LARGEST_INT, Interval, broadcast_array, check_array, check_choice, check_size

INTERVALS = [
    (Interval(0, 1), "a finite number in [0, 1]", [0, 0.5, 1], [-1e-9, 1 + 1e-9]),
    (Interval(0, 1, low_open=True), "a finite number in (0, 1]", [1e-9, 1], [0]),
    (Interval(0, 1, high_open=True), "a finite number in [0, 1)", [0, 1 - 1e-9], [1]),
    (Interval(2), "a finite number ≥ 2", [2, 1e300], [1.9]),
    (Interval(2, low_open=True), "a finite number > 2", [2.1], [2]),
    (Interval(-math.inf), "a finite number", [-1e300, 0], []),
    (Interval(1, 2**31 - 1, integer=True), "an integer in [1, 2147483647]", [1, 2147483647], [0, 2147483648, 1.5]),
    (Interval(3, integer=True), "an integer ≥ 3", [3, 4.0], [3.5, 2]),
]


@pytest.mark.parametrize(("interval", "text", "inside", "outside"), INTERVALS, ids=[row[1] for row in INTERVALS])
def test_an_interval_contains_what_it_says(interval, text, inside, outside):
    assert str(interval) == text
    assert interval.contains(np.array(inside, float)).tolist() == [True] * len(inside)
    refused = [*outside, math.nan, math.inf, -math.inf]
    assert interval.contains(np.array(refused, float)).tolist() == [False] * len(refused)


def test_the_first_offending_entry_is_named():
    with pytest.raises(ValueError, match=r"^cost\[1, 0\] is -2; it must be a finite number ≥ 0$"):
        check_array("cost", [[1, 2], [-2, -3]], (2, 2), Interval(0))
    with pytest.raises(ValueError, match=r"^cost is -2; it must be a finite number ≥ 0$"):
        check_array("cost", -2, (), Interval(0))


def test_a_shape_is_exact_and_one_number_may_stand_for_many():
    with pytest.raises(ValueError, match=r"^cost has shape \(\); it must have shape \(2,\)$"):
        check_array("cost", 1, (2,), Interval(0))
    assert broadcast_array("cost", 1, (2,), Interval(0)).tolist() == [1, 1]
    assert broadcast_array("cost", [1, 2], (2,), Interval(0)).tolist() == [1, 2]
    with pytest.raises(ValueError, match=r"^cost is -1; it must be"):
        broadcast_array("cost", -1, (2,), Interval(0))
    with pytest.raises(ValueError, match=r"^cost has shape \(3,\); it must have shape \(2,\)$"):
        broadcast_array("cost", [1, 2, 3], (2,), Interval(0))


@pytest.mark.parametrize("value", ["fast", [1, "fast"], [[1], [1, 2]], object(), 1j])
def test_what_is_no_number_is_refused(value):
    with pytest.raises(ValueError, match=r"^cost is .*; it must be a number or a list of numbers$"):
        check_array("cost", value, (), Interval(0))


def test_none_is_no_number():
    with pytest.raises(ValueError, match=r"^cost is nan; it must be a finite number ≥ 0$"):
        check_array("cost", None, (), Interval(0))


def test_choices_and_sizes():
    check_choice("kind", "b", ("a", "b"))
    check_size("count", 3, 3)
    with pytest.raises(ValueError, match=r"^kind is 'c'; it must be one of a, b$"):
        check_choice("kind", "c", ("a", "b"))
    with pytest.raises(ValueError, match=r"^kind is 'ringg'; it must be one of ring, pairs; did you mean 'ring'\?$"):
        check_choice("kind", "ringg", ("ring", "pairs"))
    with pytest.raises(ValueError, match=r"^count is 2; it must be an integer ≥ 3$"):
        check_size("count", 2, 3)


def test_a_size_beyond_what_int32_holds_is_refused_and_shown_in_few_digits():
    check_size("num_seeds", LARGEST_INT, 1)
    for value, shown in ((LARGEST_INT + 1, "2147483648"), (10**300 + 7, "1e+300")):
        with pytest.raises(ValueError, match=rf"^num_seeds is {re.escape(shown)}; it must be at most {LARGEST_INT}$"):
            check_size("num_seeds", value, 1)
    check_size("total_agent_rounds", 10**12, 1, most=10**12)
