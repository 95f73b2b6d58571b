"""Decentralised actor-critics: the formulas by hand, the agreements, and that it learns."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matching import Matching

import jaxdlb
from jaxdlb import learners
from jaxdlb.learners import ConsensusConfig
from jaxdlb.learners.agreement import AGREEMENTS, agree, disagreement
from jaxdlb.learners.consensus import ConsensusHyperparameters, Experience, global_utility
from jaxdlb.learners.hyper import sweepable
from jaxdlb.networks import NetworkConfig, normalisation
from jaxdlb.spaces import Discrete

GAME = jaxdlb.make("dlb", num_nodes=3, capacity=12, max_delay=1)
PARAMS = GAME.default_params(horizon=6, selfishness=0.5)
TINY = ConsensusConfig(num_envs=4, rollout_length=8, consensus_period=3, schedule_updates=10, stagger=0)


def make_learner(config=TINY, game=GAME, params=PARAMS, kind="mlp", hidden=(8,), recurrent=False):
    network = NetworkConfig(kind, recurrent, hidden=hidden)
    return learners.make(game, config, network=network, sample_params=lambda key: params)


@functools.cache
def started():
    """The learner that most tests share, and its first state."""
    learner = make_learner()
    return learner, jax.jit(learner.init)(jax.random.key(0))


@functools.cache
def compiled(method):
    """A method of that learner as a program, one compilation for all tests."""
    return jax.jit(getattr(started()[0], method))


# One step, by hand


def affine(params, *path):
    """Weights and biases of a layer, each [N, …]."""
    for name in path:
        params = params[name]
    return np.asarray(params["kernel"], np.float64), np.asarray(params["bias"], np.float64)


def layers_of(network):
    """The two layers of an MLP with one hidden layer, whatever they are called: the hidden one is the torso's."""
    (torso,) = [name for name in network["params"] if name.startswith("torso")]
    (head,) = [name for name in network["params"] if not name.startswith("torso")]
    hidden = affine(network["params"], torso, "MLP_0", "Affine_0")
    path = (head, "Affine_0") if "Affine_0" in network["params"][head] else (head,)
    return *hidden, *affine(network["params"], *path)


def forward(layers, x):
    """Output and hidden units of one agent for one observation."""
    first, first_bias, second, second_bias = layers
    hidden = np.maximum(first @ x + first_bias, 0)
    return second @ hidden + second_bias, hidden


def backward(layers, x, slope):
    """The gradient of slope · output, by the chain rule."""
    _, _, second, _ = layers
    _, hidden = forward(layers, x)
    below = (second.T @ slope) * (hidden > 0)
    return np.outer(below, x), below, np.outer(slope, hidden), slope


def steps_by_hand(actors, critics, experience, alpha, beta):
    """θ_i += α δ_i ∇V_i and w_i += β δ_i ∇log π_i, means over environments, for one agent after the other."""
    x, following = (np.asarray(view["own"], np.float64) for view in (experience.view, experience.following))
    num_envs, num_agents, _ = x.shape
    new_actors, new_critics = [], []
    for i in range(num_agents):
        actor, critic = [layer[i] for layer in actors], [layer[i] for layer in critics]
        ascent = [0.0] * 4, [0.0] * 4
        for e in range(num_envs):
            value, following_value = forward(critic, x[e, i])[0][0], forward(critic, following[e, i])[0][0]
            delta = float(experience.utility[e]) + float(experience.discount[e]) * following_value - value
            scores = np.where(experience.legal[e, i], forward(actor, x[e, i])[0], -np.inf)
            chances = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
            slope = np.eye(len(scores))[int(experience.action[e, i])] - chances
            gradients = backward(actor, x[e, i], slope), backward(critic, x[e, i], np.ones(1))
            for total, gradient in zip(ascent, gradients, strict=True):
                total[:] = [a + delta * g / num_envs for a, g in zip(total, gradient, strict=True)]
        new_actors.append([layer + beta * each for layer, each in zip(actor, ascent[0], strict=True)])
        new_critics.append([layer + alpha * each for layer, each in zip(critic, ascent[1], strict=True)])
    return (list(map(np.stack, zip(*agents, strict=True))) for agents in (new_actors, new_critics))


