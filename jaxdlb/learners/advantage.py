"""Generalised advantage estimation (Schulman et al. 2016) that tells a time limit from a true end."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def generalised_advantages(
    reward: Float[Array, " T *B"],
    value: Float[Array, " T *B"],
    next_value: Float[Array, " T *B"],
    discount: Float[Array, " T *B"],
    last: Bool[Array, " T *B"],
    gae_lambda: Float[Array, ""] | float,
) -> Float[Array, " T *B"]:
    """A_t = δ_t + λ · discount_t · [not last_t] · A_{t+1}, with δ_t = r_t + discount_t · V(s_{t+1}) − V(s_t).

    `next_value` is the value of the state that step t led to, before any reset. At a time limit (`last` with `discount`
    > 0) the advantage bootstraps from it; at a true end (`discount` 0) nothing follows. `discount` includes the
    learner's γ.
    """
    delta = reward + discount * next_value - value
    carry_on = gae_lambda * discount * (1 - last)

    def backward(following: Array, at: tuple[Array, Array]) -> tuple[Array, Array]:
        delta, carry_on = at
        advantage = delta + carry_on * following
        return advantage, advantage

    return jax.lax.scan(backward, jnp.zeros_like(delta[0]), (delta, carry_on), reverse=True)[1]
