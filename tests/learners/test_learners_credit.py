import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matching import Matching

import jaxdlb
from jaxdlb import learners
from jaxdlb.game import TimeStep, mixed_rewards
from jaxdlb.learners import MAPPOConfig, credit, losses
from jaxdlb.networks import ActionDistribution, NetworkConfig
from jaxdlb.spaces import Box, Discrete, Simplex

NUM_AGENTS = 3
CHOICES = Discrete(NUM_AGENTS, over_agents=True)
SCORES = jax.random.normal(jax.random.key(0), (NUM_AGENTS, NUM_AGENTS))
JOINT = np.array(list(itertools.product(range(NUM_AGENTS), repeat=NUM_AGENTS)))  # [27, N]
# [j, own choice, how many others chose j]: of agent j, the utility that it has by this and nothing else
TABLE = np.random.default_rng(1).normal(size=(NUM_AGENTS, NUM_AGENTS, NUM_AGENTS))


def distribution_of(scores):
    legal = jnp.ones(scores.shape, bool)
    return ActionDistribution.of([CHOICES], [scores], [jnp.zeros((*scores.shape[:-1], 0))], legal)


def utilities_of(actions):
    """[…, N]: by each agent's own choice and by how many others chose it."""
    chose = actions[..., :, None] == np.arange(NUM_AGENTS)
    others = chose.sum(axis=-2) - np.diagonal(chose, axis1=-2, axis2=-1)
    return TABLE[np.arange(NUM_AGENTS), actions, others]


def estimates(kind, selfishness):
    """The gradient in the scores that each joint action gives rise to, [27, N, N], and its probability, [27]."""
    batch = jnp.broadcast_to(SCORES, (len(JOINT), *SCORES.shape))
    action, utilities = jnp.asarray(JOINT), jnp.asarray(utilities_of(JOINT))
    rewards = jax.vmap(mixed_rewards, (0, None))(utilities, selfishness)
    advantage = utilities if isinstance(kind, credit.Chosen) else rewards
    kappa = jnp.full(len(JOINT), selfishness)
    decides = jnp.ones((len(JOINT), NUM_AGENTS), bool)
    old = kind.log_prob(distribution_of(batch), action)

    def loss(scores):
        ratio = jnp.exp(kind.log_prob(distribution_of(scores), action) - old)
        return losses.clipped_policy_loss(ratio, kind.terms(advantage, kappa), 0.2, decides)

    gradient = -jax.grad(loss)(batch) * len(JOINT) * NUM_AGENTS  # the loss is a mean over agents
    probability = jnp.exp(jnp.sum(distribution_of(batch).log_prob(action), axis=-1))
    return np.asarray(gradient), np.asarray(probability)


def exact_gradient(selfishness):
    """[N, N]: of each agent's expected reward in its own scores."""

    def expected(scores):
        probs = jax.nn.softmax(scores)
        joint = jnp.prod(probs[jnp.arange(NUM_AGENTS), JOINT], axis=-1)
        return joint @ jax.vmap(mixed_rewards, (0, None))(jnp.asarray(utilities_of(JOINT)), selfishness)

    return np.diagonal(jax.jacobian(expected)(SCORES), axis1=0, axis2=1).T


@pytest.mark.parametrize("selfishness", [0.0, 0.3, 1.0])
def test_both_kinds_of_credit_give_the_gradient_of_the_expected_reward(selfishness):
    exact = exact_gradient(selfishness)
    scale = {"whole": 1.0, "chosen": (1 - selfishness) / NUM_AGENTS + selfishness}
    for kind in (credit.Whole(), credit.Chosen()):
        gradient, probability = estimates(kind, selfishness)
        mean = np.einsum("a,aij->ij", probability, gradient) * scale[kind.name]
        np.testing.assert_allclose(mean, exact, atol=2e-6)


def test_credit_for_the_chosen_has_less_noise():
    noise = {}
    for kind in (credit.Whole(), credit.Chosen()):
        gradient, probability = estimates(kind, 0.0)
        mean = np.einsum("a,aij->ij", probability, gradient)
        noise[type(kind)] = probability @ np.sum((gradient - mean) ** 2, axis=(1, 2)) / np.sum(mean**2)
    assert noise[credit.Chosen] < 0.7 * noise[credit.Whole]


def test_the_probability_of_treating_another_as_an_action_does():
    """Against loops; agent 0 has a choice in one head only, agent 2 in none."""
    legal = np.ones((2, NUM_AGENTS, NUM_AGENTS), bool)
    legal[1, 0], legal[:, 2] = [True, False, False], [False, False, True]
    scores = np.random.default_rng(2).normal(size=legal.shape)
    actions = np.array([[1, 0, 2], [0, 0, 2]])
    none = jnp.zeros((NUM_AGENTS, 0))
    distribution = ActionDistribution.of(
        [CHOICES, CHOICES], [jnp.asarray(each) for each in scores], [none, none], tuple(jnp.asarray(legal))
    )
    got = np.exp(distribution.log_prob_of_chosen(tuple(jnp.asarray(actions))))
    weights = np.where(legal, np.exp(scores), 0)
    probs = weights / weights.sum(axis=-1, keepdims=True)
    for i, j in itertools.product(range(NUM_AGENTS), repeat=2):
        chosen = [probs[head, i, actions[head, i]] for head in range(2)]
        treated = [probs[head, i, j] if actions[head, i] == j else 1 - probs[head, i, j] for head in range(2)]
        np.testing.assert_allclose(got[i, j], np.prod(chosen if i == j else treated), rtol=1e-5)


