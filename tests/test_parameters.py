"""A parameter is declared once: arrays, defaults, bounds, laws and refusals follow from the line that declares it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from jaxtyping import Array, Float, Int
from reference.ticking import Fading, Listed, Steady, Ticking

import jaxdlb
from jaxdlb import parameters
from jaxdlb.checks import COUNT, FINITE, POSITIVE, POSITIVE_PROBABILITY, PROBABILITY, SWITCH, Interval
from jaxdlb.descriptions import describe_laws
from jaxdlb.parameters import law, parameter

GAME = Ticking(num_workers=3, capacity=5)
PARAMS = GAME.default_params()


def refusal(call, *arguments, **keywords):
    with pytest.raises(ValueError) as raised:
        call(*arguments, **keywords)
    return str(raised.value)


# Arrays


def test_every_field_is_an_array_of_its_annotated_shape_and_dtype():
    shapes = {field.name: jnp.shape(getattr(PARAMS, field.name)) for field in dataclasses.fields(PARAMS)[:-1]}
    assert shapes == {"success_prob": (3,), "price": (3,), "pieces": (3,), "tiring": (), "horizon": ()}
    kinds = {"success_prob": jnp.float32, "pieces": jnp.int32, "tiring": jnp.bool_, "horizon": jnp.int32}
    assert {name: getattr(PARAMS, name).dtype for name in kinds} == kinds
    assert not any(leaf.weak_type for leaf in jax.tree.leaves(PARAMS))


def test_defaults_may_follow_from_the_sizes():
    np.testing.assert_allclose(PARAMS.price, [0.25, 0.375, 0.5])
    np.testing.assert_allclose(Ticking(2).default_params().price, [0.25, 0.5])


def test_a_default_beyond_the_size_that_bounds_it_is_that_size():
    assert Ticking(2, capacity=2).default_params().pieces.tolist() == [2, 2]
    assert refusal(Ticking(2, capacity=2).default_params, pieces=3) == "pieces is 3; it must be an integer in [0, 2]"


def test_one_number_stands_for_all_entries_and_none_for_the_default():
    params = GAME.default_params(pieces=2, horizon=None, worth=None)
    assert params.pieces.tolist() == [2, 2, 2]
    assert (params.horizon, type(params.worth)) == (20, Steady)


@pytest.mark.parametrize("given", [[1, 2, 0], (1, 2, 0), np.array([1.0, 2.0, 0.0]), jnp.array([1, 2, 0])])
def test_lists_and_arrays_of_any_kind_are_taken(given):
    pieces = GAME.default_params(pieces=given).pieces
    assert (pieces.dtype, pieces.tolist()) == (jnp.int32, [1, 2, 0])


@pytest.mark.parametrize("given", [7.0, np.float64(7), np.int8(7), jnp.float32(7.0), np.array(7)])
def test_an_integral_float_is_an_integer(given):
    horizon = GAME.default_params(horizon=given).horizon
    assert (horizon.dtype, int(horizon)) == (jnp.int32, 7)


@pytest.mark.parametrize(("given", "expected"), [(True, True), (False, False), (1, True), (np.bool_(False), False)])
def test_switches_are_booleans(given, expected):
    tiring = GAME.default_params(tiring=given).tiring
    assert (tiring.dtype, bool(tiring)) == (jnp.bool_, expected)
    assert refusal(GAME.default_params, tiring=2) == "tiring is 2; it must be true or false"


# Laws


@pytest.mark.parametrize(
    "given",
    [
        "fading",
        Fading,
        Fading(),
        {"kind": "fading"},
        {"kind": "fading", "half_life": None},
        {"kind": "fading", "half_life": 10},
    ],
)
def test_a_law_is_given_by_its_kind_its_class_an_instance_or_a_mapping(given):
    worth = GAME.default_params(worth=given).worth
    assert isinstance(worth, Fading)
    assert (worth.half_life.dtype, float(worth.half_life)) == (jnp.float32, 10.0)


@pytest.mark.parametrize("given", [{}, {"kind": None}, None])
def test_the_first_law_is_the_default(given):
    assert isinstance(GAME.default_params(worth=given).worth, Steady)


@struct.dataclass
class Paid:
    """A piece's worth fades by default, with a half-life that is not the law's own."""

    worth: Steady | Fading | Listed = law({"steady": Steady, "fading": Fading, "listed": Listed}, Fading(3.0))
    spent: Steady | Fading = law({"steady": Steady, "fading": Fading})


def paid(**fields):
    return parameters.make(Paid, GAME, fields)


@pytest.mark.parametrize(
    ("given", "half_life"),
    [
        (None, 3.0),
        ({}, 3.0),
        ("fading", 3.0),
        ({"kind": "fading"}, 3.0),
        ({"half_life": 5}, 5.0),
        ({"half_life": None}, 3.0),
        ({"kind": "fading", "half_life": 5}, 5.0),
        (Fading(7.0), 7.0),
        (Fading(), 10.0),  # an instance says all its fields
    ],
)
def test_what_is_not_given_of_the_defaults_kind_is_as_in_the_default(given, half_life):
    worth = paid(worth=given).worth
    assert isinstance(worth, Fading)
    assert (worth.half_life.dtype, float(worth.half_life)) == (jnp.float32, half_life)


def test_another_kind_than_the_defaults_has_its_own_fields_and_defaults():
    assert isinstance(paid(worth="steady").worth, Steady)
    assert paid(worth={"kind": "listed", "values": [1, 2]}).worth.values.tolist() == [1, 2]
    assert float(paid(spent="fading").spent.half_life) == 10.0  # whose default is another kind
    assert refusal(paid, worth={"kind": "steady", "half_life": 3}).startswith("worth.half_life is not a field of the ")
    assert refusal(paid, worth={"half_life": 0}) == "worth.half_life is 0; it must be a finite number > 0"


def test_two_instances_by_default_do_not_share_what_is_replaced():
    first = paid()
    assert float(first.replace(worth=Fading(1.0)).worth.half_life) == 1.0
    assert float(paid().worth.half_life) == float(first.worth.half_life) == 3.0


def test_the_fields_of_a_law_are_described_with_the_defaults_that_hold_for_the_parameter():
    declared = parameters.declarations(Paid)
    described = {name: describe_laws(each)["fading"][0].default for name, each in declared.items()}
    assert described == {"worth": "3", "spent": "10"}
    assert (
        describe_laws(declared["worth"])["steady"] == [] and describe_laws(declared["worth"])["listed"][0].default == ""
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("fadin", "worth.kind is 'fadin'; it must be one of steady, fading, listed; did you mean 'fading'?"),
        ({"kind": "xyz"}, "worth.kind is 'xyz'; it must be one of steady, fading, listed"),
        (
            {"kind": ["fading"]},
            "worth.kind is ['fading']; it must be one of steady, fading, listed; did you mean 'fading'?",
        ),
        (3, "worth is 3; it must be one of the laws steady, fading, listed"),
        (int, "worth is <class 'int'>; it must be one of the laws steady, fading, listed"),
        (
            {"kind": "fading", "half_lif": 3},
            "worth.half_lif is not a field of the kind 'fading'; its fields are half_life; did you mean half_life?",
        ),
        ({"half_life": 3}, "worth.half_life is not a field of the kind 'steady'; its fields are none"),
        ({"kind": "fading", "half_life": 0}, "worth.half_life is 0; it must be a finite number > 0"),
        (Fading(half_life=[1.0, 2.0]), "worth.half_life has shape (2,); it must have shape ()"),
        ("listed", "worth.values is not given; it must be a finite number ≥ 0"),
        (Listed(values=[]), "worth.values is empty; it must hold at least one sample"),
        (Listed(values=[1.0, -1.0]), "worth.values[1] is -1; it must be a finite number ≥ 0"),
        (Listed(values=2.0), "worth.values has shape (); it must have shape (1,)"),
        (Listed(values=[[1], [1, 2]]), "worth.values is [[1], [1, 2]]; it must be a number or a list of numbers"),
    ],
)
def test_laws_refuse_in_a_sentence(given, message):
    assert refusal(GAME.default_params, worth=given) == message


def test_a_free_dimension_is_as_long_as_what_is_given():
    assert GAME.default_params(worth={"kind": "listed", "values": [1, 0.5, 0]}).worth.values.shape == (3,)


def test_check_refuses_a_law_that_is_none_of_those_declared():
    strange = dataclasses.replace(PARAMS, worth=object())
    assert refusal(GAME.validate, strange).startswith("worth is <object object")
    broken = dataclasses.replace(PARAMS, worth=Fading(half_life=-1.0))
    assert refusal(GAME.validate, broken) == "worth.half_life is -1; it must be a finite number > 0"


# Refusals


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"piece": 1}, "piece is not a parameter of ticking; the parameters are skill, success_prob, price, pieces, "),
        ({"skill": 0.5, "success_prob": 0.5}, "skill is 0.5 and success_prob is given too; give only one, since "),
        ({"skill": 1.5}, "skill is 1.5; it must be a finite number in [0, 1]"),
        ({"skill": [0.1, 0.2]}, "skill has shape (2,); it must have shape ()"),
        ({"skill": "high"}, "skill is 'high'; it must be a number or a list of numbers"),
        ({"price": [1, 2, -0.5]}, "price[2] is -0.5; it must be a finite number ≥ 0"),
        ({"price": [1, 2]}, "price has shape (2,); it must have shape (3,)"),
        ({"price": {"a": 1}}, "price is {'a': 1}; it must be a number or a list of numbers"),
        ({"horizon": [7]}, "horizon has shape (1,); it must have shape ()"),
        ({"horizon": 2**31}, "horizon is 2.14748e+09; it must be an integer in [1, 2147483647]"),
    ],
)
def test_default_params_refuses_in_a_sentence(fields, message):
    assert refusal(GAME.default_params, **fields).startswith(message)


def test_the_nearest_name_is_suggested():
    assert refusal(GAME.default_params, pices=1).endswith("; did you mean pieces?")
    assert "did you mean" not in refusal(GAME.default_params, zzzz=1)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("price", 1e300, "price[0] is 1e+300, which float32 holds as inf; it must be a finite number ≥ 0"),
        ("price", 1e39, "price[0] is 1e+39, which float32 holds as inf; it must be a finite number ≥ 0"),
    ],
)
def test_what_float32_rounds_out_of_the_range_is_refused(name, value, message):
    """`validate` would refuse it afterwards."""
    assert refusal(GAME.default_params, **{name: value}) == message


def test_open_ends_stay_open_in_float32():
    game = jaxdlb.make("dlb", num_nodes=2, heartbeats="per_link")
    assert "holds as 0; it must be" in refusal(GAME.default_params, worth={"kind": "fading", "half_life": 1e-60})
    assert "holds as 1; it must be" in refusal(game.default_params, heartbeat_loss=1 - 1e-12)


# Under transformations


def test_params_can_be_made_while_jax_traces():
    """From numbers: their arrays are constants of the traced function."""

    def start(key):
        params = GAME.default_params(price=0.5, worth="fading")
        GAME.validate(params)
        return GAME.reset(key, params)[0], params

    state, params = jax.jit(start)(jax.random.key(0))
    assert state.left.tolist() == [3, 3, 3]
    assert params.price.tolist() == [0.5] * 3
    dlb = jaxdlb.make("dlb", num_nodes=3)
    shapes = jax.eval_shape(lambda: dlb.default_params(load=0.5))
    assert shapes.arrival_prob.shape == (3,)


@pytest.mark.parametrize("name", ["price", "skill", "horizon", "success_prob", "worth"])
@pytest.mark.parametrize("transform", [jax.jit, jax.vmap])
def test_a_traced_value_is_refused_in_a_sentence(name, transform):
    given = (lambda value: {"kind": "fading", "half_life": value}) if name == "worth" else (lambda value: value)
    made = transform(lambda value: GAME.default_params(**{name: given(value)}))
    text = refusal(made, jnp.ones(2))
    field = "worth.half_life" if name == "worth" else name
    assert text.startswith(f"{field} is traced, and parameters are checked on the host; it must be a number there")


def test_validate_refuses_traced_parameters_in_a_sentence():
    assert refusal(jax.jit(GAME.validate), PARAMS).startswith("success_prob is traced, and parameters are checked")


def test_params_can_be_stacked_and_mapped_over():
    batch = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(GAME.default_params(pieces=n) for n in (0, 1, 4)))
    states, timesteps = jax.jit(jax.vmap(GAME.reset, (None, 0)))(jax.random.key(0), batch)
    assert states.left[:, 0].tolist() == [0, 1, 4]
    assert timesteps.discount.tolist() == [0, 1, 1]
    assert "shape (3, 3)" in refusal(GAME.validate, batch)


# The same declarations for settings of plain types


@dataclasses.dataclass(frozen=True)
class Settings:
    """As a learner's."""

    rate: float = parameter(PROBABILITY, 0.5)
    rounds: int = parameter(COUNT, 4)
    heads: int = parameter(Interval(1, 8, integer=True), 4)
    widths: tuple[int, ...] = parameter(Interval(1, 2**31 - 1, integer=True), (8, 8))
    scale: float = parameter(POSITIVE, 1.0)
    shared: bool = parameter(SWITCH, True)
    kind: str = parameter(("mlp", "pointer"), "mlp")
    label: str = parameter(None, "run")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rate": 1.5}, "rate is 1.5; it must be a finite number in [0, 1]"),
        ({"rate": "x"}, "rate is 'x'; it must be a number or a list of numbers"),
        ({"rounds": -1}, "rounds is -1; it must be an integer ≥ 0"),
        ({"rounds": 2.0}, "rounds is 2.0; it must be an integer ≥ 0"),
        ({"rounds": 2**31}, "rounds is 2147483648; it must be at most 2147483647"),
        ({"scale": 1e39}, "scale is 1e+39, which float32 holds as inf; it must be a finite number > 0"),
        ({"heads": 9}, "heads is 9; it must be an integer in [1, 8]"),
        ({"heads": True}, "heads is True; it must be an integer in [1, 8]"),
        ({"heads": 2.5}, "heads is 2.5; it must be an integer in [1, 8]"),
        ({"widths": ()}, "widths is empty; it must hold at least one entry"),
        ({"widths": (8, 0)}, "widths[1] is 0; it must be an integer ≥ 1"),
        ({"shared": 1}, "shared is 1; it must be true or false"),
        ({"kind": "mpl"}, "kind is 'mpl'; it must be one of mlp, pointer; did you mean 'mlp'?"),
    ],
)
def test_settings_refuse_in_a_sentence(fields, message):
    parameters.check(Settings())
    assert refusal(parameters.check, Settings(**fields)) == message


