"""The heads against scipy and closed forms."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats

from jaxdlb.mechanics import chance
from jaxdlb.networks import gamma
from jaxdlb.networks.heads import Categorical, Dirichlet, SquashedNormal
from jaxdlb.spaces import Box, Discrete, Simplex

KEY = jax.random.key(1)
LOGITS = jnp.array([0.3, -1.0, 2.0, 0.0, 1.5])
LEGAL = jnp.array([False, True, True, False, True])
NO_FREE = jnp.zeros(0)


def categorical(logits=LOGITS, legal=LEGAL):
    return Categorical.of(Discrete(5), logits, NO_FREE, legal)


def draw(head, draws, key=KEY):
    """Many samples of one agent's head."""
    many = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (draws, *leaf.shape)), head)
    return np.asarray(
        jax.jit(lambda key: many.sample(chance.uniform_rows(key, many.num_uniforms, draws)))(key), np.float64
    )


def softmax_over_legal():
    weights = np.where(LEGAL, np.exp(np.asarray(LOGITS, np.float64)), 0)
    return weights / weights.sum()


def test_a_masked_out_choice_has_no_probability_and_legal_ones_are_a_softmax():
    probs = jnp.exp(categorical().log_probs)
    np.testing.assert_allclose(probs, softmax_over_legal(), rtol=1e-5, atol=0)
    assert not probs[~LEGAL].any()


def test_a_masked_out_choice_adds_no_entropy():
    np.testing.assert_allclose(categorical().entropy(), scipy.stats.entropy(softmax_over_legal()), rtol=1e-5)


def test_a_single_legal_choice_has_log_probability_and_entropy_exactly_zero():
    head = categorical(legal=jnp.arange(5) == 3)
    assert float(head.log_prob(jnp.int32(3))) == 0.0
    assert float(head.entropy()) == 0.0
    assert not head.decides


def test_gradients_ignore_masked_logits_and_stay_finite():
    def objective(logits):
        return categorical(logits).entropy() + categorical(logits).log_prob(jnp.int32(2))

    gradient = jax.grad(objective)(LOGITS)
    assert jnp.isfinite(gradient).all()
    assert not gradient[~LEGAL].any()
    assert (gradient[LEGAL] != 0).all()


def test_samples_have_the_stated_frequencies_and_are_never_illegal():
    draws = 40_000
    expected = softmax_over_legal() * draws
    observed = np.bincount(draw(categorical(), draws).astype(int), minlength=5)
    assert not observed[~np.asarray(LEGAL)].any()
    # 99.9% quantile of chi-squared with 2 degrees of freedom, under a fixed seed
    seen = expected > 0
    assert ((observed[seen] - expected[seen]) ** 2 / expected[seen]).sum() < scipy.stats.chi2.ppf(0.999, 2)


def test_extreme_uniform_numbers_still_choose_a_legal_entry():
    head = categorical(legal=jnp.array([False, True, True, False, False]))
    for uniform, expected in ((0.0, 1), (np.float32(1 - 2**-24), 2)):
        assert int(head.sample(jnp.float32([uniform]))) == expected


def test_the_mode_is_the_likeliest_legal_choice():
    assert int(categorical(legal=LEGAL.at[2].set(False)).mode()) == 4


def squashed(mu, sigma, low=-1.0, high=1.0, legal=True):
    mu, sigma = np.atleast_1d(mu), np.atleast_1d(sigma)
    log_sigma = jnp.asarray(np.log(sigma), jnp.float32)
    return SquashedNormal(jnp.asarray(mu, jnp.float32), log_sigma, jnp.asarray(legal), low, high)


def log_density(action, mu, sigma, low, high):
    """By the change of variables, in double precision."""
    x = 2 * (np.asarray(action, np.float64) - low) / (high - low) - 1
    return scipy.stats.norm(mu, sigma).logpdf(np.arctanh(x)) - np.log1p(-(x**2)) - math.log((high - low) / 2)


