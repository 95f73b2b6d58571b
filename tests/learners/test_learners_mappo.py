import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matching import Matching

import jaxdlb
from jaxdlb import learners
from jaxdlb.learners import Hyperparameters, MAPPOConfig
from jaxdlb.learners.config import hyperparameters
from jaxdlb.learners.mappo import entropy_coef
from jaxdlb.networks import NetworkConfig
from jaxdlb.policies.learned import LearnedPolicy
from jaxdlb.spaces import Box, Discrete, Simplex

GAME = jaxdlb.make("dlb", num_nodes=3, capacity=12, max_delay=1)
PARAMS = GAME.default_params(horizon=6)
TINY = MAPPOConfig(num_envs=4, rollout_length=8, num_epochs=2, num_minibatches=2, schedule_updates=10)


def reference(key):
    return PARAMS


def make_learner(
    config=TINY, game=GAME, sample_params=reference, kind="mlp", recurrent=False, hidden=(8, 8), precision="float32"
):
    network = NetworkConfig(kind, recurrent, hidden=hidden, critic_hidden=(16,), precision=precision)
    return learners.make(game, config, network=network, sample_params=sample_params)


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
    learner = make_learner()
    return learner, *train(learner, 3)


def test_the_same_key_gives_the_same_training_and_another_key_another(trained):
    learner, state, metrics = trained
    again, again_metrics = train(learner, 3)
    assert_equal((state, metrics), (again, again_metrics))
    other, _ = train(learner, 3, key=1)
    assert not np.array_equal(as_arrays(state.params)[0], as_arrays(other.params)[0])


def test_an_update_changes_every_parameter_and_counts_itself(trained):
    learner, state, _ = trained
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
    np.testing.assert_allclose(
        metrics["learning_rate"],
        TINY.learning_rate + share * (TINY.final_learning_rate - TINY.learning_rate),
        rtol=1e-5,
    )
    np.testing.assert_allclose(metrics["entropy_coef"], TINY.entropy_coef * (1 - share), rtol=1e-5)


def test_the_weight_of_the_entropy_can_fall_early():
    hyper = Hyperparameters(entropy_coef=2.0, final_entropy_coef=1.0, entropy_decay=3.0, schedule_updates=10)
    weights = [float(entropy_coef(hyper, jnp.int32(update))) for update in (0, 5, 10, 20)]
    np.testing.assert_allclose(weights, [2.0, 1 + 0.5**3, 1.0, 1.0], rtol=1e-6)


def test_the_first_pass_over_a_rollout_starts_from_ratio_one(trained):
    learner, state, _ = trained

    @jax.jit
    def first_loss(state):
        collected, rollout = learner.collect(state, jax.random.key(5))
        batch = learner.sequences(rollout, *learner.advantages(collected, rollout))
        return learner.loss(state.params, state, batch)

    _, metrics = first_loss(state)
    assert abs(float(metrics["approx_kl"])) < 1e-5
    assert float(metrics["clip_fraction"]) == 0.0


def test_values_at_a_time_limit_are_those_of_the_state_before_its_reset(trained):
    """By replaying the rollout's own actions step by step, without the automatic reset."""
    learner, state, _ = trained
    _, rollout = jax.jit(learner.collect)(state, jax.random.key(5))
    steps = rollout.steps
    ends = np.argwhere(np.asarray(steps.last))
    assert len(ends)
    first_end = int(ends[:, 0].min())
    environment = state.environments
    for t in range(first_end + 1):
        keys = jax.vmap(jax.random.fold_in)(environment.key, 2 * environment.steps + 1)
        action = jax.tree.map(lambda leaf, t=t: leaf[t], steps.action)
        game_state, _ = jax.vmap(GAME.step)(keys, environment.state, action, environment.params)
        environment = environment.replace(state=game_state, steps=environment.steps + 1)
    view = jnp.sign(1) * jnp.log1p(jax.vmap(GAME.global_state)(environment.state, environment.params))
    moments = state.moments.state
    view = jnp.clip((view - moments.mean) / jnp.sqrt(moments.variance + 1e-6), -10, 10)
    _, scaled = learner.network.critic.apply(state.params.critic, (), view)
    scale = state.return_scale
    mean = scale.mean / scale.weight
    value = scaled * jnp.sqrt(scale.mean_square / scale.weight - mean**2) + mean
    ended = np.asarray(steps.last[first_end])
    np.testing.assert_allclose(rollout.next_value[first_end][ended], value[ended], rtol=1e-3)
    inside = ~np.asarray(steps.last)[:-1]
    np.testing.assert_array_equal(np.asarray(rollout.next_value)[:-1][inside], np.asarray(steps.value)[1:][inside])


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
    learner = make_learner(config, sample_params=lambda key: params, kind=kind, recurrent=recurrent)
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
    learner = make_learner(config, game=game, sample_params=lambda key: params)
    state, _ = train(learner, 80)
    policy = LearnedPolicy(game, learner.network.actor, learner.policy_variables(state), greedy=True)

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


