import jax
import jax.numpy as jnp
import numpy as np

from jaxdlb.learners import exploration

ENVS, AGENTS = 400, 3
LEGAL = [
    jnp.broadcast_to(jnp.array([[True, True, False], [False, True, False], [True, True, True]]), (ENVS, AGENTS, 3)),
    jnp.broadcast_to(jnp.array([[True, True], [True, False], [False, True]]), (ENVS, AGENTS, 2)),
]
GREEDY = [
    jnp.broadcast_to(jnp.array([1, 1, 2]), (ENVS, AGENTS)),
    jnp.broadcast_to(jnp.array([0, 0, 1]), (ENVS, AGENTS)),
]


def test_epsilon_falls_exponentially_from_start_to_end():
    steps = [0, 1000, 3000]
    levels = [float(exploration.falling(0.9, 0.05, 1000.0, jnp.int32(k))) for k in steps]
    np.testing.assert_allclose(levels, [0.05 + 0.85 * np.exp(-k / 1000) for k in steps], rtol=1e-6)


def test_agents_that_explore_draw_uniformly_among_legal_choices():
    first, second = exploration.epsilon_greedy(jax.random.key(0), jnp.float32(1), GREEDY, LEGAL)
    shares = [np.bincount(first[:, agent], minlength=3) / ENVS for agent in range(AGENTS)]
    allowed = 5 * 0.5 / ENVS**0.5  # five standard deviations of a share
    np.testing.assert_allclose(shares, [[1 / 2, 1 / 2, 0], [0, 1, 0], [1 / 3, 1 / 3, 1 / 3]], atol=allowed)
    np.testing.assert_allclose(np.mean(second, axis=0), [1 / 2, 0, 1], atol=allowed)


def test_each_agent_throws_a_coin_of_its_own_for_all_its_choices():
    first, _ = exploration.epsilon_greedy(jax.random.key(1), jnp.float32(0.5), GREEDY, LEGAL)
    moved = np.asarray(first != GREEDY[0])
    # An agent explores with 1/2, and then leaves the greedy choice with 1/2 (of two) or 2/3 (of three).
    np.testing.assert_allclose(moved.mean(axis=0), [1 / 4, 0, 1 / 3], atol=5 * 0.5 / ENVS**0.5)
    both = moved[:, 0] & moved[:, 2]
    np.testing.assert_allclose(both.mean(), 1 / 12, atol=5 * (1 / 12 / ENVS) ** 0.5)
    kept = exploration.epsilon_greedy(jax.random.key(1), jnp.float32(0), GREEDY, LEGAL)
    for one, other in zip(kept, GREEDY, strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_an_environment_draws_does_not_depend_on_how_many_there_are():
    few, many = (exploration.uniform_rows(jax.random.key(2), count, 4, AGENTS) for count in (3, 9))
    np.testing.assert_array_equal(few, many[:, :3])


def test_gaussian_noise_has_its_scale_and_no_memory():
    normals = exploration.normals(jax.random.key(3), (ENVS, AGENTS, 2))
    noise = exploration.gaussian(jnp.full_like(normals, 7.0), normals, 0.2, 0.15)
    np.testing.assert_allclose(np.std(noise), 0.2, rtol=0.1)


def test_ornstein_uhlenbeck_noise_has_the_variance_and_the_correlation_of_its_stationary_law():
    """x′ = (1 − θ) x + σ ε has variance σ²/(1 − (1 − θ)²) and correlates with x by 1 − θ."""
    sigma, theta, noise = 0.25, 0.15, jnp.zeros((ENVS, AGENTS, 1))
    for key in jax.random.split(jax.random.key(4), 40):
        before, noise = (
            noise,
            exploration.ornstein_uhlenbeck(noise, exploration.normals(key, noise.shape), sigma, theta),
        )
    np.testing.assert_allclose(np.var(noise), sigma**2 / (1 - (1 - theta) ** 2), rtol=0.2)
    np.testing.assert_allclose(np.corrcoef(before.ravel(), noise.ravel())[0, 1], 1 - theta, atol=0.05)


def test_noise_is_emptied_where_an_episode_begins():
    emptied = exploration.emptied(jnp.ones((2, AGENTS, 1)), jnp.array([True, False]))
    np.testing.assert_array_equal(emptied[:, 0, 0], [0, 1])
