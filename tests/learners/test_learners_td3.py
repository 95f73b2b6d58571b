"""TD3 and DDPG, which are settings of one class, and the critics of actions that SAC has too."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_games import Bandit

from jaxdlb import learners
from jaxdlb.learners import DDPGConfig, TD3Config, action_critics, box_units
from jaxdlb.networks import NetworkConfig, Views, build_actor
from jaxdlb.policies.learned import LearnedPolicy
from jaxdlb.spaces import Box

NETWORK = NetworkConfig("mlp", hidden=(16,), critic_hidden=(32,))
SIZES = {
    "num_envs": 16,
    "rollout_length": 2,
    "gradient_steps": 2,
    "batch_size": 32,
    "replay_length": 400,
    "warmup_steps": 20,
    "stagger": 0,
    "schedule_updates": 300,
    "actor_learning_rate": 3e-3,
    "critic_learning_rate": 5e-3,
}
PLAIN = Bandit()
CHANGING = Bandit(num_agents=3, low=0.0, high=4.0, presence=0.6)  # agents come and go


@functools.cache
def trained(kind, game=PLAIN, num_updates=300, **changed):
    learner = learners.make(game, kind(**SIZES | changed), network=NETWORK)
    run = jax.jit(lambda state: jax.lax.scan(lambda state, _: learner.update(state), state, length=num_updates))
    return learner, *run(jax.jit(learner.init)(jax.random.key(0)))


def lost(learner, state, greedy=True):
    """The mean squared distance of the policy's actions to the best ones, over agents that are there."""
    game, config = learner.game, learner.config
    actor = build_actor(game, NETWORK, config.share_parameters, config.heads)
    policy = LearnedPolicy(game, actor, learner.policy_variables(state), greedy=greedy)

    def of_one(key):
        before, timestep = game.reset(key, jnp.int32(1))
        _, action = policy.act(key, (), timestep.observation, None)
        _, after = game.step(key, before, action, jnp.int32(1))
        return after.reward, before.legal, game.action_space.contains(action, before.legal)

    reward, legal, contained = jax.jit(jax.vmap(of_one))(jax.random.split(jax.random.key(9), 64))
    assert contained.all()
    return -float(jnp.sum(reward) / jnp.sum(legal))


@pytest.mark.parametrize(
    ("kind", "game", "changed"),
    [
        (TD3Config, PLAIN, {"share_parameters": False}),
        (DDPGConfig, CHANGING, {}),
    ],
    ids=["td3, each its own", "ddpg, agents that come and go"],
)
def test_it_finds_the_optimum_of_a_quadratic_bandit(kind, game, changed):
    """At random, an agent loses 1/3 + 0.8²/3 = 0.55 in the mean."""
    learner, state, metrics = trained(kind, game, **changed)
    assert all(np.isfinite(values).all() for values in metrics.values())
    assert lost(learner, state) < 0.03


def test_an_agent_that_is_absent_plays_nothing_and_only_the_critic_learns_from_it():
    learner, state, _ = trained(DDPGConfig, CHANGING)
    batch = jax.jit(learner.batch)(state, jax.random.key(1))
    taken, present = batch.transitions, np.asarray(batch.present)
    assert 0.4 < present.mean() < 0.8
    assert not np.asarray(taken.action)[~present].any()

    @jax.jit
    def critic_after(transitions):
        other = dataclasses.replace(batch, transitions=transitions)
        target = learner.algorithm.target(state.learned, state.hyperparameters, other, jax.random.key(2))
        learned, _ = action_critics.descend(
            learner.algorithm.critics, state.learned, state.hyperparameters, other, target
        )
        return jax.tree.leaves(learned.params["critic"])

    @jax.jit
    def actor_gradient(views):
        other = dataclasses.replace(batch, transitions=dataclasses.replace(taken, views=views))
        params = state.learned.params
        return jax.tree.leaves(jax.grad(learner.algorithm.actor_loss)(params["actor"], params["critic"], other))

    richer = dataclasses.replace(taken, reward=jnp.where(batch.present, taken.reward, 1e3))
    assert any(np.any(one != other) for one, other in zip(critic_after(taken), critic_after(richer), strict=True))
    agent = jax.tree.map(lambda leaf: jnp.where(batch.present[..., None], leaf, 7.0), taken.views.agent)
    elsewhere = actor_gradient(dataclasses.replace(taken.views, agent=agent))
    for one, other in zip(actor_gradient(taken.views), elsewhere, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)


def test_the_actor_and_the_slow_copies_move_in_every_second_step():
    learner, state, _ = trained(TD3Config, share_parameters=False)
    batch = jax.jit(learner.batch)(state, jax.random.key(1))

    @jax.jit
    def after(number):
        return learner.algorithm.descend(state.learned, state.hyperparameters, batch, jax.random.key(2), number)

    def has_moved(one, other):
        return any(np.any(a != b) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True))

    for number, expected in ((4, True), (5, False)):
        learned, metrics = after(jnp.int32(number))
        assert has_moved(learned.params["critic"], state.learned.params["critic"])
        assert has_moved(learned.params["actor"], state.learned.params["actor"]) is expected
        assert has_moved(learned.slow, state.learned.slow) is expected
        assert (float(metrics["actor_grad_norm"]) > 0) is expected


