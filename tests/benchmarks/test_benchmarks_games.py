"""What is timed is the game, and what is said to be consumed cannot have been left out."""

import jax
import numpy as np
import pytest

import jaxdlb
from benchmarks import games

NUM_ROUNDS, NUM_ENVS, KEY = 6, 3, jax.random.key(5)
GAME = jaxdlb.make("dlb", num_nodes=4)
CLUSTERS = games.clusters_like(GAME.default_params(), GAME.num_agents, NUM_ENVS)


def begin(variant):
    return games.start(GAME, variant, CLUSTERS, KEY)


def played_in_a_loop(variant):
    """The same rounds, one environment and one round at a time: the sums of rewards and arrivals, the last step."""
    carry, step = begin(variant), jax.jit(GAME.step)
    rewards, arrivals, last = [], [], []
    for env in range(NUM_ENVS):
        params, itself, state = jax.tree.map(
            lambda leaf, env=env: leaf[env], (CLUSTERS.params, CLUSTERS.itself, carry.state)
        )
        steps = []
        for round in range(NUM_ROUNDS):
            policy_key, key = (jax.random.fold_in(keys[env], round) for keys in (carry.policy_keys, carry.game_keys))
            state, timestep = step(key, state, games.POLICIES[variant.policy](policy_key, itself, GAME), params)
            steps.append(timestep)
        rewards.append(sum(np.asarray(timestep.reward) for timestep in steps))
        arrivals.append(sum(int(timestep.metrics["arrivals"]) for timestep in steps))
        last.append(steps[-1].observation)
    return rewards, arrivals, jax.tree.map(lambda *leaves: np.stack(leaves), *last)


@pytest.mark.parametrize("policy", games.POLICIES)
def test_the_rounds_that_are_timed_are_those_of_the_game(policy):
    variant = games.Variant(policy, "observation")
    played = jax.jit(games.play, static_argnums=(0, 1, 2))(GAME, variant, NUM_ROUNDS, begin(variant), CLUSTERS)
    rewards, arrivals, observation = played_in_a_loop(variant)
    np.testing.assert_allclose(played.reward, rewards, rtol=1e-5)
    np.testing.assert_array_equal(played.metrics["arrivals"], arrivals)
    jax.tree.map(np.testing.assert_array_equal, played.observation, observation)


def test_an_observation_that_is_consumed_is_written_in_every_round():
    """XLA counts the bytes of one round: with the observation at least its bytes more."""

    def bytes_of_a_round(consume):
        variant = games.Variant("random", consume)
        program = jax.jit(games.play, static_argnums=(0, 1, 2)).lower(GAME, variant, 2, begin(variant), CLUSTERS)
        return program.compile().cost_analysis()["bytes accessed"]

    written = NUM_ENVS * games.sizes_of(GAME, NUM_ENVS).observation_bytes
    assert bytes_of_a_round("observation") >= bytes_of_a_round("reward") + written


def test_a_random_policy_names_every_node_equally_often():
    keys = jax.random.split(jax.random.key(0), 4000)
    action = jax.vmap(lambda key: games.random_choice(key, CLUSTERS.itself[0], GAME))(keys)
    for choice in (action.dispatch, action.steal):
        frequency = np.bincount(np.ravel(choice), minlength=GAME.num_nodes) / choice.size
        # 16,000 draws: the standard error is 0.0034, and five of them are allowed.
        np.testing.assert_allclose(frequency, 1 / GAME.num_nodes, atol=0.017)


def test_any_game_is_played_with_the_sizes_and_parameters_that_are_asked_for():
    parser = games._parser()
    words = "--game rack --size max_cores=2 max_tasks=64 heartbeats=per_link --param load=0.5 core_perf=[1,2,3]"
    game, params = games.make(parser, parser.parse_args(words.split()), num_nodes=3)
    assert (game.name, game.num_agents, game.max_cores, game.heartbeats) == ("rack", 3, 2, "per_link")
    assert params.core_perf.tolist() == [1, 2, 3]
    assert params.arrival_rate == pytest.approx(0.5 * 2 * 6 / 0.01)
    variant = games.Variant("random", "observation")
    clusters = games.clusters_like(params, game.num_agents, NUM_ENVS)
    carry = jax.eval_shape(lambda: games.play(game, variant, 2, games.start(game, variant, clusters, KEY), clusters))
    assert carry.metrics["cpu_queue"].shape == (NUM_ENVS, 3)


def test_calls_are_shorter_where_a_round_is_larger():
    small, large = (games.sizes_of(jaxdlb.make("dlb", num_nodes=n), 256) for n in (2, 256))
    assert small.rounds_a_call("cpu") > 100 * large.rounds_a_call("cpu") >= 100 * games.FEWEST_ROUNDS
    assert large.rounds_a_call("gpu") > large.rounds_a_call("cpu")
    # float32 [N, 5] and [N, N, 4], and two masks [N, N] of one byte an entry.
    assert large.observation_bytes == 256 * 5 * 4 + 256 * 256 * 4 * 4 + 2 * 256 * 256
