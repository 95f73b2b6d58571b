"""What is seen of clusters of any size, what networks make of it, and when tasks come into sight."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdlb.games.cluster import Cluster
from jaxdlb.networks import NetworkConfig
from jaxdlb.networks.actor_critic import build_actor, features

SIZES = [Cluster(6, 3, 4, 3), Cluster(4, 3, 2, 2, episode_tasks=5), Cluster(9, 1, 9, 5)]
POINTER = NetworkConfig("pointer", hidden=(8, 8), critic_hidden=(8,))


@pytest.mark.parametrize("game", SIZES, ids=lambda game: f"{game.num_nodes}")
def test_a_critic_sees_as_much_at_every_size(game):
    params = game.default_params()
    seen = jax.eval_shape(lambda key: game.global_state(game.reset(key, params)[0], params), jax.random.key(0))
    assert seen.shape == (126,)


def test_tasks_come_however_little_arrives():
    """A factor of 0 counts as 0.001, so what comes into sight then is still to come."""
    game = Cluster(2, 2, 2, 2)
    params = game.default_params(arrival_rate=10, arrival_modulation={"kind": "step", "at": 1, "before": 0, "after": 1})

    def first(before):
        law = params.arrival_modulation.replace(before=before)
        return game.reset(jax.random.key(0), params.replace(arrival_modulation=law))[0].window.arrives

    late, soon = jax.jit(jax.vmap(first))(jnp.array([0.0, 1.0]))
    assert np.isfinite(late).all()
    np.testing.assert_allclose(late, 1000 * soon, rtol=1e-5)


def test_one_set_of_weights_plays_at_every_size():
    """And does not see which nodes rows are."""
    shown = [
        features(jax.tree.map(lambda each: jnp.ones(each.shape, each.dtype), game.observation_shapes)) for game in SIZES
    ]
    assert set(shown[0]) == {"own", "peers"}
    weights = build_actor(SIZES[0], POINTER).init(jax.random.key(0), shown[0])
    for game, view in zip(SIZES, shown, strict=True):
        legal = jnp.ones((game.num_dispatchers, game.num_candidates), bool)
        _, distribution = build_actor(game, POINTER).apply(weights, (), view, legal)
        assert distribution.mode().shape == (game.num_dispatchers,)
