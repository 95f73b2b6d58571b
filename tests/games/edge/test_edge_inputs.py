"""The laws of input rates, against plain formulas and the statistics that they state."""

import functools
import math
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxdlb import parameters
from jaxdlb.games.edge.inputs import (
    LAWS,
    Constant,
    InputLaw,
    Linear,
    Normal,
    RandomLinear,
    Recorded,
    Sinusoidal,
    Step,
)

KEY = jax.random.key(3)
POOL = np.arange(15.0).reshape(3, 5)
MANY = 2000


def sizes(num_nodes):
    return types.SimpleNamespace(dims={"N": num_nodes}, num_nodes=num_nodes, name="edge")


def made(type_, num_nodes=4, **fields):
    given = {"pool": POOL} | fields if type_ is Recorded else fields
    return parameters.make(type_, sizes(num_nodes), given)


@functools.partial(jax.jit, static_argnames=("num_nodes", "steps"))
def _play(law, key, num_nodes, steps):
    state = law.start(jax.random.fold_in(key, 0), num_nodes)
    keys = jax.random.split(jax.random.fold_in(key, 1), steps)
    return state, jax.vmap(law.rates, in_axes=(0, None, 0))(keys, state, jnp.arange(steps))


def play(law, num_nodes=4, steps=12, key=KEY):
    """The state that one episode starts with, and its rates [T, N]."""
    state, rates = _play(law, key, num_nodes, steps)
    return jax.tree.map(np.asarray, state), np.asarray(rates)


@jax.jit
def _start(law, keys):
    return jax.vmap(lambda key: law.start(key, 4))(keys)


def starts(law, num=MANY):
    """The states that many episodes start with."""
    return jax.tree.map(np.asarray, _start(law, jax.random.split(KEY, num)))


def test_the_defaults_are_those_of_the_source():
    even_odd = {
        "constant": {"rate": [5, 100]},
        "step": {"at": 144, "before": [5, 100], "after": [70, 30]},
        "linear": {"start_rate": [5, 1], "end_rate": [5, 150], "length": 288},
        "random_linear": {"low": 1, "high": 150, "length": 288},
        "normal": {"mean": [61, 61], "deviation": [32, 32]},
        "recorded": {"steps_per_sample": 1, "random_start": False, "scale": 1},
        "sinusoidal": {
            **{"mean": [70, 70], "amplitude": [65, 65], "period": 288},
            **{"noise_low": np.float32(0.05), "noise_high": np.float32(0.1), "shuffle": True},
        },
    }
    assert set(even_odd) == set(LAWS) and next(iter(LAWS)) == "sinusoidal"
    for kind, fields in even_odd.items():
        law = made(LAWS[kind], 5)
        for name, value in fields.items():
            expected = [value[i % 2] for i in range(5)] if isinstance(value, list) else value
            assert np.asarray(getattr(law, name)).tolist() == expected, (kind, name)


def test_constant_rates_do_not_vary():
    assert play(made(Constant, 2, rate=[3, 0.5]), 2, 3)[1].tolist() == [[3, 0.5]] * 3


def test_a_step_happens_in_its_step():
    rates = play(made(Step, 2, at=3, before=[1, 2], after=[7, 0]), 2, 5)[1]
    assert rates.tolist() == [[1, 2]] * 3 + [[7, 0]] * 2
    assert play(made(Step, 2, at=0), 2, 1)[1].tolist() == [[70, 30]]


def test_a_line_is_straight_and_then_stays():
    rates = play(made(Linear, 3, start_rate=[5, 1, 9], end_rate=[5, 150, 2], length=8), 3, 11)[1]
    for t, row in enumerate(rates):
        share = min(t, 7) / 7
        np.testing.assert_allclose(row, [5, 1 + share * 149, 9 - share * 7], rtol=1e-6)
    assert rates[0].tolist() == [5, 1, 9] and rates[7:].tolist() == [[5, 150, 2]] * 4


