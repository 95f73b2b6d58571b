"""The game is pure: jit, vmap, scan and grad change nothing but speed, and a key decides everything."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference.episodes import batch_player, entry, play, player, random_actions, random_clusters, resetter

import jaxdlb
from jaxdlb.games.dlb import DLB, Action
from jaxdlb.mechanics.arrivals import MarkovModulated

GAME = DLB(4, capacity=6, max_delay=2, heartbeats="per_link")
ROUNDS = 12


@pytest.fixture(scope="module")
def batch():
    """Keys, params and actions of seven different clusters."""
    generator = np.random.default_rng(11)
    law = MarkovModulated(calm_to_busy=0.3, busy_to_calm=0.3)
    params = random_clusters(GAME, generator, 7, arrival_modulation=law, failure_prob=0.1)
    keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.key(12), i))(jnp.arange(7))
    return keys, params, random_actions(generator, (7, ROUNDS, GAME.num_nodes))


def assert_same(first, second):
    """Equal to the bit in all that counts things; sums of floats may be taken in another order."""
    for one, other in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        if jnp.issubdtype(one.dtype, jnp.floating):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
        else:
            np.testing.assert_array_equal(one, other)


def test_jit_changes_nothing(batch):
    key, params, actions = entry(batch, 0)
    state = jax.tree.map(lambda leaf: leaf[5], player(GAME)(key, params, actions)[0])
    inputs = (key, state, entry(actions, 5), params)
    assert_same(GAME.step(*inputs), jax.jit(GAME.step)(*inputs))


def test_vmap_over_keys_params_and_actions_is_a_loop(batch):
    together = batch_player(GAME)(*batch)
    for i in range(7):
        assert_same(entry(together, i), player(GAME)(*entry(batch, i)))


def test_vmap_over_params_alone_is_a_loop(batch):
    """The same events' keys and the same actions for every cluster: what differs is the parameters."""
    keys, params, actions = batch
    key, action = entry((keys, actions), 0)
    everywhere = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (7, *leaf.shape)), (key, action))
    together = batch_player(GAME)(everywhere[0], params, everywhere[1])
    for i in range(7):
        assert_same(entry(together, i), player(GAME)(key, entry(params, i), action))
    assert len(np.unique(np.asarray(together[0].load).reshape(7, -1), axis=0)) == 7


def test_a_cluster_plays_the_same_in_a_batch_of_any_size(batch):
    whole = jax.tree.map(lambda leaf: leaf[:3], batch_player(GAME)(*batch))
    part = batch_player(GAME)(*jax.tree.map(lambda leaf: leaf[:3], batch))
    assert_same(whole, part)


def test_the_same_key_gives_the_same_run_and_another_key_another(batch):
    key, params, actions = entry(batch, 0)
    run, again, other = (player(GAME)(k, params, actions) for k in (key, key, jax.random.key(99)))
    for one, same in zip(jax.tree.leaves(run), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(one, same)
    for name in ("arrived", "completed", "alive", "modulation"):
        assert not np.array_equal(getattr(run[0], name), getattr(other[0], name)), name


def test_under_one_key_every_policy_meets_the_same_chances(batch):
    """Arrivals and who is up are the same, and so are completions where both have work, whatever the agents do."""
    keys, params, actions = batch
    others = random_actions(np.random.default_rng(13), (7, ROUNDS, GAME.num_nodes))
    one, other = (batch_player(GAME)(keys, params, played)[0] for played in (actions, others))
    for name in ("arrived", "alive", "modulation"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    both_busy = (one.load > 0) & (other.load > 0)
    np.testing.assert_array_equal(one.completed & both_busy, other.completed & both_busy)
    assert np.any(one.load != other.load)
    assert not np.all(one.alive)


def test_a_run_does_not_draw_arrivals_and_completions_alike():
    """Two draws that shared a key would be the same numbers."""
    game = DLB(64)
    params = game.default_params(arrival_prob=0.5, completion_prob=0.5, initial_load=1)
    state, _ = resetter(game)(jax.random.key(3), params)
    assert 10 < np.sum(state.arrived != state.completed) < 54


def test_reset_and_step_are_traced_once_whatever_the_parameters():
    traces = {"reset": 0, "step": 0}

    @jax.jit
    def reset(key, params):
        traces["reset"] += 1
        return GAME.reset(key, params)

    @jax.jit
    def step(key, state, action, params):
        traces["step"] += 1
        return GAME.step(key, state, action, params)

    base = GAME.default_params(arrival_modulation=MarkovModulated(calm=0.5))
    clusters = [
        base,
        GAME.default_params(
            load=0.3,
            completion_prob=1,
            transfer_delay=2,
            heartbeat_delay=np.int64(1),
            heartbeat_loss=0.5,
            heartbeat_phase=range(4),
            failure_prob=[0, 0, 0.5, 1],
            horizon=7,
            arrival_modulation=MarkovModulated(calm=1, busy=np.float64(2)),
        ),
        jaxdlb.randomised(GAME, base, load=(0.1, 0.9), completion_prob=(0.2, 1.0), transfer_delay=(0, 2))(
            jax.random.key(0)
        ),
    ]
    for seed, params in enumerate(clusters):
        state, _ = reset(jax.random.key(seed), params)
        for choice in (0, 3):
            action = Action(jnp.full(4, choice), jnp.full(4, choice))
            state, _ = step(jax.random.key(seed), state, action, params)
    assert traces == {"reset": 1, "step": 1}


def test_the_utility_can_be_differentiated_by_the_costs(batch):
    key, params, actions = entry(batch, 0)

    def total_utility(costs):
        _, timesteps = play(GAME, key, dataclasses.replace(params, **costs), actions)
        return jnp.sum(timesteps.metrics["utility"])

    costs = {"migration_cost": params.migration_cost, "completion_prob": params.completion_prob}
    slopes = jax.jit(jax.grad(total_utility))(costs)
    _, timesteps = player(GAME)(key, params, actions)
    migrations = jnp.sum(timesteps.metrics["migrations"])
    assert migrations > 0
    np.testing.assert_allclose(slopes["migration_cost"], -migrations / GAME.num_nodes, rtol=1e-5)
    assert np.all(np.isfinite(slopes["completion_prob"]))
