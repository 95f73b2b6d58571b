"""What befalls workers whatever the policy does: drift of their speeds, failures and joins, from the reset key alone.

Of the two numbers that a hash of (key, worker, k) gives, the first drifts its speed in the k-th period, and the second
says how long it stays as it is after its k-th change.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxdlb.games.farm.types import Params
from jaxdlb.mechanics import chance

_MOST_PERIODS = 2.0**30  # beyond them speeds drift no more


def speeds(key: PRNGKeyArray, time: Float[Array, ""], params: Params) -> Float[Array, " N"]:
    """s_i · exp(σ · ξ_ik − σ²/2) in the k-th period of drift, ξ_ik standard normal: in the mean s_i."""
    period = jnp.minimum(jnp.floor(time / params.drift_period), _MOST_PERIODS).astype(jnp.int32)
    workers = jnp.arange(params.speed.shape[0])
    uniform, _ = chance.uniform_pair(chance.key_words(key), workers, period)
    return params.speed * jnp.exp(params.drift * chance.standard_normal(uniform) - params.drift**2 / 2)


def until_change(
    key: PRNGKeyArray, worker: Int[Array, "*S"], changes: Int[Array, "*S"], rate: Float[Array, "*S"]
) -> Float[Array, "*S"]:
    """How long a worker stays as it is after so many changes: exponential at that rate, +∞ if it is 0."""
    _, uniform = chance.uniform_pair(chance.key_words(key), worker, changes)
    return jnp.where(rate > 0, -jnp.log1p(-uniform) / jnp.where(rate > 0, rate, 1.0), jnp.inf)
