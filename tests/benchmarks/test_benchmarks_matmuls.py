"""Matrix products are found wherever a program hides them, and counted as often as they are made."""

import jax
import jax.numpy as jnp
import pytest

from benchmarks import matmuls
from benchmarks.timing import Timing

X, W = jnp.ones((6, 4)), jnp.ones((4, 5))


def test_a_product_counts_its_multiplications_and_additions():
    ((product, count),) = matmuls.products_of(jnp.matmul, X, W).items()
    assert (product.left, product.right, count) == ((6, 4), (4, 5), 1)
    assert product.flops == 2 * 6 * 4 * 5
    assert product.alone()().shape == (6, 5)


def test_batched_products_count_every_member():
    products = matmuls.products_of(jax.vmap(jnp.matmul), jnp.ones((3, 6, 4)), jnp.ones((3, 4, 5)))
    assert matmuls.total_flops(products) == 3 * 2 * 6 * 4 * 5


def test_products_in_loops_calls_and_gradients_are_found():
    def loss(w):
        step = jax.jit(lambda carry, _: (carry + jnp.sum(X @ w), None))
        return jax.lax.scan(step, 0.0, length=7)[0]

    assert matmuls.total_flops(matmuls.products_of(loss, W)) == 7 * 2 * 6 * 4 * 5
    backwards = matmuls.products_of(jax.grad(loss), W)
    assert {product.flops for product in backwards} == {2 * 6 * 4 * 5}
    assert max(backwards.values()) == 7  # the gradient of W, at every step


def test_their_time_alone_is_that_of_each_as_often_as_it_is_made():
    products = matmuls.products_of(lambda: (X @ W, X @ W, W.T @ W))
    once, twice = sorted(products, key=lambda product: products[product])
    alone = matmuls.seconds_alone(products, {once: Timing((1.0, 2.0)), twice: Timing((10.0, 20.0))})
    assert alone.seconds == pytest.approx((21.0, 42.0))
