import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdlb
from jaxdlb.games.dlb import Ranges, random_clusters
from jaxdlb.learners import MAPPO, Hyperparameters, MAPPOConfig
from jaxdlb.learners.config import hyperparameters
from jaxdlb.networks import NetworkConfig, build
from jaxdlb.policies.learned import LearnedPolicy

GAME = jaxdlb.make("dlb", num_nodes=3, capacity=12, max_delay=1)
PARAMS = GAME.default_params(horizon=6)
TINY = MAPPOConfig(num_envs=4, rollout_length=8, num_epochs=2, num_minibatches=2, schedule_updates=10)


def reference(key):
    return PARAMS


def make_learner(
    config=TINY, game=GAME, sample_params=reference, kind="mlp", recurrent=False, hidden=(8, 8), precision="float32"
):
    network_config = NetworkConfig(kind, recurrent, hidden=hidden, critic_hidden=(16,), precision=precision)
    network = build(game, network_config, critic=config.critic, share_parameters=config.share_parameters)
    return MAPPO(game, network, config, sample_params), network_config


@functools.cache
def compiled(learner):
    """`init` and `update` as programs, one compilation for all tests of a learner."""
    return jax.jit(learner.init), jax.jit(learner.update)


def train(learner, num_updates, key=0):
    """The state after some updates, and the metrics of each, stacked."""
    init, update = compiled(learner)
    state, history = init(jax.random.key(key)), []
    for _ in range(num_updates):
        state, metrics = update(state)
        history.append(metrics)
    return state, jax.tree.map(lambda *values: np.stack(values), *history)


def as_arrays(tree):
    """The leaves of a state with random keys as numbers."""
    return [np.asarray(jax.random.key_data(leaf) if is_key(leaf) else leaf) for leaf in jax.tree.leaves(tree)]


