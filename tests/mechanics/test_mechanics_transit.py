"""What is under way arrives when it is due, and nothing is lost on the way."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxdlb.mechanics import transit


@pytest.mark.parametrize("delay", range(4))
def test_what_is_sent_arrives_after_exactly_its_delay(delay):
    nothing, sent = jnp.zeros(2, jnp.int32), jnp.array([5, 0])
    arrivals, rows = [], jnp.zeros((3, 2), jnp.int32)
    for round in range(6):
        arriving, rows = transit.advance(rows, sent if round == 1 else nothing, jnp.int32(delay))
        arrivals.append(arriving.tolist())
    assert [round for round, arriving in enumerate(arrivals) if arriving != [0, 0]] == [1 + delay]
    assert arrivals[1 + delay] == [5, 0]
    assert not np.any(rows)


def test_what_shares_a_place_adds_up():
    rows = jnp.array([[1, 2], [3, 4]])
    arriving, rows = transit.advance(rows, jnp.array([10, 20]), jnp.int32(1))
    assert arriving.tolist() == [1, 2]
    assert rows.tolist() == [[13, 24], [0, 0]]


def test_without_places_all_arrives_at_once():
    arriving, rows = transit.advance(jnp.zeros((0, 2), jnp.int32), jnp.array([1, 2]), jnp.int32(0))
    assert arriving.tolist() == [1, 2]
    assert rows.shape == (0, 2)


def test_an_empty_place_may_be_marked_otherwise():
    rows = jnp.full((2, 2), -1)
    arriving, rows = transit.advance(rows, jnp.array([7, -1]), jnp.int32(1), nothing=-1, combine=jnp.maximum)
    assert arriving.tolist() == [-1, -1]
    assert rows.tolist() == [[7, -1], [-1, -1]]


@pytest.mark.parametrize("delay", [-1, 3, 2**31 - 1])
@pytest.mark.parametrize("max_delay", [0, 2])
def test_what_is_sent_with_a_delay_that_no_row_represents_is_not_lost(max_delay, delay):
    """It travels as long as the rows allow, or not at all."""
    sent, nothing = jnp.array([5, 0]), jnp.zeros(2, jnp.int32)
    rows = jnp.zeros((max_delay, 2), jnp.int32)
    arrivals = []
    for round in range(4):
        arriving, rows = transit.advance(rows, sent if round == 0 else nothing, jnp.int32(delay))
        arrivals.append(arriving.tolist())
    expected = [[0, 0]] * 4
    expected[max_delay if delay > 0 else 0] = [5, 0]
    assert arrivals == expected
