"""The worked round of the game's definition, to the last number."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest
from reference import dlb as reference
from reference.episodes import as_plain, resetter, stepper

from jaxdlb.games.dlb import DLB, Action

GAME = DLB(num_nodes=4, capacity=5, max_delay=2)
LOAD = [3, 0, 1, 5]
ARRIVED = [True, False, True, True]
COMPLETED = [True, False, True, False]
IN_TRANSIT = [[0, 2, 0, 0], [0, 0, 0, 0]]
DISPATCH = [1, 3, 2, 0]  # node 1 has no arrival, so that its choice is played as the no-op
STEAL = [3, 0, 3, 2]  # nodes 1 and 3 have no completion

LOAD_AFTER = [2, 2, 1, 3]
IN_TRANSIT_AFTER = [[2, 1, 1, 0], [0, 0, 0, 0]]
# Bound for the nodes: (4, 3, 2, 3) tasks. Drain times (8, 6, 2, 12), mean 7; nodes 0 and 3 migrate, nodes 0 and 2 ask.
UTILITY = [-(1 + 0.2), -1, -(25 + 0.1), -(25 + 0.1)]
METRICS = {
    "arrivals": 3,
    "completions": 2,
    "migrations": 2,
    "steal_requests": 2,
    "steals": 2,
    "drops": 0,
    "total_load": 8,
    "total_in_transit": 4,
    "imbalance": 13.0,
    "utility": -13.1,
    "nodes_up": 4,
}


def golden_params(selfishness):
    return GAME.default_params(completion_prob=[0.5, 0.5, 1.0, 0.25], selfishness=selfishness)


def play_golden_round(selfishness):
    params = golden_params(selfishness)
    state, _ = resetter(GAME)(jax.random.key(0), params)
    state = dataclasses.replace(
        state,
        load=jnp.array(LOAD),
        arrived=jnp.array(ARRIVED),
        completed=jnp.array(COMPLETED),
        in_transit=jnp.array(IN_TRANSIT),
        round=jnp.int32(6),
    )
    return stepper(GAME)(jax.random.key(1), state, Action(jnp.array(DISPATCH), jnp.array(STEAL)), params)


def test_the_golden_rounds_loads_and_transit():
    state, _ = play_golden_round(selfishness=0.0)
    assert state.load.tolist() == LOAD_AFTER
    assert state.in_transit.tolist() == IN_TRANSIT_AFTER
    assert state.round == 7


def test_the_golden_rounds_metrics():
    _, timestep = play_golden_round(selfishness=0.0)
    assert {name: value.item() for name, value in timestep.metrics.items()} == pytest.approx(METRICS, rel=1e-6)
    assert set(timestep.metrics) == set(GAME.metrics)


@pytest.mark.parametrize("selfishness", [0.0, 0.25, 1.0])
def test_the_golden_rounds_rewards(selfishness):
    _, timestep = play_golden_round(selfishness)
    expected = [(1 - selfishness) * -13.1 + selfishness * own for own in UTILITY]
    assert timestep.reward.tolist() == pytest.approx(expected, rel=1e-6)
    assert timestep.discount == 1
    assert not timestep.last


def test_the_scalar_reference_plays_the_golden_round_too():
    unknown = [[0] * 4 for _ in range(4)]
    before = reference.Cluster(
        round=6,
        load=LOAD,
        alive=[True] * 4,
        arrived=ARRIVED,
        completed=COMPLETED,
        modulation=0,
        heard_load=unknown,
        heard_age=unknown,
        under_way=[(6, 1), (6, 1)],
    )
    rules = reference.Rules(num_nodes=4, capacity=5, imbalance="variance", max_delay=2)
    nothing = reference.Events([True] * 4, [[False] * 4] * 4, 0, [False] * 4, [False] * 4)
    after, tally = reference.play_round(rules, as_plain(golden_params(0.0)), before, DISPATCH, STEAL, nothing)
    assert after.load == LOAD_AFTER
    assert reference.in_transit(rules, after) == IN_TRANSIT_AFTER
    assert tally.utility == pytest.approx(UTILITY, rel=1e-6)
