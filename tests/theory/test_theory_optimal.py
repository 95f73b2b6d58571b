"""Optima of small games, against linear programmes that list every decision, and played in the game itself."""

import itertools

import jax
import numpy as np
import pytest
from small_chains import best_average, chain_of

import jaxdlb
from jaxdlb.evaluation import evaluate_all
from jaxdlb.evaluation.statistics import estimate
from jaxdlb.theory import chain as chains
from jaxdlb.theory import optimal, table

TINY = [((0.3, 0.6), 0.7, 3), ((0.5, 0.5), 0.9, 2)]


def prescription_profiles(chain):
    """All profiles of prescriptions: for each the joint choice after each joint event, [D, E₁ · E₂]."""
    every, size = optimal.prescribed(2), len(chain.choices.event)
    pairs = itertools.product(every, every)
    return np.array([(one[:, None] * size + two[None, :]).ravel() for one, two in pairs])


@pytest.mark.parametrize("instance", TINY)
def test_the_team_optimum_is_the_best_of_all_profiles_of_prescriptions(instance):
    chain = chain_of(*instance)
    chosen = prescription_profiles(chain)
    events = (chain.event_probs[:, 0, :, None] * chain.event_probs[:, 1, None, :]).reshape(chain.num_states, 1, -1)
    likely = np.broadcast_to(events, (chain.num_states, *chosen.shape))
    worth = (likely * chain.utility[:, chosen]).sum(axis=-1)
    optimum, weights = optimal.team(chain)
    np.testing.assert_allclose(optimum.average, best_average(chain.following[:, chosen], worth, likely), atol=1e-6)
    np.testing.assert_allclose(chains.evaluate(chain, chain.joint(weights))[0].average, optimum.average, atol=1e-12)
    assert optimum.low <= optimum.average <= optimum.high < optimum.low + 1e-6


@pytest.mark.parametrize("instance", TINY)
def test_the_centralised_optimum_is_that_of_the_game_in_which_one_sees_all(instance):
    """A state of that game is a common state and a joint event, and a decision is a joint choice that it allows."""
    chain = chain_of(*instance)
    event = chain.choices.event
    of_choice = (event[:, None] * 4 + event[None, :]).ravel()  # the joint event that a joint choice belongs to
    probs = (chain.event_probs[:, 0, :, None] * chain.event_probs[:, 1, None, :]).reshape(chain.num_states, 16)
    groups = [np.flatnonzero(of_choice == each) for each in range(16)]
    most = max(map(len, groups))
    padded = np.array([np.pad(each, (0, most - len(each)), mode="edge") for each in groups])  # [16, D]
    after = chain.following[:, padded]  # [S, 16, D]: the common state, before the events of the next round
    following = (after[..., None] * 16 + np.arange(16)).reshape(-1, most, 16)
    likely = probs[after].reshape(-1, most, 16)
    worth = chain.utility[:, padded].reshape(-1, most)
    np.testing.assert_allclose(optimal.centralised(chain).average, best_average(following, worth, likely), atol=1e-6)


def test_a_discounted_optimum_solves_the_equation_of_bellman():
    chain = chain_of((0.3, 0.6), 0.7, 8)
    value = optimal.discounted_optimum(chain, 0.9)
    chosen = prescription_profiles(chain)
    events = (chain.event_probs[:, 0, :, None] * chain.event_probs[:, 1, None, :]).reshape(chain.num_states, 1, -1)
    worth = chain.utility + 0.9 * value[chain.following]
    np.testing.assert_allclose(value, (events * worth[:, chosen]).sum(axis=-1).max(axis=1), atol=1e-8)
    slowly = optimal.discounted_optimum(chain, 1 - 1e-6)
    np.testing.assert_allclose(slowly[0] * 1e-6, optimal.team(chain)[0].average, rtol=1e-4)


def test_an_improvement_that_is_but_rounding_is_not_waited_for():
    chain = chain_of(*TINY[0])

    def improve(chain, worth):
        value, joint = optimal._improve_centrally(chain, worth)
        return value + 1e-6, joint  # as if every state promised a little more than it keeps

    found, exact = optimal.iterate(chain, improve, chain.utility), optimal.centralised(chain)
    assert found.average == pytest.approx(exact.average, abs=1e-12)
    assert found.low <= exact.average < found.high < exact.average + 2e-6


@pytest.mark.parametrize("instance", [((0.3, 0.6), 0.7, 8), ((0.4, 0.6, 0.8), 0.6, 3)])
def test_the_team_optimum_plays_in_the_game_as_well_as_it_should(instance):
    chain = chain_of(*instance)
    game, params = chain.common.game, chain.common.params
    optimum, weights = optimal.team(chain)
    policies = [table.prescriptions(chain, weights), jaxdlb.heuristic("threshold_stealing")]
    assert policies[0].kind == "optimal"
    sizes = {"num_episodes": 64, "num_rounds": 1200, "warmup": 200}
    best, rule = evaluate_all(game, policies, lambda key: params, jax.random.key(5), **sizes)
    measured = estimate(best["utility"])
    assert abs(optimum.average - measured.mean) < 2 * measured.half_width
    assert optimal.centralised(chain).average > optimum.average > estimate(rule["utility"]).high
