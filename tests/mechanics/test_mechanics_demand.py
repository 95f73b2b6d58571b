"""The laws of demand, against plain formulas and the statistics that they state."""

import functools
import itertools
import math
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference.episodes import assert_frequency
from scipy import stats

from jaxdlb import parameters
from jaxdlb.mechanics.demand import LAWS, Constant, Demand, Levels, Shares, Sinusoidal, Switching, Trace

KEY = jax.random.key(11)
RECORD = np.arange(20.0).reshape(5, 4)
MANY = 4000
LIVELY = {"levels": {"period": 3}, "switching": {"calm_to_busy": 0.5}, "trace": {"random_start": True}}
LATE = [2**20 + 3, 2**24 + 1, 2**30 + 7, 2**31 - 1, 2**31 + 9, 2**32 - 1]  # as int32, the last two are negative


def made(type_, num_nodes=4, **fields):
    sizes = types.SimpleNamespace(dims={"N": num_nodes}, num_nodes=num_nodes)
    given = {"factors": np.tile(RECORD, 2)[:, :num_nodes]} | fields if type_ is Trace else fields
    return parameters.make(type_, sizes, given)


def as_steps(steps):
    """Steps as a counter of int32 has them, which wraps around."""
    return jnp.asarray(np.array(steps, np.uint32).view(np.int32))


@functools.partial(jax.jit, static_argnames=("num_nodes", "steps"))
def _play(law, key, num_nodes, steps, first):
    def advance(state, now):
        key, step = now
        following = law.advance(key, state, step + 1)
        return following, law.factor(state, step)

    start = law.start(jax.random.fold_in(key, 0), num_nodes)
    keys = jax.random.split(jax.random.fold_in(key, 1), steps)
    return jax.lax.scan(advance, start, (keys, first + jnp.arange(steps)))[1]


def play(law, num_nodes=4, steps=12, key=KEY, first=0):
    """The factors [T, N] of one episode, in steps that count from `first`."""
    return np.asarray(_play(law, key, num_nodes, steps, as_steps(first)))


@functools.partial(jax.jit, static_argnames="num_nodes")
def _start(law, keys, num_nodes):
    return jax.vmap(lambda key: law.factor(law.start(key, num_nodes), jnp.int32(0)))(keys)


def starts(law, num_nodes=4, num=MANY):
    """The factors [num, N] that many episodes start with."""
    return np.asarray(_start(law, jax.random.split(KEY, num), num_nodes))


def at_steps(law, state, steps):
    return np.asarray(jax.jit(jax.vmap(law.factor, in_axes=(None, 0)))(state, as_steps(steps)))


def changes(factors):
    """The steps in which some factor is not what it was in the step before."""
    return [t for t, (one, other) in enumerate(itertools.pairwise(factors), 1) if np.any(one != other)]


def test_every_law_has_a_kind_and_the_first_is_of_shares():
    assert list(LAWS.values()) == [Shares, Constant, Sinusoidal, Switching, Levels, Trace]
    assert list(LAWS) == ["shares", "constant", "sinusoidal", "switching", "levels", "trace"]


def test_the_defaults_are_these():
    expected = {
        "shares": {"period": 20},
        "constant": {},
        "sinusoidal": {"amplitude": 0.5, "period": 60, "phase": [0] * 4},
        "switching": {"calm": 0.5, "busy": 2, "calm_to_busy": 0.02, "busy_to_calm": 0.06},
        "levels": {"low": 0, "high": 2, "period": 20},
        "trace": {"steps_per_row": 1, "random_start": False},
    }
    for kind, fields in expected.items():
        law = made(LAWS[kind])
        assert set(parameters.declarations(law)) - {"factors"} == set(fields)
        for name, value in fields.items():
            np.testing.assert_array_equal(getattr(law, name), np.float32(value), name)


def test_a_constant_demand_does_not_vary():
    assert play(made(Constant)).tolist() == [[1] * 4] * 12


@pytest.mark.parametrize("num_nodes", [1, 2, 3, 200])
def test_shares_add_up_to_the_number_of_nodes(num_nodes):
    shares = starts(made(Shares), num_nodes)
    assert np.all(shares >= 0)
    np.testing.assert_allclose(shares.astype(float).sum(axis=1), num_nodes, rtol=1e-6)
    assert num_nodes > 1 or np.all(shares == 1)


