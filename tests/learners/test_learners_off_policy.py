"""The loop that learners from a replay buffer share: what they store, when they learn, what they refuse."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_games import SWITCH, Bandit, TwoStates

import jaxdlb
from jaxdlb import learners
from jaxdlb.learners import DDPGConfig, DQNConfig, MAPPOConfig, SACConfig, TD3Config
from jaxdlb.learners.off_policy import LEARNING_RATE
from jaxdlb.learners.population import in_turn
from jaxdlb.networks import NetworkConfig

NETWORK = NetworkConfig("mlp", hidden=(4,), critic_hidden=(4,))
SIZES = {"num_envs": 3, "rollout_length": 4, "gradient_steps": 2, "batch_size": 8, "replay_length": 8, "stagger": 0}
WARM = {"choices": 5, "numbers": 2}  # updates until something is learned, and until the buffer is full
KINDS = {
    "choices": (TwoStates(), DQNConfig, {"num_envs": 200, "replay_length": 20, "warmup_steps": 20}),
    "numbers": (Bandit(presence=0.7), TD3Config, {"warmup_steps": 8, "critic": "joint"}),
}


@functools.cache
def learner_of(kind, **changed):
    game, config, own = KINDS[kind]
    return learners.make(game, config(**SIZES | own | changed), network=NETWORK)


@functools.cache
def programs(learner):
    return jax.jit(learner.init), jax.jit(learner.update), jax.jit(learner.batch)


@functools.cache
def after(learner, num_updates, key=0):
    init, update, _ = programs(learner)
    if not num_updates:
        return init(jax.random.key(key)), {}
    return update(after(learner, num_updates - 1, key)[0])


def numbers(tree):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree) if not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)]


def equal(one, other):
    return all(np.array_equal(a, b) for a, b in zip(numbers(one), numbers(other), strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_until_it_is_warm_actions_are_uniform_and_nothing_is_learned(kind):
    learner, warm = learner_of(kind), WARM[kind]
    start, _ = after(learner, 0)
    state, metrics = after(learner, warm)
    assert equal(state.learned, start.learned)
    assert float(metrics["grad_norm" if kind == "choices" else "critic_grad_norm"]) == 0
    assert int(state.replay.filled) == 4 * warm and not equal(state.moments, start.moments)
    state, _ = after(learner, warm + 1)
    assert not equal(state.learned.params, start.learned.params)


def test_actions_at_the_start_are_uniform_among_legal_ones():
    state, _ = after(learner_of("choices"), WARM["choices"])
    taken = state.replay.stored
    at, action = np.asarray(taken.views.agent["own"]).argmax(axis=-1), np.asarray(taken.action)
    for here, allowed in ((0, 2), (1, 3)):
        shares = np.bincount(action[at == here], minlength=3) / np.sum(at == here)
        np.testing.assert_allclose(shares[:allowed], 1 / allowed, atol=0.03)
        assert not shares[allowed:].any()


def test_what_follows_is_stored_as_it_was_before_the_reset_and_a_time_limit_cuts_nothing():
    state, _ = after(learner_of("choices"), WARM["choices"])
    taken = state.replay.stored
    at, following = (np.asarray(views.agent["own"]).argmax(-1) for views in (taken.views, taken.following))
    np.testing.assert_array_equal(following, np.where(np.asarray(taken.action) == SWITCH, 1 - at, at))
    begins_anew = (following[:-1] != at[1:]).any(axis=(1, 2))
    assert begins_anew[4::5].all() and begins_anew.sum() == begins_anew[4::5].sum()  # every fifth step is the last
    assert np.all(np.asarray(taken.discount) == 1)
    np.testing.assert_array_equal(taken.following_legal[..., 2], following == 1)


def test_at_a_true_end_nothing_follows():
    learner = learner_of("numbers")
    state, _ = after(learner, 2)
    assert not np.asarray(state.replay.stored.discount).any()
    assert not np.asarray(programs(learner)[2](state, jax.random.key(0)).discount).any()


def test_views_are_stored_as_they_are_seen_and_normalised_by_the_moments_of_the_moment():
    learner = learner_of("numbers")
    state, _ = after(learner, 3)
    key = jax.random.key(0)
    batch = programs(learner)[2](state, key)
    raw = learners.replay.sample(state.replay, key, learner.config.batch_size).views
    for found, seen, moments in (
        (batch.transitions.views.agent["own"], raw.agent["own"], state.moments.agent),
        (batch.transitions.views.state, raw.state, state.moments.state),
    ):
        mean, variance = jax.tree.leaves(moments.mean)[0], jax.tree.leaves(moments.variance)[0]
        np.testing.assert_allclose(found, (seen - mean) / np.sqrt(variance + 1e-6), rtol=1e-4, atol=1e-5)
    assert np.abs(numbers(raw.agent)[0]).max() < 0.7  # log 2: what is seen lies within ±1


def test_the_global_view_is_stored_only_where_a_critic_reads_it():
    for critic, expected in (("observation", ()), ("joint", (2,)), ("mean_field", (2,))):
        found = learner_of("numbers", critic=critic).example.views.state
        assert (() if isinstance(found, tuple) else found.shape) == expected


def test_a_population_whose_members_differ_equals_its_members_alone():
    learner = learner_of("choices")
    starts = [after(learner, 0, seed)[0] for seed in (0, 1)]
    both = jax.tree.map(lambda *leaves: jnp.stack(leaves), *starts)
    both = dataclasses.replace(
        both, hyperparameters=dataclasses.replace(both.hyperparameters, learning_rate=jnp.array([1e-3, 3e-2]))
    )
    together, update = both, jax.jit(jax.vmap(learner.update))
    for _ in range(WARM["choices"] + 2):
        together, _ = update(together)
    for member in (0, 1):
        alone = jax.tree.map(lambda leaf, member=member: leaf[member], both)
        for _ in range(WARM["choices"] + 2):
            alone, _ = programs(learner)[1](alone)
        for one, other in zip(numbers(together), numbers(alone), strict=True):
            np.testing.assert_allclose(one[member], other, rtol=2e-5, atol=2e-5)


def test_members_in_turn_share_one_buffer_and_train_as_each_alone():
    learner = learner_of("numbers")
    starts = [after(learner, 0, seed)[0] for seed in (0, 1, 2)]
    states, update = jax.tree.map(lambda *leaves: jnp.stack(leaves), *starts), jax.jit(in_turn(learner.update))
    for _ in range(3):
        states, metrics = update(states)
    for member in range(3):
        alone, of_alone = after(learner, 3, member)
        for one, other in zip(numbers((states, metrics)), numbers((alone, of_alone)), strict=True):
            np.testing.assert_allclose(one[member], other, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("kind", [DQNConfig, DDPGConfig, TD3Config, SACConfig])
def test_at_the_highest_learning_rate_nothing_becomes_nan_in_ten_thousand_updates(kind):
    game = TwoStates() if kind is DQNConfig else Bandit()
    rates = {field.name: LEARNING_RATE.high for field in dataclasses.fields(kind) if "learning_rate" in field.name}
    tiny = {"num_envs": 1, "rollout_length": 1, "gradient_steps": 1, "batch_size": 2, "replay_length": 16}
    learner = learners.make(
        game, kind(**tiny, **rates, warmup_steps=2), network=NETWORK, sample_params=lambda key: jnp.int32(20)
    )

    def carry_on(_, carry):
        state, finite = carry
        state, metrics = learner.update(state)
        return state, finite & jnp.all(jnp.isfinite(jnp.stack(jax.tree.leaves(metrics))))

    run = jax.jit(lambda key: jax.lax.fori_loop(0, 10_000, carry_on, (learner.init(key), jnp.bool_(True))))
    state, finite = run(jax.random.key(0))
    assert finite
    assert all(np.isfinite(leaf).all() for leaf in numbers(state.learned))


def test_the_batch_and_the_buffer_are_as_large_as_suits_the_game_unless_told():
    learner = learners.make(Bandit(num_agents=5), TD3Config(), network=NETWORK)
    assert (learner.config.batch_size, learner.config.replay_length) == (154, 2000)
    assert jax.eval_shape(learner.init, jax.random.key(0)).replay.length == 2000


DLB = jaxdlb.make("dlb", num_nodes=2)


@pytest.mark.parametrize(
    ("game", "config", "network", "sentence"),
    [
        (
            DLB,
            TD3Config(),
            NETWORK,
            "^learner is 'td3'; it must be one of mappo, ippo, consensus, dqn in dlb, whose actions are in a Discrete, "
            "not in a Box$",
        ),
        (
            Bandit(),
            DQNConfig(),
            NETWORK,
            "^learner is 'dqn'; it must be one of mappo, ippo, consensus, ddpg, td3, sac in bandit, whose actions are "
            "in a Box, not in a Discrete$",
        ),
        (
            DLB,
            DQNConfig(),
            NetworkConfig(recurrent=True),
            "^recurrent is true; it must be false here, since steps drawn",
        ),
        (
            DLB,
            DQNConfig(),
            NetworkConfig(autoregressive=True),
            "^autoregressive is true; it must be false here, since ",
        ),
        (DLB, DQNConfig(replay_length=9), NETWORK, "^replay_length is 9; it must be a multiple of rollout_length, 4$"),
        (DLB, DQNConfig(max_replay_gib=1e-3), NetworkConfig(), None),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(game, config, network, sentence):
    if sentence is None:
        assert 0 < learners.make(game, config, network=network).config.replay_length < 2000
        return
    with pytest.raises(ValueError, match=sentence):
        learners.make(game, config, network=network)


@pytest.mark.parametrize("kind", [DQNConfig, DDPGConfig, TD3Config, SACConfig])
def test_every_setting_that_is_out_of_range_is_refused_by_its_name(kind):
    for name in ("gamma", "tau", "max_grad_norm", "max_replay_gib"):
        with pytest.raises(ValueError, match=f"^{name} is"):
            kind(**{name: float("inf")})
    rate = "learning_rate" if kind is DQNConfig else "critic_learning_rate"
    with pytest.raises(ValueError, match=rf"^{rate} is 0.2; it must be a finite number in \[0, 0.125\]"):
        kind(**{rate: 0.2})


def test_learners_without_spaces_of_their_own_act_in_any():
    assert learners.make(Bandit(), MAPPOConfig(num_envs=2, rollout_length=2), network=NETWORK)
