"""The laws by which arrivals vary: their factors in closed form, their states, their arrays."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference.episodes import assert_frequency

from jaxdlb import parameters
from jaxdlb.mechanics.arrivals import LAWS as BY_KIND
from jaxdlb.mechanics.arrivals import Constant, MarkovModulated, Modulation, Sinusoidal, Step, Trace

KEY = jax.random.key(0)
TRACE = [0.5, 1.0, 2.0, 4.0, 0.0]
LAWS = [Constant(), Sinusoidal(), Step(), MarkovModulated(), Trace(factors=TRACE)]


def as_arrays(law):
    return parameters.make(type(law), None, vars(law))


def factors(law, rounds, state=0):
    law = as_arrays(law)
    return np.asarray(jax.vmap(lambda r: law.factor(jnp.int32(state), r))(jnp.asarray(rounds)))


def test_constant_arrivals_do_not_vary():
    assert factors(Constant(), [0, 1, 1000]).tolist() == [1, 1, 1]


def test_a_sinusoid_has_its_amplitude_period_and_phase():
    law = Sinusoidal(amplitude=0.25, period=40.0)
    np.testing.assert_allclose(factors(law, [0, 10, 20, 30, 40]), [1, 1.25, 1, 0.75, 1], atol=1e-6)
    shifted = Sinusoidal(amplitude=0.25, period=40.0, phase=10.0)
    np.testing.assert_allclose(factors(shifted, [0, 10, 20]), [1.25, 1, 0.75], atol=1e-6)
    np.testing.assert_allclose(np.mean(factors(law, range(40))), 1, atol=1e-6)


LATE = [2**20 + 3, 2**24 + 1, 2**30 + 7, 2**31 - 1, 2**31 + 9, 2**32 - 1]  # as int32, the last two are negative


def late_factors(law, state=0):
    return factors(law, np.array(LATE, np.uint32).view(np.int32), state)


@pytest.mark.parametrize(("period", "phase"), [(1000.0, 0.0), (7.3, 2.5), (86400.5, -100.0), (2.0**25, 0.0)])
def test_a_sinusoid_keeps_its_phase_in_the_long_run(period, phase):
    law = Sinusoidal(amplitude=0.5, period=period, phase=phase)
    period = float(np.float32(period))
    exact = [1 + 0.5 * math.sin(2 * math.pi * (math.fmod(round, period) + phase) / period) for round in LATE]
    np.testing.assert_allclose(late_factors(law), exact, atol=2e-6)


@pytest.mark.parametrize("rounds_per_sample", [1, 3, 1000])
def test_a_trace_takes_the_right_sample_in_the_long_run(rounds_per_sample):
    law = Trace(factors=TRACE, rounds_per_sample=rounds_per_sample)
    exact = [TRACE[(4 + round // rounds_per_sample) % len(TRACE)] for round in LATE]
    np.testing.assert_array_equal(late_factors(law, state=4), exact)


def test_a_step_stays_taken_in_the_long_run():
    assert set(late_factors(Step(at=2**20, before=0.5, after=2.0))) == {2}
    assert late_factors(Step(at=2**31 - 1, before=0.5, after=2.0)).tolist() == [0.5] * 3 + [2] * 3


def test_a_step_happens_in_its_round():
    assert factors(Step(at=3, before=0.5, after=2.0), [0, 2, 3, 4, 99]).tolist() == [0.5, 0.5, 2, 2, 2]
    assert factors(Step(at=0, before=0.5, after=2.0), [0]).tolist() == [2]


def test_regimes_have_their_factors_and_start_calm():
    law = as_arrays(MarkovModulated(calm=0.25, busy=1.75))
    assert law.start(KEY) == 0
    assert (factors(law, [5], state=0), factors(law, [5], state=1)) == (0.25, 1.75)


def test_regimes_are_left_with_their_probabilities():
    law = as_arrays(MarkovModulated(calm_to_busy=0.1, busy_to_calm=0.4))
    keys = jax.random.split(jax.random.key(1), 20_000)
    for state, probability in ((0, 0.1), (1, 0.4)):
        after = np.asarray(jax.vmap(law.advance, in_axes=(0, None))(keys, jnp.int32(state)))
        assert set(np.unique(after)) == {0, 1}
        assert_frequency(after != state, np.ones(after.shape, bool), probability)


def test_regimes_hold_in_the_long_run_in_the_stationary_shares():
    """π(busy) = a / (a + b). A regime forgets itself as (1 − a − b)^k, which widens the standard error."""
    a, b, rounds = 0.05, 0.15, 100_000
    law = as_arrays(MarkovModulated(calm_to_busy=a, busy_to_calm=b))

    def advance(state, key):
        state = law.advance(key, state)
        return state, state

    _, states = jax.lax.scan(advance, jnp.int32(0), jax.random.split(jax.random.key(2), rounds))
    share = a / (a + b)
    error = math.sqrt(share * (1 - share) / rounds * (2 - a - b) / (a + b))
    assert abs(np.mean(states) - share) < 4.5 * error


def test_a_trace_holds_each_sample_for_its_rounds_and_begins_anew_at_its_end():
    law = Trace(factors=TRACE, rounds_per_sample=2)
    np.testing.assert_array_equal(factors(law, range(12)), np.repeat([*TRACE, TRACE[0]], 2))
    np.testing.assert_array_equal(factors(law, range(4), state=4), [0.0, 0.0, 0.5, 0.5])


def test_a_trace_starts_at_any_sample_alike_or_at_the_first():
    keys = jax.random.split(jax.random.key(3), 10_000)
    starts = np.asarray(jax.vmap(as_arrays(Trace(factors=TRACE, random_start=True)).start)(keys))
    for sample in range(5):
        assert_frequency(starts == sample, np.ones(starts.shape, bool), 1 / 5)
    assert not np.any(jax.vmap(as_arrays(Trace(factors=TRACE, random_start=False)).start)(keys))


@pytest.mark.parametrize(
    "law", [Constant(), Sinusoidal(), Step(), Trace(factors=TRACE)], ids=lambda law: type(law).__name__
)
def test_laws_without_regimes_keep_their_state(law):
    assert as_arrays(law).advance(KEY, jnp.int32(3)) == 3


@pytest.mark.parametrize("law", LAWS, ids=lambda law: type(law).__name__)
def test_every_law_keeps_the_interface_and_its_types(law):
    assert isinstance(law, Modulation)
    parameters.check(law)
    law = as_arrays(law)
    parameters.check(law)
    state = law.start(KEY)
    for value, dtype in ((state, jnp.int32), (law.advance(KEY, state), jnp.int32)):
        assert (value.shape, value.dtype) == ((), dtype)
    factor = law.factor(state, jnp.int32(1))
    assert (factor.shape, factor.dtype) == ((), jnp.float32)


def test_arrays_are_of_the_annotated_kind_whatever_was_given():
    law = as_arrays(Trace(factors=[1, 2], rounds_per_sample=np.int64(3), random_start=0))
    assert [leaf.dtype for leaf in jax.tree.leaves(law)] == [jnp.float32, jnp.int32, jnp.bool_]
    assert as_arrays(Step(at=2, before=1, after=2)).before.dtype == jnp.float32


def test_every_law_has_a_kind_and_the_first_is_constant():
    assert {type(law) for law in LAWS} == set(BY_KIND.values())
    assert next(iter(BY_KIND.values())) is Constant
