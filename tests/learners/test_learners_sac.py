import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_learners_td3 import CHANGING, PLAIN, lost, trained

from jaxdlb.learners import SACConfig


def sac(game=PLAIN, **changed):
    return trained(Settings, game, **changed)


def Settings(schedule_updates, **fields):
    """The settings, without the schedule, which SAC has none of."""
    return SACConfig(temperature_learning_rate=1e-2, **fields)


@pytest.mark.parametrize(
    ("game", "changed"),
    [(PLAIN, {}), (CHANGING, {"share_parameters": False, "critic": "mean_field"})],
    ids=["alone", "mean field, each its own, agents that come and go"],
)
def test_it_finds_the_optimum_of_a_quadratic_bandit_and_the_entropy_that_it_aims_at(game, changed):
    learner, state, metrics = sac(game, **changed)
    assert all(np.isfinite(values).all() for values in metrics.values())
    assert lost(learner, state) < 0.04
    assert float(np.mean(metrics["entropy"][-30:])) == pytest.approx(learner.algorithm.target_entropy, abs=0.4)


def test_the_temperature_falls_where_there_is_more_entropy_than_aimed_at_and_rises_where_less():
    learner, state, _ = sac()
    critic = state.learned.params["critic"]

    @jax.jit
    def slope(target):
        class Aiming(type(learner.algorithm)):
            target_entropy = target

        aiming, batch = Aiming(**vars(learner.algorithm)), learner.batch(state, jax.random.key(1))
        params = {name: state.learned.params[name] for name in ("actor", "log_temperature")}
        gradient = jax.grad(lambda params: aiming.policy_loss(params, critic, batch, jax.random.key(2))[0])(params)
        return gradient["log_temperature"]

    assert slope(-5.0) > 0 > slope(2.0)


def test_log_probabilities_are_in_units_of_the_stretched_box():
    """A uniform action in units of [-1, 1] has entropy log 2, whatever the box."""
    wide, _, _ = sac(CHANGING, share_parameters=False, critic="mean_field")
    assert {(box.low, box.high) for box in wide.algorithm.actor.action_spaces} == {(-1.0, 1.0)}
    assert [(box.low, box.high) for box in wide.algorithm.boxes] == [(0.0, 4.0)]


def test_targets_are_the_lesser_critic_less_what_is_paid_for_the_log_probability():
    learner, state, _ = sac()
    algorithm, learned = learner.algorithm, state.learned

    @jax.jit
    def found(key):
        batch = learner.batch(state, key)
        batch = dataclasses.replace(batch, discount=jnp.ones_like(batch.discount))
        following, legal = batch.transitions.following, batch.transitions.following_legal
        action, log_prob = algorithm._draw(learned.params["actor"], following, legal, key)
        each = algorithm.critics.values(learned.slow["critic"], following, action, action, batch.following_present)
        return algorithm.target(learned, batch, key), batch.transitions.reward, each, log_prob

    target, reward, each, log_prob = found(jax.random.key(1))
    beta = math.exp(float(learned.params["log_temperature"]))
    np.testing.assert_allclose(target, reward + np.minimum(*each) - beta * log_prob, rtol=1e-5, atol=1e-6)
