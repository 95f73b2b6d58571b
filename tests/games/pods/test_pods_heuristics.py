"""The rules of the pods against plain readings of them, and the actions that they are turned into."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdlb
from jaxdlb.games.pods import actions
from jaxdlb.games.pods.heuristics import HEURISTICS
from jaxdlb.games.pods.views import Facts, Row

NUM_PODS, HISTORY, BUDGET = 4, 3, 900.0
GAME = jaxdlb.make("pods", num_pods=NUM_PODS, history=HISTORY)
PARAMS = GAME.default_params(
    budget=BUDGET, priority=[1.0, 0.5, 0.1, 0.7], min_limit=[20, 30, 40, 50], max_limit=[400, 500, 600, 700]
)
PRESENT = np.array([True, True, True, False])


def observed(seed=0):
    """An observation of three pods present after some random steps, and its history."""
    random = np.random.default_rng(seed)
    history = jnp.zeros((NUM_PODS, HISTORY, len(Row)))
    for _ in range(HISTORY + 1):
        limit = np.where(PRESENT, random.uniform(100, 280, NUM_PODS), 0).astype(np.float32)
        usage = np.where(PRESENT, limit * random.uniform(0.1, 1.1, NUM_PODS), 0).astype(np.float32)
        percent = np.where(PRESENT, 100 * usage / np.maximum(limit, 1), 0).astype(np.float32)
        measured = map(jnp.asarray, (limit, usage, percent, PRESENT, np.zeros(NUM_PODS, bool)))
        history, observation = GAME.remember(history, *measured, PARAMS)
    return observation, np.asarray(history)


def desired(name, observation, **options):
    """The limits that a rule wants, before they become actions."""
    policy = HEURISTICS[name].make(**options)
    return np.asarray(policy.rule(observation, PARAMS, **policy.options))


def test_the_fixed_rules_give_out_the_whole_budget():
    observation, _ = observed()
    np.testing.assert_allclose(desired("fixed_equal", observation)[PRESENT], BUDGET / 3, rtol=1e-5)
    priority = np.array([1.0, 0.5, 0.1])
    np.testing.assert_allclose(
        desired("fixed_by_priority", observation)[PRESENT], BUDGET * priority / priority.sum(), rtol=1e-5
    )


def test_the_threshold_steps_up_above_the_band_and_down_below_it():
    observation, history = observed()
    ratio, limit = history[:, -1, Row.RATIO], history[:, -1, Row.LIMIT]
    step = [25 if r > 0.6 else -25 if r < 0.3 else 0 for r in ratio]
    np.testing.assert_allclose(desired("usage_threshold", observation)[PRESENT], (limit + step)[PRESENT], rtol=1e-5)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_target_and_peak_divide_the_last_and_the_greatest_usage(steps):
    observation, history = observed()
    usage = history[:, :, Row.USAGE]
    np.testing.assert_allclose(desired("target_usage", observation, target=0.4), usage[:, -1] / 0.4, rtol=1e-5)
    peak = usage[:, -steps:].max(axis=1) / 0.7
    np.testing.assert_allclose(desired("peak_usage", observation, steps=steps, target=0.7), peak, rtol=1e-5)


def water_level(need, least, priority, budget):
    """The limits min(need, max(least, level · priority)) that add up to the budget, by a scan over levels."""
    levels = np.linspace(0, max(need / priority), 400_001)
    totals = np.minimum(need, np.maximum(least, levels[:, None] * priority)).sum(axis=1)
    level = levels[np.searchsorted(totals, budget, side="right") - 1]
    return np.minimum(need, np.maximum(least, level * priority))


@pytest.mark.parametrize("margin", [0.0, 400.0], ids=["within the budget", "beyond it"])
def test_headroom_is_a_fading_mean_and_a_margin_by_priority_as_far_as_the_budget_goes(margin):
    observation, history = observed()
    options = {"fading": 0.5, "target": 0.9, "margin": margin, "full": 0.8, "bias": 0.3}
    usage, ratio = history[:, :, Row.USAGE][PRESENT], history[:, -1, Row.RATIO][PRESENT]
    mean = (usage * [0.25, 0.5, 1.0]).sum(axis=1) / 1.75
    level = np.where(ratio >= 0.8, np.maximum(mean, usage[:, -1]), mean)
    least, priority = np.array([20, 30, 40]), np.array([1.0, 0.5, 0.1])
    need = np.clip((level / 0.9 + margin) * priority**0.3, least, [400, 500, 600])
    assert (need.sum() > BUDGET) == (margin > 0)
    expected = water_level(need, least, priority, BUDGET) if margin else need
    np.testing.assert_allclose(desired("headroom", observation, **options)[PRESENT], expected, rtol=1e-3)


@pytest.mark.parametrize("rate", [5.0, 60.0], ids=["within the budget", "beyond it"])
def test_the_oracle_covers_what_comes_and_what_is_held_as_far_as_the_budget_goes(rate):
    game = jaxdlb.make("pods", num_pods=3, max_arrivals=400)
    params = game.default_params(rate=rate, priority=[1.0, 0.5, 0.1], budget=BUDGET, work_mean=[10, 5, 20])
    state, _ = jax.jit(game.reset)(jax.random.key(0), params)
    for t in range(3):
        state, _ = jax.jit(game.step)(jax.random.key(t), state, jnp.zeros((3, 1)), params)
    policy = jaxdlb.heuristic("oracle_water_filling", game="pods")
    wanted = np.asarray(policy.rule(game.true_observation(state, params), params, **policy.options))
    factor = np.asarray(params.demand.factor(state.demand, state.step))
    work, held = np.array([10.0, 5.0, 20.0]), np.asarray(state.work).sum(axis=1)
    need = (factor * rate * work + held) / 0.8 + 2 * np.sqrt(factor * rate * 2 * work**2)  # E[w²] = 2 w̄²
    need = np.clip(need, 50, 1000)
    assert (need.sum() > BUDGET) == (rate > 10)
    expected = need if rate < 10 else water_level(need, np.full(3, 50.0), np.array([1.0, 0.5, 0.1]), BUDGET)
    np.testing.assert_allclose(wanted, expected, rtol=1e-3)


class Recommender:
    """The autoscaler's rule for one pod, in plain Python."""

    def __init__(self, percentile, margin, half_life):
        self.weights, self.options = [0.0] * 121, (percentile, margin, half_life)

    def recommend(self, usage, limit):
        percentile, margin, half_life = self.options
        self.weights = [weight * 2 ** (-1 / half_life) for weight in self.weights]
        ends = [(1.05**k - 1) / 0.05 for k in range(122)]
        self.weights[max(k for k in range(121) if ends[k] <= usage)] += max(limit / 1000, 0.1)
        so_far = 0.0
        for k, weight in enumerate(self.weights):
            so_far += weight
            if so_far >= percentile * sum(self.weights) * (1 - 1e-6):
                return max(margin * ends[k + 1], 25.0)
        raise AssertionError("the percentile is reached at the last bucket")


