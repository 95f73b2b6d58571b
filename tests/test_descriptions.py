"""What a declaration says in words: the tables of the documentation and the help of the command line."""

import dataclasses

from flax import struct
from jaxtyping import Array, Float
from reference.ticking import Params, Ticking

from jaxdlb.checks import COUNT, FINITE, NON_NEGATIVE, POSITIVE_COUNT, PROBABILITY, SWITCH, Interval
from jaxdlb.descriptions import Described, describe, meanings
from jaxdlb.games import GAMES
from jaxdlb.parameters import parameter


@dataclasses.dataclass(frozen=True)
class Parent:
    """Some settings."""

    rate: float = parameter(PROBABILITY, 0.25)  # ρ: how much of it is learned
    # how many rounds are played;
    # at least one
    rounds: int = parameter(POSITIVE_COUNT, 10_000)
    widths: tuple[int, ...] = parameter(COUNT, (8, 16))  # of the layers: in their order
    label: str = parameter(None, "")


@dataclasses.dataclass(frozen=True)
class Child(Parent):
    """More settings, one of them with another default."""

    rounds: int = parameter(POSITIVE_COUNT, 7)
    rate: float = parameter(PROBABILITY, 0.5)  # how much of it is forgotten
    shared: bool = parameter(SWITCH, True)  # by all
    kind: str = parameter(("mlp", "pointer"), "mlp")  # of the network
    gain: float = parameter(  # spread over lines
        Interval(0, 2, low_open=True),
        1e-05,
    )

    def use(
        self,
        rate: float,  # not what the field means
        gain: float = 2.0,  # nor this
    ) -> float:
        shared: bool = rate > gain  # nor this
        return float(shared)


def by_name(type_):
    return {each.name: each for each in describe(type_)}


def test_every_declared_field_is_described_in_its_order():
    assert [each.name for each in describe(Params)] == [field.name for field in dataclasses.fields(Params)]


def test_a_described_field_says_symbol_shape_default_range_and_meaning():
    table = by_name(Params)
    assert table["success_prob"] == Described("success_prob", "s", "[N]", "", "[0, 1]", "who works finishes a piece")
    assert table["price"] == Described("price", "c", "[N]", "linspace(0.25, 0.5, N)", "≥ 0", "of hurrying")
    assert table["pieces"] == Described(
        "pieces", "", "[N]", "3", "an integer in [0, capacity]", "in each box at the start"
    )
    assert table["tiring"].allowed == "true or false"
    assert table["tiring"].default == "true"
    assert table["horizon"] == Described("horizon", "", "[]", "20", "an integer ≥ 1", "steps in an episode")
    assert table["worth"].allowed == "a law: steady, fading, listed"
    assert (table["worth"].default, table["worth"].shape) == ("steady", None)


def test_settings_of_plain_types_are_described_too():
    table = by_name(Child)
    assert table["rate"] == Described("rate", "", None, "0.5", "[0, 1]", "how much of it is forgotten")
    assert table["widths"] == Described(
        "widths", "", None, "[8, 16]", "an integer ≥ 0", "of the layers: in their order"
    )
    assert (table["shared"].default, table["kind"].allowed) == ("true", "mlp, pointer")
    assert (table["gain"].default, table["gain"].allowed) == ("1e-05", "(0, 2]")
    assert (table["label"].default, table["label"].allowed, table["label"].meaning) == ("", "", "")


def test_what_is_before_the_colon_is_a_symbol_only_if_it_is_one_word():
    assert by_name(Parent)["rate"].symbol == "ρ"
    assert by_name(Parent)["widths"].symbol == ""


def test_comments_above_a_field_are_joined():
    assert meanings(Parent)["rounds"] == "how many rounds are played; at least one"


def test_comments_are_inherited_until_they_are_replaced():
    assert meanings(Child)["rounds"] == meanings(Parent)["rounds"]
    assert meanings(Parent)["rate"] == "ρ: how much of it is learned"
    assert meanings(Child)["rate"] == "how much of it is forgotten"


def test_only_the_lines_that_declare_fields_are_read():
    assert meanings(Child)["gain"] == "spread over lines"
    assert meanings(Child)["shared"] == "by all"


def test_a_class_without_source_has_no_meanings():
    made = dataclasses.make_dataclass("Made", [("rate", float, parameter(PROBABILITY, 0.5))])
    assert meanings(made) == {}
    assert by_name(made)["rate"].meaning == ""


def test_ranges_in_words():
    @struct.dataclass
    class Ranges:
        any_number: Float[Array, ""] = parameter(FINITE, 0.0)
        cost: Float[Array, "N 2"] = parameter(NON_NEGATIVE, 1.5)
        few: int = parameter(Interval(2, 5, integer=True), 2)

    table = by_name(Ranges)
    assert (table["any_number"].allowed, table["any_number"].default) == ("a finite number", "0")
    assert (table["cost"].shape, table["cost"].default) == ("[N, 2]", "1.5")
    assert table["few"].allowed == "an integer in [2, 5]"


def test_every_field_and_size_of_every_game_has_a_meaning():
    for entry in GAMES.values():
        for type_ in (entry.params, entry.game):
            assert all(each.meaning for each in describe(type_)), type_
    assert by_name(Ticking)["capacity"].meaning == "the most pieces in a box"