@pytest.mark.parametrize("num_nodes", [2, 3, 9])
def test_shares_are_uniform_among_all_that_add_up(num_nodes):
    """Then each is N times a number of the law Beta(1, N − 1), and any two have the correlation −1 / (N − 1)."""
    shares = starts(made(Shares), num_nodes) / num_nodes
    for node in shares.T:
        assert stats.kstest(node, "beta", (1, num_nodes - 1)).pvalue > 1e-3
    pairs = np.corrcoef(shares.T)[~np.eye(num_nodes, dtype=bool)]
    assert np.all(np.abs(pairs + 1 / (num_nodes - 1)) < 4.5 / math.sqrt(MANY))


def test_shares_have_mean_one_for_each_node():
    """The variance of one is (N − 1) / (N + 1)."""
    error = math.sqrt(3 / 5 / MANY)
    assert np.all(np.abs(starts(made(Shares)).mean(axis=0) - 1) < 4.5 * error)


@pytest.mark.parametrize("num_nodes", [5, 12, 100])
def test_shares_exceed_their_peak_as_seldom_as_stated(num_nodes):
    """Of any one node in many episodes, since nodes of the same episode depend on each other."""
    law = made(Shares)
    above = starts(law, num_nodes)[:, 0] > law.peak(num_nodes)
    likely = (1 - 4 / num_nodes) ** (num_nodes - 1)
    assert likely < 0.02
    assert_frequency(above, np.ones(above.shape, bool), likely)


@pytest.mark.parametrize("type_", [Shares, Levels])
@pytest.mark.parametrize("period", [1, 5, 7])
def test_factors_are_drawn_anew_in_every_multiple_of_the_period_and_held_between(type_, period):
    law = made(type_, period=period)
    assert changes(play(law, steps=24)) == list(range(period, 24, period))
    beyond = [t for t in range(1, 24) if (2**31 - 12 + t) % period == 0]
    assert changes(play(law, steps=24, first=2**31 - 12)) == beyond


@pytest.mark.parametrize("type_", [Shares, Levels])
def test_factors_are_held_for_the_episode_if_the_period_is_longer(type_):
    assert changes(play(made(type_, period=2**31 - 1), steps=100)) == []


@pytest.mark.parametrize("type_", [Shares, Levels])
def test_what_is_drawn_anew_does_not_depend_on_what_was(type_):
    law = made(type_, period=2)
    keys = jax.random.split(KEY, MANY)
    rows = np.asarray(jax.vmap(lambda key: _play(law, key, 4, 3, jnp.int32(0)))(keys))
    assert abs(np.corrcoef(rows[:, 0, 0], rows[:, 2, 0])[0, 1]) < 4.5 / math.sqrt(MANY)


def test_levels_are_uniform_and_independent_and_within_their_range():
    law = made(Levels, low=0.25, high=3.0)
    drawn = starts(law)
    assert np.all((drawn >= 0.25) & (drawn <= 3))
    assert stats.kstest((drawn.ravel() - 0.25) / 2.75, "uniform").pvalue > 1e-3
    pairs = np.corrcoef(drawn.T)[~np.eye(4, dtype=bool)]
    assert np.abs(pairs).max() < 4.5 / math.sqrt(MANY)
    assert np.all(starts(made(Levels, low=0.7, high=0.7)) == np.float32(0.7))


def test_waves_follow_the_formula():
    phase = [0.0, 3.0, -2.5, 40.0]
    factors = play(made(Sinusoidal, amplitude=0.8, period=6.5, phase=phase))
    exact = [[1 + 0.8 * math.sin(2 * math.pi * (t + each) / 6.5) for each in phase] for t in range(12)]
    np.testing.assert_allclose(factors, exact, atol=5e-6)
    np.testing.assert_allclose(play(made(Sinusoidal, period=12)).mean(axis=0), 1, atol=1e-6)


@pytest.mark.parametrize("period", [60.0, 7.3, 86400.5])
def test_waves_keep_their_phase_in_the_long_run(period):
    phase = [0.0, 2.5, -100.0, 17.0]
    law = made(Sinusoidal, period=period, phase=phase)
    period = float(np.float32(period))
    exact = [[1 + 0.5 * math.sin(2 * math.pi * (math.fmod(t, period) + a) / period) for a in phase] for t in LATE]
    np.testing.assert_allclose(at_steps(law, (), LATE), exact, atol=5e-6)


