"""The game against an independent scalar reference of its step, on random networks and under hostile actions."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import edge as reference

from jaxdlb.games.edge.game import Edge

STEPS, NETWORKS = 12, 24
WHOLE = ("flow", "refused", "input_rate", "heard_input", "heard_load", "heard_age", "step")
REAL = ("rejected", "expected", "cold_share", "service_time", "warm_instances", "late", "reward", "there", "back")
GAMES = [
    Edge(num_nodes=nodes, max_instances=20, max_delay=2, rejections=rejections, service_times=times)
    for nodes, rejections, times in (
        (1, "expected", "exponential"),
        (3, "rounded", "deterministic"),
        (5, "expected", "deterministic"),
        (6, "rounded", "exponential"),
    )
]


def random_network(game, draws):
    nodes = game.num_nodes
    adjacency = (draws.random((nodes, nodes)) < draws.choice([0.0, 0.5, 1.0])) & ~np.eye(nodes, dtype=bool)
    warm, pairs = draws.uniform(0.05, 1, nodes), (nodes, nodes)
    return game.default_params(
        adjacency=adjacency,
        warm_time=warm,
        cold_time=warm * draws.uniform(1, 5, nodes),
        idle_time=draws.uniform(1, 100, nodes),
        instances=draws.integers(0, 21, nodes),
        access_delay=draws.uniform(0, 0.2, pairs),
        link_bandwidth=draws.uniform(0.05, 20, pairs),
        request_bytes=draws.uniform(0, 1e5),
        response_bytes=draws.uniform(0, 1e5),
        link_sharing=draws.choice([0.0, 1.0, draws.random()]),
        input_min=draws.integers(0, 3),
        input_max=draws.integers(5, 90),
        mean_input_limit=draws.choice([0, 3, 30]),
        deadline=draws.uniform(0.05, 1.5),
        refusal_cost=draws.uniform(0, 2),
        loss_cost=draws.uniform(0, 2),
        forwarding_cost=draws.uniform(0, 1),
        lateness_cost=draws.uniform(0, 1),
        selfishness=draws.random(),
        heartbeat_period=draws.integers(0, 4),
        heartbeat_phase=draws.integers(0, 5, nodes),
        heartbeat_delay=draws.integers(0, 3),
    )


def hostile_shares(draws, shape):
    """Shares, and among them numbers that are none, negative, above 1, too small to count or equal to others."""
    shares = draws.dirichlet(np.ones(shape[-1]), shape[:-1])
    odd = draws.choice([np.nan, np.inf, -np.inf, -0.5, 0.0, 1e-6, 0.25, 0.5, 1.0, 7.0], shape)
    return np.where(draws.random(shape) < draws.choice([0.0, 0.3, 1.0], (*shape[:-2], 1, 1)), odd, shares)


def as_plain(tree):
    return {name: np.asarray(leaf).tolist() for name, leaf in vars(tree).items() if isinstance(leaf, jax.Array)}


@functools.cache
def played(game):
    """Random networks, and for each the states [STEPS + 1] and utilities under random shares, as NumPy arrays."""
    draws = np.random.default_rng(game.num_nodes)
    params = [random_network(game, draws) for _ in range(NETWORKS)]
    shares = hostile_shares(draws, (NETWORKS, STEPS, game.num_nodes, game.num_nodes + 1)).astype(np.float32)

    def play(params, shares, key):
        def advance(state, now):
            key, share = now
            following, timestep = game.step(key, state, share, params)
            return following, (following, timestep.metrics["utility"])

        state, _ = game.reset(key, params)
        _, (states, utility) = jax.lax.scan(advance, state, (jax.random.split(key, STEPS), shares))
        return jax.tree.map(lambda first, rest: jnp.concatenate([first[None], rest]), state, states), utility

    keys = jax.random.split(jax.random.key(3), NETWORKS)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *params)
    states, utility = jax.jit(jax.vmap(play))(stacked, jnp.array(shares), keys)
    return params, shares, states, np.asarray(utility)


@pytest.mark.filterwarnings("ignore:idle_time")
@pytest.mark.parametrize("game", GAMES, ids=lambda game: f"{game.num_nodes}-{game.rejections}-{game.service_times}")
def test_every_step_is_as_the_rules_say(game):
    params, shares, states, utility = played(game)
    checked = 0
    for which, each in enumerate(params):
        rules = as_plain(each) | {"rejections": game.rejections, "service_times": game.service_times}
        states_of = [jax.tree.map(lambda leaf, at=(which, t): leaf[at], states) for t in range(STEPS + 1)]
        sent = []
        for t, (before, after) in enumerate(itertools.pairwise(states_of)):
            coming = {"input_rate": after.input_rate.tolist()}
            expected = reference.step(rules, as_plain(before) | {"sent": sent}, shares[which, t].tolist(), coming)
            sent = expected["sent"]
            if game.rejections == "rounded" and any(abs(r % 1 - 0.5) < 1e-3 for r in expected["expected"]):
                continue  # which way a half is rounded hangs on the last digit
            checked += 1
            for name in WHOLE:
                assert np.asarray(getattr(after, name)).tolist() == expected[name], name
            for name in REAL:
                np.testing.assert_allclose(getattr(after, name), expected[name], rtol=1e-4, atol=1e-5, err_msg=name)
            np.testing.assert_allclose(utility[which, t], expected["utility"], rtol=1e-4, atol=1e-5)
    assert checked > 0.9 * NETWORKS * STEPS
