import jax.numpy as jnp
import numpy as np

from jaxdlb.learners.advantage import generalised_advantages


def direct_sum(reward, value, next_value, discount, last, lam):
    """A_t as the sum over later steps k of (λ · discount)^… δ_k, stopped by the end of the episode; plain loops."""
    horizon, width = reward.shape
    result = np.zeros((horizon, width))
    for b in range(width):
        for t in range(horizon):
            weight = 1.0
            for k in range(t, horizon):
                result[t, b] += weight * (reward[k, b] + discount[k, b] * next_value[k, b] - value[k, b])
                weight *= lam * discount[k, b]
                if last[k, b]:
                    break
    return result


def random_case(seed, terminates):
    rng = np.random.default_rng(seed)
    shape = (23, 4)
    last = rng.random(shape) < 0.15
    ends = last if terminates else np.zeros(shape, bool)
    reward, value, next_value = (rng.normal(size=shape) for _ in range(3))
    return reward, value, next_value, 0.93 * (1 - ends), last


def assert_matches(case, lam):
    got = generalised_advantages(*(jnp.asarray(x, jnp.bool_ if x.dtype == bool else jnp.float32) for x in case), lam)
    np.testing.assert_allclose(got, direct_sum(*case, lam), rtol=1e-4, atol=1e-5)


def test_advantages_equal_the_slow_direct_sum_with_time_limits():
    for lam in (0.0, 0.7, 1.0):
        assert_matches(random_case(1, terminates=False), lam)


def test_advantages_equal_the_slow_direct_sum_with_terminations():
    for lam in (0.0, 0.7, 1.0):
        assert_matches(random_case(2, terminates=True), lam)


def test_a_time_limit_bootstraps_and_a_termination_does_not():
    reward, value, next_value = jnp.zeros((1, 1)), jnp.zeros((1, 1)), jnp.full((1, 1), 10.0)
    last = jnp.ones((1, 1), bool)
    cut = generalised_advantages(reward, value, next_value, jnp.full((1, 1), 0.9), last, 0.95)
    ended = generalised_advantages(reward, value, next_value, jnp.zeros((1, 1)), last, 0.95)
    assert float(cut[0, 0]) == 9.0
    assert float(ended[0, 0]) == 0.0
