import time

import jax
import jax.numpy as jnp
import pytest

from benchmarks import report, timing
from jaxdlb import memory
from jaxdlb.writing import quantity


def test_a_timing_is_the_time_of_one_call():
    timings = timing.measure(
        {"short": lambda: time.sleep(0.002), "long": lambda: time.sleep(0.02)}, repeats=3, min_seconds=0.01
    )
    # A sleep lasts at least as long as asked for, and on a busy machine longer.
    assert 0.002 <= timings["short"].spread.low <= timings["short"].spread.median <= timings["short"].spread.high
    assert timings["long"].spread.low >= 0.02
    assert timings["long"].ratio(timings["short"]).median > 1
    assert len(timings["short"].seconds) == 3


def test_rates_and_ratios_are_taken_repeat_by_repeat():
    fast, slow = timing.Timing((1.0, 2.0, 4.0)), timing.Timing((2.0, 4.0, 12.0))
    assert fast.rate(8) == timing.Spread(median=4.0, low=2.0, high=8.0)
    assert slow.ratio(fast) == timing.Spread(median=2.0, low=2.0, high=3.0)


def test_a_chain_goes_on_from_its_last_result():
    program = timing.compile_program(lambda x: x + 1, jnp.zeros(4), donate=(0,))
    chain = timing.Chain(program.run, jnp.zeros(4))
    for _ in range(3):
        chain()
    assert chain.carry.tolist() == [3.0] * 4
    assert program.compile_seconds > 0


def test_peak_memory_counts_what_a_call_holds():
    def peak_with(size):
        return timing.peak_memory(lambda: jnp.zeros(size, jnp.uint8) + jnp.uint8(1), jax.devices()[0]).num_bytes

    size = 256 * report.MIB
    small = peak_with(1)
    assert peak_with(size) - small > size / 2


def test_bytes_of_a_pytree_may_be_told_from_shapes_alone():
    tree = {"a": jax.ShapeDtypeStruct((3, 5), jnp.float32), "b": jax.ShapeDtypeStruct((7,), jnp.bool_)}
    assert memory.num_bytes(tree) == 3 * 5 * 4 + 7


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (12.345, "12.3"), (4321, "4.32k"), (2.5e6, "2.5M"), (7e9, "7G"), (-5000, "-5k")]
)
def test_quantities_have_three_digits(value, text):
    assert quantity(value) == text
