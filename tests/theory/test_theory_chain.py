"""The chain of a small game says what the game says: its laws, its policies' utilities, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_chains import FRESH, chain_of, cluster

import jaxdlb
from jaxdlb.evaluation import evaluate_all
from jaxdlb.evaluation.statistics import estimate
from jaxdlb.games.dlb.common import CommonInformation
from jaxdlb.networks import NetworkConfig, build_actor, features, normalisation
from jaxdlb.policies import learned
from jaxdlb.policies.heuristics import NODE_HEURISTICS
from jaxdlb.recording import record
from jaxdlb.theory import chain as chains
from jaxdlb.theory import join_shortest_queue_of_two, one_node_law

UNEVEN = ((0.3, 0.6), 0.7, 8)
REMEMBER = {"round_robin", "surplus_split"}
MEMORYLESS = sorted(set(NODE_HEURISTICS) - REMEMBER)


def solved(chain, policy):
    return chains.evaluate(chain, chain.joint(chain.weights(policy)))[0].average


def test_one_node_alone_has_the_law_of_the_birth_death_chain():
    game = jaxdlb.make("dlb", num_nodes=1, capacity=40)
    params = game.default_params(arrival_prob=0.3, completion_prob=0.5, **FRESH)
    chain = chains.build(CommonInformation(game, params))
    law = chains.stationary_law(chain, chain.joint(chain.weights(jaxdlb.heuristic("local"))))
    np.testing.assert_allclose(law, one_node_law(0.3, 0.5, 40), atol=1e-6)


@pytest.mark.parametrize("rates", [(0.5, 0.5), (0.3, 0.6)])
def test_join_shortest_queue_has_the_law_of_a_chain_that_shares_no_code_with_it(rates):
    chain = chain_of(rates, 0.7, 8)
    law = chains.stationary_law(chain, chain.joint(chain.weights(jaxdlb.heuristic("join_shortest_queue"))))
    both = law.reshape(2, 9, 9).sum(axis=0)
    arrival = np.asarray(chain.common.params.arrival_prob, np.float64)
    np.testing.assert_allclose(both, join_shortest_queue_of_two(arrival, rates, 8), atol=1e-6)


@pytest.mark.parametrize("name", MEMORYLESS)
def test_probabilities_of_a_rule_are_how_often_it_chooses(name):
    game, params = cluster((0.2, 0.5, 0.9), 0.7, 6)
    policy = jaxdlb.heuristic(name)
    every = jnp.ones(3, bool)
    state = CommonInformation(game, params).state(jnp.array([3, 3, 1]), every, every, jnp.int32(0))
    observation = game.true_observation(state, params)
    keys = jax.random.split(jax.random.key(0), 20_000)
    _, drawn = jax.jit(jax.vmap(lambda key: policy.act(key, policy.init(game), observation, params)))(keys)
    stated = policy.probabilities(observation, params)
    for choices, probs in ((drawn.dispatch, stated.sum(axis=2)), (drawn.steal, stated.sum(axis=1))):
        often = (np.asarray(choices)[..., None] == np.arange(3)).mean(axis=0)
        np.testing.assert_allclose(often, probs, atol=4 * 0.5 / np.sqrt(20_000))


def test_the_exact_utility_of_every_rule_lies_within_the_interval_of_its_simulation():
    """Twice the 95% interval: of twenty policies, one would be outside of the interval itself."""
    chain = chain_of(*UNEVEN)
    game, params = chain.common.game, chain.common.params
    policies = [*map(jaxdlb.heuristic, MEMORYLESS), _untrained(game, params)]
    sizes = {"num_episodes": 32, "num_rounds": 600, "warmup": 200}
    played = evaluate_all(game, policies, lambda key: params, jax.random.key(3), **sizes)
    for policy, samples in zip(policies, played, strict=True):
        measured = estimate(samples["utility"])
        assert abs(solved(chain, policy) - measured.mean) < 2 * measured.half_width, policy.name


def test_news_is_fresh_in_the_game_as_the_chain_takes_it():
    game, params = cluster((0.3, 0.6), 0.7, 8)
    policy = jaxdlb.heuristic("random")
    played = record(game, policy, params, jax.random.key(0), 50)
    truth = jax.vmap(game.true_observation, (0, None))(played.states, params)
    seen = played.timesteps.observation
    jax.tree.map(np.testing.assert_array_equal, seen, jax.tree.map(lambda leaf: leaf[1:], truth))


def test_a_discounted_value_tends_to_the_average():
    chain = chain_of(*UNEVEN)
    joint = chain.joint(chain.weights(jaxdlb.heuristic("threshold_stealing")))
    (values,) = chains.evaluate(chain, joint)
    slowly = chains.discounted(chain, joint, 1 - 1e-7)
    np.testing.assert_allclose(slowly * 1e-7, values.average, rtol=1e-4)
    np.testing.assert_allclose(slowly - slowly[0], values.relative, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"heartbeat_period": 5}, "heartbeat_period is 5; it must be 1"),
        ({"transfer_delay": 1}, "transfer_delay is 1; it must be 0"),
        ({"heartbeat_delay": 2}, "heartbeat_delay is 2; it must be 0"),
        ({"failure_prob": 0.1}, "failure_prob is [0.1, 0.1]; it must be 0"),
        ({"arrival_prob": [1.0, 0.1]}, "arrival_prob is [1, 0.1]; it must be below 1"),
        (
            {"arrival_modulation": {"kind": "sinusoidal"}},
            "arrival_modulation.kind is 'sinusoidal'; it must be 'constant'",
        ),
    ],
)
def test_what_the_chain_does_not_cover_is_refused_by_name(fields, sentence):
    game = jaxdlb.make("dlb", num_nodes=2, capacity=4)
    with pytest.raises(ValueError, match="must be") as refused:
        CommonInformation(game, game.default_params(**FRESH | fields))
    assert str(refused.value) == f"{sentence} for an exact solution"


def test_what_is_too_large_is_refused_before_memory_is_taken():
    game, params = cluster((0.2, 0.3, 0.4, 0.5), 0.7, 64)
    with pytest.raises(ValueError, match="capacity is 64; with 4 nodes that makes 71,402,500 states of 390,625 joint"):
        chains.build(CommonInformation(game, params))
    with pytest.raises(ValueError, match=r"at 2 nodes a capacity of 1\d would fit"):
        chains.check_size(2, 500, limit=2**23)


@pytest.mark.parametrize("name", sorted(REMEMBER))
def test_a_rule_that_remembers_is_refused(name):
    with pytest.raises(ValueError, match=f"policy is '{name}.*must not remember"):
        chain_of(*UNEVEN).weights(jaxdlb.heuristic(name))


def _untrained(game, params):
    """A network that has learned nothing, but does not choose evenly either."""
    actor = build_actor(game, NetworkConfig(kind="mlp"), True)
    view = normalisation.symlog(features(game.reset(jax.random.key(0), params)[1].observation))
    shapes = learned.variable_shapes(game, actor)
    keys = iter(jax.random.split(jax.random.key(7), 99))
    drawn = jax.tree.map(lambda leaf: 0.3 * jax.random.normal(next(keys), leaf.shape, leaf.dtype), shapes.actor)
    return learned.LearnedPolicy(game, actor, learned.PolicyVariables(drawn, normalisation.initial_moments(view)))
