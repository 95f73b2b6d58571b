"""The shapes and dtypes that the annotations of the game's pytrees promise."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest
from jaxtyping import Array, Bool, Int, jaxtyped
from reference.episodes import resetter, stepper

from jaxdlb.game import Game, TimeStep, traced_observation_shapes
from jaxdlb.games.dlb import DLB, Action, Observation, Params, State
from jaxdlb.mechanics.arrivals import Constant, MarkovModulated, Sinusoidal, Step, Trace

LAWS = [Constant(), Sinusoidal(), Step(), MarkovModulated(), Trace(factors=[1.0, 2.0])]


def check_fields(tree):
    for field in dataclasses.fields(tree):
        value = getattr(tree, field.name)
        if "jaxtyping" in repr(type(field.type)):
            assert isinstance(value, field.type), f"{field.name}: {value.dtype}{value.shape} is not {field.type}"


def noop(num_nodes):
    return Action(dispatch=jnp.arange(num_nodes), steal=jnp.arange(num_nodes))


@pytest.mark.parametrize(("heartbeats", "max_delay"), [("shared", 0), ("per_link", 3)])
def test_fields_have_their_annotated_shapes_and_dtypes(heartbeats, max_delay):
    game = DLB(5, max_delay=max_delay, heartbeats=heartbeats)
    params = game.default_params()
    start = resetter(game)(jax.random.key(0), params)
    after = stepper(game)(jax.random.key(1), start[0], noop(5), params)
    for state, timestep in (start, after):
        with jaxtyped("context"):
            for tree, kind in (
                (params, Params),
                (state, State),
                (timestep.observation, Observation),
                (timestep, TimeStep),
            ):
                assert isinstance(tree, kind)
                check_fields(tree)
            assert isinstance(timestep.observation.legal.dispatch, Bool[Array, "N N"])
            assert isinstance(timestep.observation.legal.steal, Bool[Array, "N N"])
        assert state.in_transit.shape == (max_delay, 5)
        assert state.heard_load.shape == ((5,) if heartbeats == "shared" else (5, 5))
        assert all(value.shape == () for value in timestep.metrics.values())
        assert timestep.metrics.keys() == game.metrics.keys()


def test_a_wrong_shape_is_found_by_the_check_above():
    state, _ = resetter(DLB(3))(jax.random.key(0), DLB(3).default_params())
    with pytest.raises(AssertionError, match="load"), jaxtyped("context"):
        check_fields(dataclasses.replace(state, load=jnp.zeros((2, 3), jnp.int32)))
    with pytest.raises(AssertionError, match="load"), jaxtyped("context"):
        check_fields(dataclasses.replace(state, load=jnp.zeros(3)))


@pytest.mark.parametrize("heartbeats", ["shared", "per_link"])
@pytest.mark.parametrize("law", LAWS, ids=lambda law: type(law).__name__)
def test_a_round_keeps_the_structure_of_the_state(heartbeats, law):
    """What `scan` and `while_loop` ask: the same tree, shapes, dtypes and weak types from `reset` and from `step`."""
    game = DLB(3, heartbeats=heartbeats)
    params = game.default_params(arrival_modulation=law)
    start = jax.eval_shape(game.reset, jax.random.key(0), params)
    after = jax.eval_shape(game.step, jax.random.key(0), start[0], noop(3), params)
    assert jax.tree.structure(start) == jax.tree.structure(after)
    for first, second in zip(jax.tree.leaves(start), jax.tree.leaves(after), strict=True):
        assert (first.shape, first.dtype, first.weak_type) == (second.shape, second.dtype, second.weak_type)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: type(law).__name__)
def test_every_parameter_is_an_array_of_settled_type(law):
    leaves = jax.tree.leaves(DLB(3).default_params(arrival_modulation=law))
    assert all(isinstance(leaf, jax.Array) and not leaf.weak_type for leaf in leaves)


def test_the_game_keeps_the_interface_of_games():
    game = DLB(3)
    assert isinstance(game, Game)
    assert game.num_agents == 3
    assert hash(game) == hash(DLB(3))
    with pytest.raises(dataclasses.FrozenInstanceError):
        game.num_nodes = 4


@pytest.mark.parametrize("heartbeats", ["shared", "per_link"])
def test_the_shapes_of_an_observation_are_those_that_reset_gives(heartbeats):
    game = DLB(3, heartbeats=heartbeats)
    assert game.observation_shapes == traced_observation_shapes(game)


def test_the_action_space_offers_every_node_to_both_heads():
    space = DLB(3).action_space
    assert (space.dispatch.num_choices, space.steal.num_choices) == (3, 3)
    assert space.dispatch.over_agents
    assert space.steal.over_agents


def test_actions_of_any_integer_type_are_played():
    game = DLB(3)
    params = game.default_params(initial_load=2, arrival_prob=1.0)
    state, _ = resetter(game)(jax.random.key(0), params)
    results = [
        stepper(game)(jax.random.key(1), state, Action(jnp.array([1, 1, 0], kind), jnp.array([2, 0, 2], kind)), params)[
            0
        ]
        for kind in (jnp.int32, jnp.int8)
    ]
    assert isinstance(results[0].load, Int[Array, " 3"])
    assert all(map(jnp.array_equal, *map(jax.tree.leaves, results)))