def test_vpa_is_the_autoscalers_percentile_and_a_new_pod_keeps_its_limit():
    game = jaxdlb.make("pods", action="instant", history=2)
    params = game.default_params(joins_at=[0, 0, 4], max_limit=2000)
    options = {"percentile": 0.7, "margin": 1.5, "half_life": 3.0}
    policy = jaxdlb.heuristic("vpa", game="pods", **options)
    plain, carry = [None] * 3, policy.init(game)
    state, timestep = jax.jit(game.reset)(jax.random.key(0), params)
    act, step = jax.jit(policy.act), jax.jit(game.step)
    for t in range(12):
        carry, action = act(jax.random.key(t), carry, timestep.observation, params)
        for i in range(3):
            if not state.present[i]:
                expected = 0.0
            elif plain[i] is None:
                plain[i], expected = Recommender(**options), float(state.limit[i])
            else:
                expected = plain[i].recommend(float(state.usage[i]), float(state.limit[i]))
            assert float(action[i, 0]) * 2000 == pytest.approx(np.clip(expected, 50 * (expected > 0), 2000), rel=1e-4)
        state, timestep = step(jax.random.key(100 + t), state, action, params)


@pytest.mark.parametrize(
    ("action", "wanted", "expected"),
    [
        ("delta", [125.0, 80.0, 400.0], [0.5, -0.4, 1.0]),
        ("instant", [125.0, 80.0, 400.0], [0.125, 0.08, 0.4]),
        ("discrete", [125.0, 80.0, 400.0], [3, 1, 4]),  # of 50, 75, 100, 125, 150
        ("levels", [125.0, 390.0, 20.0], [2, 3, 0]),  # of 50, 50, as it is, 500, 1000
    ],
)
def test_the_nearest_action_leads_nearest_to_the_limit_that_is_wanted(action, wanted, expected):
    choices = None if action in ("delta", "instant") else 5
    game = jaxdlb.make("pods", action=action, num_choices=choices)
    params = game.default_params()
    legal = jnp.ones((3, 5), bool) if choices else jnp.ones(3, bool)
    found = actions.nearest(action, jax.random.key(0), jnp.array(wanted), jnp.full(3, 100.0), legal, params)
    if action == "levels":
        assert int(found[2]) in (0, 1)  # both mean the least limit
        found, expected = found[:2], expected[:2]
    np.testing.assert_allclose(np.ravel(found), expected, rtol=1e-6)


def test_choices_that_lead_as_near_are_equally_likely_and_absent_pods_keep():
    """Halfway between two choices, 400 draws: each within 4 deviations of half of them."""
    game = jaxdlb.make("pods", action="discrete", num_choices=3)
    params = game.default_params()
    legal = jnp.array([[True] * 3, [False, True, False], [True] * 3])
    limit = jnp.array([100.0, 0.0, 100.0])
    draw = jax.vmap(lambda key: actions.nearest("discrete", key, jnp.array([125.0, 0, 75]), limit, legal, params))
    found = np.asarray(draw(jax.random.split(jax.random.key(0), 400)))
    assert set(found[:, 0]) == {1, 2} and set(found[:, 1]) == {1} and set(found[:, 2]) == {0, 1}
    assert abs(np.mean(found[:, 0] == 2) - 0.5) < 4 * math.sqrt(0.25 / 400)


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("target_usage", {"target": 0}, "target is 0; it must be a finite number > 0"),
        ("peak_usage", {"steps": 1.5}, "steps is 1.5; it must be an integer"),
        ("vpa", {"percentile": 1.2}, r"percentile is 1.2; it must be a finite number in \(0, 1\]"),
        ("headroom", {"fading": 2}, r"fading is 2; it must be a finite number in \[0, 1\]"),
    ],
)
def test_options_out_of_range_are_refused(name, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        jaxdlb.heuristic(name, game="pods", **options)


def test_facts_stand_behind_the_history():
    observation, history = observed()
    known = np.asarray(observation.own)[:, -len(Facts) :]
    np.testing.assert_array_equal(known[:, Facts.PRESENT], PRESENT)
    np.testing.assert_array_equal(np.asarray(observation.own)[:, : -len(Facts)], history.reshape(NUM_PODS, -1))
