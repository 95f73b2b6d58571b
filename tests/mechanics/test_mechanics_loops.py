import jax
import jax.numpy as jnp
import numpy as np

from jaxdlb.mechanics.loops import while_any


def collatz(numbers):
    """How many steps each number takes to reach 1, by a loop whose body leaves a finished number alone."""

    def goes_on(step, carry):
        return jnp.any(carry[0] > 1)

    def body(step, carry):
        number, count = carry
        odd = number % 2 == 1
        after = jnp.where(odd, 3 * number + 1, number // 2)
        return jnp.where(number > 1, after, number), count + step * (number > 1)

    return while_any(goes_on, body, jnp.int32(1), (numbers, jnp.zeros_like(numbers)))[1]


def plain(number):
    count = 0
    while number > 1:
        number, count = 3 * number + 1 if number % 2 else number // 2, count + 1
    return count


NUMBERS = np.array([[1, 2, 7, 27], [97, 6, 1, 3]], np.int32)
EXPECTED = np.vectorize(plain)(NUMBERS)


def test_it_loops_until_nothing_is_left_to_do():
    np.testing.assert_array_equal(collatz(jnp.asarray(NUMBERS[0])), EXPECTED[0])


def test_a_batch_and_a_batch_of_batches_give_what_each_gives_alone():
    one_by_one = jax.vmap(lambda number: collatz(number[None])[0])
    np.testing.assert_array_equal(jax.jit(jax.vmap(collatz))(NUMBERS), EXPECTED)
    np.testing.assert_array_equal(jax.jit(jax.vmap(one_by_one))(NUMBERS), EXPECTED)


def test_constants_may_be_batched_or_not():
    def run(step, number):
        return while_any(lambda step, n: n < 10, lambda step, n: jnp.where(n < 10, n + step, n), step, number)

    both = jax.vmap(run)(jnp.array([3, 4]), jnp.array([0, 1]))
    np.testing.assert_array_equal(both, [12, 13])
    np.testing.assert_array_equal(jax.vmap(run, (None, 0))(jnp.int32(3), jnp.array([0, 1])), [12, 10])
    np.testing.assert_array_equal(jax.vmap(run, (0, None))(jnp.array([3, 4]), jnp.int32(1)), [10, 13])


def test_a_batch_copies_nothing_to_choose_between_old_and_new():
    program = jax.jit(jax.vmap(collatz)).lower(NUMBERS).as_text()
    looped = jax.jit(
        jax.vmap(lambda n: jax.lax.while_loop(lambda c: jnp.any(c > 1), lambda c: jnp.where(c > 1, c // 2, c), n))
    )
    assert program.count("stablehlo.while") == 1
    assert looped.lower(NUMBERS).as_text().count("stablehlo.select") > 1
