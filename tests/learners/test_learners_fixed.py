"""Agents that a policy plays while the others learn: what they do, what is learned from it, and who plays later."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

import jaxdlb
from jaxdlb import checkpoint, learners
from jaxdlb.learners import IPPOConfig, MAPPOConfig, environments
from jaxdlb.networks import NetworkConfig
from jaxdlb.policies import fixed

NETWORK = NetworkConfig("mlp", hidden=(8,), critic_hidden=(8,))
TRIANGLE = jaxdlb.make("edge", num_nodes=3)
PARAMS = TRIANGLE.default_params(horizon=5, mean_input_limit=80)  # nodes are too small, so that limits move both ways
AIMD = jaxdlb.heuristic("aimd", game="edge", headroom=0.3)
FIXED = (0, 2)
TINY = IPPOConfig(
    num_envs=2, rollout_length=12, num_minibatches=1, stagger=0, fixed_agents=FIXED, fixed_policy=AIMD, gamma=0.7
)


@functools.cache
def played():
    """A learner, its state before and after a rollout over several episodes, and the rollout."""
    learner = learners.make(TRIANGLE, TINY, network=NETWORK, sample_params=lambda key: PARAMS)
    state = jax.jit(learner.init)(jax.random.key(0))
    return learner, state, *jax.jit(learner.collect)(state)


def test_fixed_agents_do_what_their_policy_does_with_a_memory_that_starts_with_each_episode():
    """Played again environment by environment, the heuristic remembering by itself."""
    _, state, after, rollout = played()
    actions = np.asarray(rollout.steps.action)
    act, step = jax.jit(jax.vmap(AIMD.act)), jax.jit(functools.partial(environments.step, TRIANGLE, lambda key: PARAMS))
    start = jnp.stack([AIMD.init(TRIANGLE)] * TINY.num_envs)
    at, memory, moved = state.environments, start, 0
    for action in actions:
        memory = jnp.where(at.first[:, None, None], start, memory)
        memory, expected = act(jax.random.split(jax.random.key(0), 2), memory, at.observation, at.params)
        np.testing.assert_array_equal(action[:, FIXED], np.asarray(expected)[:, FIXED])
        assert np.all(np.any(action[:, 1] != np.asarray(expected)[:, 1], axis=-1))  # the one that learns
        moved += int(np.any(memory != start))
        at, *_ = step(at, action)
    assert moved > 4 and np.sum(rollout.steps.first) >= 4
    np.testing.assert_array_equal(after.fixed_memory, memory)


def gradient_of(learner, state, batch):
    return jax.grad(learner.loss, has_aux=True)(state.params, state, batch)


def test_nothing_that_fixed_agents_did_or_earned_is_in_the_gradient():
    learner, state, after, rollout = played()
    batch = learner.sequences(rollout, *learner.advantages(after, rollout))
    assert not np.any(batch.decides[..., FIXED]) and np.all(batch.decides[..., 1])

    def elsewhere(x, by):
        return x.at[:, :, np.array(FIXED)].add(by)

    other = dataclasses.replace(
        batch,
        action=jnp.roll(batch.action, 1, axis=-1).at[:, :, 1].set(batch.action[:, :, 1]),
        log_prob=elsewhere(batch.log_prob, -300.0),  # a ratio of e³⁰⁰ would be infinite
        advantage=elsewhere(batch.advantage, 7.0),
        value=elsewhere(batch.value, 5.0),
        target=elsewhere(batch.target, -3.0),
    )
    gradient = jax.jit(functools.partial(gradient_of, learner))
    one, two = gradient(state, batch), gradient(state, other)
    for mine, same in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        np.testing.assert_array_equal(mine, same)
        assert np.all(np.isfinite(mine))
    moved, _ = gradient(state, dataclasses.replace(batch, advantage=batch.advantage.at[:5, :, 1].add(1.0)))
    assert any(np.any(mine != other) for mine, other in zip(*map(jax.tree.leaves, (one[0], moved)), strict=True))


def test_with_credit_for_the_chosen_the_utility_of_a_fixed_agent_counts_for_those_that_chose_it():
    game = jaxdlb.make("dlb", num_nodes=3, max_delay=0)
    config = MAPPOConfig(fixed_agents=(2,), fixed_policy=jaxdlb.heuristic("local"), credit="chosen")
    learner = learners.make(game, config, network=NETWORK)
    value = jnp.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(learner._valued(value), value)
    whole = learners.make(game, dataclasses.replace(config, credit="whole"), network=NETWORK)
    np.testing.assert_array_equal(whole._valued(value), value[:, :2])


def test_what_the_policy_remembers_is_saved_with_the_state(tmp_path):
    learner, _, after, _ = played()
    with checkpoint.Writer(tmp_path, {}) as writer:
        writer.save(1, after, learner.policy_variables(after), 0.0)
    _, restored = checkpoint.restore_state(tmp_path, jax.eval_shape(learner.init, jax.random.key(0)))
    np.testing.assert_array_equal(restored.fixed_memory, after.fixed_memory)
    assert np.any(after.fixed_memory != 10.0)


def test_one_agent_beside_those_that_keep_all_learns_to_earn_more():
    """The source's five nodes: who forwards what is beyond its own 60 requests a second gains a third."""
    edges = [(0, 1), (0, 2), (2, 3), (0, 3), (1, 4)]
    adjacency = np.zeros((5, 5), bool)
    for one, other in edges:
        adjacency[one, other] = adjacency[other, one] = True
    game = jaxdlb.make("edge", num_nodes=5, max_instances=30, rejections="rounded")
    params = game.default_params(
        adjacency=adjacency,
        instances=30,
        mean_input_limit=63,
        forwarding_cost=0,
        selfishness=1,
        heartbeat_period=0,
    )
    config = IPPOConfig(
        num_envs=16,
        rollout_length=18,
        num_minibatches=4,
        learning_rate=1e-2,
        final_learning_rate=1e-2,
        gamma=0.7,
        gae_lambda=0.3,
        stagger=288,
        fixed_agents=(1, 2, 3, 4),
        fixed_policy=jaxdlb.heuristic("local", game="edge"),
    )
    learner = learners.make(game, config, network=NETWORK, sample_params=lambda key: params)
    state, update, rewards = jax.jit(learner.init)(jax.random.key(0)), jax.jit(learner.update), []
    for _ in range(100):
        state, metrics = update(state)
        rewards.append(float(metrics["reward"]))
    start, end = np.mean(rewards[:5]), np.mean(rewards[-30:])
    assert start < 0.75 and end > 0.88, (start, end)


