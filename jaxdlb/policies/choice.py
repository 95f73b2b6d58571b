"""The random choices that heuristics are built from; A agents make each at once, independently.

They are functions of uniform numbers in [0, 1), which the caller draws: one draw serves all choices in a round.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


def pick_weighted(number: Float[Array, " A"], weights: Float[Array, "A C"] | Bool[Array, "A C"]) -> Int[Array, " A"]:
    """For each agent, one of C candidates, with probability proportional to its weight: int32 [A].

    Each row needs a positive weight; a candidate with weight 0 is never picked. Boolean weights pick uniformly.
    """
    up_to = jnp.cumsum(weights.astype(jnp.float32), axis=-1)
    # A uniform number is at most 1 − 2⁻²³, so its product with the total stays below the total.
    mark = number[:, None] * up_to[:, -1:]
    return jnp.argmax((up_to > mark) & (weights > 0), axis=-1).astype(jnp.int32)


def softly(scores: Float[Array, "A C"], among: Bool[Array, "A C"]) -> Float[Array, "A C"]:
    """Weights ∝ e^score of the candidates `among` those allowed, 0 of others; the largest of an agent is 1.

    Each row needs an allowed candidate; scores are finite, of any size.
    """
    scores = jnp.where(among, scores, -jnp.inf)
    return jnp.exp(scores - jnp.max(scores, axis=-1, keepdims=True))


def least(scores: Float[Array, "A C"], among: Bool[Array, "A C"]) -> Bool[Array, "A C"]:
    """Weights of the candidates with the lowest score `among` the allowed ones: ties are broken at random.

    Each row needs at least one allowed candidate.
    """
    scores = jnp.where(among, scores, jnp.inf)
    return among & (scores == jnp.min(scores, axis=-1, keepdims=True))


def sample_peers(numbers: Float[Array, "N W"], d: int | Int[Array, ""]) -> tuple[Int[Array, "N W"], Bool[Array, " W"]]:
    """For each of N nodes, d distinct peers, with every set of d equally likely; 0 ≤ d ≤ W ≤ N − 1.

    Returns:
        The peers, int32 [N, W], and which columns hold them, bool [W]: the first d (the rest hold the node itself).

    This is Floyd's algorithm, O(N W²): the k-th draw is uniform over the first n = N − d + k peers, and a peer that was
    already drawn is replaced by the n-th, which cannot have been.
    """
    num_nodes, width = numbers.shape
    node, column = jnp.arange(num_nodes, dtype=jnp.int32)[:, None], jnp.arange(width, dtype=jnp.int32)
    among = num_nodes - d + column  # from how many peers each column draws
    drawn = jnp.floor(numbers * among).astype(jnp.int32)

    def settle(chosen: Int[Array, "N W"], draw: tuple) -> tuple[Int[Array, "N W"], None]:
        k, n, peer = draw
        repeated = jnp.any(chosen == peer[:, None], axis=-1)
        return jnp.where(column == k, jnp.where(repeated, n - 1, peer)[:, None], chosen), None

    draws = (column, among, drawn.T)
    chosen, _ = jax.lax.scan(settle, jnp.full_like(drawn, -1), draws, unroll=min(max(width, 1), 8))
    peers = chosen + (chosen >= node)  # peers were numbered without the node itself
    return jnp.where(column < d, peers, node), column < d