def entropy_by_integration(mu, sigma, low, high):
    """log of the slope, averaged over the normal law."""

    def weighted(u):
        slope = math.log((high - low) / 2) + 2 * (math.log(2) - u - np.logaddexp(0, -2 * u))
        return slope * scipy.stats.norm(mu, sigma).pdf(u)

    slope, _ = scipy.integrate.quad(weighted, mu - 12 * sigma, mu + 12 * sigma, limit=200)
    return 0.5 * math.log(2 * math.pi * math.e * sigma**2) + slope


def test_the_squashed_normal_has_the_values_of_its_specification():
    head = squashed(0.3, 0.5)
    action = head.squash(jnp.array([0.8]))
    np.testing.assert_allclose(action, [0.664037], atol=1e-6)
    np.testing.assert_allclose(head.log_prob(action), -0.144284, atol=2e-6)
    np.testing.assert_allclose(head.entropy(), 0.426249, atol=2e-6)


@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (2.0, 7.0)])
def test_the_squashed_normals_log_probability_is_that_of_the_change_of_variables(low, high):
    mu, sigma = np.array([-2.0, 0.0, 1.5]), np.array([0.05, 1.0, 2.0])
    for position in (0.02, 0.4, 0.93):
        action = np.full(3, low + (high - low) * position, np.float32)
        expected = log_density(action, mu, sigma, low, high).sum()
        np.testing.assert_allclose(squashed(mu, sigma, low, high).log_prob(jnp.asarray(action)), expected, rtol=2e-4)


@pytest.mark.parametrize("mu", [-3.0, 0.4, 3.0])
@pytest.mark.parametrize("sigma", [0.05, 0.5, 2.0])
def test_the_squashed_normals_entropy_is_within_its_bound(mu, sigma):
    expected = entropy_by_integration(mu, sigma, 0.0, 5.0)
    assert abs(float(squashed(mu, sigma, 0.0, 5.0).entropy()) - expected) < 0.004


def test_the_squashed_normals_gradients_are_those_of_the_closed_form():
    """∂ log π/∂μ = (u − μ)/σ², ∂ log π/∂ log σ = (u − μ)²/σ² − 1; of the entropy by finite differences."""
    mu, sigma, u = 0.3, 0.5, 0.8
    action = jnp.array([math.tanh(u)])

    def at(mu, log_sigma):
        return SquashedNormal(mu[None], log_sigma[None], jnp.bool_(True), -1.0, 1.0)

    point = (jnp.float32(mu), jnp.float32(math.log(sigma)))
    gradient = jax.grad(lambda *at_point: at(*at_point).log_prob(action), argnums=(0, 1))(*point)
    np.testing.assert_allclose(gradient, [(u - mu) / sigma**2, (u - mu) ** 2 / sigma**2 - 1], rtol=1e-4, atol=1e-5)
    gradient = jax.grad(lambda *at_point: at(*at_point).entropy(), argnums=(0, 1))(*point)
    step = 1e-4
    by_mu = entropy_by_integration(mu + step, sigma, -1, 1) - entropy_by_integration(mu - step, sigma, -1, 1)
    wider, narrower = sigma * math.exp(step), sigma * math.exp(-step)
    by_sigma = entropy_by_integration(mu, wider, -1, 1) - entropy_by_integration(mu, narrower, -1, 1)
    np.testing.assert_allclose(gradient, [by_mu / (2 * step), by_sigma / (2 * step)], rtol=1e-2)


def test_squashed_normal_samples_follow_their_law_within_the_box():
    drawn = draw(squashed([0.3, -1.0], [0.5, 1.0], 2.0, 5.0), 20_000)
    for entry, law in enumerate((scipy.stats.norm(0.3, 0.5), scipy.stats.norm(-1, 1))):
        u = np.arctanh(2 * (drawn[:, entry] - 2) / 3 - 1)
        assert scipy.stats.kstest(u, law.cdf).pvalue > 1e-3
    assert abs(np.corrcoef(drawn.T)[0, 1]) < 0.03


