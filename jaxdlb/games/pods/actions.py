"""From a limit that a pod is meant to have to the action that comes nearest to it, in each kind of action space."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxdlb.games.pods import dynamics
from jaxdlb.games.pods.types import Action, Params
from jaxdlb.mechanics import chance
from jaxdlb.policies.choice import least, pick_weighted


def nearest(
    kind: str,
    key: PRNGKeyArray,
    desired: Float[Array, " N"],
    limit: Float[Array, " N"],
    legal: Bool[Array, "N ..."],
    params: Params,
) -> Action:
    """The action by which each pod gets nearest to `desired`, from its `limit`; of choices as near, one at random."""
    if legal.ndim == 1:
        action = _BOXES[kind](jnp.clip(desired, params.min_limit, params.max_limit), limit, params)
        return jnp.where(legal, action, 0.0)[:, None]
    leads_to = jax.vmap(lambda choice: _limit_after(kind, choice, limit, legal.shape[1], params), out_axes=1)
    distance = jnp.abs(leads_to(jnp.arange(legal.shape[1])) - desired[:, None])
    (number,) = chance.uniforms(key, 1, len(limit))
    return pick_weighted(number, least(distance, legal))


def _delta(desired: Float[Array, " N"], limit: Float[Array, " N"], params: Params) -> Float[Array, " N"]:
    return jnp.clip((desired - limit) / params.step_size, -1.0, 1.0)


def _instant(desired: Float[Array, " N"], limit: Float[Array, " N"], params: Params) -> Float[Array, " N"]:
    return desired / params.max_limit


_BOXES = {"delta": _delta, "instant": _instant}


def _limit_after(
    kind: str, choice: Int[Array, ""], limit: Float[Array, " N"], num_choices: int, params: Params
) -> Float[Array, " N"]:
    """The limits if all made that choice and nobody was short of budget."""
    everybody = jnp.ones(limit.shape, bool)
    return dynamics.ask(kind, jnp.full(limit.shape, choice), limit, everybody, params, num_choices)
