"""Steal requests are served in cyclic order until the victim has no more to give."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.reference import plain
from jaxdlb.mechanics.stealing import serve_requests

MOST_NODES = 6
FORMS = {form: jax.jit(form) for form in (serve_requests, plain.serve_all_pairs, plain.serve_sorted)}


def one_after_the_other(victim, asks, available, first):
    """The obvious form: each thief in its turn."""
    left, granted = list(available), [False] * len(victim)
    for turn in range(len(victim)):
        thief = (first + turn) % len(victim)
        if asks[thief] and left[victim[thief]] > 0:
            left[victim[thief]] -= 1
            granted[thief] = True
    return granted


def served(victim, asks, available, first_thief, form=serve_requests):
    granted = FORMS[form](
        jnp.array(victim, jnp.int32), jnp.array(asks, bool), jnp.array(available, jnp.int32), jnp.int32(first_thief)
    )
    return granted.tolist()


@pytest.mark.parametrize(
    ("first_thief", "expected"),
    [
        (0, [True, True, False, False]),
        (1, [False, True, True, False]),
        (2, [True, False, True, False]),
        (3, [True, True, False, False]),
    ],
)
def test_who_is_served_depends_on_whose_turn_comes_first(first_thief, expected):
    assert served([3, 3, 3, 3], [1, 1, 1, 0], [0, 0, 0, 2], first_thief) == expected


def test_victims_are_asked_apart():
    assert served([1, 2, 1, 2], [1, 1, 1, 1], [9, 1, 2, 0], 0) == [True, True, False, True]


def test_nobody_gets_what_nobody_asked_for():
    assert served([1, 0], [0, 0], [5, 5], 0) == [False, False]
    assert served([1, 0], [1, 1], [0, 0], 1) == [False, False]


@given(data=st.data())
def test_requests_are_served_one_after_the_other(data):
    nodes = st.integers(0, MOST_NODES - 1)

    def per_node(entries):
        return data.draw(st.lists(entries, min_size=MOST_NODES, max_size=MOST_NODES))

    victim, asks, available, first = (
        per_node(nodes),
        per_node(st.booleans()),
        per_node(st.integers(0, 3)),
        data.draw(nodes),
    )
    expected = one_after_the_other(victim, asks, available, first)
    for form in FORMS:
        assert served(victim, asks, available, first, form) == expected


@pytest.mark.parametrize("num_nodes", [1, 31, 32, 33, 64, 100])
@pytest.mark.parametrize("num_victims", [1, 3, 100])
@pytest.mark.parametrize("form", FORMS)
def test_many_thieves_take_turns(num_nodes, num_victims, form):
    random = np.random.default_rng(num_nodes)
    for first in {0, num_nodes // 2, num_nodes - 1}:
        victim = random.integers(0, min(num_victims, num_nodes), num_nodes).tolist()
        asks, available = random.integers(0, 2, num_nodes).tolist(), random.integers(0, 20, num_nodes).tolist()
        assert served(victim, asks, available, first, form) == one_after_the_other(victim, asks, available, first)
