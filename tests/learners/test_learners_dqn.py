import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_games import GAMMA, TwoStates, TwoStatesState

import jaxdlb
from jaxdlb import learners
from jaxdlb.learners import DQNConfig
from jaxdlb.networks import NetworkConfig, build_actor, features, normalisation
from jaxdlb.policies.learned import LearnedPolicy

GAME = TwoStates()
NETWORK = NetworkConfig("mlp", hidden=(16,))
QUICK = DQNConfig(
    num_envs=16,
    rollout_length=2,
    gradient_steps=2,
    batch_size=32,
    replay_length=200,
    warmup_steps=8,
    stagger=0,
    gamma=GAMMA,
    learning_rate=5e-3,
    tau=0.05,
    epsilon_steps=100,
)


@functools.cache
def trained(num_updates=400, **changed):
    learner = learners.make(GAME, dataclasses.replace(QUICK, **changed), network=NETWORK)
    run = jax.jit(lambda state: jax.lax.scan(lambda state, _: learner.update(state), state, length=num_updates))
    return learner, *run(jax.jit(learner.init)(jax.random.key(0)))


def values(learner, state):
    """Q(state, choice), NaN where illegal, of each agent."""
    at = jnp.array([[0, 0], [1, 1]])
    seen = jax.vmap(lambda at: GAME.observe(TwoStatesState(at, jnp.int32(0))))(at)
    view = normalisation.normalise(state.moments.agent, normalisation.symlog(features(seen)))
    _, found = learner.algorithm.actor.apply(state.learned.params["actor"], (), view, seen.legal)
    return np.where(seen.legal, found.heads.values, np.nan).transpose(1, 0, 2)


@pytest.mark.parametrize(
    "changed",
    [{}, {"double": True, "dueling": True, "share_parameters": False}],
    ids=["plain", "double, dueling, each its own"],
)
def test_it_finds_the_values_of_a_two_state_game_across_time_limits(changed):
    """An episode of five steps would be worth at most 3.4, were its time limit an end."""
    learner, state, metrics = trained(**changed)
    for found in values(learner, state):
        np.testing.assert_allclose(found, GAME.optimum, atol=0.25)
    assert metrics["utility"][-1] > 0.8
    assert metrics["loss"][-1] < 0.05


def test_the_sum_of_values_is_held_against_the_mean_reward():
    """Both agents in state 1 earn 1 in the mean, for ever: their values add up to 5; and each stays or moves there."""
    learner, state, _ = trained(mixer="sum", num_updates=600)
    found = values(learner, state)
    np.testing.assert_allclose(np.nanmax(found[:, 1], axis=-1).sum(), 5.0, atol=0.4)
    assert np.nanargmax(found, axis=-1).tolist() == [[1, 0], [1, 0]]


def test_a_policy_acts_by_the_greatest_legal_value_however_it_is_asked():
    learner, state, _ = trained()
    actor = build_actor(GAME, NETWORK, heads=QUICK.heads)
    _, timestep = GAME.reset(jax.random.key(0), jnp.int32(5))
    best = np.nanargmax(values(learner, state)[0], axis=-1)
    for greedy in (False, True):
        policy = LearnedPolicy(GAME, actor, learner.policy_variables(state), greedy=greedy)
        _, action = policy.act(jax.random.key(1), (), timestep.observation, None)
        np.testing.assert_array_equal(action, best[np.argmax(timestep.observation.own, axis=-1)])
        row = (timestep.observation.own[1], None, timestep.observation.legal[1])
        assert int(policy.act_one(jax.random.key(1), (), *row, 1)[1]) == int(action[1])
        np.testing.assert_array_equal(np.argmax(policy.probabilities(timestep.observation, None), axis=-1), action)


def test_choices_in_several_heads_add_up_and_a_pointer_learns_and_acts_at_any_number_of_nodes():
    config = dataclasses.replace(QUICK, num_envs=4, dueling=True, double=True)
    network = NetworkConfig("pointer", hidden=(8,))
    game, other = (jaxdlb.make("dlb", num_nodes=num_nodes) for num_nodes in (3, 5))
    learner = learners.make(game, config, network=network)
    run = jax.jit(lambda state: jax.lax.scan(lambda state, _: learner.update(state), state, length=12))
    state, metrics = run(jax.jit(learner.init)(jax.random.key(0)))
    assert np.isfinite(metrics["loss"]).all() and metrics["loss"][-1] > 0
    policy = LearnedPolicy(other, build_actor(other, network, heads=config.heads), learner.policy_variables(state))

    @jax.jit
    def valued(key):
        observation = other.reset(key, other.default_params())[1].observation
        view = normalisation.normalise(state.moments.agent, normalisation.symlog(features(observation)))
        _, found = policy.actor.apply(policy.variables.actor, (), view, observation.legal)
        action = found.mode()
        return found, action, found.value_of(action)

    found, action, value = valued(jax.random.key(0))
    each = [
        np.take_along_axis(head.values, np.asarray(choice)[:, None], -1)[:, 0]
        for head, choice in ((found.heads.dispatch, action.dispatch), (found.heads.steal, action.steal))
    ]
    np.testing.assert_allclose(value, sum(each), rtol=1e-6)
    np.testing.assert_allclose(
        value,
        sum(
            np.where(head.legal, head.values, -np.inf).max(axis=-1)
            for head in (found.heads.dispatch, found.heads.steal)
        ),
        rtol=1e-6,
    )