def test_an_update_is_to_learn_from_what_was_collected(trained):
    """Collected with a key of one's own, or from other software, a rollout is learned from just the same."""
    learner, state, _ = trained
    _, update = compiled(learner)
    together, metrics = update(state)
    collect, learn = jax.jit(learner.collect), jax.jit(learner.learn)
    after, rollout = collect(state)
    assert_equal(after.key, state.key)
    apart, apart_metrics = learn(after, jax.tree.map(jnp.asarray, rollout))
    np.testing.assert_allclose(metrics["utility"], apart_metrics["utility"], rtol=1e-6)
    for one, other in zip(as_arrays(together), as_arrays(apart), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    _, elsewhere = collect(state, jax.random.key(77))
    assert not np.array_equal(rollout.steps.action.dispatch, elsewhere.steps.action.dispatch)


def test_training_goes_on_bit_for_bit_from_a_state_that_was_on_the_host(trained):
    learner, state, _ = trained
    _, update = compiled(learner)
    leaves, treedef = jax.tree.flatten(state)
    restored = [
        jax.random.wrap_key_data(np.array(jax.random.key_data(leaf))) if is_key(leaf) else jnp.asarray(np.array(leaf))
        for leaf in leaves
    ]
    assert_equal(update(state), update(jax.tree.unflatten(treedef, restored)))


def test_a_whole_run_is_one_call_with_the_metrics_of_every_update():
    network = NetworkConfig("mlp", hidden=(8, 8), critic_hidden=(16,))
    state, metrics = learners.train(GAME, TINY, jax.random.key(0), 3, network=network, sample_params=lambda key: PARAMS)
    step_by_step, expected = train(make_learner(), 3)
    assert set(metrics) == set(expected)
    assert all(values.shape == (3,) for values in metrics.values())
    assert int(state.num_updates) == 3
    np.testing.assert_allclose(metrics["utility"], expected["utility"], rtol=1e-5)
    assert jax.tree.map(jnp.shape, state) == jax.tree.map(jnp.shape, step_by_step)
    with pytest.raises(ValueError, match=r"^num_updates is 0; it must be an integer in"):
        learners.train(GAME, TINY, jax.random.key(0), 0)


def test_a_learner_says_how_much_an_update_plays(trained):
    assert trained[0].agent_rounds_per_update == 4 * 8 * 3


def test_the_future_is_discounted_by_the_time_that_passes():
    """δ_t + γ^elapsed · discount · …, by hand over two steps: the second is an end after 3 units of time."""
    learner = make_learner(dataclasses.replace(TINY, gamma=0.9, gae_lambda=0.5))
    state = jax.eval_shape(learner.init, jax.random.key(0))
    state = state.replace(hyperparameters=hyperparameters(learner.config))
    shapes = jax.eval_shape(learner.collect, state)[1]
    rollout = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    ones = jnp.ones_like(rollout.steps.value)
    steps = rollout.steps.replace(
        earned=ones,
        value=2 * ones,
        discount=jnp.ones_like(rollout.steps.discount),
        elapsed=jnp.zeros_like(rollout.steps.elapsed).at[0].set(3.0),
        last=jnp.zeros_like(rollout.steps.last).at[1].set(True),
        end_value=5 * ones,
    )
    advantage, target = learner.advantages(state, rollout.replace(steps=steps))
    second = 1 + 5 - 2
    first = 1 + 0.9**3 * 2 - 2 + 0.5 * 0.9**3 * second
    np.testing.assert_allclose(advantage[:2, 0, 0], [first, second], rtol=1e-6)
    np.testing.assert_allclose(target, advantage + 2, rtol=1e-6)


FARM = jaxdlb.make("farm", num_workers=3)
SHAPED = dataclasses.replace(TINY, rollout_length=48, stagger=0, gamma=1.0, shape_rewards=True)


def on_a_farm(**change):
    """A learner on jobs of 12 tasks, during which a worker may fail."""
    params = FARM.default_params(job=12, failure_rate=0.02, rejoin_rate=0.5)
    return make_learner(dataclasses.replace(SHAPED, **change), FARM, lambda key: params)


def test_shaping_adds_to_an_episode_no_more_than_the_potential_of_its_start():
    """So it ranks policies as they are; what is reported is not shaped at all."""
    state = jax.jit(on_a_farm().init)(jax.random.key(0))
    shaped, plain = (jax.jit(on_a_farm(shape_rewards=each).collect)(state)[1].steps for each in (True, False))
    for name in ("action", "reward", "metrics"):
        assert_equal(getattr(shaped, name), getattr(plain, name))
    added = np.asarray(shaped.earned - plain.earned)
    assert np.abs(added).max() > 0.1
    at = state.environments
    start = np.asarray(jax.vmap(FARM.potential)(at.state, at.params))
    ends = [np.flatnonzero(shaped.last[:, env])[0] + 1 for env in range(4)]  # of the first episode of each
    found = np.stack([added[:end, env].sum(axis=0) for env, end in enumerate(ends)])
    np.testing.assert_allclose(found, -start, rtol=1e-4)


def test_shaping_discounts_the_potential_by_the_time_that_passes():
    learner = on_a_farm(gamma=0.9)
    state = jax.jit(learner.init)(jax.random.key(0))
    plain = jax.jit(on_a_farm(gamma=0.9, shape_rewards=False).collect)(state)[1].steps
    shaped = jax.jit(learner.collect)(state)[1].steps
    step = jax.jit(jax.vmap(FARM.step))
    at = state.environments
    after, timestep = step(jax.random.split(jax.random.key(0), 4), at.state, shaped.action[0], at.params)
    before, then = (np.asarray(jax.vmap(FARM.potential)(each, at.params)) for each in (at.state, after))
    expected = (0.9 ** np.asarray(timestep.elapsed) * np.asarray(timestep.discount))[:, None] * then - before
    np.testing.assert_allclose(shaped.earned[0] - plain.earned[0], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("game", "change", "message"),
    [
        (GAME, {}, r"^shape_rewards is true; it must be false in dlb, which states no potential"),
        (FARM, {"critic": "observation"}, r"^shape_rewards is true; it must be false with critic=observation"),
    ],
)
def test_what_cannot_shape_rewards_is_refused(game, change, message):
    with pytest.raises(ValueError, match=message):
        make_learner(dataclasses.replace(SHAPED, **change), game, None)


@pytest.mark.parametrize("kind", ["mlp", "pointer"])
@pytest.mark.parametrize(
    "space",
    [Box(-1.0, 3.0), Simplex(4, over_agents=True), Discrete(3, over_agents=True)],
    ids=lambda s: type(s).__name__,
)
def test_every_kind_of_action_is_learned(space, kind):
    """Agents must match a target that they see; the optimum is 0, of which at most a twentieth of the start is left."""
    game = Matching(space, num_agents=3, num_rows=3)
    config = MAPPOConfig(
        num_envs=32,
        rollout_length=16,
        learning_rate=1e-2,
        final_learning_rate=1e-3,
        gamma=0.5,
        entropy_coef=0.0,
        schedule_updates=60,
    )
    network = NetworkConfig(kind, hidden=(16, 16), critic_hidden=(16,))
    _, metrics = learners.train(game, config, jax.random.key(0), 60, network=network)
    assert all(np.isfinite(values).all() for values in metrics.values())
    start, end = metrics["utility"][:2].mean(), metrics["utility"][-5:].mean()
    assert end > 0.05 * start, f"from {start:.4f} to {end:.4f}"


@pytest.mark.parametrize("space", [Box(0.0, 1.0), Simplex(3)], ids=lambda space: type(space).__name__)
def test_populations_of_seeds_and_settings_train_on_every_kind_of_action(space):
    learner = learners.make(Matching(space), TINY, network=NetworkConfig("mlp", hidden=(8,), critic_hidden=(8,)))
    hyper = jax.vmap(lambda rate: dataclasses.replace(hyperparameters(TINY), learning_rate=rate))(
        jnp.array([0.0, 0.01])
    )
    hyper = dataclasses.replace(hyper, final_learning_rate=hyper.learning_rate)
    state = jax.vmap(learner.init)(jnp.stack([jax.random.key(0)] * 2), hyper)
    after, metrics = jax.jit(jax.vmap(learner.update))(state)
    assert all(values.shape == (2,) and np.isfinite(values).all() for values in metrics.values())
    assert metrics["utility"][0] == metrics["utility"][1]
    changed = [
        [not np.array_equal(before[seed], now[seed]) for seed in range(2)]
        for before, now in zip(jax.tree.leaves(state.params.actor), jax.tree.leaves(after.params.actor), strict=True)
    ]
    assert not any(still for still, _ in changed)
    assert all(moved for _, moved in changed)


def test_hyperparameters_are_data_of_the_state_so_that_one_program_serves_a_population(trained):
    learner, *_ = trained
    _, update = compiled(learner)
    start = jax.jit(learner.init)(jax.random.key(0), hyperparameters(TINY))
    program = update.lower(start).compile()
    for rate in (0.0, 1e-2):
        hyper = dataclasses.replace(
            start.hyperparameters, learning_rate=jnp.float32(rate), final_learning_rate=jnp.float32(rate)
        )
        after, _ = program(start.replace(hyperparameters=hyper))
        for before, now in zip(jax.tree.leaves(start.params), jax.tree.leaves(after.params), strict=True):
            assert np.array_equal(before, now) is (rate == 0.0)


def test_environments_play_different_clusters_in_one_program():
    ranges = {"load": (0.4, 0.9), "completion_prob": (0.2, 1.0), "heartbeat_period": (1, 12)}
    learner = make_learner(sample_params=jaxdlb.games.randomised(GAME, PARAMS, **ranges))
    state, metrics = train(learner, 2)
    assert len(set(state.environments.params.arrival_prob[:, 0].tolist())) == TINY.num_envs
    assert np.isfinite(metrics["utility"]).all()


def test_without_normalisation_the_statistics_stay_as_they_were():
    config = dataclasses.replace(TINY, normalise_observations=False, normalise_values=False, normalise_advantages=False)
    learner = make_learner(config)
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
        learner = make_learner(config, game, lambda key: params, kind, hidden=(16, 16), precision=precision)
        state, metrics = train(learner, 40)
        assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {jnp.dtype("float32")}
        gained[precision] = metrics["utility"][-20:].mean() - metrics["utility"][:5].mean()
    assert gained["float32"] > 0
    assert gained["bfloat16"] > 0.8 * gained["float32"]
    assert gained["bfloat16"] != gained["float32"]


@pytest.mark.parametrize(
    ("change", "recurrent", "message"),
    [
        ({"num_minibatches": 3}, False, r"^num_minibatches is 3; it must divide the 32 steps"),
        ({"num_minibatches": 3}, True, r"^num_minibatches is 3; it must divide the 4 environments"),
    ],
)
def test_a_minibatch_count_that_does_not_divide_is_refused(change, recurrent, message):
    with pytest.raises(ValueError, match=message):
        make_learner(dataclasses.replace(TINY, **change), recurrent=recurrent)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gamma": 1.5}, r"^gamma is 1.5; it must be a finite number in \[0, 1\]"),
        ({"learning_rate": -1.0}, "^learning_rate is -1"),
        ({"clip_epsilon": 0.0}, "^clip_epsilon is 0"),
        ({"max_grad_norm": float("nan")}, "^max_grad_norm is nan"),
        ({"num_envs": 0}, "^num_envs is 0; it must be an integer ≥ 1"),
        ({"rollout_length": 2.5}, "^rollout_length is 2.5"),
        ({"critic": "oracle"}, "^critic is 'oracle'; it must be one of global_state, observation"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(TINY, **change)


def test_every_hyperparameter_has_an_allowed_range():
    for field in dataclasses.fields(Hyperparameters):
        with pytest.raises(ValueError, match=f"^{field.name} is"):
            dataclasses.replace(TINY, **{field.name: float("inf")})