@pytest.mark.parametrize("gap", [0.0, 5.0, 10.0])
def test_not_choosing_what_is_likely_has_the_right_probability_and_slope(gap):
    """log(1 − p) and its derivative in the logit, −p, in float64; agent 0 chose 2, and 1 is likely."""
    scores = jnp.zeros((NUM_AGENTS, NUM_AGENTS)).at[0, 1].set(gap)
    action = jnp.array([2, 0, 0])
    value, slope = jax.value_and_grad(lambda s: distribution_of(s).log_prob_of_chosen(action)[0, 1])(scores)
    p = np.exp(gap) / (np.exp(gap) + 2)
    np.testing.assert_allclose(value, np.log1p(-p), rtol=2e-3)
    np.testing.assert_allclose(slope[0, 1], -p, rtol=2e-3)


def test_a_certain_choice_has_finite_probabilities_and_gradients():
    scores = jnp.where(jnp.eye(NUM_AGENTS, dtype=bool), 200.0, 0.0)
    action = jnp.array([1, 2, 0])  # none of them the one that is certain
    gradient = jax.grad(lambda scores: jnp.sum(distribution_of(scores).log_prob_of_chosen(action)))(scores)
    assert np.isfinite(distribution_of(scores).log_prob_of_chosen(action)).all()
    assert np.isfinite(gradient).all()


@dataclasses.dataclass(frozen=True)
class Stating(Matching):
    """Agents whose rewards are their own utilities, which the game states; its parameters are made on the host."""

    def default_params(self, **fields):
        return jnp.int32(int(jnp.sum(jnp.array([10, 10]))))

    def reset(self, key, params):
        return self._stated(*super().reset(key, params))

    def step(self, key, state, action, params):
        return self._stated(*super().step(key, state, action, params))

    def _stated(self, state, timestep):
        return state, timestep.replace(utilities=timestep.reward, selfishness=jnp.float32(1))


def test_auto_is_the_credit_that_the_game_allows():
    dlb = jaxdlb.make("dlb", num_nodes=2)
    assert credit.find(dlb, "auto") == credit.find(dlb, "chosen") == credit.Chosen()
    assert credit.find(dlb, "whole") == credit.Whole()
    among_agents = Discrete(3, over_agents=True)
    assert credit.find(Stating(among_agents, num_agents=3), "auto") == credit.Chosen()
    assert credit.find(Matching(among_agents, num_agents=3), "auto") == credit.Whole()
    for other in (Box(0.0, 1.0), Discrete(4), Simplex(3, over_agents=True)):
        assert credit.find(Stating(other, num_agents=3), "auto") == credit.Whole()
        with pytest.raises(ValueError, match=r"^credit is chosen; it must be auto or whole in matching, which"):
            credit.find(Stating(other, num_agents=3), "chosen")
    with pytest.raises(ValueError, match=r"^credit is 'none'; it must be one of auto, whole, chosen"):
        credit.find(dlb, "none")


def test_the_config_of_a_learner_says_which_credit_it_gives():
    dlb = jaxdlb.make("dlb", num_nodes=2)
    assert learners.make(dlb, MAPPOConfig()).config.credit == "chosen"
    assert learners.make(dlb, MAPPOConfig(credit="whole")).config.credit == "whole"


def test_in_a_large_cluster_credit_for_the_chosen_learns_faster():
    """After the same few rounds the imbalance is less than two thirds of what credit for the whole leaves."""
    game = jaxdlb.make("dlb", num_nodes=16, capacity=16)
    settings = {"num_envs": 8, "rollout_length": 16, "num_epochs": 1, "num_minibatches": 8, "schedule_updates": 30}
    network = NetworkConfig("pointer", hidden=(8, 8), critic_hidden=(16,))
    left = {}
    for kind in ("whole", "chosen"):
        config = MAPPOConfig(**settings, gamma=0.9, learning_rate=0.006, credit=kind)
        _, metrics = learners.train(game, config, jax.random.key(0), 30, network=network)
        left[kind] = -metrics["utility"][-10:].mean()
    assert left["chosen"] < 0.67 * left["whole"], left


def test_advantages_weigh_as_they_do_in_the_reward():
    """Two clusters of 4, κ = 0 and 1: all weigh 1/4, or an agent itself 1 and the others 0."""
    advantage = jnp.array([[1.0, 2.0, 3.0, 4.0]] * 2)
    terms = credit.Chosen().terms(advantage, jnp.array([0.0, 1.0]))
    mean_own = (1 / 4 + 1) / 2
    np.testing.assert_allclose(terms[0], np.tile([1, 2, 3, 4], (4, 1)) / 4 / mean_own, rtol=1e-6)
    np.testing.assert_allclose(terms[1], np.diag([1, 2, 3, 4]) / mean_own, rtol=1e-6)


def test_what_is_earned_is_the_own_utility_or_the_reward():
    game = jaxdlb.make("dlb", num_nodes=3)
    params = game.default_params(selfishness=0.25, initial_load=[5, 0, 1])
    state, start = game.reset(jax.random.key(0), params)
    nothing = jax.tree.map(lambda mask: jnp.arange(3, dtype=jnp.int32), start.observation.legal)
    timestep: TimeStep = game.step(jax.random.key(1), state, nothing, params)[1]
    np.testing.assert_array_equal(credit.Whole().earned(timestep), timestep.reward)
    own = credit.Chosen().earned(timestep)
    np.testing.assert_allclose(own.mean(), timestep.metrics["utility"], rtol=1e-6)
    np.testing.assert_allclose(timestep.reward, 0.75 * own.mean() + 0.25 * own, rtol=1e-6)
