"""What a step is worth: the time that it took, or what workers lost of it."""

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float

from jaxdlb.games.farm.types import Params, State

OBJECTIVES = ("makespan", "idle")


@struct.dataclass
class Spent:
    """How workers spent the time that passed in a step; together that is the time of those present."""

    present: Bool[Array, " N"]  # as it began
    computing: Float[Array, " N"]
    communicating: Float[Array, " N"]  # busy, and not computing
    idle: Float[Array, " N"]  # waiting, or having declined


def spent(state: State, elapsed: Float[Array, ""]) -> Spent:
    """What the `elapsed` time goes to, from the state after the decision on."""
    begins = jnp.clip(state.until_start, 0.0, elapsed)
    ends = jnp.clip(state.until_start + state.compute_time, 0.0, elapsed)
    computing = jnp.where(state.busy, ends - begins, 0.0)
    busy = jnp.where(state.busy, jnp.minimum(state.until_back, elapsed), 0.0)
    idle = jnp.where(state.present, elapsed - busy, 0.0)
    return Spent(present=state.present, computing=computing, communicating=busy - computing, idle=idle)


def ideal_makespan(params: Params) -> Float[Array, ""]:
    """T* = J · t₁ / Σ s: of a farm that is never idle and need not communicate."""
    return params.job * params.task_time / jnp.sum(params.speed)


def own_utilities(objective: str, elapsed: Float[Array, ""], time: Spent, params: Params) -> Float[Array, " N"]:
    """−Δt / T* for all, or minus the time that each lost: in which it was there and did not compute, over T*."""
    if objective == "makespan":
        lost = jnp.broadcast_to(elapsed, time.present.shape)
    else:
        lost = jnp.where(time.present, elapsed - time.computing, 0.0)
    return -lost / ideal_makespan(params)
