"""The laws of bandwidth, against plain formulas and the statistics that they state."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxdlb import parameters
from jaxdlb.games.edge.bandwidth import LAWS, BandwidthLaw, Played, Resampled, Steady, Wave

KEY = jax.random.key(5)
SAMPLES = np.array([0.0, 0.5, 1.0, 1.5, 2.0])
LINKS = np.triu_indices(5, 1)  # of five nodes
STEPS = 500


def made(type_, **fields):
    given = {"samples": SAMPLES} | fields if type_ in (Resampled, Played) else fields
    return parameters.make(type_, None, given)


@functools.partial(jax.jit, static_argnames=("num_nodes", "steps"))
def _play(law, key, num_nodes, steps):
    state = law.start(jax.random.fold_in(key, 0), num_nodes)
    keys = jax.random.split(jax.random.fold_in(key, 1), steps)
    return state, jax.vmap(law.factors, in_axes=(0, None, 0))(keys, state, jnp.arange(steps))


def play(law, num_nodes=5, key=KEY):
    """The state that one episode starts with, and its factors [T, N, N]."""
    state, factors = _play(law, key, num_nodes, STEPS)
    return jax.tree.map(np.asarray, state), np.asarray(factors)


def test_the_defaults_are_those_of_the_contract():
    assert list(LAWS.values()) == [Steady, Wave, Resampled, Played]
    wave = made(Wave)
    assert (wave.amplitude, wave.period, wave.noise) == (np.float32(0.3), 96, np.float32(0.1))
    assert made(Resampled).noise == np.float32(0.1) and bool(made(Played).random_start)


@pytest.mark.parametrize("kind", LAWS)
@pytest.mark.parametrize("num_nodes", [1, 3, 5])
def test_factors_are_symmetric_and_1_on_the_diagonal(kind, num_nodes):
    law = made(LAWS[kind])
    assert isinstance(law, BandwidthLaw)
    _, factors = play(law, num_nodes)
    assert factors.shape == (STEPS, num_nodes, num_nodes) and factors.dtype == np.float32
    np.testing.assert_array_equal(factors, factors.swapaxes(1, 2))
    assert np.all(factors[:, np.arange(num_nodes), np.arange(num_nodes)] == 1)


@pytest.mark.parametrize("kind", LAWS)
def test_what_a_link_meets_does_not_depend_on_how_many_nodes_there_are(kind):
    few, many = (play(made(LAWS[kind]), num_nodes)[1] for num_nodes in (3, 5))
    np.testing.assert_array_equal(few, many[:, :3, :3])


@pytest.mark.parametrize("law", [made(Wave), made(Resampled), made(Played, samples=np.arange(1000))])
def test_links_differ(law):
    _, factors = play(law)
    assert len(np.unique(factors[:, *LINKS], axis=1).T) == 10


def test_steady_bandwidth_does_not_vary():
    assert np.all(play(made(Steady))[1] == 1)


def test_a_wave_follows_the_formula_without_noise():
    state, factors = play(made(Wave, amplitude=0.6, period=6.5, noise=0))
    for i, j in zip(*LINKS, strict=True):
        exact = [1 + 0.6 * math.sin(2 * math.pi * (t / 6.5 + float(state.phase[i, j]))) for t in range(STEPS)]
        np.testing.assert_allclose(factors[:, i, j], exact, atol=2e-6)


def test_phases_of_a_wave_are_uniform_and_its_noise_is_normal():
    law = made(Wave, amplitude=0.5, period=50.0, noise=0.02)
    phases = jax.vmap(lambda key: law.start(key, 5).phase)(jax.random.split(KEY, 400))[:, *LINKS]
    assert stats.kstest(np.ravel(phases), "uniform").pvalue > 1e-3
    state, factors = play(law)
    wave = 1 + 0.5 * np.sin(2 * np.pi * (np.arange(STEPS)[:, None, None] / 50 + state.phase))
    z = ((factors - wave) / 0.02)[:, *LINKS]
    assert stats.kstest(z.ravel(), "norm").pvalue > 1e-3
    assert np.abs(np.corrcoef(z.T)[LINKS]).max() < 4.5 / math.sqrt(STEPS)


def test_a_wave_is_never_below_0():
    """With amplitude 0 the factor is max(1 + 2 z, 0): 0 with probability Φ(−1/2)."""
    links = play(made(Wave, amplitude=0, noise=2))[1][:, *LINKS]
    share = stats.norm.cdf(-0.5)
    assert links.min() == 0
    assert abs(np.mean(links == 0) - share) < 4.5 * math.sqrt(share * (1 - share) / links.size)


def test_samples_are_drawn_anew_for_each_link_and_step_all_as_likely():
    links = play(made(Resampled, noise=0))[1][:, *LINKS]
    values, counts = np.unique(links, return_counts=True)
    assert values.tolist() == SAMPLES.tolist()
    assert stats.chisquare(counts).pvalue > 1e-3
    over_time = np.corrcoef(links[1:].ravel(), links[:-1].ravel())[0, 1]
    assert abs(over_time) < 4.5 / math.sqrt(links.size)
    assert np.abs(np.corrcoef(links.T)[LINKS]).max() < 4.5 / math.sqrt(STEPS)


def test_the_noise_of_samples_is_uniform_and_a_share_of_each():
    links = play(made(Resampled, samples=[2.0], noise=0.25))[1][:, *LINKS]
    assert stats.kstest((links.ravel() / 2 - 0.75) / 0.5, "uniform").pvalue > 1e-3


def test_a_record_is_played_from_where_each_link_begins_and_repeats():
    state, factors = play(made(Played))
    for i, j in zip(*LINKS, strict=True):
        assert factors[:, i, j].tolist() == [SAMPLES[(state.offset[i, j] + t) % 5] for t in range(STEPS)]
    state, factors = play(made(Played, random_start=False))
    np.testing.assert_array_equal(factors[:, *LINKS], SAMPLES[np.arange(STEPS) % 5][:, None].repeat(10, 1))


def test_every_offset_of_a_record_is_as_likely():
    law = made(Played)
    offsets = jax.vmap(lambda key: law.start(key, 5).offset)(jax.random.split(KEY, 400))[:, *LINKS]
    assert stats.chisquare(np.bincount(np.ravel(offsets), minlength=5)).pvalue > 1e-3


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (made(Wave), made(Wave, amplitude=0.9, period=7.25, noise=0)),
        (made(Resampled), made(Resampled, samples=SAMPLES[::-1] ** 2, noise=0.5)),
        (made(Played), made(Played, samples=SAMPLES[::-1] ** 2, random_start=False)),
    ],
    ids=lambda law: type(law).__name__,
)
def test_a_batch_of_laws_plays_as_each_of_them_alone(one, other):
    batch = jax.tree.map(lambda *leaves: jnp.stack(leaves), one, other)
    keys = jnp.stack([KEY, jax.random.key(6)])
    _, together = jax.vmap(lambda law, key: _play(law, key, 5, STEPS))(batch, keys)
    for law, key, factors in zip((one, other), keys, together, strict=True):
        np.testing.assert_allclose(factors, play(law, key=key)[1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", LAWS)
def test_the_defaults_are_accepted(kind):
    made(LAWS[kind]).validate()


@pytest.mark.parametrize(
    ("law", "says"),
    [
        (Wave(amplitude=1.5), "amplitude is 1.5; it must be a finite number in [0, 1]"),
        (Wave(period=1), "period is 1; it must be a finite number ≥ 2"),
        (Wave(noise=-0.1), "noise is -0.1; it must be a finite number in [0, 1e+12]"),
        (Wave(noise=math.inf), "noise is inf; it must be a finite number in [0, 1e+12]"),
        (Resampled(samples=np.ones(2), noise=1.5), "noise is 1.5; it must be a finite number in [0, 1]"),
        (Resampled(samples=np.ones(0)), "samples is empty; it must hold at least one sample"),
        (Resampled(samples=np.zeros(3)), "samples are all 0; at least one must be above 0"),
        (Played(samples=np.zeros(1)), "samples are all 0; at least one must be above 0"),
        (Played(samples=np.array([1, -1.0])), "samples[1] is -1; it must be a finite number in [0, 1e+12]"),
        (Played(samples=np.array([np.nan])), "samples[0] is nan; it must be a finite number in [0, 1e+12]"),
        (Played(samples=np.ones((2, 2))), "samples has shape (2, 2); it must have shape (2,)"),
        (Played(samples=np.ones(2), random_start=3), "random_start is 3; it must be true or false"),
    ],
)
def test_what_is_not_allowed_is_refused_in_one_sentence(law, says):
    with pytest.raises(ValueError) as error:
        law.validate()
    assert str(error.value) == says
