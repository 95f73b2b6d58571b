"""A replay buffer of joint transitions: part of a learner's state, written in place, sampled uniformly.

Whatever is stored is a pytree whose leaves have the leading axes [L, E], of L steps in each of E environments. When all
L are filled, a new rollout takes the place of the oldest.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Int, PRNGKeyArray, PyTree

from jaxdlb.mechanics import chance

_MOST_STEPS = 2000  # in each environment, unless told otherwise
_GIB = 2**30


@struct.dataclass
class Replay:
    """The last steps of all environments."""

    stored: PyTree  # [L, E, …]
    position: Int[Array, ""]  # where the next rollout begins
    filled: Int[Array, ""]  # how many of the L steps hold something
    # which of P buffers this is, where those of several members are stored as one, [P, L, E, …]
    member: Int[Array, ""] | None = None

    @property
    def length(self) -> int:
        """L."""
        return self._sizes[0]

    @property
    def num_envs(self) -> int:
        """E."""
        return self._sizes[1]

    @property
    def _sizes(self) -> tuple[int, int]:
        shape = jax.tree.leaves(self.stored)[0].shape
        return shape[:2] if self.member is None else shape[1:3]


def empty(example: PyTree, length: int, num_envs: int) -> Replay:
    """A buffer for things shaped like `example`, which is one of them or its shapes."""
    stored = jax.tree.map(lambda leaf: jnp.zeros((length, num_envs, *leaf.shape), leaf.dtype), example)
    return Replay(stored=stored, position=jnp.int32(0), filled=jnp.int32(0))


def store(replay: Replay, rollout: PyTree) -> Replay:
    """The buffer with a rollout [T, E, …] of T steps, where T divides L, in the place of the oldest T steps."""

    def written(old: Array, new: Array) -> Array:
        if replay.member is None:
            return jax.lax.dynamic_update_slice_in_dim(old, new, replay.position, axis=0)
        start: list[Any] = [replay.member, replay.position, *[0] * (new.ndim - 1)]
        return jax.lax.dynamic_update_slice(old, new[None], start)

    num_steps = jax.tree.leaves(rollout)[0].shape[0]
    return dataclasses.replace(
        replay,
        stored=jax.tree.map(written, replay.stored, rollout),
        position=(replay.position + num_steps) % replay.length,
        filled=jnp.minimum(replay.filled + num_steps, replay.length),
    )


def sample(replay: Replay, key: PRNGKeyArray, count: int) -> Any:
    """`count` of what is stored, [count, …], each drawn uniformly from all filled steps of all environments."""
    which_step, which_env = chance.uniforms(key, 2, count)
    step = jnp.minimum((which_step * replay.filled).astype(jnp.int32), replay.filled - 1)
    env = jnp.minimum((which_env * replay.num_envs).astype(jnp.int32), replay.num_envs - 1)
    which = (step, env) if replay.member is None else (jnp.broadcast_to(replay.member, count), step, env)
    return jax.tree.map(lambda leaf: leaf.at[which].get(mode="promise_in_bounds"), replay.stored)


def in_turn(of_one: Callable[..., tuple[Any, Any]], states: Any) -> tuple[Any, Any]:
    """What `of_one` makes of each state [P, …], one after the other: a state and something else.

    As `jax.lax.map`, but the buffer in a state, `replay`, is never cut out of that of all members: it is carried along
    and written in place, while the map would copy it twice for every member.
    """
    whole, places = states.replay.stored, dataclasses.replace(states.replay, stored=())

    def one(stored: PyTree, member: tuple[Int[Array, ""], Any, Replay]) -> tuple[PyTree, tuple[Any, Any]]:
        number, state, place = member
        own = dataclasses.replace(place, stored=stored, member=number)
        state, more = of_one(dataclasses.replace(state, replay=own))
        place = dataclasses.replace(state.replay, stored=(), member=None)
        return state.replay.stored, (dataclasses.replace(state, replay=place), more)

    numbers = jnp.arange(states.replay.position.shape[0])
    inputs = (numbers, dataclasses.replace(states, replay=()), places)
    stored, (states, more) = jax.lax.scan(one, whole, inputs)
    return dataclasses.replace(states, replay=dataclasses.replace(states.replay, stored=stored)), more


def num_bytes(example: PyTree) -> int:
    """Bytes of one thing shaped like `example`."""
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(example))


def length(asked: int | None, example: PyTree, num_envs: int, rollout_length: int, max_gib: float) -> int:
    """L: as `asked` or, if that is None, 2000 or as many steps as fit, rounded down to whole rollouts.

    Raises:
        ValueError: the length that was asked for does not hold whole rollouts or takes more than `max_gib` GiB, or not
            even one rollout fits.
    """
    per_step = num_envs * num_bytes(example)
    fitting = int(max_gib * _GIB // per_step) // rollout_length * rollout_length
    if fitting == 0:
        raise ValueError(
            f"max_replay_gib is {max_gib:g}; it must be at least {rollout_length * per_step / _GIB:.2g}, for the "
            f"rollout of {rollout_length} steps in {num_envs} environments"
        )
    if asked is None:
        return min(max(_MOST_STEPS // rollout_length, 1) * rollout_length, fitting)
    if asked % rollout_length:
        raise ValueError(f"replay_length is {asked}; it must be a multiple of rollout_length, {rollout_length}")
    if asked > fitting:
        raise ValueError(
            f"replay_length is {asked}; it must be at most {fitting}, since more would take more than the "
            f"{max_gib:g} GiB of max_replay_gib"
        )
    return asked
