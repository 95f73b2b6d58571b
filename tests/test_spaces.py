"""Action spaces refuse what is no space, and are read in the order of an action's leaves."""

import dataclasses

import jax
import pytest

from jaxdlb.games.dlb import DLB, Action
from jaxdlb.spaces import Box, Discrete, Simplex, leaves


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Discrete(0), "num_choices is 0; a Discrete space needs at least 1 choice"),
        (lambda: Discrete(-3), "num_choices is -3; "),
        (lambda: Box(1.0, 1.0), "low is 1.0 and high 1.0; a Box needs finite low < high"),
        (lambda: Box(2.0, 1.0), "low is 2.0 and high 1.0; "),
        (lambda: Box(0.0, float("inf")), "low is 0.0 and high inf; "),
        (lambda: Box(float("nan"), 1.0), "low is nan and high 1.0; "),
        (lambda: Box(0.0, 1.0, size=0), "size is 0; a Box needs at least 1 entry"),
        (lambda: Simplex(0), "size is 0; a Simplex needs at least 1 share"),
    ],
)
def test_a_space_refuses(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_smallest_spaces_are_accepted():
    assert Discrete(1).num_choices == 1
    assert not Discrete(1).over_agents
    assert Box(-1.0, 1.0).size == 1
    assert Simplex(1).size == 1


@pytest.mark.parametrize("space", [Discrete(4), Box(0.0, 1.0, size=3), Simplex(5)])
def test_spaces_are_values(space):
    assert space == dataclasses.replace(space)
    assert hash(space) == hash(dataclasses.replace(space))
    with pytest.raises(dataclasses.FrozenInstanceError):
        space.size = 7


def test_leaves_come_in_the_order_of_the_actions_leaves():
    space = Action(dispatch=Discrete(3), steal=Discrete(5))
    assert leaves(space) == [Discrete(3), Discrete(5)]
    assert jax.tree.leaves(Action(dispatch="dispatch", steal="steal")) == ["dispatch", "steal"]
    assert leaves({"b": Simplex(4), "a": Box(0.0, 1.0)}) == [Box(0.0, 1.0), Simplex(4)]
    assert leaves(Discrete(2)) == [Discrete(2)]


def test_a_game_has_one_mask_for_each_leaf_of_its_action_space():
    game = DLB(3)
    legal = jax.eval_shape(game.reset, jax.random.key(0), game.default_params())[1].observation.legal
    masks = jax.tree.leaves(legal)
    assert [(mask.shape, mask.dtype) for mask in masks] == [
        ((3, space.num_choices), bool) for space in leaves(game.action_space)
    ]
