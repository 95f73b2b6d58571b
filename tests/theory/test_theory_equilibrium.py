"""Who would gain by deviating: against a linear programme, and where it must be nobody."""

import functools

import numpy as np
import pytest
from small_chains import best_average, chain_of

import jaxdlb
from jaxdlb.theory import chain as chains
from jaxdlb.theory import equilibrium, optimal

TINY = ((0.3, 0.6), 0.7, 3)


@functools.cache
def team():
    return optimal.team(chain_of(*TINY))


@pytest.mark.parametrize("agent", [0, 1])
@pytest.mark.parametrize("selfishness", [0.0, 1.0])
def test_a_best_response_is_the_optimum_of_the_game_that_the_others_leave(agent, selfishness):
    """A state of that game is a common state and the agent's own event; a decision is one of its choices."""
    chain = chain_of(*TINY)
    weights = chain.weights(jaxdlb.heuristic("fading_stealing"))
    other = weights[1 - agent]
    groups, size = chain.choices.groups, len(chain.choices.event)
    most = max(group.stop - group.start for group in groups)
    own = np.array([np.minimum(np.arange(group.start, group.start + most), group.stop - 1) for group in groups])
    joint = own[..., None] * size + np.arange(size) if agent == 0 else np.arange(size) * size + own[..., None]
    after = chain.following[:, joint]  # [S, 4, D, C]
    probs = np.broadcast_to(other[:, None, None, :], after.shape)
    following = (after[..., None] * 4 + np.arange(4)).reshape(-1, most, size * 4)
    likely = (probs[..., None] * chain.event_probs[after, agent]).reshape(-1, most, size * 4)
    worth = (probs * chain.reward(agent, selfishness)[:, joint]).sum(axis=-1).reshape(-1, most)
    best, _ = equilibrium.best_response(chain, weights, agent, selfishness)
    np.testing.assert_allclose(best.average, best_average(following, worth, likely), atol=1e-6)


def test_nobody_gains_by_leaving_the_team_optimum_where_all_share_one_utility():
    optimum, weights = team()
    for each in equilibrium.deviations(chain_of(*TINY), weights, 0.0):
        assert each.gain < 1e-9
        np.testing.assert_allclose(each.reward, optimum.average)


def test_best_responses_end_where_nobody_gains_and_not_above_the_team_optimum():
    chain = chain_of(*TINY)
    found = [
        equilibrium.respond_in_turn(chain, chain.weights(jaxdlb.heuristic(name)), 0.0) for name in ("local", "random")
    ]
    for each in found:
        assert each.is_equilibrium
        assert each.utility <= team()[0].average + 1e-9
        assert max(deviation.relative_gain for deviation in equilibrium.deviations(chain, each.weights, 0.0)) < 1e-6
    ratio = equilibrium.price_of_anarchy(found, team()[0])
    assert ratio == pytest.approx(min(each.utility for each in found) / team()[0].average)
    assert ratio >= 1


def test_selfish_agents_gain_by_leaving_a_rule_and_their_gains_are_their_own():
    chain = chain_of(*TINY)
    weights = chain.weights(jaxdlb.heuristic("threshold"))
    for each in equilibrium.deviations(chain, weights, 1.0):
        _, own = equilibrium.best_response(chain, weights, each.agent, 1.0)
        changed = [own if agent == each.agent else old for agent, old in enumerate(weights)]
        (after,) = chains.evaluate(chain, chain.joint(changed), [chain.reward(each.agent, 1.0)])
        np.testing.assert_allclose(after.average, each.best, rtol=1e-9)
        assert each.gain > 0


def test_one_shared_utility_is_a_potential_and_selfish_ones_have_none():
    chain = chain_of(*TINY)
    shared, selfish = (equilibrium.check_potential(chain, kappa) for kappa in (0.0, 1.0))
    assert (shared.holds, selfish.holds) == (True, False)
    assert shared.worst < 1e-9 < selfish.worst