def test_a_random_line_goes_between_whole_numbers_that_are_all_as_likely():
    law = made(RandomLinear, low=3, high=9, length=4)
    ends = starts(law)
    for drawn in (ends.start_rate, ends.end_rate):
        values, counts = np.unique(drawn, return_counts=True)
        assert values.tolist() == [3, 4, 5, 6, 7, 8, 9]
        assert stats.chisquare(counts).pvalue > 1e-3
    assert abs(np.corrcoef(ends.start_rate.ravel(), ends.end_rate.ravel())[0, 1]) < 4.5 / math.sqrt(4 * MANY)
    state, rates = play(law)
    line = [state.start_rate + min(t, 3) / 3 * (state.end_rate - state.start_rate) for t in range(12)]
    np.testing.assert_allclose(rates, line, rtol=1e-6)


def test_a_random_line_may_have_but_one_rate_and_may_have_them_all():
    assert np.all(starts(made(RandomLinear, low=46_340, high=46_340)).end_rate == 46_340)
    ends = starts(made(RandomLinear, low=0, high=46_340)).start_rate
    assert stats.kstest(ends.ravel() / 46_340, "uniform").pvalue > 1e-3
    assert np.array_equal(ends, np.round(ends))


def test_waves_follow_the_formula_without_noise():
    law = made(Sinusoidal, mean=[10, 20, 30, 40], amplitude=[1, 2, 3, 0], period=6.5, noise_low=0, noise_high=0)
    for shuffle in (True, False):
        state, rates = play(law.replace(shuffle=jnp.asarray(shuffle)))
        assert sorted(state.phase.tolist()) == [0, 0.25, 0.5, 0.75]
        exact = [
            [m + a * math.sin(2 * math.pi * (t / 6.5 + float(phase))) for m, a, phase in zip(*each, strict=True)]
            for t in range(12)
            for each in [([10, 20, 30, 40], [1, 2, 3, 0], state.phase)]
        ]
        np.testing.assert_allclose(rates, exact, atol=2e-5)
    assert state.phase.tolist() == [0, 0.25, 0.5, 0.75]


def test_every_order_of_the_phases_is_as_likely():
    phases = starts(made(Sinusoidal), 4800).phase
    orders, counts = np.unique(phases, axis=0, return_counts=True)
    assert len(orders) == 24
    assert stats.chisquare(counts).pvalue > 1e-3


def test_the_noise_of_waves_is_a_share_of_the_amplitude_that_each_node_draws():
    law = made(Sinusoidal, mean=0, amplitude=[1, 2, 4, 8], noise_low=0.5, noise_high=2.0)
    noise = starts(law).noise
    assert stats.kstest((noise.ravel() - 0.5) / 1.5, "uniform").pvalue > 1e-3
    state, rates = play(law, steps=4000)
    wave = np.sin(2 * np.pi * (np.arange(4000)[:, None] / 288 + state.phase))
    z = (rates / [1, 2, 4, 8] - wave) / state.noise
    assert stats.kstest(z.ravel(), "norm").pvalue > 1e-3


def test_a_wave_keeps_its_phase_in_the_long_run():
    law = made(Sinusoidal, mean=0, amplitude=1, noise_low=0, noise_high=0, shuffle=False)
    late = [2**24 + 1, 2**31 - 1]
    state, _ = play(law)
    rates = jax.jit(jax.vmap(law.rates, in_axes=(None, None, 0)))(KEY, state, jnp.asarray(late))
    exact = [[math.sin(2 * math.pi * ((step % 288) / 288 + i / 4)) for i in range(4)] for step in late]
    np.testing.assert_allclose(rates, exact, atol=5e-6)


def test_normal_rates_are_normal_and_independent_of_each_other_and_over_time():
    _, rates = play(made(Normal, mean=[1, 20, 300, 4], deviation=[1, 5, 60, 0]), steps=4000)
    assert np.all(rates[:, 3] == 4)
    z = (rates[:, :3] - [1, 20, 300]) / [1, 5, 60]
    assert stats.kstest(z.ravel(), "norm").pvalue > 1e-3
    pairs = np.corrcoef(np.concatenate([z[1:], z[:-1]], axis=1).T)[~np.eye(6, dtype=bool)]
    assert np.abs(pairs).max() < 4.5 / math.sqrt(4000)


