"""Who sees what, and the parts of a step that live systems use alone."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference.pods_episodes import GAMES, played

from jaxdlb.games.pods import Pods, views
from jaxdlb.games.pods.views import Demand, Facts, Row

FIRST, SECOND, THIRD = list(GAMES)[:3]
some_games = pytest.mark.parametrize("game", [FIRST, THIRD], ids=lambda game: game.action)


@functools.cache
def several(game):
    """Parameters, and states, actions and what came of them, of one step of several clusters, stacked."""
    made, pick = played(game), (slice(0, 40), 5)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *made.params[:40])
    return stacked, made.at(made.before, *pick), made.actions[pick], made.at((made.after, made.timestep), *pick)


def assert_same(found, expected):
    for (path, one), other in zip(jax.tree_util.tree_leaves_with_path(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-3, err_msg=jax.tree_util.keystr(path))


@some_games
def test_the_limits_of_a_step_are_those_planned(game):
    params, before, actions, (_, timestep) = several(game)
    limits = jax.jit(jax.vmap(game.plan))(before.limit, actions, before.present, before.step, params)
    assert_same(limits.sum(-1), timestep.metrics["provisioned"])
    assert_same(np.abs(limits - before.limit).sum(-1), timestep.metrics["change"])


@some_games
def test_what_a_step_shows_is_what_is_remembered_of_it(game):
    params, before, _, (after, timestep) = several(game)
    joined = after.present & ~before.present
    assert joined.any()
    remembered = jax.jit(jax.vmap(game.remember))(
        before.history, after.limit, after.usage, after.percent, after.present, joined, params
    )
    assert_same(remembered, (after.history, timestep.observation))


@some_games
def test_a_true_observation_has_the_demand_of_the_coming_step_besides(game):
    made = played(game)
    params, _, _, (_, timestep) = several(game)
    state = made.at(made.before, slice(0, 40), 6)  # what came of step 5
    seen = jax.jit(jax.vmap(game.true_observation))(state, params)
    assert_same((seen.own, seen.legal), (timestep.observation.own, timestep.observation.legal))
    rate = np.maximum(made.factor[:40, 6] * params.rate - params.feedback * state.held, 0)
    shape = np.asarray(params.work_shape, np.float64)
    gamma = np.vectorize(math.gamma)
    square = np.asarray(params.work_mean) ** 2 * gamma(1 + 2 * shape) / gamma(1 + shape) ** 2
    columns = {
        Demand.RATE: rate,
        Demand.WORK_MEAN: params.work_mean,
        Demand.WORK_SQUARE: square,
        Demand.WORK_HELD: state.work.sum(-1),
    }
    for column, expected in columns.items():
        np.testing.assert_allclose(
            seen.demand[..., column], np.where(state.present, expected, 0), rtol=2e-4, atol=1e-3, err_msg=column.name
        )


@pytest.mark.parametrize("shape", [0.0, 0.5, 1.0, 2.0, 3.0])
def test_the_moments_of_works_are_those_of_the_law(shape):
    """By quadrature over the exponential number E that a work is made of."""
    params = Pods(1).default_params(work_mean=7, work_shape=shape)
    numbers = (np.arange(100_000) + 0.5) / 1000
    works, density = 7 * numbers**shape / math.gamma(1 + shape), np.exp(-numbers) / 1000
    assert density @ works == pytest.approx(7, rel=1e-4)
    assert float(views.work_square(params)[0]) == pytest.approx(density @ works**2, rel=1e-4)


def global_states(game, state, params):
    return np.asarray(jax.vmap(game.global_state)(state, params), np.float64)


def columns_of(game, state, params, factor):
    """[clusters, N, 14] and [clusters, 8], each number by itself."""
    rate = np.maximum(factor * params.rate - params.feedback * state.held, 0)
    pods = [state.present, state.limit, state.tokens, state.work.sum(-1), state.held, state.age[..., 0], rate]
    pods += [getattr(params, name) for name in ("work_mean", "slo", "priority", "min_limit", "max_limit")]
    pods += [state.usage, state.percent / 100]
    names = ("cpu_cost", "violation_cost", "change_cost", "step_size", "interval")
    shared = [params.budget, params.budget - state.limit.sum(-1), *(getattr(params, name) for name in names)]
    shared.append(state.present.sum(-1))
    of_pods = np.where(state.present[..., None], np.stack([np.asarray(each) for each in pods], -1), 0)
    return of_pods, np.stack([np.asarray(each) for each in shared], -1)


def test_a_critic_sees_every_pod_or_their_sum_mean_and_greatest():
    made = played(SECOND)
    params, _, _, _ = several(SECOND)
    state = made.at(made.before, slice(0, 40), 6)
    pods, shared = columns_of(SECOND, state, params, made.factor[:40, 6])
    expected = np.concatenate([pods.reshape(40, -1), shared], axis=1)
    assert expected.shape == (40, 14 * SECOND.num_pods + 8)
    np.testing.assert_allclose(global_states(SECOND, state, params), expected, rtol=1e-4, atol=1e-3)

    summary = Pods(SECOND.num_pods, SECOND.action, global_view="summary")
    total, count = pods.sum(1), np.maximum(state.present.sum(-1, keepdims=True), 1)
    expected = np.concatenate([total, total / count, pods.max(1), shared], axis=1)
    assert expected.shape == (40, 50)
    assert not state.present.all()
    np.testing.assert_allclose(global_states(summary, state, params), expected, rtol=1e-4, atol=1e-3)


def test_columns_of_an_observation_are_found_by_their_names():
    params, _, _, (after, timestep) = several(FIRST)
    own, present = jnp.asarray(timestep.observation.own), after.present
    rows = np.stack([views.histories(each) for each in own])
    np.testing.assert_array_equal(rows, after.history)
    newest, facts = (np.stack([of(each) for each in own]) for of in (views.newest, views.facts))
    np.testing.assert_array_equal(newest, rows[:, :, -1])
    np.testing.assert_array_equal(newest[..., Row.LIMIT], after.limit)
    np.testing.assert_array_equal(newest[..., Row.USAGE], after.usage)
    np.testing.assert_array_equal(facts[..., Facts.PRESENT], present)
    np.testing.assert_array_equal(facts[..., Facts.SLO], np.where(present, params.slo, 0))
    assert FIRST.observation_shapes.own.shape == own.shape[1:]