def test_nodes_switch_with_their_probabilities_on_their_own():
    law = made(Switching, calm=0.25, busy=3, calm_to_busy=0.1, busy_to_calm=0.4)
    keys = jax.random.split(KEY, MANY)
    before = jnp.array([False, True, False, True])
    after = np.asarray(jax.vmap(lambda key: law.factor(law.advance(key, before, jnp.int32(1)), jnp.int32(1)))(keys))
    assert set(np.unique(after)) == {0.25, 3}
    for node, probability in enumerate([0.1, 0.6, 0.1, 0.6]):
        assert_frequency(after[:, node] == 3, np.ones(MANY, bool), probability)
    pairs = np.corrcoef(after.T)[~np.eye(4, dtype=bool)]
    assert np.abs(pairs).max() < 4.5 / math.sqrt(MANY)


@pytest.mark.parametrize("steps", [0, 1, 25])
def test_switching_is_stationary_from_the_start(steps):
    a, b = 0.15, 0.05
    law = made(Switching, calm_to_busy=a, busy_to_calm=b)
    last = jax.vmap(lambda key: _play(law, key, 1, steps + 1, jnp.int32(0))[-1, 0])(jax.random.split(KEY, MANY))
    assert_frequency(np.asarray(last) == 2, np.ones(MANY, bool), a / (a + b))


def test_switching_holds_in_the_long_run_in_the_stationary_shares():
    """A node forgets itself as (1 − a − b)^k, which widens the standard error."""
    a, b, steps, nodes = 0.05, 0.15, 1000, 100
    busy = play(made(Switching, calm_to_busy=a, busy_to_calm=b), nodes, steps) == 2
    share = a / (a + b)
    error = math.sqrt(share * (1 - share) / (steps * nodes) * (2 - a - b) / (a + b))
    assert abs(busy.mean() - share) < 4.5 * error


@pytest.mark.parametrize(
    ("calm_to_busy", "busy_to_calm", "busy"),
    [(0, 0, [0, 0, 0]), (0, 1, [0, 0, 0]), (0.01, 0, [1, 1, 1]), (1, 0, [1, 1, 1])],
)
def test_what_is_never_left_is_where_all_start(calm_to_busy, busy_to_calm, busy):
    law = made(Switching, calm=0, busy=1, calm_to_busy=calm_to_busy, busy_to_calm=busy_to_calm)
    np.testing.assert_array_equal(play(law, 1000, 3), np.tile(np.array(busy)[:, None], 1000))


