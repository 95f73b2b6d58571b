"""Action spaces refuse what is no space, are read in the order of an action's leaves, and know what is legal."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from jaxdlb.games.dlb import DLB, Action
from jaxdlb.spaces import Box, Discrete, Simplex, contains, leaves, sample


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Discrete(0), "num_choices is 0; it must be an integer ≥ 1"),
        (lambda: Discrete(-3), "num_choices is -3; "),
        (lambda: Box(1.0, 1.0), "low is 1.0 and high 1.0; a Box needs finite low < high"),
        (lambda: Box(2.0, 1.0), "low is 2.0 and high 1.0; "),
        (lambda: Box(0.0, float("inf")), "high is inf; it must be a finite number"),
        (lambda: Box(float("nan"), 1.0), "low is nan; it must be a finite number"),
        (lambda: Box(0.0, 1.0, size=0), "size is 0; it must be an integer ≥ 1"),
        (lambda: Simplex(0), "size is 0; it must be an integer ≥ 1"),
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


def test_codes_stand_for_whoever_has_a_choice_and_are_never_drawn():
    legal = np.array([[True, True, False], [True, False, False]])
    plain, coded = Discrete(3), Discrete(3, has_codes=True)
    for action, expected in (([1, 0], [True, True]), ([3, 0], [True, True]), ([99, 3], [True, False])):
        assert coded.contains(np.array(action), legal).tolist() == expected
        assert plain.contains(np.array(action), legal).tolist() == [action[0] < 3, action[1] == 0]
    assert coded.contains(np.array([3.5, -1.0]), legal).tolist() == [False, False]
    drawn = jax.vmap(lambda key: coded.sample(key, jnp.asarray(legal)))(jax.random.split(jax.random.key(0), 50))
    assert drawn.max() == 1


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


KEY = jax.random.key(0)
DRAWS = 20_000
CHOICES = np.array([False, True, True, False, True])


def rows(mask):
    """The same mask for many agents, who draw independently."""
    return jnp.broadcast_to(jnp.asarray(mask), (DRAWS, *np.shape(mask)))


@pytest.mark.parametrize("make", [lambda **names: Discrete(3, **names), lambda **names: Simplex(3, **names)])
def test_choices_name_agents_or_candidates_not_both(make):
    assert make(over_agents=True).over_agents
    assert make(over_candidates=True).over_candidates
    with pytest.raises(ValueError, match="over_candidates is True; it must be False where over_agents is True"):
        make(over_agents=True, over_candidates=True)


def test_a_discrete_sample_is_uniform_over_the_legal_choices():
    choices = np.asarray(Discrete(5).sample(KEY, rows(CHOICES)))
    assert choices.dtype == np.int32
    counts = np.bincount(choices, minlength=5)
    assert not counts[~CHOICES].any()
    assert scipy.stats.chisquare(counts[CHOICES]).pvalue > 1e-3  # one draw of a fixed seed


def test_a_box_sample_is_uniform_within_the_bounds_and_zero_where_nobody_may_act():
    box = Box(2.0, 5.0, size=2)
    drawn = np.asarray(box.sample(KEY, rows(True)))
    assert (drawn.shape, drawn.dtype) == ((DRAWS, 2), np.float32)
    assert scipy.stats.kstest(drawn.ravel(), scipy.stats.uniform(2, 3).cdf).pvalue > 1e-3
    assert not np.asarray(box.sample(KEY, jnp.array([False, True])))[0].any()


def test_a_simplex_sample_is_spread_uniformly_over_the_legal_entries():
    """Of A shares spread uniformly each has the law Beta(1, A − 1)."""
    drawn = np.asarray(Simplex(5).sample(KEY, rows(CHOICES)))
    assert (drawn.shape, drawn.dtype) == ((DRAWS, 5), np.float32)
    assert not drawn[:, ~CHOICES].any()
    np.testing.assert_allclose(drawn.sum(-1), 1, rtol=1e-5)
    for entry in np.flatnonzero(CHOICES):
        assert scipy.stats.kstest(drawn[:, entry], scipy.stats.beta(1, 2).cdf).pvalue > 1e-3
    assert Simplex(3).sample(KEY, jnp.array([[False, True, False], [False] * 3])).tolist() == [[0, 1, 0], [0, 0, 0]]


@pytest.mark.parametrize(
    ("space", "legal", "inside", "outside"),
    [
        (Discrete(3), [True, False, True], [0, 2, 2.0], [1, 3, -1, 0.5, np.nan]),
        (Box(-1.0, 2.0, size=2), True, [[-1, 2], [0, 0]], [[-1.1, 0], [0, 2.5], [np.nan, 0], [np.inf, 0]]),
        (Box(1.0, 2.0), False, [[0]], [[1.5], [np.nan]]),
        (Simplex(3), [True, False, True], [[1, 0, 0], [0.25, 0, 0.75]], [[0.5, 0.5, 0], [0.6, 0, 0.6], [2, 0, -1]]),
        (Simplex(2), [False, False], [[0, 0]], [[1, 0], [np.nan, 0]]),
    ],
)
def test_a_space_contains_what_is_legal_and_nothing_else(space, legal, inside, outside):
    for actions, expected in ((inside, True), (outside, False)):
        masks = np.broadcast_to(legal, (len(actions), *np.shape(legal)))
        assert space.contains(np.array(actions), masks).tolist() == [expected] * len(actions)
        assert jax.jit(space.contains)(np.array(actions), masks).tolist() == [expected] * len(actions)


@pytest.mark.parametrize(
    ("space", "legal", "shape"),
    [(Discrete(3), (2, 3), (2,)), (Box(0.0, 1.0), (2,), (2, 1)), (Simplex(3), (2, 3), (2, 3))],
)
def test_an_action_of_another_shape_is_refused(space, legal, shape):
    with pytest.raises(ValueError, match=re.escape(f"action has shape (7,); it must have shape {shape}")):
        space.contains(jnp.zeros(7), jnp.ones(legal, bool))


def test_a_sample_of_a_whole_action_space_is_contained_in_it():
    space = {"box": Box(-1.0, 1.0), "heads": Action(dispatch=Discrete(3), steal=Discrete(3)), "shares": Simplex(2)}
    rng = np.random.default_rng(0)
    masks = {"box": (9,), "heads": Action(dispatch=(9, 3), steal=(9, 3)), "shares": (9, 2)}
    legal = jax.tree.map(lambda shape: rng.random(shape) < 0.5, masks, is_leaf=lambda node: isinstance(node, tuple))
    legal["heads"].dispatch[:, 0] = legal["heads"].steal[:, 1] = True
    action = jax.jit(lambda key, legal: sample(space, key, legal))(KEY, legal)
    assert jax.tree.structure(action) == jax.tree.structure(legal)
    assert not np.array_equal(action["heads"].dispatch, action["heads"].steal)
    assert contains(space, action, legal).all()
    action["box"] = action["box"].at[4].set(3.0)
    assert contains(space, action, legal).tolist() == [agent != 4 for agent in range(9)]