def test_a_sample_with_its_log_probability_is_the_sample_and_its_gradient_follows_the_path():
    numbers = jnp.array([0.7, 0.2])
    head = squashed([0.3, -1.0], [0.5, 1.0], 2.0, 5.0)
    action, log_prob = head.sample_and_log_prob(numbers)
    np.testing.assert_array_equal(action, head.sample(numbers))
    np.testing.assert_allclose(log_prob, head.log_prob(action), rtol=1e-4)
    slope = jax.grad(lambda mu: jnp.sum(head.replace(mu=mu).sample(numbers)))(head.mu)
    np.testing.assert_allclose(slope, 1.5 * (1 - (2 * (action - 2) / 3 - 1) ** 2), rtol=1e-4)


def test_normal_numbers_are_finite_and_symmetric_at_both_ends_of_the_grid():
    ends = gamma.standard_normal(jnp.array([0.0, 1 - 2**-24, 0.5], jnp.float32))
    np.testing.assert_allclose(ends[:2], scipy.stats.norm.ppf(2.0**-25) * np.array([1, -1]), rtol=1e-4)
    assert abs(float(ends[2])) < 1e-6


@pytest.mark.parametrize("bound", [-1.0, 1.0])
def test_at_a_bound_the_squashed_normals_log_probability_and_gradient_are_finite(bound):
    def log_prob(mu):
        return squashed(0.0, 1.0).replace(mu=mu).log_prob(jnp.array([bound]))

    value, gradient = jax.value_and_grad(log_prob)(jnp.zeros(1))
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


def test_an_agent_that_may_not_act_has_the_action_zero_and_no_probability_entropy_or_gradient():
    head = squashed([[0.3], [0.3]], [[0.5], [0.5]], 2.0, 5.0, legal=[True, False])
    assert head.decides.tolist() == [True, False]
    actions = (head.mode(), head.sample(jnp.array([[0.3, 0.3]])))
    for action in actions:
        assert float(action[0, 0]) >= 2
        assert float(action[1, 0]) == 0
    for value in (head.log_prob(actions[1]), head.entropy(), head.sample_and_log_prob(jnp.array([[0.3, 0.3]]))[1]):
        assert float(value[0]) != 0
        assert float(value[1]) == 0
    gradient = jax.grad(lambda mu: jnp.sum(head.replace(mu=mu).log_prob(actions[1])))(head.mu)
    assert float(gradient[1, 0]) == 0


def test_free_parameters_are_log_sigma_clipped():
    head = SquashedNormal.of(Box(0.0, 1.0, size=3), jnp.zeros(3), jnp.array([-9.0, -0.7, 4.0]), jnp.bool_(True))
    np.testing.assert_allclose(head.log_sigma, [-5, -0.7, 1])
    assert SquashedNormal.free_start == -0.7


ALPHAS = [
    np.array(alpha)
    for alpha in (
        [0.05, 0.05],
        [1.0, 1.0, 1.0],
        [0.05, 3.0, 0.7, 200.0],
        [1000.0, 1000.0, 999.0],
        [0.3, 12.0, 0.05, 4.0, 1000.0, 7.5, 0.9, 2.0, 60.0],
    )
]


def padded(values, fill):
    """With an illegal entry before, amid and after."""
    return np.concatenate([[fill], values[:1], [fill], values[1:], [fill]])


def dirichlet(alpha):
    """Over the entries of `alpha`, among illegal ones with concentrations that must not matter."""
    legal = padded(np.ones(len(alpha), bool), False)
    return Dirichlet(jnp.asarray(padded(alpha, 3.7), jnp.float32), jnp.asarray(legal))


