"""Counter-based random numbers: Threefry-2x32 with 20 rounds (Salmon et al. 2011, doi 10.1145/2063384.2063405).

The generator is that of `jax.random`, with both words of each hash used. `jax.random` compiles it to a loop on the CPU;
here it is plain arithmetic that fuses with the code around it. With `jax.random`, the same draws take 1.2 to 3.4 times
as long, depending on the processor (`benchmarks.growth`), and a whole round of `dlb` 1.1 to 1.3 times as long
(`benchmarks.forms`).
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import erfinv
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt32

from jaxdlb.checks import shown

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = np.uint32(0x1BD11BDA)
_NUM_ROUNDS = 20
_NUMBERS = np.uint32(2**31)  # counters for numbers are above those for keys, so one key may give both
_HALF_CELL = 2.0**-24  # half the distance between two uniform numbers, once they are stretched to [−1, 1)

Words = UInt32[Array, "..."]
KeyWords = tuple[Words, Words]  # of keys


def check_key(name: str, key: Any) -> None:
    """Raise ValueError unless `key` is one key, such as `jax.random.key(0)`, or the two words of one."""
    dtype, shape = getattr(key, "dtype", None), getattr(key, "shape", None)
    is_key = dtype is not None and jax.dtypes.issubdtype(dtype, jax.dtypes.prng_key) and shape == ()
    if not is_key and (dtype, shape) != (np.dtype(np.uint32), (2,)):
        raise ValueError(f"{name} is {shown(key)}; it must be one key, such as jax.random.key(0)")


def threefry(key: KeyWords, counter: tuple[Words, Words]) -> tuple[Words, Words]:
    """The hash of each counter under each key, two words from two words; shapes broadcast."""
    schedule = (*key, key[0] ^ key[1] ^ _PARITY)
    x, y = counter[0] + schedule[0], counter[1] + schedule[1]
    for block in range(_NUM_ROUNDS // 4):
        for distance in _ROTATIONS[block % 2]:
            x = x + y
            y = x ^ ((y << distance) | (y >> (32 - distance)))
        x = x + schedule[(block + 1) % 3]
        y = y + schedule[(block + 2) % 3] + np.uint32(block + 1)
    return x, y


def fold_in(key: PRNGKeyArray, data: int | Int[Array, ""]) -> PRNGKeyArray:
    """A key from a key and a number below 2³¹; for Threefry keys, the same key that `jax.random.fold_in` gives."""
    words = threefry(key_words(key), (jnp.uint32(0), jnp.asarray(data).astype(jnp.uint32)))
    return jax.random.wrap_key_data(jnp.stack(words), impl="threefry2x32")


def uniforms(key: PRNGKeyArray, num: int, size: int) -> list[Float[Array, " size"]]:
    """`num` arrays of independent numbers, uniform on the multiples of 2⁻²⁴ in [0, 1).

    Entry i of arrays 2k and 2k + 1 comes from the hash of the counter (i, 2³¹ + k), so it does not depend on `size`.
    """
    evens, odds = _pairs(key, (num + 1) // 2, size)
    return [(odds if k % 2 else evens)[k // 2] for k in range(num)]


def uniform_rows(key: PRNGKeyArray, num: int, size: int) -> Float[Array, "num size"]:
    """The arrays of `uniforms` as rows of one array, which compiles several times faster if there are dozens."""
    return jnp.stack(_pairs(key, (num + 1) // 2, size), axis=1).reshape(-1, size)[:num]


def uniform_pair(
    key: KeyWords, entry: Int[Array, "*#S"], pair: Int[Array, "*#S"]
) -> tuple[Float[Array, "*#S"], Float[Array, "*#S"]]:
    """That entry of the arrays 2 `pair` and 2 `pair` + 1 of `uniforms`, each under a key of its own.

    The two words of the keys, uint32, come from `key_words`; all shapes broadcast.
    """
    counter = entry.astype(jnp.uint32), _NUMBERS + pair.astype(jnp.uint32)
    even, odd = (_uniform(word) for word in threefry(key, counter))
    return even, odd


def uniforms_of(key: PRNGKeyArray, num: int, entries: Int[np.ndarray, "*S"]) -> list[Float[Array, "*S"]]:
    """Those entries of the arrays of `uniforms`; entries that are named more than once are equal."""
    evens, odds = _hashed(key, (num + 1) // 2, jnp.asarray(entries, jnp.uint32))
    return [(odds if k % 2 else evens)[k // 2] for k in range(num)]


def normals(key: PRNGKeyArray, num: int, size: int) -> list[Float[Array, " size"]]:
    """`num` arrays of independent standard normal numbers, made of the uniform numbers that `uniforms` gives."""
    return [standard_normal(u) for u in uniforms(key, num, size)]


def standard_normal(u: Float[Array, "*S"]) -> Float[Array, "*S"]:
    """Standard normal numbers by inversion of uniform ones, multiples of 2⁻²⁴ in [0, 1).

    Each stands for the middle of its cell of 2⁻²⁴, so the law is symmetric, and ends at ±5.42.
    """
    return jnp.sqrt(jnp.float32(2)) * erfinv((2 * u - 1) + _HALF_CELL)


def _pairs(key: PRNGKeyArray, num_pairs: int, size: int) -> tuple[Float[Array, "P size"], Float[Array, "P size"]]:
    """The two uniform numbers from each hash."""
    return _hashed(key, num_pairs, jnp.arange(size, dtype=jnp.uint32))


def _hashed(
    key: PRNGKeyArray, num_pairs: int, entries: UInt32[Array, "..."]
) -> tuple[Float[Array, "P ..."], Float[Array, "P ..."]]:
    """The two uniform numbers from each hash, for these entries."""
    pair = _NUMBERS + jnp.arange(num_pairs, dtype=jnp.uint32).reshape(-1, *[1] * entries.ndim)
    evens, odds = map(_uniform, threefry(key_words(key), (entries, pair)))
    return evens, odds


def _uniform(word: Words) -> Float[Array, "..."]:
    """The upper 24 bits as a number in [0, 1)."""
    return (word >> 8).astype(jnp.float32) * 2.0**-24


def key_words(key: PRNGKeyArray) -> tuple[UInt32[Array, ""], UInt32[Array, ""]]:
    """The two words of a key."""
    data = jax.random.key_data(key)
    return data[0], data[-1]
