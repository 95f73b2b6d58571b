"""Looking up, adding and counting, against the obvious forms, on both sides of the size where the way changes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdlb.mechanics import indexing

SIZES = [1, 2, indexing.FEW, indexing.FEW + 1, 100]


def random_integers(seed, size, low, high):
    return jax.random.randint(jax.random.key(seed), (size,), low, high)


@pytest.mark.parametrize("size", SIZES)
def test_take_is_indexing(size):
    x, index = random_integers(0, size, -50, 50), random_integers(1, 40, 0, size)
    taken = indexing.take(x, index)
    assert taken.tolist() == [int(x[i]) for i in index]
    assert taken.dtype == x.dtype


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", [bool, jnp.int32])
def test_add_at_adds_every_amount_one_after_the_other(size, kind):
    x, index = random_integers(0, size, -50, 50), random_integers(1, 40, 0, size)
    amount = random_integers(2, 40, -3, 4).astype(kind)
    expected = np.array(x)
    for place, each in zip(np.asarray(index), np.asarray(amount), strict=True):
        expected[place] += each
    added = indexing.add_at(x, index, amount)
    assert added.tolist() == expected.tolist()
    assert added.dtype == x.dtype


@pytest.mark.parametrize("size", SIZES)
def test_rotate_begins_anywhere(size):
    x = random_integers(0, size, 0, 1000)
    for by in {0, 1, size // 2, size}:
        assert indexing.rotate(x, jnp.int32(by)).tolist() == np.roll(np.asarray(x), -by).tolist()


@pytest.mark.parametrize("size", [1, 3, 15, 16, 100, 5000, 70_000])
@pytest.mark.parametrize("num_arrays", [1, 5, 9])
def test_count_each_counts_each(size, num_arrays):
    flags = [jax.random.bernoulli(jax.random.key(k), k / 8, (size,)) for k in range(num_arrays)]
    flags[-1] = jnp.ones(size, bool)
    assert [int(count) for count in indexing.count_each(flags)] == [int(np.sum(flag)) for flag in flags]
