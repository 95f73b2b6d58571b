import jax
import jax.numpy as jnp
import numpy as np

from jaxdlb.mechanics.rounding import settled


def test_what_is_settled_is_the_rounded_product():
    random = np.random.default_rng(0)
    left, right = (jnp.asarray(random.normal(size=1000), jnp.float32) for _ in range(2))
    count = jnp.asarray(random.integers(0, 10, 1000), jnp.int32)
    np.testing.assert_array_equal(jax.jit(settled)(left * right, count), np.asarray(left) * np.asarray(right))