def shares(alpha, seed):
    """Some legal shares, none below the floor of a sample."""
    drawn = np.maximum(np.random.default_rng(seed).dirichlet(np.clip(alpha, 0.5, 5)), 1e-6)
    return (drawn / drawn.sum()).astype(np.float32)


@pytest.mark.parametrize("alpha", ALPHAS, ids=len)
def test_the_dirichlets_log_probability_is_scipys_over_the_legal_entries(alpha):
    for seed in range(3):
        action = shares(alpha, seed).astype(np.float64)
        expected = scipy.stats.dirichlet(alpha).logpdf(action / action.sum())
        found = dirichlet(alpha).log_prob(jnp.asarray(padded(action, 0), jnp.float32))
        np.testing.assert_allclose(found, expected, rtol=3e-4, atol=2e-4)


@pytest.mark.parametrize("alpha", ALPHAS, ids=len)
def test_the_dirichlets_entropy_is_scipys_over_the_legal_entries(alpha):
    np.testing.assert_allclose(dirichlet(alpha).entropy(), scipy.stats.dirichlet(alpha).entropy(), rtol=3e-4, atol=3e-4)


def test_the_uniform_dirichlet_comes_from_scores_of_zero_and_has_the_entropy_of_a_simplex():
    legal = jnp.array([True, True, False, True, True])
    head = Dirichlet.of(Simplex(5), jnp.zeros(5), NO_FREE, legal)
    np.testing.assert_allclose(head.alpha, 1, rtol=1e-6)
    np.testing.assert_allclose(head.entropy(), -math.lgamma(4), rtol=1e-5)
    extremes = Dirichlet.of(Simplex(2), jnp.array([-100.0, 1e6]), NO_FREE, jnp.ones(2, bool)).alpha
    np.testing.assert_allclose(extremes, [0.05, 1000.0])


@pytest.mark.parametrize("alpha", ALPHAS, ids=len)
def test_the_dirichlets_gradients_are_those_of_the_closed_form_and_ignore_illegal_entries(alpha):
    """∂ log p/∂α_k = ψ(α₀) − ψ(α_k) + ln x_k; of the entropy (α₀ − A) ψ′(α₀) − (α_k − 1) ψ′(α_k)."""
    head, action = dirichlet(alpha), shares(alpha, 1).astype(np.float64)
    legal = np.asarray(head.legal)
    psi, whole = scipy.special.digamma, alpha.sum()
    found = jax.grad(lambda a: head.replace(alpha=a).log_prob(jnp.asarray(padded(action, 0), jnp.float32)))(head.alpha)
    np.testing.assert_allclose(found[legal], psi(whole) - psi(alpha) + np.log(action), rtol=1e-3, atol=1e-3)
    assert not found[~legal].any()
    found = jax.grad(lambda a: head.replace(alpha=a).entropy())(head.alpha)
    trigamma = scipy.special.polygamma
    expected = (whole - len(alpha)) * trigamma(1, whole) - (alpha - 1) * trigamma(1, alpha)
    np.testing.assert_allclose(found[legal], expected, rtol=1e-3, atol=1e-3)
    assert not found[~legal].any()


@pytest.mark.parametrize("alpha", [[0.3, 0.7, 2.0], [1.0, 1.0], [40.0, 5.0, 0.05, 300.0]], ids=len)
def test_dirichlet_samples_have_the_moments_of_their_law(alpha):
    draws, alpha = 20_000, np.array(alpha)
    head = dirichlet(alpha)
    legal = np.asarray(head.legal)
    drawn = draw(head, draws)
    assert not drawn[:, ~legal].any()
    law = scipy.stats.dirichlet(alpha)
    error = np.sqrt(law.var() / draws)
    # Largest of at most four entries under one seed: 3.5 standard errors; the floor shifts a mean by less than 10⁻⁶.
    assert (np.abs(drawn[:, legal].mean(0) - law.mean()) < 3.5 * error + 1e-6).all()
    np.testing.assert_allclose(drawn[:, legal].var(0), law.var(), rtol=0.1)