def test_rows_of_a_record_are_played_from_where_each_node_begins():
    law = made(Recorded, steps_per_sample=2, random_start=True, scale=3)
    state, rates = play(law, 8)
    exact = [[3 * POOL[r, (o + t // 2) % 5] for r, o in zip(state.row, state.offset, strict=True)] for t in range(12)]
    np.testing.assert_array_equal(rates, exact)
    state, rates = play(made(Recorded))
    assert not np.any(state.offset)
    np.testing.assert_array_equal(rates, [POOL[state.row, t % 5] for t in range(12)])


def test_offsets_are_all_as_likely():
    counts = np.bincount(starts(made(Recorded, random_start=True)).offset.ravel(), minlength=5)
    assert len(counts) == 5 and stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize("num_rows", [1, 3, 4, 9])
def test_rows_are_all_different_as_far_as_there_are_rows_and_all_as_likely(num_rows):
    rows = starts(made(Recorded, pool=np.ones((num_rows, 2)))).row
    for node in rows.T:
        assert num_rows == 1 or stats.chisquare(np.bincount(node, minlength=num_rows)).pvalue > 1e-4
    least, most = 4 // num_rows, -(-4 // num_rows)
    for drawn in rows:
        times = np.bincount(drawn, minlength=num_rows)
        assert least <= times.min() and times.max() <= most


@pytest.mark.parametrize("kind", [kind for kind in LAWS if kind != "sinusoidal"])
def test_what_a_node_meets_does_not_depend_on_how_many_there_are(kind):
    fields = {"random_start": True} if kind == "recorded" else {}
    few, many = (play(made(LAWS[kind], num, **fields), num)[1] for num in (4, 8))
    np.testing.assert_array_equal(few, many[:, :4])


def test_the_noise_of_a_wave_does_not_depend_on_how_many_there_are():
    few, many = (play(made(Sinusoidal, num, mean=0, shuffle=False), num) for num in (4, 8))
    np.testing.assert_array_equal(few[0].noise, many[0].noise[:4])
    clean = [play(made(Sinusoidal, num, mean=0, shuffle=False, noise_low=0, noise_high=0), num) for num in (4, 8)]
    few, many = (noisy[1] - pure[1] for noisy, pure in zip((few, many), clean, strict=True))
    np.testing.assert_allclose(few, many[:, :4], atol=1e-4)


@pytest.mark.parametrize("kind", LAWS)
def test_every_law_keeps_the_interface_under_vmap_over_different_parameters(kind):
    """A batch of laws plays as each of them alone."""
    fields = {"recorded": {"steps_per_sample": 2}, "step": {"at": 2}}.get(kind, {})
    one, other = made(LAWS[kind], **fields), made(LAWS[kind]).scaled(0.5)
    assert isinstance(one, InputLaw)
    batch = jax.tree.map(lambda *leaves: jnp.stack(leaves), one, other)
    keys = jnp.stack([KEY, jax.random.key(4)])
    _, together = jax.vmap(lambda law, key: _play(law, key, 4, 12))(batch, keys)
    assert together.dtype == jnp.float32 and together.shape == (2, 12, 4)
    for law, key, rates in zip((one, other), keys, together, strict=True):
        np.testing.assert_allclose(rates, play(law, key=key)[1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", LAWS)
def test_rates_of_a_scaled_law_are_so_many_times_as_high(kind):
    law = made(LAWS[kind], 4)
    scaled = jax.jit(lambda law, factor: law.scaled(factor))(law, 2.0)
    scaled.validate(4)
    assert jax.tree.structure(scaled) == jax.tree.structure(law)
    assert [leaf.dtype for leaf in jax.tree.leaves(scaled)] == [leaf.dtype for leaf in jax.tree.leaves(law)]
    if kind == "random_linear":
        assert (int(scaled.low), int(scaled.high), int(scaled.length)) == (2, 300, 288)
    else:
        np.testing.assert_allclose(play(scaled)[1], 2 * play(law)[1], rtol=1e-5, atol=1e-4)


def test_whole_numbers_are_scaled_to_whole_numbers_half_to_even():
    law = made(RandomLinear, low=1, high=7).scaled(1.5)
    assert [(each.dtype, int(each)) for each in (law.low, law.high)] == [(jnp.int32, 2), (jnp.int32, 10)]


def refused(law, says, num_nodes=4):
    with pytest.raises(ValueError) as error:
        law.validate(num_nodes)
    assert str(error.value) == says


@pytest.mark.parametrize("kind", LAWS)
def test_the_defaults_are_accepted_at_one_node_and_at_many(kind):
    for num_nodes in (1, 7):
        made(LAWS[kind], num_nodes).validate(num_nodes)


NEVER_ABOVE = "; it must be a finite number in [0, 1e+12]"


@pytest.mark.parametrize(
    ("kind", "fields", "says"),
    [
        ("constant", {"rate": np.ones(3)}, "rate has shape (3,); it must have shape (4,)"),
        ("constant", {"rate": np.array([1, 2, -3, 4.0])}, f"rate[2] is -3{NEVER_ABOVE}"),
        ("normal", {"mean": np.array([1, np.inf, 3, 4])}, f"mean[1] is inf{NEVER_ABOVE}"),
        ("normal", {"deviation": np.full(4, np.nan)}, f"deviation[0] is nan{NEVER_ABOVE}"),
        ("sinusoidal", {"amplitude": -np.ones(4)}, f"amplitude[0] is -1{NEVER_ABOVE}"),
        ("sinusoidal", {"period": 1.0}, "period is 1; it must be a finite number ≥ 2"),
        ("sinusoidal", {"noise_low": 0.3}, "noise_low is 0.3; it must be at most noise_high, which is 0.1"),
        ("sinusoidal", {"shuffle": 2}, "shuffle is 2; it must be true or false"),
        ("step", {"at": -1}, "at is -1; it must be an integer in [0, 2147483647]"),
        ("step", {"after": np.ones((4, 1))}, "after has shape (4, 1); it must have shape (4,)"),
        ("linear", {"end_rate": np.ones(5)}, "end_rate has shape (5,); it must have shape (4,)"),
        ("linear", {"length": 1}, "length is 1; it must be an integer in [2, 2147483647]"),
        ("random_linear", {"low": 7, "high": 6}, "low is 7; it must be at most high, which is 6"),
        ("random_linear", {"low": 0.5}, "low is 0.5; it must be an integer in [0, 46340]"),
        ("random_linear", {"high": 46_341}, "high is 46341; it must be an integer in [0, 46340]"),
        ("recorded", {"pool": np.ones((0, 5))}, "pool is empty; it must hold at least one sample"),
        ("recorded", {"pool": np.ones((2, 0))}, "pool is empty; it must hold at least one sample"),
        ("recorded", {"pool": np.array([[1, 2], [3, -4.0]])}, f"pool[1, 1] is -4{NEVER_ABOVE}"),
        ("recorded", {"pool": [[1, 2], [3]]}, "pool is [[1, 2], [3]]; it must be a number or a list of numbers"),
        ("recorded", {"steps_per_sample": 0}, "steps_per_sample is 0; it must be an integer in [1, 2147483647]"),
        ("recorded", {"scale": -1.0}, f"scale is -1{NEVER_ABOVE}"),
    ],
)
def test_what_is_not_allowed_is_refused_in_one_sentence(kind, fields, says):
    refused(made(LAWS[kind]).replace(**fields), says)


def test_a_pool_must_be_given():
    with pytest.raises(ValueError, match=r"^pool is not given; it must be a finite number in \[0, 1e\+12\]$"):
        parameters.make(Recorded, sizes(2), {})


def test_inputs_of_zero_are_accepted():
    for law in (made(Constant, rate=0), made(Recorded, pool=np.zeros((1, 1))), made(RandomLinear, low=0, high=0)):
        law.validate(4)
        assert not np.any(play(law)[1])
