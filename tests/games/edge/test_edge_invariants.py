"""What holds in every step of every network: requests are conserved, and nobody sees what it should not."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_edge_reference import GAMES, played

from jaxdlb.games.edge.game import Edge
from jaxdlb.games.edge.views import Peer, observe, true_observation


@pytest.mark.filterwarnings("ignore:idle_time")
@pytest.mark.parametrize("game", GAMES[1:], ids=lambda game: f"{game.num_nodes}-{game.rejections}")
def test_requests_are_conserved(game):
    _, _, states, _ = played(game)
    flow, rejected = np.asarray(states.flow), np.asarray(states.rejected)
    assert (flow.sum(-1) + states.refused == states.previous_input).all()
    assert (flow >= 0).all() and (np.asarray(states.refused) >= 0).all()
    assert (rejected >= 0).all() and (rejected <= flow * (1 + 1e-6)).all()
    if game.rejections == "rounded":
        assert (rejected == np.round(rejected)).all()


@functools.cache
def a_day():
    """All metrics of a day of the reference network under random shares."""
    game = Edge()
    params = game.default_params()

    def advance(state, key):
        draw, play = jax.random.split(key)
        legal = observe(state, params).legal
        state, timestep = game.step(play, state, game.action_space.sample(draw, legal), params)
        return state, timestep.metrics

    state, _ = jax.jit(game.reset)(jax.random.key(0), params)
    return jax.jit(lambda: jax.lax.scan(advance, state, jax.random.split(jax.random.key(1), 288))[1])()


def test_metrics_add_up():
    day = {name: np.asarray(values, np.float64) for name, values in a_day().items()}
    np.testing.assert_array_equal(day["input"], day["local"] + day["forwarded"] + day["refused"])
    lost = day["local_rejected"] + day["forward_rejected"]
    np.testing.assert_allclose(day["served"], day["local"] + day["forwarded"] - lost, rtol=1e-5)
    assert (day["cold"] <= day["served"]).all() and (day["late"] <= day["served"]).all()
    assert (day["busy_instances"] <= day["warm_instances"] + 1e-3).all()  # by Little's law, of those that there are
    assert (day["input"] <= 8 * 52).all()


def test_inputs_and_links_do_not_hang_on_what_anybody_does():
    game = Edge(num_nodes=4)
    params = game.default_params(bandwidth={"kind": "wave"})
    state, _ = jax.jit(game.reset)(jax.random.key(0), params)
    shares = jnp.eye(4, 5), jnp.full((4, 5), 0.2)
    step = jax.jit(game.step)
    one, other = (step(jax.random.key(1), state, share, params)[0] for share in shares)
    assert one.input_rate.tolist() == other.input_rate.tolist()
    assert one.bandwidth_now.tolist() == other.bandwidth_now.tolist()
    assert one.flow.tolist() != other.flow.tolist()


def test_only_news_of_neighbours_is_seen():
    game = Edge(num_nodes=4)
    path = np.abs(np.subtract.outer(np.arange(4), np.arange(4))) == 1
    params = game.default_params(adjacency=path)
    state, _ = jax.jit(game.reset)(jax.random.key(0), params)
    changed = dataclasses.replace(state, input_rate=state.input_rate + jnp.array([0, 0, 0, 9]))
    seen, other = observe(state, params), observe(changed, params)
    assert [bool((seen.own[i] == other.own[i]).all() & (seen.peers[i] == other.peers[i]).all()) for i in range(4)] == [
        *(True, True, True, False)
    ]
    truth, other = true_observation(state, params), true_observation(changed, params)
    differs = (truth.peers != other.peers).any(axis=(1, 2))
    assert differs.tolist() == [False, False, True, True]
    assert truth.peers[2, 3, Peer.HEARD_AGE] == 0
    assert seen.visible.tolist() == truth.visible.tolist() == (path | np.eye(4, dtype=bool)).tolist()


def test_the_response_times_of_served_requests_are_a_distribution():
    game = Edge(num_nodes=5, service_times="deterministic")
    params = game.default_params()
    state, _ = jax.jit(game.reset)(jax.random.key(0), params)
    state, timestep = jax.jit(game.step)(jax.random.key(1), state, jnp.full((5, 6), 1 / 6), params)
    counts = game.response_cdf(state, params, jnp.array([0.0, 0.505, 0.52, 1.255, 1.27]))
    assert (np.diff(counts) >= 0).all()
    served, cold = timestep.metrics["served"], timestep.metrics["cold"]
    np.testing.assert_allclose(counts[0], 0, atol=1e-4)
    np.testing.assert_allclose(counts[1], jnp.sum(jnp.diagonal(state.flow - state.rejected) * (1 - state.cold_share)))
    np.testing.assert_allclose(counts[2], served - cold, rtol=1e-4)
    np.testing.assert_allclose(counts[4], served, rtol=1e-5)
