"""Any declared field drawn from a range: numbers, counts, switches, fields of laws, shorthands."""

import collections
import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference.episodes import assert_frequency
from reference.ticking import ENTRY, SHORTHANDS, Fading, Ticking

import jaxdlb
from jaxdlb import parameters, ranges
from jaxdlb.games import GAMES

GAME = Ticking(num_workers=3, capacity=5)
BASE = GAME.default_params(worth=Fading(half_life=4.0))
KEYS = jax.random.split(jax.random.key(5), 2000)


def sampler(base=BASE, **given):
    return ranges.sampler(base, given, SHORTHANDS, validate=GAME.validate)


def draw_many(**given):
    return jax.tree.map(np.asarray, jax.jit(jax.vmap(sampler(**given)))(KEYS))


@pytest.fixture(scope="module")
def many():
    """Every field of the game drawn at once."""
    return draw_many(
        success_prob=(0.2, 0.4),
        price=(0.0, 2.0),
        pieces=(1, 4),
        tiring=(False, True),
        horizon=(7, 9),
        worth={"half_life": (2.0, 3.0)},
    )


def test_every_field_is_drawn_within_its_range_and_keeps_its_shape_and_type(many):
    for drawn, base in zip(jax.tree.leaves(many), jax.tree.leaves(BASE), strict=True):
        assert (drawn.shape, drawn.dtype) == ((2000, *base.shape), base.dtype)
    for name, low, high in (("success_prob", 0.2, 0.4), ("price", 0, 2), ("pieces", 1, 4), ("horizon", 7, 9)):
        values = getattr(many, name)
        assert np.float32(low) <= values.min() and values.max() <= np.float32(high)
    assert many.worth.half_life.min() >= 2 and many.worth.half_life.max() <= 3


def test_counts_and_switches_take_every_value_alike_both_ends_included(many):
    trials = np.ones(2000, bool)
    for value in range(1, 5):
        assert_frequency(many.pieces[:, 1] == value, trials, 1 / 4)
    for value in range(7, 10):
        assert_frequency(many.horizon == value, trials, 1 / 3)
    assert_frequency(many.tiring, trials, 1 / 2)


def test_entries_and_fields_are_drawn_independently(many):
    columns = [*many.success_prob.T, *many.price.T, *many.pieces.T, many.tiring, many.horizon, many.worth.half_life]
    correlations = np.corrcoef(np.array(columns, float))
    off_diagonal = correlations[~np.eye(len(columns), dtype=bool)]
    assert np.abs(off_diagonal).max() < 4.5 / 2000**0.5  # standard errors, of 66 correlations


def test_a_fields_numbers_depend_on_the_key_and_its_own_name_alone(many):
    alone = draw_many(pieces=(1, 4))
    np.testing.assert_array_equal(alone.pieces, many.pieces)
    np.testing.assert_array_equal(alone.price, np.broadcast_to(BASE.price, (2000, 3)))


def test_the_names_of_all_fields_of_all_games_give_different_numbers():
    names = collections.Counter()
    for entry in (*GAMES.values(), ENTRY):
        of_laws = [
            f"{name}.{field}"
            for name, each in parameters.declarations(entry.params).items()
            for law in (each.laws or {}).values()
            for field in parameters.declarations(law)
        ]
        names.update({*entry.shorthands, *parameters.declarations(entry.params), *of_laws})
    numbers = {name: ranges._number_of(name) for name in names}
    assert len(set(numbers.values())) == len(numbers)
    assert all(0 <= number < 2**32 for number in numbers.values())


def test_names_that_are_alike_give_different_numbers():
    """Long names that differ in one letter, or in the order of their parts."""
    letters = "abcdefghij_."
    names = ["arrival_modulation." + "".join(each) for each in itertools.product(letters, repeat=4)]
    assert len({ranges._number_of(name) for name in names}) == len(names)


def test_a_range_of_one_value_gives_that_value():
    params = sampler(price=(0.7, 0.7), pieces=(3, 3), tiring=(True, True))(KEYS[0])
    np.testing.assert_array_equal(params.price, np.float32([0.7] * 3))
    assert (params.pieces.tolist(), bool(params.tiring)) == ([3, 3, 3], True)


