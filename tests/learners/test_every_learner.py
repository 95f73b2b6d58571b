"""What holds for every learner of the registry: it resumes bit for bit, takes seeds side by side, gives a policy."""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_games import Bandit

import jaxdlb
from jaxdlb import checkpoint, spaces
from jaxdlb.learners import LEARNERS, PopulationBasedTraining
from jaxdlb.learners.population import PopulationState, move
from jaxdlb.networks import STOCHASTIC, NetworkConfig
from train import paths

SMALL = {"num_envs": 2, "rollout_length": 4, "num_epochs": 2, "num_minibatches": 2}
SMALL |= {"replay_length": 8, "batch_size": 4, "warmup_steps": 0}
NETWORK = NetworkConfig("mlp", hidden=(4,), critic_hidden=(4,))
GAMES = (jaxdlb.make("dlb", num_nodes=2), Bandit())  # each learner plays the first whose actions suit it
HORIZON = 6  # episodes end within the updates below
ROUNDING = 2e-5  # vmapped products are summed in another order


def config_of(name):
    settings = LEARNERS[name].config
    sizes = {field.name for field in dataclasses.fields(settings)}
    return settings(**{size: value for size, value in SMALL.items() if size in sizes})


def game_of(name):
    return next(game for game in GAMES if LEARNERS[name].suits(game))


def params_of(game):
    return game.default_params(horizon=HORIZON)


@functools.cache
def learner_of(name):
    return made(name, game_of(name))


def made(name, game):
    params = params_of(game)
    return LEARNERS[name].make(game, NETWORK, config_of(name), lambda key: params)


@functools.cache
def programs(name):
    learner = learner_of(name)
    return jax.jit(learner.init), jax.jit(learner.update)


@functools.cache
def trained(name, seed=0, updates=2):
    init, update = programs(name)
    state = init(jax.random.key(seed))
    for _ in range(updates):
        state, metrics = update(state)
    return state, metrics


def numbers(tree):
    """Every leaf as numbers, random keys as their data."""
    leaves = jax.tree.leaves(tree)
    is_key = [jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) for leaf in leaves]
    return [np.asarray(jax.random.key_data(leaf) if key else leaf) for leaf, key in zip(leaves, is_key, strict=True)]


@pytest.fixture(scope="module", params=LEARNERS)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def saved(name, tmp_path_factory):
    """The folder of a run that was saved after two updates."""
    folder = tmp_path_factory.mktemp(name)
    state, metrics = trained(name)
    config = learner_of(name).config
    shared, heads = getattr(config, "share_parameters", True), getattr(config, "heads", STOCHASTIC)
    about = checkpoint.describe(game_of(name), NETWORK, shared, 1, heads=heads)
    with checkpoint.Writer(folder / checkpoint.FOLDER, about) as writer:
        writer.save(2, state, learner_of(name).policy_variables(state), float(metrics["utility"]))
    return folder


def test_a_learner_restored_from_disk_goes_on_bit_for_bit_as_if_never_stopped(name, saved):
    step, restored = checkpoint.restore_state(saved, jax.eval_shape(learner_of(name).init, jax.random.key(0)))
    went_on = programs(name)[1](restored)
    assert (step, int(went_on[0].num_updates)) == (2, 3)
    for one, other in zip(numbers(went_on), numbers(trained(name, updates=3)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_seeds_side_by_side_train_as_each_alone(name):
    learner = learner_of(name)
    keys = jnp.stack([jax.random.key(seed) for seed in (0, 1)])
    together = jax.jit(jax.vmap(lambda key: learner.update(learner.init(key))))(keys)
    for seed in (0, 1):
        for one, other in zip(numbers(together), numbers(trained(name, seed, updates=1)), strict=True):
            np.testing.assert_allclose(one[seed], other, rtol=ROUNDING, atol=ROUNDING)


def test_in_a_population_of_it_the_worst_becomes_the_best_but_for_keys_and_what_is_explored(name):
    population = PopulationBasedTraining(learner_of(name), 2)
    keys = jnp.stack([jax.random.key(seed) for seed in (0, 1)])
    members = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(trained(name, seed, updates=1)[0] for seed in (0, 1)))
    state, parent = jax.jit(population.select)(PopulationState(members, keys, jnp.array([-2.0, -1.0])))
    assert parent.tolist() == [1, 1]
    before, after = (jax.tree_util.tree_leaves_with_path(each) for each in (members, state.members))
    for (path, old), (_, new) in zip(before, after, strict=True):
        mine, whose = jax.tree_util.keystr(path), int(not jnp.issubdtype(old.dtype, jax.dtypes.prng_key))
        explored = mine.rpartition(".")[2]
        if explored in population.explored:
            moved = [move(old[1:], jnp.array([by]), population.ranges[explored]) for by in (1.25, 0.8)]
            assert float(new[0]) in [pytest.approx(float(each[0])) for each in moved], mine
        else:
            np.testing.assert_array_equal(*numbers([new[0], old[whose]]), err_msg=mine)
        np.testing.assert_array_equal(*numbers([new[1], old[1]]), err_msg=mine)


def test_another_seed_trains_otherwise(name):
    policies = [learner_of(name).policy_variables(trained(name, seed, updates=1)[0]) for seed in (0, 1)]
    assert any(np.any(one != other) for one, other in zip(*map(numbers, policies), strict=True))


def test_metrics_are_finite_scalars_with_the_utility_among_them(name):
    _, metrics = trained(name)
    assert "utility" in metrics
    assert all(value.shape == () and np.isfinite(value) for value in metrics.values())


def test_the_policy_that_was_saved_is_loaded_and_acts_legally(name, saved):
    game = game_of(name)
    params = params_of(game)
    policy = jaxdlb.load_policy(saved, game=game)
    assert policy.kind == "learned"
    _, timestep = jax.jit(game.reset)(jax.random.key(3), params)
    _, action = policy.act(jax.random.key(4), policy.init(game), timestep.observation, params)
    legal = spaces.contains(game.action_space, action, timestep.observation.legal)
    assert all(np.all(each) for each in jax.tree.leaves(legal))


def counting(game):
    """The game, and on the host a count of the rounds that are played."""

    class Counting(type(game)):
        rounds = 0

        def step(self, key, state, action, params):
            jax.debug.callback(self.count, jax.tree.leaves(state)[0])
            return super().step(key, state, action, params)

        @classmethod
        def count(cls, _):
            cls.rounds += 1

    return Counting(**vars(game))


def test_an_update_plays_as_many_agent_rounds_as_the_learner_says(name):
    game = counting(game_of(name))
    learner = made(name, game)
    state = jax.jit(learner.init)(jax.random.key(0))
    jax.effects_barrier()
    type(game).rounds = 0
    jax.block_until_ready(jax.jit(learner.update)(state))
    jax.effects_barrier()
    assert learner.agent_rounds_per_update == type(game).rounds * game.num_agents


def test_the_file_under_conf_names_it(name):
    text = (paths.CONF / "learner" / f"{name}.yaml").read_text(encoding="utf-8")
    assert re.search(rf"^name: {name}$", text, re.MULTILINE)
    assert f"/schema/learner@_here_: {name}" in text
