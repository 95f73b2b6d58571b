"""Targets against plain NumPy, on hand-made transitions: of unequal steps, at a time limit, at an end, with masks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdlb.learners import targets
from jaxdlb.learners.dqn import DQN
from jaxdlb.learners.off_policy import Batch, Learned, Transitions
from jaxdlb.networks import ActionDistribution, Views
from jaxdlb.networks.sure_heads import DuelingValues, Values
from jaxdlb.spaces import Discrete

GAMMA = 0.9
# Four transitions of two agents: an ordinary one, one at a time limit, one at a true end, one of two units of time.
REWARD = np.array([[1.0, 2.0], [0.5, -1.0], [3.0, 0.0], [-1.0, 1.0]], np.float32)
DISCOUNT = np.array([1.0, 1.0, 0.0, 1.0], np.float32)  # a time limit leaves it at 1
ELAPSED = np.array([1.0, 1.0, 1.0, 2.0], np.float32)
FAST = np.array([[1.0, 5.0, 9.0], [4.0, 3.0, 2.0]], np.float32)  # Q in two states, of three choices
SLOW = np.array([[2.0, 0.5, 8.0], [1.0, 6.0, 3.0]], np.float32)
NEXT = np.array([[0, 1], [1, 0], [0, 0], [1, 1]])  # the state of each agent afterwards
LEGAL = np.ones((4, 2, 3), bool)
LEGAL[0, 0, 2] = LEGAL[3, 1, 1] = False  # the greatest value of either table


class Table:
    """An actor whose parameters are its values."""

    def apply(self, params, memory, view, legal):
        return memory, ActionDistribution(heads=Values(params[view["own"]], legal))


def batch_of(present=None):
    present = np.ones((4, 2), bool) if present is None else present
    following = Views(agent={"own": jnp.asarray(NEXT)}, state=())
    taken = Transitions(
        views=Views(agent={"own": jnp.asarray(1 - NEXT)}, state=()),
        legal=jnp.ones((4, 2, 3), bool),
        action=jnp.asarray(np.array([[0, 1], [2, 2], [1, 0], [0, 2]], np.int32)),
        reward=jnp.asarray(REWARD),
        discount=jnp.asarray(DISCOUNT),
        elapsed=jnp.asarray(ELAPSED),
        following=following,
        following_legal=jnp.asarray(LEGAL),
    )
    discount = targets.discounts(GAMMA, taken.elapsed, taken.discount)
    return Batch(taken, discount, jnp.asarray(present), jnp.asarray(present[::-1]))


def expected_following(double):
    found = np.zeros((4, 2), np.float32)
    for b in range(4):
        for i in range(2):
            state, legal = NEXT[b, i], LEGAL[b, i]
            by = FAST if double else SLOW
            best = max((k for k in range(3) if legal[k]), key=lambda k: by[state, k])
            found[b, i] = SLOW[state, best]
    return found


@pytest.mark.parametrize("double", [False, True])
def test_what_follows_is_worth_the_greatest_legal_value_by_the_slow_copy_or_by_the_network(double):
    algorithm = DQN(Table(), double, "none")
    learned = Learned({"actor": jnp.asarray(FAST)}, {"actor": jnp.asarray(SLOW)}, {})
    found = algorithm.following(learned, batch_of())
    np.testing.assert_allclose(found, expected_following(double))
    assert not np.allclose(expected_following(True), expected_following(False))


def test_the_loss_of_each_agent_alone_is_the_mean_over_all_those_without_a_choice_too():
    present = np.array([[True, True], [True, False], [False, True], [True, True]])
    algorithm, following = DQN(Table(), False, "none"), expected_following(False)
    loss, metrics = algorithm.loss(jnp.asarray(FAST), jnp.asarray(following), batch_of(present))
    action = np.array([[0, 1], [2, 2], [1, 0], [0, 2]])
    value = FAST[1 - NEXT, action]
    error = value - (REWARD + (GAMMA**ELAPSED * DISCOUNT)[:, None] * following)
    huber = np.where(abs(error) <= 1, error**2 / 2, abs(error) - 0.5)
    np.testing.assert_allclose(loss, huber.mean(), rtol=1e-6)
    np.testing.assert_allclose(metrics["value"], value.mean(), rtol=1e-6)


def test_the_loss_of_the_sum_holds_it_against_the_mean_reward_of_those_present():
    present = np.array([[True, True], [True, False], [False, False], [True, True]])
    algorithm, following = DQN(Table(), False, "sum"), expected_following(False)
    loss, _ = algorithm.loss(jnp.asarray(FAST), jnp.asarray(following), batch_of(present))
    value, errors = FAST[1 - NEXT, np.array([[0, 1], [2, 2], [1, 0], [0, 2]])], []
    for b in range(4):
        reward = np.mean(REWARD[b][present[b]]) if present[b].any() else 0
        after = np.sum(following[b][present[3 - b]])
        errors.append(np.sum(value[b][present[b]]) - (reward + GAMMA ** ELAPSED[b] * DISCOUNT[b] * after))
    huber = [e**2 / 2 if abs(e) <= 1 else abs(e) - 0.5 for e in errors]
    np.testing.assert_allclose(loss, np.mean(huber), rtol=1e-6)


def test_dueling_values_are_centred_over_the_legal_choices_of_their_own_state():
    legal = np.array([[True, True, False], [True, True, True]])
    scores = np.array([[1.0, 3.0, 7.0, 10.0], [0.0, 3.0, 6.0, -1.0]], np.float32)
    made = DuelingValues.of(Discrete(3), jnp.asarray(scores), jnp.zeros((2, 0)), jnp.asarray(legal))
    np.testing.assert_allclose(made.values, [[9.0, 11.0, 15.0], [-4.0, -1.0, 2.0]])
    alone = DuelingValues.of(Discrete(3), jnp.asarray(scores[:1]), jnp.zeros((1, 0)), jnp.asarray(legal[:1]))
    np.testing.assert_array_equal(made.values[:1], alone.values)  # whatever else is in the batch


def test_soft_values_subtract_what_is_paid_for_being_sure():
    value, log_prob = jnp.array([[1.0, 2.0]]), jnp.array([[-0.5, 3.0]])
    np.testing.assert_allclose(targets.soft_value(value, log_prob, jnp.float32(0.1)), [[1.05, 1.7]], rtol=1e-6)
    each = targets.soft_value(value, log_prob, jnp.array([1.0, 0.0]))
    np.testing.assert_allclose(each, [[1.5, 2.0]])


def test_slow_copies_go_a_share_of_the_way():
    slow = targets.follow({"a": jnp.array([1.0, 0.0])}, {"a": jnp.array([3.0, 0.0])}, 0.25)
    np.testing.assert_allclose(slow["a"], [1.5, 0.0])


def test_no_gradient_of_the_huber_loss_is_larger_than_one():
    errors = jnp.array([-50.0, -1.0, -0.3, 0.0, 0.5, 7.0])
    slopes = jax.vmap(jax.grad(targets.huber))(errors)
    np.testing.assert_allclose(slopes, np.clip(errors, -1, 1))
