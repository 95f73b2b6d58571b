"""Phases in the long run, against exact fractions, for any round that a counter of 32 bits can reach."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np

from jaxdlb.mechanics import cycles

ROUNDS = [0, 1, 999, 2**16 - 1, 2**16, 2**20 + 7, 2**24 + 1, 2**30, 2**31 - 1, 2**31, 2**31 + 5, 2**32 - 1]
PERIODS = [2, 2.5, 3, 7.3, 24, 1000, 86400.5, 2**24 - 1, 2**24, 2**24 + 2, 1e9, 2**31, 2**54, 2**56, 1e20, 3e38]


def as_rounds(numbers):
    """What an int32 counter holds after so many rounds."""
    return jnp.asarray(np.array(numbers, np.uint32).view(np.int32))


def off_by(numbers, periods):
    """By what share of a turn each is wrong."""
    periods = np.asarray(periods, np.float32)
    found = np.asarray(jax.jit(jax.vmap(cycles.turns))(as_rounds(numbers), jnp.asarray(periods)), np.float64)
    exact = [
        float(Fraction(round) / Fraction(float(period)) % 1) for round, period in zip(numbers, periods, strict=True)
    ]
    return np.abs((found - exact + 0.5) % 1 - 0.5)


def test_turns_are_exact_in_any_round_and_for_any_period():
    pairs = [(round, period) for round in ROUNDS for period in PERIODS]
    assert np.max(off_by(*zip(*pairs, strict=True))) < 2.0**-22


def test_turns_are_exact_for_periods_and_rounds_at_random():
    random = np.random.default_rng(0)
    numbers = [int(number) for number in random.integers(0, 2**32, 2000)]
    assert np.max(off_by(numbers, 2 ** random.uniform(1, 33, 2000))) < 2.0**-22


def test_a_counter_that_has_wrapped_around_counts_on():
    assert [int(cycles.counted(jnp.int32(round))) for round in (7, -(2**31), -1)] == [7, 2**31, 2**32 - 1]


def test_a_record_that_repeats_is_read_at_the_right_place_in_any_round():
    starts, length = np.arange(5), 5
    for per_sample in (1, 3, 1000):
        places = jax.vmap(lambda round, each=per_sample: cycles.place(jnp.asarray(starts), round, length, each))
        exact = [(starts + round // per_sample) % length for round in ROUNDS]
        np.testing.assert_array_equal(places(as_rounds(ROUNDS)), exact)
