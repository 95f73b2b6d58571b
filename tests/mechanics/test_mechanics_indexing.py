"""Adding at indices, in our form and in the obvious one, on both sides of the size where ours changes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.reference import plain
from jaxdlb.mechanics import indexing


def random_integers(seed, size, low, high):
    return jax.random.randint(jax.random.key(seed), (size,), low, high)


@pytest.mark.parametrize("form", [indexing.add_at, plain.add_at])
@pytest.mark.parametrize("size", [1, 2, indexing.FEW, indexing.FEW + 1, 100])
@pytest.mark.parametrize("kind", [bool, jnp.int32])
def test_add_at_adds_every_amount_one_after_the_other(form, size, kind):
    x, index = random_integers(0, size, -50, 50), random_integers(1, 40, 0, size)
    amount = random_integers(2, 40, -3, 4).astype(kind)
    expected = np.array(x)
    for place, each in zip(np.asarray(index), np.asarray(amount), strict=True):
        expected[place] += each
    added = form(x, index, amount)
    assert added.tolist() == expected.tolist()
    assert added.dtype == x.dtype
