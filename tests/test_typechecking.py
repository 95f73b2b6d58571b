"""What annotations promise is checked in every function that a test reaches: types, shapes and how these agree."""

import jax.numpy as jnp
import pytest
import typechecking
from beartype.roar import BeartypeCallHintViolation
from jaxtyping import Array, Float

from jaxdlb import checks
from jaxdlb.mechanics import chance


@typechecking.check_functions
def weighted(values: Float[Array, " N"], weights: list[Float[Array, " N"]]) -> Float[Array, " N"]:
    return jnp.concatenate([values * weight for weight in weights])


@pytest.mark.parametrize(
    ("shape", "weights"),
    [((2,), [jnp.ones(3)]), ((2,), [jnp.ones(2), jnp.ones(2)]), ((2,), [jnp.ones(2, int)]), ((2, 2), [jnp.ones(2)])],
    ids=["arguments that differ in length", "a longer result", "integers", "another axis"],
)
def test_shapes_and_dtypes_are_held_against_each_other(shape, weights):
    weighted(jnp.ones(2), [jnp.ones(2)])
    with pytest.raises(BeartypeCallHintViolation):
        weighted(jnp.ones(shape), weights)


def test_the_functions_of_the_library_are_checked_with_shapes_and_without():
    with pytest.raises(BeartypeCallHintViolation, match="standard_normal"):
        chance.standard_normal(jnp.ones(2, int))
    with pytest.raises(BeartypeCallHintViolation, match="check_size"):
        checks.check_size(3, 1, 1)
