import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdlb.learners import losses

DECIDES = jnp.array([True, True, False, True])


def test_the_policy_loss_is_the_clipped_surrogate_over_agents_with_a_choice():
    ratio = np.array([1.5, 0.5, 9.0, 1.1])
    advantage = np.array([2.0, -1.0, 5.0, -3.0])
    by_hand = -np.mean([min(1.5 * 2, 1.2 * 2), min(-0.5, -0.8), min(-3.3, -3.3)])
    got = losses.clipped_policy_loss(jnp.asarray(ratio)[:, None], jnp.asarray(advantage)[:, None], 0.2, DECIDES)
    np.testing.assert_allclose(got, by_hand, rtol=1e-6)


def test_the_terms_of_an_agent_are_clipped_one_by_one_and_added():
    ratio = np.array([[1.5, 0.5], [1.0, 1.0], [9.0, 9.0], [1.1, 3.0]])
    advantage = np.array([2.0, -1.0])  # the same for all agents
    by_hand = -np.mean([2.4 - 0.8, 2 - 1, 2.2 - 3])
    got = losses.clipped_policy_loss(jnp.asarray(ratio), jnp.broadcast_to(jnp.asarray(advantage), (4, 2)), 0.2, DECIDES)
    np.testing.assert_allclose(got, by_hand, rtol=1e-6)


def test_a_ratio_beyond_the_clip_has_no_gradient_and_one_within_has():
    def loss(ratio):
        return losses.clipped_policy_loss(ratio, jnp.ones((1, 1)), 0.2, jnp.ones(1, bool))

    assert float(jax.grad(loss)(jnp.array([[1.3]]))[0, 0]) == 0.0
    assert float(jax.grad(loss)(jnp.array([[1.1]]))[0, 0]) == -1.0


def test_the_value_loss_is_half_the_squared_error_and_punishes_leaving_the_clip():
    value, old, target = jnp.array([1.0, 3.0]), jnp.array([0.9, 0.0]), jnp.array([2.0, 3.0])
    inside = optax.l2_loss(value, target)[0]
    outside = 0.5 * (0.5 - 3.0) ** 2
    np.testing.assert_allclose(losses.value_loss(value, old, target, 0.5), (inside + outside) / 2, rtol=1e-6)


def test_standardised_advantages_leave_out_agents_without_a_choice():
    advantage = jnp.array([1.0, 2.0, 1000.0, 6.0])
    scaled = losses.standardise(advantage, DECIDES)[DECIDES]
    np.testing.assert_allclose(scaled, (np.array([1, 2, 6]) - 3) / np.std([1, 2, 6]), rtol=1e-4)


def test_the_mean_over_nobody_is_zero():
    assert float(losses.masked_mean(jnp.ones(3), jnp.zeros(3, bool))) == 0.0


def test_ratios_and_their_gradients_stay_finite_where_a_density_moves_beyond_float32():
    def loss(log_ratio):
        ratio = jnp.exp(losses.bounded_log_ratio(log_ratio))
        advantage, decides = jnp.array([[-1.0], [1.0], [-1.0]]), jnp.ones(3, bool)
        return losses.clipped_policy_loss(ratio, advantage, 0.2, decides)

    value, gradient = jax.value_and_grad(loss)(jnp.array([[500.0], [-500.0], [0.1]]))
    assert np.isfinite(value) and np.all(np.isfinite(gradient))
    assert gradient[2] != 0  # what lies within is as it was
