"""Choices of which later ones depend on the first: everything stated is checked against the table of all actions."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdlb.networks import ActionDistribution, Autoregressive
from jaxdlb.networks.autoregressive import num_shifts
from jaxdlb.spaces import Box, Discrete, Simplex

NUM_AGENTS = 3
CHOICES = Discrete(NUM_AGENTS, over_agents=True)
ITSELF = np.eye(NUM_AGENTS, dtype=bool)


def drawn(num_choices=2, seed=0, shift=3.0):
    """Scores [K, N, N], shifts [N, K − 1] and masks: agent 0 may not choose 2 first, agent 2 has no choice at all."""
    draws = np.random.default_rng(seed)
    legal = np.ones((num_choices, NUM_AGENTS, NUM_AGENTS), bool)
    legal[0, 0, 2], legal[:, 2] = False, ITSELF[2]
    shifts = shift * draws.normal(size=(NUM_AGENTS, num_choices - 1))
    return draws.normal(size=legal.shape), shifts, legal


def made(scores, shifts, legal):
    parts = ([jnp.asarray(each, jnp.float32) for each in scores], jnp.asarray(shifts, jnp.float32))
    return Autoregressive.of([CHOICES] * len(scores), *parts, tuple(map(jnp.asarray, legal)), jnp.asarray(ITSELF))


def table(scores, shifts, legal, agent):
    """The probability of every action of an agent, by loops in float64."""

    def softmax(row, mask):
        weights = np.where(mask, np.exp(row), 0.0)
        return weights / weights.sum()

    found = {}
    first = softmax(scores[0, agent], legal[0, agent])
    for action in itertools.product(range(NUM_AGENTS), repeat=len(scores)):
        sign = 0.5 if action[0] == agent else -0.5
        rows = [scores[k, agent] + sign * shifts[agent, k - 1] * ITSELF[agent] for k in range(1, len(scores))]
        given = [softmax(row, legal[k + 1, agent])[action[k + 1]] for k, row in enumerate(rows)]
        found[action] = first[action[0]] * np.prod(given)
    return found


@pytest.mark.parametrize("num_choices", [2, 3])
def test_all_that_is_stated_is_that_of_the_table_of_all_actions(num_choices):
    given = drawn(num_choices)
    distribution = made(*given)
    probabilities, entropy, mode = distribution.probabilities(), distribution.entropy(), distribution.mode()
    greedy = distribution.probabilities(greedy=True)
    for agent in range(NUM_AGENTS):
        every = table(*given, agent)
        np.testing.assert_allclose([probabilities[agent][action] for action in every], [*every.values()], atol=1e-6)
        positive = np.array([p for p in every.values() if p > 0])
        np.testing.assert_allclose(entropy[agent], -np.sum(positive * np.log(positive)), atol=1e-5)
        likeliest = max(every, key=every.get)
        assert tuple(int(each[agent]) for each in mode) == likeliest
        assert greedy[agent][likeliest] == 1
        assert greedy[agent].sum() == 1


def test_the_probability_of_an_action_and_of_treating_others_as_it_does():
    given = drawn()
    distribution = made(*given)
    tables = [table(*given, agent) for agent in range(NUM_AGENTS)]
    for action in itertools.product(range(NUM_AGENTS), repeat=2):
        actions = tuple(jnp.full(NUM_AGENTS, each) for each in action)
        stated, treated = distribution.log_prob(actions), np.exp(distribution.log_prob_of_chosen(actions))
        for agent, every in enumerate(tables):
            if every[action] == 0:
                continue  # never taken
            np.testing.assert_allclose(stated[agent], np.log(every[action]), atol=1e-5)
            np.testing.assert_allclose(treated[agent, agent], every[action], rtol=1e-5)
            for other in set(range(NUM_AGENTS)) - {agent}:
                alike = [
                    p for one, p in every.items() if (np.array(one) == other).tolist() == [a == other for a in action]
                ]
                np.testing.assert_allclose(treated[agent, other], sum(alike), rtol=1e-4)


def test_samples_are_as_frequent_as_stated_and_never_illegal():
    given = drawn()
    keys = jax.random.split(jax.random.key(1), 20_000)
    first, second = jax.jit(jax.vmap(made(*given).sample))(keys)
    for agent in range(NUM_AGENTS):
        for action, p in table(*given, agent).items():
            often = np.mean((first[:, agent] == action[0]) & (second[:, agent] == action[1]))
            assert abs(often - p) <= 4 * np.sqrt(p * (1 - p) / len(keys)) + 1e-6


def test_whoever_has_no_choice_has_no_entropy_and_a_certain_action():
    distribution = made(*drawn())
    np.testing.assert_array_equal(distribution.decides, [True, True, False])
    assert distribution.entropy()[2] == 0
    actions = (jnp.full(NUM_AGENTS, 2),) * 2
    assert distribution.log_prob(actions)[2] == 0
    np.testing.assert_array_equal(distribution.log_prob_of_chosen(actions)[2], 0)


def test_without_shifts_choices_are_independent():
    scores, _, legal = drawn()
    rows, masks = [jnp.asarray(each, jnp.float32) for each in scores], tuple(map(jnp.asarray, legal))
    independent = ActionDistribution.of([CHOICES] * 2, rows, [jnp.zeros((NUM_AGENTS, 0))] * 2, masks)
    dependent = made(scores, np.zeros((NUM_AGENTS, 1)), legal)
    key, actions = jax.random.key(2), (jnp.array([1, 0, 2]), jnp.array([0, 0, 2]))
    for one, other in (
        (independent.sample(key), dependent.sample(key)),
        (independent.mode(), dependent.mode()),
        (independent.probabilities(), dependent.probabilities()),
        (independent.log_prob(actions), dependent.log_prob(actions)),
        (independent.log_prob_of_chosen(actions), dependent.log_prob_of_chosen(actions)),
        (independent.entropy(), dependent.entropy()),
    ):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6), one, other)


def test_gradients_stay_finite_where_the_first_choice_is_all_but_certain():
    scores, shifts, legal = drawn()

    def total(row, actions):
        distribution = made(np.zeros_like(scores), shifts, np.ones_like(legal))
        moved = distribution.replace(first=distribution.first.replace(log_probs=jax.nn.log_softmax(row)))
        return jnp.sum(moved.log_prob_of_chosen(actions))

    for likely, action in itertools.product(range(NUM_AGENTS), repeat=2):
        row = jnp.zeros((NUM_AGENTS, NUM_AGENTS)).at[:, likely].set(200.0)
        value, slope = jax.value_and_grad(total)(row, (jnp.full(NUM_AGENTS, action),) * 2)
        assert np.isfinite(value)
        assert np.isfinite(slope).all()


@pytest.mark.parametrize(
    ("spaces", "shifts"),
    [
        ([CHOICES, CHOICES], 1),
        ([CHOICES] * 3, 2),
        ([CHOICES], 0),
        ([CHOICES, Discrete(NUM_AGENTS)], 0),
        ([CHOICES, Box(0.0, 1.0, 1)], 0),
        ([Simplex(NUM_AGENTS, over_agents=True)] * 2, 0),
    ],
)
def test_only_choices_among_agents_depend_on_one_another(spaces, shifts):
    assert num_shifts(spaces) == shifts
