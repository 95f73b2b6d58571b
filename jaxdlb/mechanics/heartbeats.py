"""What nodes hear about each other, and how old that news is.

Heard loads and ages are [N] if all receivers hear the same heartbeats (entry [j] is everybody's news of j), and [N, N]
if each link can lose heartbeats independently (entry [i, j] is what i has heard of j).
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxdlb.mechanics import chance, transit

NOTHING_SENT = -1


def sends_now(
    round: Int[Array, ""], phase: Int[Array, " N"], period: Int[Array, ""], alive: Bool[Array, " N"]
) -> Bool[Array, " N"]:
    """Which nodes send a heartbeat at the end of this round: those that are up and have (round − phase) mod period = 0.

    Round and phase get separate remainders because that of the phase is the same in every round, so compilers move it
    out of the loop. With a single remainder, a whole round of `dlb` takes 1.04–1.13 times as long (`benchmarks.forms`).
    """
    return alive & (phase % period == round % period)


def launch(
    in_flight: Int[Array, "D N"], launched: Int[Array, " N"], delay: Int[Array, "*N"]
) -> tuple[Int[Array, " N"], Int[Array, "D N"]]:
    """What arrives this round (or NOTHING_SENT), and what is in flight after it; see `transit.advance`.

    Of two heartbeats of a node that arrive in the same round, the later one is heard.
    """
    return transit.advance(in_flight, launched, delay, nothing=NOTHING_SENT, combine=_latest)


def _latest(before: Int[Array, "*S"], launched: Int[Array, "*S"]) -> Int[Array, "*S"]:
    return jnp.where(launched == NOTHING_SENT, before, launched)


def hear(
    key: PRNGKeyArray,
    heard_load: Int[Array, "*I N"],
    heard_age: Int[Array, "*I N"],
    arriving: Int[Array, " N"],
    delay: Int[Array, "*N"],
    loss: Float[Array, ""],
    load: Int[Array, " N"],
) -> tuple[Int[Array, "*I N"], Int[Array, "*I N"]]:
    """Heard loads and ages after the heartbeats `arriving` this round: `hear_shared` or `hear_per_link`, by shape."""
    if heard_load.ndim == 1:
        return hear_shared(heard_load, heard_age, arriving, delay)
    return hear_per_link(key, heard_load, heard_age, arriving, delay, loss, load)


def hear_shared(
    heard_load: Int[Array, " N"], heard_age: Int[Array, " N"], arriving: Int[Array, " N"], delay: Int[Array, "*N"]
) -> tuple[Int[Array, " N"], Int[Array, " N"]]:
    """Heard load and age after the heartbeats `arriving` this round (a load, or NOTHING_SENT), sent `delay` rounds ago.

    News that is not refreshed ages by one round.
    """
    return _refresh(heard_load, heard_age, arriving, delay, arriving != NOTHING_SENT)


def hear_per_link(
    key: PRNGKeyArray,
    heard_load: Int[Array, "N N"],
    heard_age: Int[Array, "N N"],
    arriving: Int[Array, " N"],
    delay: Int[Array, "*N"],
    loss: Float[Array, ""],
    load: Int[Array, " N"],
) -> tuple[Int[Array, "N N"], Int[Array, "N N"]]:
    """Like `hear_shared`, but each receiver independently misses each heartbeat with probability `loss`.

    A node needs no news of itself: the diagonal is its true `load`, at age 0.
    """
    num_links = heard_load.size
    numbers = jnp.concatenate(chance.uniforms(key, 2, (num_links + 1) // 2))[:num_links]
    kept = numbers.reshape(heard_load.shape) >= loss
    heard_load, heard_age = _refresh(heard_load, heard_age, arriving, delay, kept & (arriving != NOTHING_SENT))
    own = jnp.eye(load.shape[0], dtype=bool)
    return jnp.where(own, load, heard_load), jnp.where(own, 0, heard_age)


def _refresh(
    heard_load: Int[Array, "*I N"],
    heard_age: Int[Array, "*I N"],
    arriving: Int[Array, " N"],
    delay: Int[Array, "*N"],
    heard: Bool[Array, "*I N"],
) -> tuple[Int[Array, "*I N"], Int[Array, "*I N"]]:
    return jnp.where(heard, arriving, heard_load), jnp.where(heard, delay, heard_age + 1)