@struct.dataclass
class Saying:
    """A policy that says one thing for every agent, by kind; not what a game would understand."""

    kind: str = struct.field(pytree_node=False, default="heuristic")
    name = "saying"

    def init(self, game):
        return ()

    def act(self, key, carry, observation, params):
        return (), jnp.full(3, 7.0)


class Learned(Saying):
    name = "learned"

    def act(self, key, carry, observation, params):
        return carry, jax.random.uniform(key, (3,))


def test_a_learned_policy_is_played_beside_the_fixed_agents_it_was_trained_with():
    policy = fixed.find(TRIANGLE, [2], Saying()).beside(Learned())
    carry, action = policy.act(jax.random.key(3), policy.init(TRIANGLE), None, None)
    np.testing.assert_array_equal(action, jax.random.uniform(jax.random.key(3), (3,)).at[2].set(7.0))
    assert (policy.name, policy.kind, policy.init(TRIANGLE)) == ("learned", "learned", carry)


@pytest.mark.parametrize(
    ("agents", "policy", "sentence"),
    [
        ([0, 3], AIMD, r"fixed_agents\[1\] is 3; it must be an integer in \[0, 2\]"),
        ([-1], AIMD, r"fixed_agents\[0\] is -1; it must be an integer in \[0, 2\]"),
        ([1, 1], AIMD, "fixed_agents holds 1 twice; it must hold each agent once"),
        ([2, 0, 1], AIMD, "fixed_agents holds all 3 agents; it must leave at least one to learn"),
        ([0], None, r"fixed_policy is null; it must be given where fixed_agents is \[0\]"),
        ([], AIMD, "fixed_agents is empty; it must name agents where fixed_policy is aimd"),
        ([0], "aimd", "fixed_policy is 'aimd'; it must be a policy"),
        ([0], jaxdlb.heuristic("oracle_optimal", game="edge"), "'oracle_optimal', of the kind optimal; it must act on"),
        ([0], Saying("oracle"), "fixed_policy is 'saying', of the kind oracle; it must act on what agents observe"),
    ],
)
def test_fixed_agents_that_cannot_be_are_refused_in_a_sentence(agents, policy, sentence):
    with pytest.raises(ValueError, match=sentence):
        fixed.find(TRIANGLE, agents, policy)


def test_nobody_is_fixed_by_default():
    assert fixed.find(TRIANGLE, MAPPOConfig().fixed_agents, MAPPOConfig().fixed_policy) is fixed.NOBODY
