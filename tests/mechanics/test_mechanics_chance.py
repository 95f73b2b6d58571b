"""Random numbers by counter: the generator of `jax.random`, whose two words are both used."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.random import threefry_2x32
from scipy import stats

from benchmarks.reference import plain
from jaxdlb.mechanics import chance

KEY = jax.random.key(7)


def test_the_hash_is_that_of_jax():
    counters = jax.random.bits(jax.random.key(1), (2, 1000), jnp.uint32)
    key = jnp.array([0x12345678, 0x9ABCDEF0], jnp.uint32)
    expected = threefry_2x32(key, counters.ravel()).reshape(2, 1000)
    assert jnp.array_equal(jnp.stack(chance.threefry((key[0], key[1]), (counters[0], counters[1]))), expected)


@pytest.mark.parametrize("data", [0, 1, 12345, 2**31 - 1])
def test_folding_in_gives_the_key_that_jax_gives(data):
    assert chance.fold_in(KEY, data) == plain.fold_in(KEY, data)


def test_keys_of_another_generator_give_numbers_too():
    key = jax.random.key(3, impl="rbg")
    assert not jnp.array_equal(*chance.uniforms(key, 2, 100))
    assert jax.random.key_impl(chance.fold_in(key, 1)) == jax.random.key_impl(KEY)


def test_numbers_do_not_depend_on_how_many_are_drawn_nor_on_the_batch():
    three, five = chance.uniforms(KEY, 3, 50), chance.uniforms(KEY, 5, 80)
    for few, many in zip(three, five, strict=False):
        assert jnp.array_equal(few, many[:50])
    keys = jax.random.split(KEY, 4)
    batched = jax.vmap(lambda key: chance.uniforms(key, 2, 50))(keys)
    assert jnp.array_equal(batched[1][2], chance.uniforms(keys[2], 2, 50)[1])


@pytest.mark.parametrize("form", [chance.uniforms, plain.uniforms])
def test_numbers_are_uniform_and_independent(form):
    numbers = np.asarray(form(KEY, 4, 200_000))
    assert numbers.min() >= 0 and numbers.max() < 1
    for row in numbers:
        assert stats.kstest(row, "uniform").pvalue > 1e-3
    off_diagonal = np.corrcoef(numbers)[~np.eye(4, dtype=bool)]
    assert np.abs(off_diagonal).max() < 4.5 / np.sqrt(200_000)
    cells = np.histogram2d(numbers[0], numbers[1], bins=20)[0]
    assert stats.chisquare(cells.ravel()).pvalue > 1e-3


def test_a_key_gives_numbers_and_keys_that_share_no_hash():
    folded = jax.random.key_data(jax.vmap(chance.fold_in, (None, 0))(KEY, jnp.arange(1000)))
    words = {int(word) >> 8 for word in np.asarray(folded).ravel()}
    drawn = {int(number * 2**24) for numbers in chance.uniforms(KEY, 4, 1000) for number in numbers}
    assert len(words & drawn) < 10  # of 16 million values, by chance


@pytest.mark.parametrize("num", [1, 2, 5])
def test_rows_are_the_same_numbers_in_one_array(num):
    rows = chance.uniform_rows(KEY, num, 30)
    assert rows.shape == (num, 30)
    assert jnp.array_equal(rows, jnp.stack(chance.uniforms(KEY, num, 30)))


def test_entries_by_name_are_those_of_the_arrays():
    entries = np.array([[0, 7, 3], [7, 49, 49]])
    arrays = chance.uniforms(KEY, 3, 50)
    for array, named in zip(arrays, chance.uniforms_of(KEY, 3, entries), strict=True):
        assert jnp.array_equal(named, array[entries])


def test_a_pair_is_one_entry_of_two_arrays_under_a_key_of_its_own():
    keys = jax.random.split(KEY, 3)
    first, second = (jnp.stack(words) for words in zip(*map(chance.key_words, keys), strict=True))
    entry = jnp.array([4, 0, 29])
    for pair in (0, 2):
        found = jax.jit(chance.uniform_pair)((first, second), entry, jnp.int32(pair))
        for which, number in enumerate(found):
            arrays = [chance.uniforms(key, 6, 30)[2 * pair + which] for key in keys]
            assert number.tolist() == [float(array[each]) for array, each in zip(arrays, entry, strict=True)]


def test_the_words_of_a_key_are_its_data():
    assert [int(word) for word in chance.key_words(KEY)] == jax.random.key_data(KEY).tolist()


def test_normal_numbers_are_the_quantiles_of_the_middles_of_cells():
    u = np.concatenate([np.arange(5) * 2.0**-24, 1 - np.arange(1, 6) * 2.0**-24, chance.uniforms(KEY, 1, 1000)[0]])
    found = np.asarray(chance.standard_normal(jnp.asarray(u, jnp.float32)))
    np.testing.assert_allclose(found, stats.norm.ppf(u + 2.0**-25), rtol=2e-6, atol=1e-6)
    assert stats.kstest(chance.normals(KEY, 2, 100_000)[1], "norm").pvalue > 1e-3