def test_a_step_is_that_of_the_formulas_agent_by_agent():
    alpha, beta, num_envs, num_agents = 0.3, 0.2, 3, 2
    config = dataclasses.replace(
        TINY,
        num_envs=num_envs,
        optimiser="sgd",
        critic_learning_rate=alpha,
        actor_learning_rate=beta,
        entropy_coef=0.0,
        max_grad_norm=1e9,
        normalise_values=False,
    )
    learner = make_learner(config, Matching(Discrete(3), num_agents), 20, hidden=(4,))
    state = jax.eval_shape(learner.init, jax.random.key(0))
    # Parameters unlike each other, so that an agent that took those of another would be noticed.
    drawn = np.random.default_rng(0)
    hyper = sweepable(config, ConsensusHyperparameters)
    params = jax.tree.map(lambda leaf: jnp.asarray(drawn.normal(size=leaf.shape), jnp.float32), state.params)
    views = [{"own": jnp.asarray(drawn.normal(size=(num_envs, num_agents, 1)), jnp.float32)} for _ in range(2)]
    experience = Experience(
        view=views[0],
        legal=jnp.asarray([[[1, 1, 1], [1, 1, 0]], [[1, 0, 1], [1, 1, 1]], [[1, 1, 0], [0, 1, 1]]], bool),
        action=jnp.asarray([[2, 0], [0, 1], [1, 1]], jnp.int32),
        following=views[1],
        utility=jnp.asarray([-1.0, 2.0, 0.5]),
        discount=jnp.asarray([0.9, 0.0, 0.729]),  # the second is a true end
    )

    @jax.jit
    def step(params, experience):
        before = state.replace(
            params=params,
            optimiser=learner.initial_optimiser(params, hyper),
            hyperparameters=hyper,
            num_updates=jnp.int32(0),
            return_scale=normalisation.initial_return_scale(),
        )
        after, targets, _ = learner.learn(before, experience)
        return after.params, targets

    after, targets = step(params, experience)
    expected = steps_by_hand(layers_of(params.actor), layers_of(params.critic), experience, alpha, beta)
    for found, by_hand in zip((after.actor, after.critic), expected, strict=True):
        for one, other in zip(layers_of(found), by_hand, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(targets[1], 2.0)


# What agents experience


def test_what_follows_at_a_time_limit_is_the_state_before_its_reset():
    """By playing each round once more without the automatic reset."""
    learner, state = started()
    step, seen = jax.jit(jax.vmap(GAME.step)), []
    for round in range(7):
        before = state.environments
        state, experience, *_ = compiled("play")(state, jax.random.key(round))
        keys = jax.vmap(jax.random.fold_in)(before.key, 2 * before.steps + 1)
        _, timestep = step(keys, before.state, experience.action, before.params)
        own = np.clip(np.sign(timestep.observation.own) * np.log1p(np.abs(timestep.observation.own)), -10, 10)
        np.testing.assert_allclose(experience.following["own"], own, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(experience.utility, np.mean(timestep.utilities, axis=-1), rtol=1e-5)
        np.testing.assert_allclose(experience.discount, learner.config.gamma, rtol=1e-6)  # though some were last
        seen.append(bool(timestep.last.any()))
    assert seen == [round == 5 for round in range(7)]


def test_the_future_is_discounted_by_the_time_that_passes():
    learner = make_learner(dataclasses.replace(TINY, gamma=0.9), Matching(Discrete(2), elapsed=3.0), 20)
    _, experience, *_ = jax.jit(learner.play)(jax.jit(learner.init)(jax.random.key(0)), jax.random.key(1))
    np.testing.assert_allclose(experience.discount, 0.9**3, rtol=1e-6)


def test_the_global_utility_is_the_mean_of_own_utilities_or_else_of_rewards():
    _, timestep = jax.jit(GAME.reset)(jax.random.key(0), PARAMS)
    timestep = timestep.replace(reward=jnp.array([1.0, 2.0, 6.0]), utilities=jnp.array([0.0, 0.0, 6.0]))
    assert float(global_utility(timestep)) == 2.0
    assert float(global_utility(timestep.replace(utilities=None))) == 3.0


def test_what_happens_in_an_environment_does_not_depend_on_how_many_there_are():
    _, state = started()
    fewer = make_learner(dataclasses.replace(TINY, num_envs=2))
    first = state.replace(environments=jax.tree.map(lambda leaf: leaf[:2], state.environments))
    played = compiled("play")(state, jax.random.key(1))[1], jax.jit(fewer.play)(first, jax.random.key(1))[1]
    for many, few in zip(*map(jax.tree.leaves, played), strict=True):
        np.testing.assert_allclose(few, many[:2], rtol=1e-5, atol=1e-6)


# Agreement


@pytest.mark.parametrize("num_agents", [1, 2, 3, 8])
@pytest.mark.parametrize("kind", AGREEMENTS)
def test_an_agreement_is_a_product_with_a_doubly_stochastic_matrix(kind, num_agents):
    for seed in range(3):
        matrix = np.asarray(agree(kind, jnp.eye(num_agents), jax.random.key(seed)))
        assert np.all(matrix >= 0)
        np.testing.assert_allclose(matrix.sum(axis=0), 1, rtol=1e-6)
        np.testing.assert_allclose(matrix.sum(axis=1), 1, rtol=1e-6)


def test_the_matrices_are_those_of_their_graphs():
    matrix = {kind: np.asarray(agree(kind, jnp.eye(5), jax.random.key(0))) for kind in AGREEMENTS}
    np.testing.assert_allclose(matrix["all"], 1 / 5, rtol=1e-6)
    beside = np.abs(np.subtract.outer(np.arange(5), np.arange(5)))
    np.testing.assert_allclose(matrix["ring"], np.isin(beside, (0, 1, 4)) / 3, rtol=1e-6)
    assert sorted((matrix["pairs"] > 0).sum(axis=1)) == [1, 2, 2, 2, 2]  # one of five is left over
    np.testing.assert_array_equal(matrix["pairs"], matrix["pairs"].T)
    np.testing.assert_array_equal(matrix["none"], np.eye(5))


def test_agreements_keep_the_mean_and_bring_critics_closer():
    drawn = np.random.default_rng(0)
    critics = {"a": jnp.asarray(drawn.normal(size=(6, 3))), "b": jnp.asarray(drawn.normal(size=(6, 2, 2)))}
    apart = {}
    for kind in AGREEMENTS:
        agreed = agree(kind, critics, jax.random.key(0))
        for before, after in zip(jax.tree.leaves(critics), jax.tree.leaves(agreed), strict=True):
            np.testing.assert_allclose(after.mean(axis=0), before.mean(axis=0), atol=1e-6)
        apart[kind] = float(disagreement(agreed))
    assert apart["all"] < 1e-6 < apart["ring"] < apart["none"]
    assert apart["pairs"] < apart["none"]


def test_the_disagreement_is_relative_to_the_mean():
    critics = {"a": jnp.array([[1.0, 0.0], [3.0, 0.0]]), "b": jnp.array([[5.0], [3.0]])}
    np.testing.assert_allclose(disagreement(critics), np.sqrt(2) / np.sqrt(2**2 + 4**2), rtol=1e-6)


def test_critics_start_alike_and_agree_every_period():
    _, state = started()
    critics = jax.tree.leaves(state.params.critic)
    assert all(np.all(leaf == leaf[:1]) for leaf in critics)
    actors = jax.tree.leaves(state.params.actor)
    assert any(np.any(leaf != leaf[:1]) for leaf in actors)
    drawn = np.random.default_rng(0)
    apart = jax.tree.map(lambda leaf: leaf + drawn.normal(size=leaf.shape).astype(np.float32), state.params.critic)
    state = state.replace(params=state.params.replace(critic=apart))
    for rounds in range(TINY.consensus_period):
        state, distance = compiled("agree")(state, jax.random.key(rounds))
        due = rounds + 1 == TINY.consensus_period
        assert all(np.all(leaf == leaf[:1]) for leaf in jax.tree.leaves(state.params.critic)) is due
        assert int(state.since_agreement) == (0 if due else rounds + 1)
        assert distance > 0  # as it was before
    after, _ = compiled("update")(started()[1])
    assert int(after.since_agreement) == TINY.rollout_length % TINY.consensus_period  # it goes on in the next update


# The whole


@pytest.mark.parametrize("kind", ["mlp", "pointer"])
def test_every_agent_has_parameters_of_its_own(kind):
    learner = make_learner(kind=kind)
    shapes = jax.eval_shape(learner.init, jax.random.key(0))
    assert learner.config.share_parameters is False
    assert all(leaf.shape[0] == 3 for leaf in jax.tree.leaves((shapes.params, shapes.optimiser)))


def test_a_memory_is_refused_since_one_round_would_not_teach_it():
    with pytest.raises(ValueError, match=r"^recurrent is true; it must be false here, since"):
        make_learner(recurrent=True)


def test_it_learns_to_hold_fewer_tasks():
    """Holding tasks costs, and only the last node works; the utility is of the acting policy, before and after."""
    params = GAME.default_params(
        completion_prob=[0.05, 0.05, 1.0],
        arrival_prob=[0.2, 0.2, 0.2],
        imbalance_weight=0,
        holding_weight=1,
        horizon=50,
    )
    config = dataclasses.replace(
        TINY, num_envs=16, rollout_length=16, schedule_updates=40, stagger=50, actor_learning_rate=5e-3
    )
    rates = [f"{end}{network}_learning_rate" for end in ("", "final_") for network in ("actor", "critic")]
    untrained = dataclasses.replace(config, **dict.fromkeys(rates, 0.0))
    each = [sweepable(settings, ConsensusHyperparameters) for settings in (config, untrained)]
    hyper = jax.tree.map(lambda *values: jnp.stack(values), *each)
    learner = make_learner(config, params=params)
    start = jax.jit(jax.vmap(learner.init))(jnp.stack([jax.random.key(0)] * 2), hyper)
    run = jax.jit(lambda state: jax.lax.scan(lambda state, _: jax.vmap(learner.update)(state), state, length=40))
    state, metrics = run(start)
    learned, without = np.asarray(metrics["utility"][-10:]).mean(axis=0)
    assert learned > 0.8 * without, (learned, without)
    assert all(np.isfinite(values).all() for values in metrics.values())
    for before, after in zip(jax.tree.leaves(start.params), jax.tree.leaves(state.params), strict=True):
        assert not np.array_equal(before[0], after[0])
        np.testing.assert_allclose(before[1], after[1], rtol=1e-5, atol=1e-6)  # but for the rounding of means


def test_schedules_run_linearly():
    hyper = ConsensusHyperparameters(actor_learning_rate=1.0, final_actor_learning_rate=0.0, schedule_updates=10)
    _, state = started()
    state = state.replace(hyperparameters=jax.tree.map(jnp.float32, hyper), num_updates=jnp.int32(4))
    _, metrics = compiled("update")(state)
    np.testing.assert_allclose(metrics["actor_learning_rate"], 0.6, rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"consensus": "gossip"}, "^consensus is 'gossip'; it must be one of all, ring, pairs, none$"),
        ({"consensus_period": 0}, "^consensus_period is 0; it must be an integer ≥ 1$"),
        ({"optimiser": "lion"}, "^optimiser is 'lion'; it must be one of adam, sgd$"),
        ({"gamma": 1.5}, r"^gamma is 1.5; it must be a finite number in \[0, 1\]$"),
        ({"critic_learning_rate": -1.0}, "^critic_learning_rate is -1; it must be a finite number ≥ 0$"),
        ({"max_grad_norm": 0.0}, "^max_grad_norm is 0; it must be a finite number > 0$"),
        ({"num_envs": 1.5}, "^num_envs is 1.5; it must be an integer ≥ 1$"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(TINY, **change)


def test_every_hyperparameter_has_an_allowed_range():
    for field in dataclasses.fields(ConsensusHyperparameters):
        with pytest.raises(ValueError, match=f"^{field.name} is"):
            dataclasses.replace(TINY, **{field.name: float("inf")})
