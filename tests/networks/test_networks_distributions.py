import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats

from jaxdlb.networks import distributions

LOGITS = jnp.array([0.3, -1.0, 2.0, 0.0, 1.5])
LEGAL = jnp.array([False, True, True, False, True])


def softmax_over_legal():
    weights = np.where(LEGAL, np.exp(np.asarray(LOGITS, np.float64)), 0)
    return weights / weights.sum()


def test_a_masked_out_choice_has_no_probability_and_legal_ones_are_a_softmax():
    probs = jnp.exp(distributions.masked_log_probs(LOGITS, LEGAL))
    np.testing.assert_allclose(probs, softmax_over_legal(), rtol=1e-5, atol=0)
    assert not probs[~LEGAL].any()


def test_a_masked_out_choice_adds_no_entropy():
    log_probs = distributions.masked_log_probs(LOGITS, LEGAL)
    np.testing.assert_allclose(distributions.entropy(log_probs), scipy.stats.entropy(softmax_over_legal()), rtol=1e-5)


def test_a_single_legal_choice_has_log_probability_and_entropy_exactly_zero():
    log_probs = distributions.masked_log_probs(LOGITS, jnp.arange(5) == 3)
    assert float(distributions.log_prob(log_probs, jnp.int32(3))) == 0.0
    assert float(distributions.entropy(log_probs)) == 0.0


def test_gradients_ignore_masked_logits_and_stay_finite():
    def objective(logits):
        log_probs = distributions.masked_log_probs(logits, LEGAL)
        return distributions.entropy(log_probs) + distributions.log_prob(log_probs, jnp.int32(2))

    gradient = jax.grad(objective)(LOGITS)
    assert jnp.isfinite(gradient).all()
    assert not gradient[~LEGAL].any()
    assert (gradient[LEGAL] != 0).all()


def test_samples_have_the_stated_frequencies_and_are_never_illegal():
    draws = 40_000
    log_probs = jnp.broadcast_to(distributions.masked_log_probs(LOGITS, LEGAL), (draws, 5))
    choices = np.asarray(distributions.sample(jax.random.uniform(jax.random.key(1), (draws,)), log_probs))
    expected = softmax_over_legal() * draws
    observed = np.bincount(choices, minlength=5)
    assert not observed[~np.asarray(LEGAL)].any()
    # 99.9% quantile of chi-squared with 2 degrees of freedom, under a fixed seed
    seen = expected > 0
    assert ((observed[seen] - expected[seen]) ** 2 / expected[seen]).sum() < scipy.stats.chi2.ppf(0.999, 2)


def test_extreme_uniform_numbers_still_choose_a_legal_entry():
    log_probs = distributions.masked_log_probs(LOGITS, jnp.array([False, True, True, False, False]))
    for uniform, expected in ((0.0, 1), (np.float32(1 - 2**-24), 2)):
        assert int(distributions.sample(jnp.float32(uniform), log_probs)) == expected


def test_the_mode_is_the_likeliest_legal_choice():
    legal = LEGAL.at[2].set(False)
    assert int(distributions.mode(distributions.masked_log_probs(LOGITS, legal))) == 4
