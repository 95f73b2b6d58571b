"""The metrics of single agents: the mean of each over environments and steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdlb
from jaxdlb import learners
from jaxdlb.game import TimeStep
from jaxdlb.learners import MAPPOConfig, own
from jaxdlb.networks import NetworkConfig

REWARD = jnp.arange(12.0).reshape(4, 3)


def timestep(reward, utilities=None):
    nothing = jnp.zeros(len(reward))
    return TimeStep((), reward, nothing, nothing > 0, nothing, {}, utilities)


def test_each_agent_has_the_mean_over_environments_of_its_own_utility_or_else_of_its_reward():
    assert {name: float(x) for name, x in own.metrics(timestep(REWARD)).items()} == {
        "reward/agent_0": 4.5,
        "reward/agent_1": 5.5,
        "reward/agent_2": 6.5,
    }
    assert own.metrics(timestep(REWARD, -REWARD)).keys() == {f"utility/agent_{agent}" for agent in range(3)}
    assert float(own.metrics(timestep(REWARD, -REWARD))["utility/agent_2"]) == -6.5


@pytest.mark.parametrize(("num_agents", "told"), [(1, 0), (2, 2), (16, 16), (17, 0)])
def test_few_agents_are_told_of_one_by_one(num_agents, told):
    assert len(own.metrics(timestep(jnp.zeros((4, num_agents))))) == told


@pytest.mark.parametrize("credit", ["whole", "chosen"])
def test_an_update_tells_of_each_agent_what_adds_up_to_the_utility_of_all(credit):
    """In a game whose agents' own utilities have the utility for their mean, whatever the reward is made of."""
    game = jaxdlb.make("dlb", num_nodes=3, max_delay=0)
    params = game.default_params(completion_prob=[0.05, 0.3, 1.0], selfishness=0.5)
    config = MAPPOConfig(num_envs=4, rollout_length=8, num_minibatches=1, credit=credit)
    network = NetworkConfig("mlp", hidden=(8,), critic_hidden=(8,))
    learner = learners.make(game, config, network=network, sample_params=lambda key: params)
    state, rollout = jax.jit(learner.collect)(jax.jit(learner.init)(jax.random.key(0)))
    each = np.array([np.mean(rollout.steps.own[f"utility/agent_{agent}"]) for agent in range(3)])
    np.testing.assert_allclose(each.mean(), np.mean(rollout.steps.metrics["utility"]), rtol=1e-5)
    assert np.ptp(each) > 0
    assert rollout.steps.own.keys() <= jax.eval_shape(learner.learn, state, rollout)[1].keys()
