"""The worked step of the game's definition, to the last number."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdlb.games.edge.game import Edge
from jaxdlb.games.edge.views import observe

SHARE = [[0.5, 0.3, 0.1, 0.1], [1 / 3, 1 / 3, 1 / 3, 0], [0, 0.25, 0.7, 0.05]]  # node 2 is no neighbour of node 0
FLOW = [[36, 18, 0], [7, 7, 6], [0, 11, 32]]
EXPECTED = {
    "rejected": [[2.792792, 1.152245, 0], [0.543043, 0.448095, 0.333767], [0, 0.704150, 1.780091]],
    "late": [7.089139, 2.423993, 4.238953],
    "own": [0.656836, 0.837832, 0.792531],
    "utility": 0.734646,
    "reward": [0.715193, 0.760442, 0.749117],
}
ROUNDED = {
    "rejected": [[3, 1, 0], [0, 0, 0], [0, 1, 2]],
    "late": [7.084527, 2.599039, 4.130362],
    "own": [0.655481, 0.935012, 0.775942],
    "utility": 0.743572,
    "reward": [0.721549, 0.791432, 0.751665],
}


def on_the_path(near, far):
    """A symmetric matrix with one number between nodes 0 and 1, and another between nodes 1 and 2."""
    return [[1, near, 1], [near, 1, far], [1, far, 1]]


def golden_step(rejections="expected", **fields):
    game = Edge(num_nodes=3, max_instances=14, rejections=rejections)
    params = game.default_params(
        adjacency=[[False, True, False], [True, False, True], [False, True, False]],
        warm_time=[0.25, 0.25, 0.125],
        cold_time=[0.5, 0.75, 0.5],
        idle_time=[5, 2, 2],
        instances=[14, 12, 8],
        access_delay=on_the_path(0.005, 0.02),
        request_bytes=20_000,
        response_bytes=5_000,
        link_sharing=0.5,
        deadline=0.5,
        refusal_cost=1,
        loss_cost=0.5,
        forwarding_cost=0.05,
        lateness_cost=0.25,
        heartbeat_period=2,
        heartbeat_phase=[0, 1, 0],
        **{"selfishness": 0.25} | fields,
    )
    state, _ = jax.jit(game.reset)(jax.random.key(0), params)
    state = dataclasses.replace(
        state,
        input_rate=jnp.array([60, 20, 45]),
        bandwidth_now=jnp.array(on_the_path(100.0, 2.0)),
        heard_input=jnp.array([50, 20, 40]),
        heard_age=jnp.array([3, 3, 3]),
        step=jnp.int32(4),
    )
    return params, *jax.jit(game.step)(jax.random.key(1), state, jnp.array(SHARE), params)


@pytest.mark.filterwarnings("ignore:idle_time")
@pytest.mark.parametrize(("rejections", "worked"), [("expected", EXPECTED), ("rounded", ROUNDED)])
def test_the_worked_step(rejections, worked):
    _, state, timestep = golden_step(rejections)
    assert state.flow.tolist() == FLOW
    assert state.refused.tolist() == [6, 0, 2]
    for name in ("rejected", "late", "reward"):
        np.testing.assert_allclose(getattr(state, name), worked[name], atol=2e-6)
    np.testing.assert_allclose(state.expected, [3.335835, 2.304491, 2.113858], atol=2e-6)
    np.testing.assert_allclose(state.cold_share, [0.000161, 0.031466, 0.005903], atol=1e-6)
    np.testing.assert_allclose(state.service_time, [0.250040, 0.265733, 0.127214], atol=1e-6)
    round_trip = state.there + state.back
    expected = [[0, 0.012029, 0], [0.012021, 0, 0.203077], [0, 0.230769, 0]]
    np.testing.assert_allclose(round_trip, expected, atol=1e-6)
    np.testing.assert_allclose(timestep.metrics["utility"], worked["utility"], atol=1e-6)
    _, _, selfish = golden_step(rejections, selfishness=1.0)
    np.testing.assert_allclose(selfish.reward, worked["own"], atol=1e-6)


@pytest.mark.filterwarnings("ignore:idle_time")
def test_what_is_heard_and_seen_after_it():
    params, state, _ = golden_step()
    # Nodes 0 and 2 have sent in step 4, node 1 has not.
    inputs, ages = state.input_rate, state.heard_age
    assert state.heard_input.tolist() == [int(inputs[0]), 20, int(inputs[2])]
    assert state.heard_load.tolist() == [43, 0, 38]
    assert ages.tolist() == [0, 4, 0]
    state = dataclasses.replace(state, input_rate=jnp.array([61, 19, 44]), heard_input=jnp.array([61, 20, 44]))
    seen = observe(state, params)
    np.testing.assert_allclose(
        seen.own[1], [19, 20, 7, 0.448095, 0, 29, 1.856395, 48, 12, 0.25, 0.031466], rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(seen.peers[1, 0], [0, 1, 7, 0.543043, 0.012021, 61, 43, 0, 56], rtol=1e-4)
    np.testing.assert_allclose(seen.peers[1, 2], [0, 1, 6, 0.333767, 0.203077, 44, 38, 0, 64], rtol=1e-5)
    assert not seen.peers[0, 2].any()
