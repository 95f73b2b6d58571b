"""Nodes that go down and come up: what a down node keeps, and all that it does not do."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference.episodes import no_ops, resetter, stepper

from jaxdlb.games.dlb import DLB, Action

GAME = DLB(3, capacity=50, max_delay=3)


def play_with_node_1_down(action, *, load=(2, 3, 4), arrived=(0, 0, 0), completed=(0, 0, 0), **fields):
    """One round of a cluster in which node 1 is down, and everybody has events in the next if it can."""
    fields = {"arrival_prob": 1.0, "completion_prob": 1.0, "transfer_delay": 0} | fields
    params = GAME.default_params(**fields)
    state, _ = resetter(GAME)(jax.random.key(0), params)
    state = dataclasses.replace(
        state,
        load=jnp.array(load),
        arrived=jnp.array(arrived, bool),
        completed=jnp.array(completed, bool),
        alive=jnp.array([True, False, True]),
    )
    return stepper(GAME)(jax.random.key(1), state, action, params)


def test_a_down_node_keeps_its_queue_and_has_no_events():
    state, timestep = play_with_node_1_down(no_ops(3))
    assert state.load.tolist() == [2, 3, 4]
    assert state.alive.tolist() == [True, False, True]
    assert state.arrived.tolist() == [True, False, True]
    assert state.completed.tolist() == [True, False, True]
    assert timestep.metrics["nodes_up"] == 2


def test_tasks_sent_to_a_down_node_wait_there():
    to_node_1 = Action(dispatch=jnp.array([1, 1, 1]), steal=jnp.arange(3))
    state, timestep = play_with_node_1_down(to_node_1, arrived=(1, 0, 1))
    assert state.load.tolist() == [2, 5, 4]
    assert timestep.metrics["migrations"] == 2
    assert timestep.metrics["drops"] == 0


def test_a_down_node_gives_nothing_and_the_request_costs_the_same():
    from_node_1 = Action(dispatch=jnp.arange(3), steal=jnp.array([1, 1, 1]))
    free = {"imbalance_weight": 0.0, "steal_cost": 0.5, "selfishness": 1.0}
    state, timestep = play_with_node_1_down(from_node_1, completed=(1, 0, 0), **free)
    assert state.load.tolist() == [1, 3, 4]
    assert timestep.metrics["steal_requests"] == 1
    assert timestep.metrics["steals"] == 0
    assert timestep.reward.tolist() == [-0.5, 0, 0]


def test_a_down_node_has_only_its_no_ops():
    """Even where a state, by mistake, gave it events."""
    elsewhere = Action(dispatch=jnp.array([0, 2, 2]), steal=jnp.array([0, 2, 2]))
    _, timestep = play_with_node_1_down(elsewhere, arrived=(0, 1, 0), completed=(0, 1, 0))
    assert timestep.metrics["migrations"] == 0
    assert timestep.metrics["steal_requests"] == 0


def test_the_load_of_a_down_node_counts_in_the_imbalance():
    _, timestep = play_with_node_1_down(no_ops(3), load=(0, 9, 0), holding_weight=1.0)
    np.testing.assert_allclose(timestep.metrics["imbalance"], (9 + 36 + 9) / 3, rtol=1e-6)
    np.testing.assert_allclose(timestep.metrics["utility"], -(18 + 3), rtol=1e-6)


@pytest.mark.parametrize(
    ("failure", "repair", "expected"),
    [
        (0.0, 0.0, [True, False, True]),
        (1.0, 0.0, [False, False, False]),
        (0.0, 1.0, [True, True, True]),
        (1.0, 1.0, [False, True, False]),
        ([1.0, 0.0, 0.0], 0.0, [False, False, True]),
    ],
)
def test_up_nodes_fail_and_down_nodes_are_repaired_each_with_its_own_probability(failure, repair, expected):
    state, timestep = play_with_node_1_down(no_ops(3), failure_prob=failure, repair_prob=repair)
    assert state.alive.tolist() == expected
    assert state.arrived.tolist() == expected
    assert timestep.observation.own[:, 4].tolist() == expected


def test_a_node_that_fails_this_round_still_played_it():
    """Churn comes after landing: the round's own arrivals, completions and thefts are played."""
    steal_from_2 = Action(dispatch=jnp.arange(3), steal=jnp.array([2, 1, 2]))
    state, timestep = play_with_node_1_down(steal_from_2, completed=(1, 0, 1), arrived=(1, 0, 0), failure_prob=1.0)
    assert state.load.tolist() == [3, 3, 2]
    assert timestep.metrics["steals"] == 1
    assert timestep.metrics["nodes_up"] == 0
