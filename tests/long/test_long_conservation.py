"""No request is lost or made in ten million node-steps of the edge, whatever agents ask for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdlb

ENVS, NODES, STEPS = 512, 16, 640  # of each of two games
SIZES = {"num_nodes": NODES, "max_instances": 24}
RANGES = {
    "cycles": (1, 4),
    "instances": (0, 24),
    "cold_ratio": (1.0, 5.0),
    "idle_time": (30.0, 120.0),
    "load": (0.3, 2.0),
}


def hostile(key, shares):
    """Shares with entries that are no shares: of each ten, one is not a number, infinite, negative or above 1."""
    which, what = jax.random.split(key)
    wrong = jax.random.choice(what, jnp.array([jnp.nan, jnp.inf, -jnp.inf, -3.0, 7.0, 0.0]), shares.shape)
    return jnp.where(jax.random.bernoulli(which, 0.1, shares.shape), wrong, shares)


def broken(before, after, served, allowed):
    """Which of the laws of conservation a step breaks."""
    flow, rejected = after.flow, after.rejected
    return jnp.array(
        [
            jnp.any(jnp.sum(flow, axis=1) + after.refused != before.input_rate),
            jnp.any(flow < 0) | jnp.any(after.refused < 0),
            jnp.any((flow != 0) & ~allowed),
            jnp.any(rejected < 0) | jnp.any(rejected > flow * (1 + 1e-6)),
            jnp.abs(served - jnp.sum(flow) + jnp.sum(rejected)) > 1e-4 * jnp.sum(flow) + 1e-4,
        ]
    )


@pytest.mark.filterwarnings("ignore:idle_time")
@pytest.mark.parametrize("rejections", ["expected", "rounded"])
def test_requests_are_conserved_over_ten_million_node_steps(rejections):
    assert 2 * ENVS * NODES * STEPS >= 10**7
    game = jaxdlb.make("edge", **SIZES, rejections=rejections)
    sample = jaxdlb.randomised(game, **RANGES)

    def play(key):
        cluster, start, steps = jax.random.split(key, 3)
        params = sample(cluster)
        allowed = game.links(params) | jnp.eye(NODES, dtype=bool)

        def advance(state, key):
            act, spoil, go = jax.random.split(key, 3)
            legal = jnp.ones((NODES, NODES + 1), bool)
            share = hostile(spoil, game.action_space.sample(act, legal))
            after, timestep = game.step(go, state, share, params)
            laws = broken(state, after, timestep.metrics["served"], allowed)
            in_parts = jnp.any(after.rejected != jnp.round(after.rejected))
            return after, (laws, in_parts, jnp.sum(after.flow), jnp.sum(after.rejected))

        state, _ = game.reset(start, params)
        return jax.lax.scan(advance, state, jax.random.split(steps, STEPS))[1]

    laws, in_parts, flow, rejected = jax.jit(jax.vmap(play))(jax.random.split(jax.random.key(0), ENVS))
    assert np.asarray(laws).sum(axis=(0, 1)).tolist() == [0] * 5
    assert bool(np.any(in_parts)) is (rejections == "expected")
    moved, lost = (np.asarray(each, np.float64).sum() for each in (flow, rejected))
    assert moved > 10**7 and 0.02 < lost / moved < 0.9
