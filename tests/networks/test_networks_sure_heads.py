"""Heads that draw nothing, heads whose spread depends on what is seen, and actors made of either."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matching import Matching

import jaxdlb
from jaxdlb.networks import HEAD_SETS, NetworkConfig, build_actor, features
from jaxdlb.networks.heads import StateDependentNormal
from jaxdlb.networks.sure_heads import Deterministic, Values
from jaxdlb.spaces import Box, Discrete, Simplex

NOTHING = jnp.zeros((2, 0))
LEGAL = jnp.array([[True, True, False], [False, True, False]])


def test_values_take_the_greatest_legal_one_and_draw_nothing():
    head = Values.of(Discrete(3), jnp.array([[1.0, 2.0, 9.0], [5.0, -1.0, 0.0]]), NOTHING, LEGAL)
    assert head.mode().tolist() == head.sample(jnp.zeros((0, 2))).tolist() == [1, 1]
    assert head.decides.tolist() == [True, False]
    np.testing.assert_allclose(head.value_of(jnp.array([0, 2])), [1.0, 0.0])
    np.testing.assert_allclose(head.probabilities(), [[0, 1, 0], [0, 1, 0]])
    assert head.log_prob(jnp.array([1, 1])).tolist() == [0, 0] and head.entropy().tolist() == [0, 0]
    assert head.log_prob(jnp.array([0, 1]))[0] < -1e6


def test_a_deterministic_head_stays_in_its_box_and_an_agent_that_may_not_act_does_nothing():
    scores = jnp.array([[0.0, 50.0], [1.0, -1.0]])
    head = Deterministic.of(Box(2.0, 6.0, 2), scores, NOTHING, jnp.array([True, False]))
    np.testing.assert_allclose(head.mode(), [[4.0, 6.0], [0.0, 0.0]])
    np.testing.assert_array_equal(head.sample(jnp.zeros((0, 2))), head.mode())
    assert head.log_prob(head.mode()).tolist() == [0, 0] and head.entropy().tolist() == [0, 0]


def test_a_spread_that_depends_on_what_is_seen_is_the_second_half_of_the_scores_within_its_range():
    scores = jnp.array([[0.3, -9.0], [0.3, 9.0]])
    head = StateDependentNormal.of(Box(-1.0, 1.0), scores, NOTHING, jnp.array([True, True]))
    np.testing.assert_allclose(head.mu[:, 0], 0.3)
    assert head.log_sigma[:, 0].tolist() == [-5.0, 2.0]
    _, log_prob = head.sample_and_log_prob(jnp.array([[0.2, 0.7]]))
    assert np.isfinite(log_prob).all()


@functools.cache
def acted(game, kind, heads):
    actor = build_actor(game, NetworkConfig(kind, hidden=(4,)), heads=heads)
    _, timestep = jax.jit(game.reset)(jax.random.key(0), game.default_params())
    view = features(timestep.observation)
    params = jax.jit(actor.init)(jax.random.key(1), view)
    return params, jax.jit(actor.apply)(params, (), view, timestep.observation.legal)[1], timestep


@pytest.mark.parametrize("heads", ["values", "dueling"])
def test_a_pointer_values_every_peer_by_weights_that_do_not_depend_on_their_number(heads):
    shapes = []
    for num_nodes in (3, 5):
        params, found, timestep = acted(jaxdlb.make("dlb", num_nodes=num_nodes), "pointer", heads)
        assert found.heads.dispatch.values.shape == (num_nodes, num_nodes)
        assert np.abs(found.heads.dispatch.values).max() < 0.5  # about 0 at first, oneself and others alike
        action = found.sample(jax.random.key(0))
        assert timestep.observation.legal.dispatch[np.arange(num_nodes), action.dispatch].all()
        shapes.append(jax.tree.map(jnp.shape, params))
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("heads", ["deterministic", "state_dependent"])
def test_an_action_of_a_box_is_legal_whatever_the_heads(heads):
    game = Matching(Box(1.0, 3.0, 2))
    _, found, timestep = acted(game, "mlp", heads)
    for action in (found.mode(), found.sample(jax.random.key(0))):
        assert game.action_space.contains(action, timestep.observation.legal).all()


@pytest.mark.parametrize(
    ("space", "config", "heads", "sentence"),
    [
        (Box(0.0, 1.0), {}, "values", "^matching has an action in a Box; the heads called values are for Discrete$"),
        (
            Simplex(3),
            {},
            "deterministic",
            "^matching has an action in a Simplex; the heads called deterministic are for",
        ),
        (Discrete(3), {}, "greedy", "^heads is 'greedy'; it must be one of stochastic, "),
        (
            Discrete(3),
            {"autoregressive": True},
            "dueling",
            "^autoregressive is true; it must be false here, since heads",
        ),
    ],
)
def test_heads_that_do_not_fit_are_refused(space, config, heads, sentence):
    with pytest.raises(ValueError, match=sentence):
        build_actor(Matching(space), NetworkConfig("mlp", hidden=(4,), **config), heads=heads)


def test_the_default_set_has_a_head_for_every_space():
    assert set(HEAD_SETS["stochastic"]) == {Discrete, Box, Simplex}