def test_settings_of_any_value_are_not_checked():
    parameters.check(Settings(label=object()))


# What a declaration says of itself


def test_annotations_may_be_postponed():
    """As `from __future__ import annotations` in a user's module leaves them."""

    @struct.dataclass
    class Params:
        speed: 'Float[Array, " N"]' = parameter(POSITIVE_PROBABILITY, 0.5)
        delay: 'Int[Array, ""]' = parameter(COUNT, 1)

    globals().update(Params=Params)  # where Python looks for what a module's annotations name
    made = parameters.make(Params, GAME, {})
    assert (made.speed.shape, made.speed.dtype, made.delay.dtype) == ((3,), jnp.float32, jnp.int32)
    parameters.check(made, GAME)


def test_fixed_dimensions_are_written_as_numbers():
    @struct.dataclass
    class Params:
        matrix: Float[Array, "N 2"] = parameter(FINITE, 0.0)
        offset: Float[Array, "2 K"] = parameter(POSITIVE, np.ones((2, 4)))

    made = parameters.make(Params, GAME, {})
    assert (made.matrix.shape, made.offset.shape) == ((3, 2), (2, 4))
    assert (
        refusal(parameters.make, Params, GAME, {"matrix": [1, 2]}) == "matrix has shape (2,); it must have shape (3, 2)"
    )
    assert refusal(parameters.make, Params, GAME, {"offset": np.ones((3, 4))}).endswith("it must have shape (2, 4)")
