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


def test_pytrees_go_in_and_come_out_with_what_is_batched_in_them_and_what_is_not():
    def mix(both, factor):
        SEEN.append((both["column"].shape, both["flag"].shape, factor[0].shape))
        kept = jnp.where(both["flag"], both["column"] * factor[0], 0)
        return {"sum": jnp.sum(kept, axis=0), "both": (kept, both["flag"])}

    column, flag, factor = jnp.arange(24.0).reshape(4, 2, 3), jnp.array([True, False, True]), jnp.arange(12.0)
    SEEN.clear()
    both, factor = {"column": column, "flag": flag}, (factor.reshape(4, 3),)
    found = jax.jit(jax.vmap(lambda *given: in_one_row(mix, *given), ({"column": 0, "flag": None}, 0)))(both, factor)
    assert SEEN[-1] == ((2, 12), (12,), (12,))
    kept = np.where(flag, column * factor[0][:, None], 0)
    np.testing.assert_array_equal(found["both"][0], kept)
    np.testing.assert_array_equal(found["both"][1], np.broadcast_to(flag, (4, 3)))
    np.testing.assert_array_equal(found["sum"], kept.sum(1))


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
