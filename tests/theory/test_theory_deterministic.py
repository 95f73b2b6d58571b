"""Episodes in which nothing is left to chance: against every sequence of choices, on games made for that."""

import dataclasses
import functools
import itertools
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

from jaxdlb.game import TimeStep
from jaxdlb.theory import deterministic

STEPS = 6
REWARDS = np.random.default_rng(5).integers(-1000, 0, (STEPS, 3)).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Walk:
    """From place 0 on, by 1, 2 or 3 places or, with choice 3, by none; the end lies at `STEPS`."""

    num_agents = 2

    def reset(self, key, params):
        return {"key": key, "place": jnp.int32(0), "told": jnp.float32(0)}, self._report(0.0, 1.0)

    def step(self, key, state, action, params):
        choice = action[0]
        by = jnp.where(choice == 3, 0, choice + 1)
        reward = jnp.where(choice == 3, params["rest"], params["reward"][state["place"], jnp.minimum(choice, 2)])
        place = jnp.minimum(state["place"] + by, STEPS)
        after = {"key": state["key"], "place": place, "told": state["told"] + reward}
        return after, self._report(reward, jnp.where(place == STEPS, 0.0, params["discount"]))

    def _report(self, reward, discount):
        return TimeStep(
            observation=(),
            reward=jnp.stack([jnp.float32(reward) - 1, jnp.float32(reward) + 1]),  # in the mean what it is
            discount=jnp.float32(discount),
            last=jnp.float32(discount) == 0,
            elapsed=jnp.float32(2),
            metrics={},
        )


@struct.dataclass
class Course:
    """The walk as an episode; states are merged by the place alone, unless `by_all`."""

    params: Any
    game: Any = struct.field(pytree_node=False, default=Walk())
    by_all: bool = struct.field(pytree_node=False, default=False)
    num_choices = 4
    restricted: ClassVar = {"by one": (1, 2)}

    def legal(self, state):
        return jnp.array([True, True, True, False]).at[3].set(self.params["may_rest"])

    def action(self, state, choice):
        return jnp.stack([choice, -choice])

    def future(self, state):
        return (state["place"], state["told"]) if self.by_all else state["place"]


def course(rest=-1.0, may_rest=False, by_all=False, discount=1.0):
    numbers = {"reward": jnp.asarray(REWARDS), "rest": jnp.float32(rest), "discount": jnp.float32(discount)}
    return Course({**numbers, "may_rest": jnp.bool_(may_rest)}, by_all=by_all)


def walked(sequence):
    """The places and choices of a sequence, until it reaches the end."""
    place = 0
    for choice in sequence:
        if place < STEPS:
            yield place, int(choice)
            place += int(choice) + 1


def best_of_all(choices=(0, 1, 2), discount=1.0):
    """The best sum, and its choices, of every sequence that reaches the end."""
    ways = [list(walked(each)) for each in itertools.product(choices, repeat=STEPS)]
    worth = [sum(REWARDS[step] * discount**count for count, step in enumerate(way)) for way in ways]
    best = int(np.argmax(worth))
    return worth[best], tuple(choice for _, choice in ways[best])


@pytest.mark.parametrize("by_all", [False, True])
def test_the_optimum_is_the_best_of_all_sequences_and_what_comes_of_playing_it(by_all):
    episode = course(by_all=by_all)
    moves = deterministic.explore(episode)
    found = deterministic.optimum(moves)
    value, sequence = best_of_all()
    assert (found.value, tuple(found.choices)) == (value, sequence)
    assert found.elapsed == 2 * len(sequence)
    np.testing.assert_array_equal(found.actions, np.stack([sequence, np.negative(sequence)], axis=1))
    if by_all:
        assert moves.num_states > STEPS
    else:
        assert (moves.num_states, moves.num_moves) == (STEPS, 3 * STEPS)  # the end is no state to go on from


def test_choices_that_nobody_makes_are_left_out():
    episode = course()
    found = deterministic.solve(episode, without=(0, 2))
    assert (found.value, tuple(found.choices)) == best_of_all(choices=(1,))
    assert deterministic.solve(episode, without=episode.restricted["by one"]).value == REWARDS[:, 0].sum()
    with pytest.raises(ValueError, match=r"without is \[0, 1, 2\]; it must leave choices by which the episode ends"):
        deterministic.solve(episode, without=(2, 1, 0))


def test_rest_that_costs_is_not_taken_and_rest_that_pays_for_ever_is_told():
    found = deterministic.solve(course(rest=-1.0, may_rest=True))
    assert (found.value, tuple(found.choices)) == best_of_all()
    with pytest.raises(ArithmeticError, match="for ever"):
        deterministic.solve(course(rest=1.0, may_rest=True))


def test_rewards_count_as_the_game_discounts_them():
    whole, halved = (deterministic.solve(course(discount=each)) for each in (1.0, 0.5))
    rewards = [REWARDS[place, choice] for place, choice in walked(halved.choices)]
    assert halved.value == sum(reward / 2**count for count, reward in enumerate(rewards))
    assert halved.value == best_of_all(discount=0.5)[0] != whole.value


def test_what_is_too_large_is_refused_in_a_sentence(monkeypatch):
    episode = course(by_all=True)
    with pytest.raises(ValueError, match="the episode has more than 8 states; it must have at most as many"):
        deterministic.explore(episode, most_states=8)
    monkeypatch.setattr(deterministic, "MOVES_PER_STATE", 2)
    with pytest.raises(ValueError, match="the episode has more than 14 moves between states"):
        deterministic.explore(course(), most_states=7)


def test_the_optimal_policy_plays_its_sequence_and_then_its_last_action():
    found = deterministic.solve(course())
    policy = found.policy("best")
    assert (policy.name, policy.kind) == ("best", "optimal")
    act = jax.jit(functools.partial(policy.act, jax.random.key(0)))
    carry, played = policy.init(Walk()), []
    for _ in range(len(found.choices) + 2):
        carry, action = act(carry, (), ())
        played.append(np.asarray(action))
    np.testing.assert_array_equal(played[:-2], found.actions)
    np.testing.assert_array_equal(played[-2:], [found.actions[-1]] * 2)