class Echo:
    """Critics that value an action by itself."""

    def values(self, params, views, own, others, present):
        return own[None, ..., 0]


def test_targets_take_the_lesser_critic_of_an_action_blurred_within_its_clip():
    learner, state, _ = trained(TD3Config, share_parameters=False)
    algorithm, slow = learner.algorithm, state.learned.slow

    @jax.jit
    def found(key):
        batch = learner.batch(state, key)
        batch = dataclasses.replace(batch, discount=jnp.ones_like(batch.discount))
        following, legal = batch.transitions.following, batch.transitions.following_legal
        action = box_units.beside(algorithm.actor.apply(slow["actor"], (), following.agent, legal)[1].mode())
        each = algorithm.critics.values(slow["critic"], following, action, action, batch.following_present)
        still = dataclasses.replace(state.hyperparameters, target_noise=jnp.float32(0))
        noisy = dataclasses.replace(still, target_noise=jnp.float32(5), target_noise_clip=jnp.float32(0.25))
        echo = dataclasses.replace(algorithm, critics=Echo())
        targets = [of.target(state.learned, hyper, batch, key) for of, hyper in ((algorithm, still), (echo, noisy))]
        return each, action[..., 0], [target - batch.transitions.reward for target in targets]

    each, action, (unblurred, blurred) = found(jax.random.key(1))
    assert each.shape[0] == 2 and np.any(each[0] != each[1])
    np.testing.assert_allclose(unblurred, np.minimum(*each), rtol=1e-5, atol=1e-6)
    shift = blurred - action
    assert np.abs(shift).max() <= 0.25 + 1e-6 and np.abs(shift).mean() > 0.1


# Critics of actions


def critics_of(kind, num_agents=3):
    game = Bandit(num_agents=num_agents)
    config = TD3Config(critic=kind)
    critics = action_critics.build(game, NETWORK, config, 1)
    own = jax.random.normal(jax.random.key(0), (num_agents, 2))
    views = Views(agent={"own": own}, state=jnp.arange(num_agents, dtype=jnp.float32))
    return critics, critics.init(jax.random.key(1), views), views


@pytest.mark.parametrize("kind", action_critics.CRITICS)
def test_what_the_others_do_counts_for_critics_that_are_told_and_for_no_other(kind):
    critics, params, views = critics_of(kind)
    own, others, present = jnp.full((3, 1), 0.3), jnp.array([[0.1], [0.5], [-0.9]]), jnp.ones(3, bool)
    base = critics.values(params, views, own, others, present)
    assert base.shape == (2, 3)
    moved = critics.values(params, views, own, others.at[1].set(-0.5), present)
    assert np.any(base != moved, axis=0).tolist() == ([False] * 3 if kind == "observation" else [True, False, True])
    state = critics.values(params, dataclasses.replace(views, state=views.state + 1), own, others, present)
    assert np.any(base != state) == (kind != "observation")


def test_a_joint_critic_is_told_the_others_in_cyclic_order():
    views = Views(agent={}, state=jnp.zeros(1))
    _, told = action_critics.joint(views, jnp.arange(4.0)[:, None], jnp.ones(4, bool))
    assert told.tolist() == [[1, 2, 3], [2, 3, 0], [3, 0, 1], [0, 1, 2]]


def test_a_mean_field_is_that_of_the_others_who_are_present():
    views, present = Views(agent={}, state=jnp.zeros(1)), jnp.array([True, True, False, True])
    _, told = action_critics.mean_field(views, jnp.array([[1.0], [2.0], [9.0], [6.0]]), present)
    assert told[:, 0].tolist() == [4.0, 3.5, 3.0, 1.5]
    _, alone = action_critics.mean_field(views, jnp.ones((4, 1)), jnp.array([True, False, False, False]))
    assert alone[0, 0] == 0


def test_a_joint_critic_of_many_agents_is_refused():
    with pytest.raises(
        ValueError, match=r"^critic is 'joint'; it must be one of observation, mean_field with 17 agents"
    ):
        learners.make(Bandit(num_agents=17), TD3Config(critic="joint"), network=NETWORK)


def test_boxes_are_stretched_and_shrunk_again_with_zeros_for_who_may_not_act():
    boxes, legal = (Box(0.0, 4.0, 2), Box(-1.0, 3.0)), [jnp.array([True, False]), jnp.array([True, True])]
    action = [jnp.array([[1.0, 4.0], [0.0, 0.0]]), jnp.array([[3.0], [0.0]])]
    units = box_units.told(boxes, action, legal)
    assert units.tolist() == [[-0.5, 1.0, 1.0], [0.0, 0.0, -0.5]]
    for one, other in zip(box_units.played(boxes, units, legal), action, strict=True):
        np.testing.assert_allclose(one, other)
    assert box_units.masked(boxes, jnp.ones((2, 3)), legal).tolist() == [[1, 1, 1], [0, 0, 1]]
