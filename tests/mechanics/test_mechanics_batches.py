"""Batches in one row: every place gets what it gets alone, however the batch came about."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxdlb.mechanics.batches import in_one_row

SEEN = []  # the shapes that the function was traced with; the last is what is compiled


def sums(columns, factor):
    """For each place on the last axis, the sum of its column and all of it times a factor."""
    SEEN.append((columns.shape, factor.shape))
    return {"sum": jnp.sum(columns, axis=0), "scaled": columns * factor}


def run(columns, factor):
    return in_one_row(sums, columns, factor)


def test_a_batch_of_batches_stands_in_one_row_and_gives_what_each_member_gives_alone():
    draws = np.random.default_rng(0)
    columns = jnp.asarray(draws.normal(size=(4, 3, 2, 5)), jnp.float32)  # 4 × 3 members with 5 places of 2 entries
    factor = jnp.asarray(draws.normal(size=(3, 5)), jnp.float32)
    SEEN.clear()
    together = jax.jit(jax.vmap(jax.vmap(run), (0, None)))(columns, factor)
    assert SEEN[-1] == ((2, 60), (60,))
    assert together["sum"].shape == (4, 3, 5)
    np.testing.assert_allclose(together["sum"], np.asarray(columns).sum(2), rtol=1e-6)
    np.testing.assert_array_equal(together["scaled"], columns * factor[None, :, None])


def test_an_axis_in_the_middle_is_found_too():
    columns, factor = jnp.arange(24.0).reshape(2, 4, 3), jnp.arange(3.0)
    found = jax.vmap(run, (1, None), 1)(columns, factor)["scaled"]
    np.testing.assert_array_equal(found, columns * factor)


def test_alone_it_is_the_function():
    columns, factor = jnp.arange(6.0).reshape(2, 3), jnp.arange(3.0)
    np.testing.assert_array_equal(run(columns, factor)["sum"], columns.sum(0))


def test_derivatives_are_those_of_the_function_alone_and_in_batches():
    columns, factor = jnp.arange(12.0).reshape(2, 2, 3), jnp.arange(3.0)

    def total(columns, factor):
        return jnp.sum(jnp.sin(run(columns, factor)["scaled"]))

    together = jax.jit(jax.vmap(jax.grad(total), (0, None)))(columns, factor)
    np.testing.assert_allclose(together, factor * jnp.cos(columns * factor), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(jax.grad(total)(columns[1], factor), together[1], rtol=1e-5, atol=1e-6)