def test_rows_of_a_trace_last_for_their_steps_and_repeat():
    factors = play(made(Trace, steps_per_row=2))
    np.testing.assert_array_equal(factors, [RECORD[t // 2 % 5] for t in range(12)])
    law = made(Trace, random_start=True)
    np.testing.assert_array_equal(at_steps(law, jnp.int32(4), range(3)), RECORD[[4, 0, 1]])


@pytest.mark.parametrize("steps_per_row", [1, 3, 1000])
def test_a_trace_takes_the_right_row_in_the_long_run(steps_per_row):
    factors = at_steps(made(Trace, steps_per_row=steps_per_row), jnp.int32(4), LATE)
    np.testing.assert_array_equal(factors, [RECORD[(4 + t // steps_per_row) % 5] for t in LATE])


def test_a_trace_starts_at_any_row_alike_or_at_the_first():
    first = starts(made(Trace, random_start=True))
    assert all(row in RECORD.tolist() for row in first.tolist())
    counts = np.bincount(first[:, 0].astype(int) // 4, minlength=5)
    assert len(counts) == 5 and stats.chisquare(counts).pvalue > 1e-3
    assert np.all(starts(made(Trace)) == RECORD[0])


@pytest.mark.parametrize("kind", [kind for kind in LAWS if kind != "shares"])
def test_what_a_node_meets_does_not_depend_on_how_many_there_are(kind):
    few, many = (play(made(LAWS[kind], num, **LIVELY.get(kind, {})), num) for num in (4, 8))
    np.testing.assert_array_equal(few, many[:, :4])


@pytest.mark.parametrize("kind", LAWS)
def test_episodes_differ_by_their_keys_where_there_is_chance(kind):
    law = made(LAWS[kind], 4, **LIVELY.get(kind, {}))
    np.testing.assert_array_equal(play(law), play(law))
    episodes = {play(law, key=jax.random.key(seed)).tobytes() for seed in range(8)}
    assert (len(episodes) == 1) == (kind in ("constant", "sinusoidal"))


@pytest.mark.parametrize(
    ("kind", "fields", "num_nodes", "peak"),
    [
        ("shares", {}, 1, 1),
        ("shares", {}, 3, 3),
        ("shares", {}, 1000, 4),
        ("constant", {}, 4, 1),
        ("sinusoidal", {"amplitude": 0.75, "period": 8.0}, 4, 1.75),
        ("switching", {"calm_to_busy": 0.5}, 4, 2),
        ("switching", {"calm": 3, "calm_to_busy": 0.5}, 4, 3),
        ("levels", {"low": 0.5, "high": 1.5}, 4, 1.5),
        ("trace", {}, 4, 19),
    ],
)
def test_the_peak_is_the_greatest_factor_that_there_may_be(kind, fields, num_nodes, peak):
    law = made(LAWS[kind], num_nodes, **fields)
    traced = jax.eval_shape(lambda law: law.peak(num_nodes), law)
    assert (traced.shape, traced.dtype, float(law.peak(num_nodes))) == ((), jnp.float32, peak)
    if num_nodes <= 4:
        greatest = play(law, num_nodes, 2000).max()
        assert 0.9 * peak <= greatest <= peak * (1 + 1e-6)


@pytest.mark.parametrize("kind", LAWS)
def test_every_law_keeps_the_interface_under_vmap_over_different_parameters(kind):
    """A batch of laws plays as each of them alone, with one structure of its state throughout."""
    fields = {
        "shares": {"period": 3},
        "sinusoidal": {"period": 7.0, "phase": [0, 1, 2, 3]},
        "switching": {"calm_to_busy": 0.5},
        "levels": {"period": 4, "high": 5},
        "trace": {"steps_per_row": 2, "random_start": True},
    }.get(kind, {})
    one, other = made(LAWS[kind]), made(LAWS[kind], **fields)
    assert isinstance(one, Demand)
    state = jax.eval_shape(lambda: one.start(KEY, 4))
    assert jax.eval_shape(one.advance, KEY, state, jnp.int32(1)) == state
    batch = jax.tree.map(lambda *leaves: jnp.stack(leaves), one, other)
    keys = jnp.stack([KEY, jax.random.key(4)])
    together = jax.vmap(lambda law, key: _play(law, key, 4, 12, jnp.int32(0)), axis_size=2)(batch, keys)
    assert together.dtype == jnp.float32 and together.shape == (2, 12, 4)
    for law, key, factors in zip((one, other), keys, together, strict=True):
        np.testing.assert_allclose(factors, play(law, key=key), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", LAWS)
def test_the_defaults_are_accepted_at_one_node_and_at_many(kind):
    for num_nodes in (1, 7):
        made(LAWS[kind], num_nodes).validate(num_nodes)


NEVER_ABOVE = "; it must be a finite number in [0, 1e+12]"
COUNTED = "; it must be an integer in [1, 2147483647]"


@pytest.mark.parametrize(
    ("kind", "fields", "says"),
    [
        ("shares", {"period": 0}, f"period is 0{COUNTED}"),
        ("levels", {"period": 2.5}, f"period is 2.5{COUNTED}"),
        ("levels", {"low": 3.0}, "low is 3; it must be at most high, which is 2"),
        ("levels", {"low": -1.0}, f"low is -1{NEVER_ABOVE}"),
        ("levels", {"high": np.inf}, f"high is inf{NEVER_ABOVE}"),
        ("sinusoidal", {"amplitude": 1.5}, "amplitude is 1.5; it must be a finite number in [0, 1]"),
        ("sinusoidal", {"period": 1.0}, "period is 1; it must be a finite number ≥ 2"),
        ("sinusoidal", {"phase": np.zeros(3)}, "phase has shape (3,); it must have shape (4,)"),
        ("sinusoidal", {"phase": np.array([0, np.nan, 0, 0])}, "phase[1] is nan; it must be a finite number"),
        ("switching", {"calm": np.nan}, f"calm is nan{NEVER_ABOVE}"),
        ("switching", {"busy": -2.0}, f"busy is -2{NEVER_ABOVE}"),
        ("switching", {"busy_to_calm": 1.1}, "busy_to_calm is 1.1; it must be a finite number in [0, 1]"),
        ("trace", {"factors": np.ones((3, 5))}, "factors has shape (3, 5); it must have shape (3, 4)"),
        ("trace", {"factors": np.ones((0, 4))}, "factors is empty; it must hold at least one sample"),
        ("trace", {"factors": -np.ones((1, 4))}, f"factors[0, 0] is -1{NEVER_ABOVE}"),
        ("trace", {"steps_per_row": 0}, f"steps_per_row is 0{COUNTED}"),
        ("trace", {"random_start": 2}, "random_start is 2; it must be true or false"),
    ],
)
def test_what_is_not_allowed_is_refused_in_one_sentence(kind, fields, says):
    law = made(LAWS[kind]).replace(**fields)
    with pytest.raises(ValueError) as error:
        law.validate(4)
    assert str(error.value) == says