def is_key(leaf):
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def assert_equal(left, right):
    for a, b in zip(as_arrays(left), as_arrays(right), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.fixture(scope="module")
def trained():
    learner, network_config = make_learner()
    return learner, network_config, *train(learner, 3)


def test_the_same_key_gives_the_same_training_and_another_key_another(trained):
    learner, _, state, metrics = trained
    again, again_metrics = train(learner, 3)
    assert_equal((state, metrics), (again, again_metrics))
    other, _ = train(learner, 3, key=1)
    assert not np.array_equal(as_arrays(state.params)[0], as_arrays(other.params)[0])


def test_an_update_changes_every_parameter_and_counts_itself(trained):
    learner, _, state, _ = trained
    start = compiled(learner)[0](jax.random.key(0))
    assert int(state.num_updates) == 3
    for before, after in zip(jax.tree.leaves(start.params), jax.tree.leaves(state.params), strict=True):
        assert not np.allclose(before, after)


def test_metrics_are_finite_scalars_and_schedules_run_linearly(trained):
    *_, metrics = trained
    expected = {"utility", "loss", "policy_loss", "value_loss", "entropy", "approx_kl", "clip_fraction", "grad_norm"}
    assert expected <= set(metrics)
    assert all(values.shape == (3,) and np.isfinite(values).all() for values in metrics.values())
    share = np.arange(3) / TINY.schedule_updates
    np.testing.assert_allclose(metrics["learning_rate"], 3e-3 + share * (TINY.final_learning_rate - 3e-3), rtol=1e-5)
    np.testing.assert_allclose(metrics["entropy_coef"], TINY.entropy_coef * (1 - share), rtol=1e-5)


def test_the_first_pass_over_a_rollout_starts_from_ratio_one(trained):
    learner, _, state, _ = trained

    @jax.jit
    def first_loss(state):
        collected, steps = learner.collect(state, jax.random.key(5))
        batch = learner.sequences(steps, state.carry, *learner.advantages(collected, steps))
        return learner.loss(state.params, state, batch)

    _, metrics = first_loss(state)
    assert abs(float(metrics["approx_kl"])) < 1e-5
    assert float(metrics["clip_fraction"]) == 0.0


def test_values_at_a_time_limit_are_those_of_the_state_before_its_reset(trained):
    """By replaying the rollout's own actions step by step, without the automatic reset."""
    learner, _, state, _ = trained
    _, steps = jax.jit(learner.collect)(state, jax.random.key(5))
    ends = np.argwhere(np.asarray(steps.last))
    assert len(ends)
    first_end = int(ends[:, 0].min())
    environment = state.environments
    for t in range(first_end + 1):
        keys = jax.vmap(jax.random.fold_in)(environment.key, 2 * environment.steps + 1)
        action = jax.tree.unflatten(jax.tree.structure(steps.legal), [head[t] for head in steps.action])
        game_state, _ = jax.vmap(GAME.step)(keys, environment.state, action, environment.params)
        environment = environment.replace(state=game_state, steps=environment.steps + 1)
    view = jnp.sign(1) * jnp.log1p(jax.vmap(GAME.global_state)(environment.state, environment.params))
    moments = state.moments["global"]
    view = jnp.clip((view - moments.mean) / jnp.sqrt(moments.variance + 1e-6), -10, 10)
    _, scaled = learner.network.critic.apply(state.params["critic"], (), view)
    scale = state.return_scale
    mean = scale.mean / scale.weight
    value = scaled * jnp.sqrt(scale.mean_square / scale.weight - mean**2) + mean
    ended = np.asarray(steps.last[first_end])
    np.testing.assert_allclose(steps.next_value[first_end][ended], value[ended], rtol=1e-3)
    inside = ~np.asarray(steps.last)[:-1]
    np.testing.assert_array_equal(np.asarray(steps.next_value)[:-1][inside], np.asarray(steps.value)[1:][inside])


@pytest.mark.parametrize(
    ("critic", "kind", "recurrent", "shared"),
    [
        ("observation", "mlp", False, True),
        ("observation", "pointer", True, True),
        ("global_state", "mlp", True, True),
        ("global_state", "pointer", False, False),
    ],
)
def test_every_variant_trains(critic, kind, recurrent, shared):
    """IPPO, memory, pointer, separate parameters: holding tasks costs, and each learns to hold fewer."""
    params = GAME.default_params(
        completion_prob=[0.05, 0.05, 1.0],
        arrival_prob=[0.2, 0.2, 0.2],
        imbalance_weight=0,
        holding_weight=1,
        horizon=50,
    )
    config = dataclasses.replace(
        TINY,
        num_envs=16,
        rollout_length=16,
        critic=critic,
        share_parameters=shared,
        learning_rate=5e-3,
        schedule_updates=40,
    )
    learner, _ = make_learner(config, sample_params=lambda key: params, kind=kind, recurrent=recurrent)
    _, metrics = train(learner, 40)
    assert all(np.isfinite(values).all() for values in metrics.values())
    start, end = metrics["utility"][3:8].mean(), metrics["utility"][-5:].mean()
    assert end > 0.8 * start, f"from {start:.3f} to {end:.3f}"


def test_a_learner_solves_a_two_node_instance():
    """Node 0 hardly works and node 1 finishes each task in the next round, so every task belongs on node 1.

    With p = 0.4 at node 0 alone, no delay, w_H = 1 and c_m = 0.1, sending all to node 1 has each task in the system
    for one round: the utility is −(0.4 · 1 + 0.4 · 0.1) / 2 = −0.22, and no policy does better, since a task kept
    instead stays 20 rounds on average and even a stolen one stays two.
    """
    game = jaxdlb.make("dlb", num_nodes=2, capacity=12, max_delay=0)
    params = game.default_params(
        completion_prob=[0.05, 1.0],
        arrival_prob=[0.4, 0.0],
        imbalance_weight=0,
        holding_weight=1,
        transfer_delay=0,
        heartbeat_period=1,
        horizon=100,
    )
    config = dataclasses.replace(
        TINY,
        num_envs=32,
        rollout_length=16,
        num_epochs=4,
        learning_rate=1e-2,
        final_learning_rate=1e-3,
        schedule_updates=80,
    )
    learner, network_config = make_learner(config, game=game, sample_params=lambda key: params)
    state, _ = train(learner, 80)
    policy = LearnedPolicy(game, network_config, learner.policy_variables(state), greedy=True)

    def episode(key):
        def play(carry, key):
            state, timestep = carry
            _, action = policy.act(key, (), timestep.observation, params)
            state, timestep = game.step(key, state, action, params)
            return (state, timestep), timestep.metrics["utility"]

        return jax.lax.scan(play, game.reset(key, params), jax.random.split(key, 500))[1][50:].mean()

    utility = jax.jit(jax.vmap(episode))(jax.random.split(jax.random.key(1), 64))
    # Deviation of the mean over 64 × 450 rounds is about 0.22 / 0.4 · sqrt(0.24 / 28800) < 0.002.
    assert abs(float(utility.mean()) + 0.22) < 0.01


def test_seeds_in_one_program_train_as_each_alone(trained):
    learner, *_ = trained
    init, update = compiled(learner)
    keys = jax.random.split(jax.random.key(3), 2)
    starts = [init(key) for key in keys]
    together_start = jax.tree.map(lambda *leaves: jnp.stack(leaves), *starts)
    state, metrics = jax.jit(jax.vmap(learner.update))(together_start)
    for seed in range(2):
        alone, alone_metrics = update(starts[seed])
        np.testing.assert_allclose(metrics["utility"][seed], alone_metrics["utility"], rtol=1e-5)
        for together, apart in zip(jax.tree.leaves(state.params), jax.tree.leaves(alone.params), strict=True):
            np.testing.assert_allclose(together[seed], apart, rtol=1e-3, atol=1e-5)


def test_hyperparameters_are_data_of_the_state_so_that_one_program_serves_a_population(trained):
    learner, *_ = trained
    _, update = compiled(learner)
    start = jax.jit(learner.init)(jax.random.key(0), hyperparameters(TINY))
    compilations = update._cache_size()
    for rate in (0.0, 1e-2):
        hyper = dataclasses.replace(
            start.hyperparameters, learning_rate=jnp.float32(rate), final_learning_rate=jnp.float32(rate)
        )
        after, _ = update(start.replace(hyperparameters=hyper))
        for before, now in zip(jax.tree.leaves(start.params), jax.tree.leaves(after.params), strict=True):
            assert np.array_equal(before, now) is (rate == 0.0)
    assert update._cache_size() == compilations


def test_environments_play_different_clusters_in_one_program():
    ranges = Ranges(load=(0.4, 0.9), completion_prob=(0.2, 1.0), heartbeat_period=(1, 12))
    learner, _ = make_learner(sample_params=random_clusters(GAME, PARAMS, ranges))
    state, metrics = train(learner, 2)
    assert len(set(state.environments.params.arrival_prob[:, 0].tolist())) == TINY.num_envs
    assert np.isfinite(metrics["utility"]).all()


def test_without_normalisation_the_statistics_stay_as_they_were():
    config = dataclasses.replace(TINY, normalise_observations=False, normalise_values=False, normalise_advantages=False)
    learner, _ = make_learner(config)
    state, metrics = train(learner, 1)
    assert_equal(state.moments, compiled(learner)[0](jax.random.key(0)).moments)
    assert np.isfinite(metrics["loss"]).all()


@pytest.mark.parametrize("kind", ["mlp", "pointer"])
def test_networks_in_bfloat16_learn_as_well(kind):
    """The utility that training gains; in bfloat16 every number is rounded to 8 bits, and the path is another one."""
    config = MAPPOConfig(num_envs=16, rollout_length=16, num_minibatches=2, schedule_updates=40, gamma=0.9)
    game = jaxdlb.make("dlb", num_nodes=2, capacity=12, max_delay=1)
    params = game.default_params(horizon=64)
    gained = {}
    for precision in ("float32", "bfloat16"):
        learner, _ = make_learner(config, game, lambda key: params, kind, hidden=(16, 16), precision=precision)
        state, metrics = train(learner, 40)
        assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {jnp.dtype("float32")}
        gained[precision] = metrics["utility"][-20:].mean() - metrics["utility"][:5].mean()
    assert gained["float32"] > 0
    assert gained["bfloat16"] > 0.8 * gained["float32"]
    assert gained["bfloat16"] != gained["float32"]


@pytest.mark.parametrize(
    ("change", "recurrent", "message"),
    [
        ({"num_minibatches": 3}, False, r"learner.num_minibatches is 3; it must divide the 32 steps"),
        ({"num_minibatches": 3}, True, r"learner.num_minibatches is 3; it must divide the 4 environments"),
    ],
)
def test_a_minibatch_count_that_does_not_divide_is_refused(change, recurrent, message):
    with pytest.raises(ValueError, match=message):
        make_learner(dataclasses.replace(TINY, **change), recurrent=recurrent)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gamma": 1.5}, r"learner.gamma is 1.5; it must be a finite number in \[0, 1\]"),
        ({"learning_rate": -1.0}, "learner.learning_rate is -1"),
        ({"clip_epsilon": 0.0}, "learner.clip_epsilon is 0"),
        ({"max_grad_norm": float("nan")}, "learner.max_grad_norm is nan"),
        ({"num_envs": 0}, "learner.num_envs is 0; it must be an integer ≥ 1"),
        ({"rollout_length": 2.5}, "learner.rollout_length is 2.5"),
        ({"critic": "oracle"}, "learner.critic is 'oracle'; it must be one of global_state, observation"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(TINY, **change)


def test_every_hyperparameter_has_an_allowed_range():
    for field in dataclasses.fields(Hyperparameters):
        with pytest.raises(ValueError, match=f"learner.{field.name} is"):
            dataclasses.replace(TINY, **{field.name: float("inf")})


def test_a_policy_refuses_parameters_of_another_number_of_nodes(trained):
    learner, network_config, state, _ = trained
    other = jaxdlb.make("dlb", num_nodes=5)
    with pytest.raises(ValueError, match="does not fit dlb with 5 agents"):
        LearnedPolicy(other, network_config, learner.policy_variables(state))
    fitting = LearnedPolicy(GAME, network_config, learner.policy_variables(state))
    with pytest.raises(ValueError, match="num_agents is 5"):
        fitting.init(other)
