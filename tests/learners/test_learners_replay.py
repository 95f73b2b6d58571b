"""The replay buffer against a list in Python, and how large it may be."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdlb.learners import replay

EXAMPLE = {"view": jax.ShapeDtypeStruct((2, 3), jnp.float32), "action": jax.ShapeDtypeStruct((), jnp.int32)}
PER_STEP = 4 * (6 + 1)  # bytes of one EXAMPLE
LENGTH, ENVS, STEPS = 6, 2, 2


def rollout(number):
    """T steps in E environments, all entries different, and different from those of any other rollout."""
    action = jnp.arange(STEPS * ENVS).reshape(STEPS, ENVS) + 100 * number
    return {"view": action[..., None, None] + jnp.arange(6).reshape(2, 3) / 10, "action": action}


def test_it_holds_what_a_list_of_the_last_steps_holds_across_two_wraps():
    store = jax.jit(replay.store)
    buffer, kept = replay.empty(EXAMPLE, LENGTH, ENVS), collections.deque(maxlen=LENGTH)
    for number in range(8):
        buffer = store(buffer, rollout(number))
        kept.extend(np.asarray(rollout(number)["action"]))
        filled, position = int(buffer.filled), int(buffer.position)
        assert (filled, position) == (min(STEPS * (number + 1), LENGTH), STEPS * (number + 1) % LENGTH)
        oldest_first = np.roll(buffer.stored["action"][:filled], -position if filled == LENGTH else 0, axis=0)
        np.testing.assert_array_equal(oldest_first, list(kept))
        np.testing.assert_allclose(buffer.stored["view"][:filled, :, 1, 2], buffer.stored["action"][:filled] + 0.5)


@pytest.mark.parametrize("num_rollouts", [1, 5])
def test_what_is_drawn_is_whole_and_uniform_over_what_is_filled(num_rollouts):
    buffer = replay.empty(EXAMPLE, LENGTH, ENVS)
    for number in range(num_rollouts):
        buffer = replay.store(buffer, rollout(number))
    drawn = jax.jit(replay.sample, static_argnums=2)(buffer, jax.random.key(0), 6000)
    np.testing.assert_array_equal(drawn["view"][:, 0, 0], drawn["action"])
    counts = collections.Counter(np.asarray(drawn["action"]).tolist())
    held = np.asarray(buffer.stored["action"][: int(buffer.filled)]).ravel().tolist()
    assert set(counts) == set(held)
    expected = 6000 / len(held)
    assert max(abs(count - expected) for count in counts.values()) < 5 * expected**0.5  # five standard deviations


def test_the_default_length_is_the_most_that_fits_up_to_2000_in_whole_rollouts():
    assert replay.length(None, EXAMPLE, ENVS, 4, 1.0) == 2000
    assert replay.length(None, EXAMPLE, ENVS, 7, 1.0) == 1995
    gib = 50 * ENVS * PER_STEP / 2**30
    assert replay.length(None, EXAMPLE, ENVS, 4, gib) == 48
    assert replay.length(48, EXAMPLE, ENVS, 4, gib) == 48


@pytest.mark.parametrize(
    ("asked", "room", "sentence"),
    [
        (50, 1.0, "^replay_length is 50; it must be a multiple of rollout_length, 4$"),
        (52, 50 * ENVS * PER_STEP / 2**30, "^replay_length is 52; it must be at most 48, since more would take more "),
        (None, 1e-9, "^max_replay_gib is 1e-09; it must be at least 2.1e-07, for the rollout of 4 steps in 2 env"),
    ],
)
def test_a_length_that_does_not_fit_is_refused_with_the_one_that_does(asked, room, sentence):
    with pytest.raises(ValueError, match=sentence):
        replay.length(asked, EXAMPLE, ENVS, 4, room)
