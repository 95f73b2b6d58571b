"""Who sends a heartbeat, and what receivers know after a round."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.reference import plain
from jaxdlb.mechanics.heartbeats import NOTHING_SENT, hear_per_link, hear_shared, launch, sends_now

EVERYONE = jnp.ones(4, bool)


@pytest.mark.parametrize(
    ("round", "expected"),
    [(0, [1, 0, 0, 0]), (1, [0, 1, 0, 1]), (2, [0, 0, 1, 0]), (3, [1, 0, 0, 0]), (4, [0, 1, 0, 1])],
)
def test_nodes_send_when_the_round_is_their_phase_modulo_the_period(round, expected):
    for form in (sends_now, plain.sends_now):
        sends = form(jnp.int32(round), jnp.array([0, 1, 2, 10]), jnp.int32(3), EVERYONE)
        assert sends.tolist() == [bool(sent) for sent in expected]


def test_down_nodes_send_nothing():
    alive = jnp.array([True, False, True, False])
    for form in (sends_now, plain.sends_now):
        assert form(jnp.int32(0), jnp.zeros(4, jnp.int32), jnp.int32(1), alive).tolist() == alive.tolist()


def test_what_is_heard_replaces_and_the_rest_ages():
    load, age = hear_shared(jnp.array([1, 2, 3]), jnp.array([4, 5, 6]), jnp.array([7, NOTHING_SENT, 0]), jnp.int32(2))
    assert load.tolist() == [7, 2, 0]
    assert age.tolist() == [2, 6, 2]


@pytest.mark.parametrize(("loss", "expected"), [(0.0, ([7, 0], 2)), (1.0, ([1, 3], 5))])
def test_links_hear_all_or_nothing_at_the_extremes_and_nodes_know_themselves(loss, expected):
    heard = (jnp.broadcast_to(jnp.array([1, 2, 3]), (3, 3)), jnp.full((3, 3), 4))
    load, age = hear_per_link(
        jax.random.key(0),
        *heard,
        jnp.array([7, NOTHING_SENT, 0]),
        jnp.int32(2),
        jnp.float32(loss),
        jnp.array([20, 21, 22]),
    )
    np.testing.assert_array_equal(np.diagonal(load), [20, 21, 22])
    np.testing.assert_array_equal(np.diagonal(age), 0)
    (first, third), known_age = expected
    assert load[1].tolist() == [first, 21, third]
    assert age[1].tolist() == [known_age, 0, known_age]
    assert (load[0, 1], age[0, 1]) == (2, 5)


def test_of_two_heartbeats_that_arrive_together_the_later_one_is_heard():
    """With its own age, also if the load has fallen in the meantime."""
    loads, ages = jnp.full((2, 3, 1), NOTHING_SENT)
    for load, delay in ((7, 2), (4, 1)):
        due = jnp.array([delay])
        _, loads = launch(loads, jnp.array([load]), due)
        _, ages = launch(ages, due, due)
    nothing = jnp.array([NOTHING_SENT])
    arriving, _ = launch(loads, nothing, jnp.array([0]))
    age, _ = launch(ages, nothing, jnp.array([0]))
    assert (arriving.item(), age.item()) == (4, 1)