def test_counts_reach_to_the_largest_int():
    drawn = draw_many(horizon=(1, 2**31 - 1)).horizon
    assert drawn.min() >= 1
    np.testing.assert_allclose(np.quantile(drawn, [0.25, 0.5, 0.75]) / 2**31, [0.25, 0.5, 0.75], atol=0.05)
    assert int(sampler(horizon=(2**31 - 1, 2**31 - 1))(KEYS[0]).horizon) == 2**31 - 1


def test_whole_floats_are_ends_of_counts():
    assert set(draw_many(horizon=(2.0, 3.0)).horizon.tolist()) == {2, 3}


def test_a_shorthand_is_drawn_and_applied_after_the_fields(many):
    drawn = draw_many(skill=(0.5, 0.9))
    assert np.all(drawn.success_prob == drawn.success_prob[:, :1])
    assert drawn.success_prob.min() >= 0.5 and drawn.success_prob.max() <= 0.9
    game = jaxdlb.make("dlb", num_nodes=3)
    params = jaxdlb.randomised(game, load=(0.5, 0.5), completion_prob=(0.2, 1.0))(KEYS[0])
    np.testing.assert_allclose(params.arrival_prob, 0.5 * jnp.mean(params.completion_prob), rtol=1e-6)


@pytest.mark.parametrize("given", [{}, {"price": None}, {"worth": {"half_life": None}}, {"worth": {}}])
def test_without_ranges_every_key_gives_the_base(given):
    assert sampler(**given)(KEYS[0]) is BASE


def test_randomised_starts_from_the_defaults():
    game = jaxdlb.make("dlb", num_nodes=3)
    params = jaxdlb.randomised(game, horizon=(7, 7))(KEYS[0])
    assert params.horizon == 7
    np.testing.assert_array_equal(params.arrival_prob, game.default_params().arrival_prob)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"prise": (0, 1)},
            r"^prise cannot be drawn from a range; what can be drawn is skill, .*; did you mean price\?$",
        ),
        ({"worth": (0, 1)}, r"^worth cannot be drawn from a range; .*worth.half_life"),
        ({"worth": {"values": (0, 1)}}, r"^worth\.values cannot be drawn from a range; what can be drawn is skill, "),
        ({"worth": {"kind": "steady"}}, r"^worth\.kind cannot be drawn"),
        ({"price": (2, 1)}, r"^price has the range 2 to 1; its low end must not exceed its high end$"),
        ({"price": (-1, 1)}, r"^price\[0\] is -1; it must be a finite number ≥ 0$"),
        ({"price": 1}, r"^price has shape \(\); it must have shape \(2,\)$"),
        ({"price": ("a", "b")}, r"^price is \('a', 'b'\); it must be a number or a list of numbers$"),
        ({"price": (0, 1e60)}, r"^price\[0\] is inf; it must be a finite number ≥ 0$"),
        ({"pieces": (0, 6)}, r"^pieces\[0\] is 6; it must be an integer in \[0, 5\]$"),
        ({"pieces": (0, 2.5)}, r"^pieces\[1\] is 2\.5; it must be an integer"),
        ({"tiring": (0, 2)}, r"^tiring\[1\] is 2; it must be true or false$"),
        ({"worth": {"half_life": (0, 1)}}, r"^worth\.half_life\[0\] is 0; it must be a finite number > 0$"),
        ({"skill": (0, 2)}, r"^skill\[1\] is 2; it must be a finite number in \[0, 1\]$"),
        (
            {"skill": (0, 1), "success_prob": (0, 1)},
            r"^skill and success_prob both have a range; give only one, since skill sets success_prob$",
        ),
    ],
)
@pytest.mark.filterwarnings("error")
def test_ranges_are_refused_in_a_sentence(given, message):
    with pytest.raises(ValueError, match=message):
        sampler(**given)


def test_a_law_that_the_base_does_not_have_offers_none_of_its_fields():
    steady = dataclasses.replace(BASE, worth=GAME.default_params().worth)
    with pytest.raises(ValueError, match=r"^worth\.half_life cannot be drawn"):
        sampler(steady, worth={"half_life": (1, 2)})
