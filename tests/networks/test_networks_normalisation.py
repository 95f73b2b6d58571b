import jax
import jax.numpy as jnp
import numpy as np

from jaxdlb.networks import normalisation


def test_moments_of_equal_batches_are_those_of_all_their_entries():
    batches = np.random.default_rng(0).gamma(2.0, 3.0, size=(5, 40, 7, 3)).astype(np.float32)
    moments = normalisation.initial_moments({"x": jnp.asarray(batches[0])})
    for batch in batches:
        moments = normalisation.merge(moments, normalisation.moments_of({"x": jnp.asarray(batch)}))
    np.testing.assert_allclose(moments.mean["x"], batches.mean((0, 1, 2)), rtol=1e-4)
    np.testing.assert_allclose(moments.variance["x"], batches.var((0, 1, 2)), rtol=1e-4)


def test_equal_parts_pool_to_the_moments_of_the_whole():
    parts = jnp.asarray(np.random.default_rng(2).gamma(2.0, 3.0, size=(6, 30, 3)), jnp.float32)
    pooled, whole = normalisation.pool(jax.vmap(normalisation.moments_of)(parts)), normalisation.moments_of(parts)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), pooled, whole)


def test_normalised_features_have_mean_zero_and_deviation_one_and_are_clipped():
    x = jnp.asarray(np.random.default_rng(1).normal(5, 3, size=(1000, 2)), jnp.float32)
    moments = normalisation.merge(normalisation.initial_moments(x), normalisation.moments_of(x))
    scaled = normalisation.normalise(moments, x)
    np.testing.assert_allclose(scaled.mean(0), 0, atol=1e-3)
    np.testing.assert_allclose(scaled.std(0), 1, rtol=1e-3)
    assert float(normalisation.normalise(moments, jnp.full((1, 2), 1e9)).max()) == 10.0


def test_before_any_batch_features_pass_unscaled():
    x = jnp.array([[0.5, -2.0]])
    np.testing.assert_allclose(normalisation.normalise(normalisation.initial_moments(x), x), x, rtol=1e-5)


def test_symlog_is_odd_and_logarithmic():
    x = jnp.array([-7.0, 0.0, 7.0])
    np.testing.assert_allclose(normalisation.symlog(x), [-np.log(8), 0, np.log(8)], rtol=1e-6)


def test_return_scale_is_the_exponentially_weighted_mean_and_deviation():
    batches = [np.random.default_rng(s).normal(-20 + s, 4, 500).astype(np.float32) for s in range(4)]
    scale = normalisation.initial_return_scale()
    for batch in batches:
        scale = normalisation.update_return_scale(scale, jnp.asarray(batch), decay=0.8)
    weights = np.array([0.8 ** (3 - i) for i in range(4)])
    weights /= weights.sum()
    mean = sum(w * b.mean() for w, b in zip(weights, batches, strict=True))
    deviation = np.sqrt(
        sum(w * (b.astype(np.float64) ** 2).mean() for w, b in zip(weights, batches, strict=True)) - mean**2
    )
    np.testing.assert_allclose(normalisation.scale_returns(scale, jnp.float32(mean + deviation)), 1, rtol=1e-3)
    np.testing.assert_allclose(normalisation.unscale_values(scale, jnp.float32(0)), mean, rtol=1e-4)


def test_scaling_and_unscaling_are_inverse_and_the_identity_before_any_return():
    returns = jnp.array([-3.0, 0.0, 12.0])
    fresh = normalisation.initial_return_scale()
    np.testing.assert_array_equal(normalisation.scale_returns(fresh, returns), returns)
    warm = normalisation.update_return_scale(fresh, returns * 7)
    np.testing.assert_allclose(
        normalisation.unscale_values(warm, normalisation.scale_returns(warm, returns)), returns, atol=1e-4
    )
    assert jax.tree.all(jax.tree.map(jnp.isfinite, warm))