def test_one_share_of_a_dirichlet_has_its_beta_law():
    drawn = draw(dirichlet(np.array([0.5, 0.3, 2.0])), 20_000)[:, 1]
    inside = drawn[drawn > 1e-4]
    law = scipy.stats.beta(0.5, 2.3)
    assert scipy.stats.kstest(law.cdf(inside), scipy.stats.uniform(law.cdf(1e-4), 1 - law.cdf(1e-4)).cdf).pvalue > 1e-3


def test_a_sampled_share_keeps_its_distance_from_zero_and_its_log_probability_is_finite():
    head = dirichlet(np.array([0.05, 0.05, 0.05]))
    drawn = draw(head, 2_000)
    legal = np.asarray(head.legal)
    assert drawn[:, legal].min() > 0.99e-6
    np.testing.assert_allclose(drawn.sum(-1), 1, rtol=1e-5)
    many = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, drawn.shape), head)
    value, gradient = jax.value_and_grad(
        lambda alpha: jnp.sum(many.replace(alpha=alpha).log_prob(jnp.asarray(drawn, jnp.float32)))
    )(many.alpha)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


def test_the_dirichlets_greedy_action_is_its_mean():
    alpha = ALPHAS[2]
    np.testing.assert_allclose(dirichlet(alpha).mode(), padded(alpha / alpha.sum(), 0), rtol=1e-5)


def test_a_single_legal_share_is_the_whole_and_nobody_decides_over_it():
    legal = jnp.array([[False, True], [False, False]])
    head = Dirichlet.of(Simplex(2), jnp.ones((2, 2)), jnp.zeros((2, 0)), legal)
    for action in (head.mode(), head.sample(jnp.tile(jnp.array([0.2, 0.6]), (head.num_uniforms, 1)))):
        assert action.tolist() == [[0, 1], [0, 0]]
        assert head.log_prob(action).tolist() == [0, 0]
    assert head.entropy().tolist() == [0, 0]
    assert not head.decides.any()
    for value in (lambda a: head.replace(alpha=a).entropy(), lambda a: head.replace(alpha=a).log_prob(head.mode())):
        assert not jax.grad(lambda a, value=value: jnp.sum(value(a)))(head.alpha).any()


def test_the_gradient_along_a_dirichlets_path_is_that_of_its_mean():
    """∂ E[x₀]/∂α_k = (δ_0k − α_0/Σα)/Σα; within 1% over 40,000 draws."""
    alpha = jnp.array([0.8, 2.0, 0.5])
    draws = 40_000
    numbers = chance.uniform_rows(KEY, 3 * gamma.NUM_UNIFORMS, draws)

    @jax.jit
    def mean(alpha):
        many = Dirichlet(jnp.broadcast_to(alpha, (draws, 3)), jnp.ones((draws, 3), bool))
        return jnp.mean(many.sample(numbers), axis=0)[0]

    whole = float(alpha.sum())
    expected = (np.array([1, 0, 0]) - float(alpha[0]) / whole) / whole
    np.testing.assert_allclose(jax.grad(mean)(alpha), expected, rtol=0.01)


def test_log_gamma_variates_follow_their_law_where_the_variate_itself_underflows():
    """For small α, α · ln g is close to −Exponential(1): P(g ≤ t) ≈ t^α/Γ(α + 1)."""
    numbers = chance.uniform_rows(KEY, gamma.NUM_UNIFORMS, 20_000)
    for alpha in (0.05, 0.4, 1.0, 30.0):
        log_g = np.asarray(jax.jit(gamma.log_gamma)(jnp.full(20_000, alpha), numbers), np.float64)
        assert scipy.stats.kstest(log_g, scipy.stats.loggamma(alpha).cdf).pvalue > 1e-3, alpha
