"""How agents choose in one leaf of an action: one distribution class for each kind of action space.

`HEADS` maps the type of a space to its head. A head states what it needs from a network (`num_scores` outputs, and
`num_free` parameters that do not depend on what an agent sees), and is made from these and the legal mask. Heads are
pytrees with leading axes [*B, N] and follow one protocol:

- `num_uniforms`: how many uniform numbers each agent's sample takes; `sample(numbers)` takes that many rows [*B, N];
- `mode()`: the action of a greedy agent;
- `log_prob(action)`, `entropy()` [*B, N], in nats; both are exactly 0 for an agent that has no choice;
- `decides`, bool [*B, N]: which agents have a choice.

`scores_are_odds` says whether scores are logarithms of odds, which a larger number of alternatives changes. These are
the heads of policies that draw; `sure_heads` has those of policies that do not, and `head_sets` gathers both.
"""

import math
from collections.abc import Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.scipy.special import digamma, gammaln
from jaxtyping import Array, Bool, Float, Int

from jaxdlb import spaces
from jaxdlb.networks import gamma

NEVER = -1e9  # finite, so that gradients of a softmax stay finite too
_LOG_SIGMA_RANGE = (-5.0, 1.0)
_WIDE_LOG_SIGMA_RANGE = (-5.0, 2.0)  # where it is an output of the network
_INSIDE = 1 - 1e-6  # for a Box scaled to (−1, 1): actions further out get the log-probability at this distance
_NODES, _WEIGHTS = np.polynomial.hermite.hermgauss(16)
_ALPHA_LEAST, _ALPHA_MOST = 0.05, 1000.0
LEAST = 1e-6  # probabilities that are left over by others count as this where their logarithm is wanted
_ALMOST_SURE = math.log1p(-LEAST)  # beyond that, log(1 − p) is as at this log p
_LEAST_SHARE = 1e-6  # of a legal entry, so that its logarithm stays finite


def num_entries(space: spaces.Space) -> int:
    """Alternatives of a Discrete, numbers in a Box or a Simplex."""
    return space.num_choices if isinstance(space, spaces.Discrete) else space.size


class OfEntries:
    """What heads have in common unless they say otherwise: a score for each entry of the space, and nothing else."""

    legal: Any

    free_start = 0.0
    scores_are_odds = False

    @staticmethod
    def num_scores(space: Any) -> int:
        return num_entries(space)

    @staticmethod
    def num_free(space: Any) -> int:
        return 0

    @property
    def decides(self) -> Bool[Array, "*B"]:
        """Who has more than one legal entry."""
        return jnp.sum(self.legal, axis=-1) > 1


class OfBox(OfEntries):
    """A head of a Box: any number u in an entry becomes a = low + (high − low)(tanh u + 1)/2.

    An agent that may not act has the action 0.
    """

    low: Any
    high: Any

    @property
    def decides(self) -> Bool[Array, "*B"]:
        return self.legal

    def squash(self, u: Float[Array, "*B S"]) -> Float[Array, "*B S"]:
        """The action at u."""
        action = self.low + (self.high - self.low) * (jnp.tanh(u) + 1) / 2
        return jnp.where(self.legal[..., None], action, 0.0)


@struct.dataclass
class Categorical(OfEntries):
    """A choice among the legal alternatives; illegal ones have no probability and no entropy."""

    log_probs: Float[Array, "*B N A"]  # a large negative number for illegal alternatives
    legal: Bool[Array, "*B N A"]

    scores_are_odds = True
    num_uniforms = 1

    @classmethod
    def of(
        cls,
        space: spaces.Discrete,
        scores: Float[Array, "*B A"],
        free: Float[Array, "*B 0"],
        legal: Bool[Array, "*B A"],
    ) -> "Categorical":
        """The distribution given by logits; at least one alternative must be legal."""
        return cls(jax.nn.log_softmax(jnp.where(legal, scores.astype(jnp.float32), NEVER)), legal)

    def sample(self, numbers: Float[Array, " K *B"]) -> Int[Array, "*B"]:
        """The choice drawn by inversion, from one uniform number per agent; never an illegal one."""
        cumulative = jnp.cumsum(jnp.exp(self.log_probs), axis=-1)
        # The factor keeps the target below the total despite rounding, so that some entry always exceeds it.
        target = numbers[0] * (1 - 2**-20) * cumulative[..., -1]
        return jnp.argmax(cumulative > target[..., None], axis=-1).astype(jnp.int32)

    def mode(self) -> Int[Array, "*B"]:
        """The likeliest choice."""
        return jnp.argmax(self.log_probs, axis=-1).astype(jnp.int32)

    def log_prob(self, action: Int[Array, "*B"]) -> Float[Array, "*B"]:
        return jnp.take_along_axis(self.log_probs, action[..., None], axis=-1)[..., 0]

    def probabilities(self, greedy: bool = False) -> Float[Array, "*B A"]:
        """Of each alternative, by sample or by mode."""
        if greedy:
            return jax.nn.one_hot(self.mode(), self.log_probs.shape[-1])
        return jnp.exp(self.log_probs)

    def log_prob_of_chosen(self, action: Int[Array, "*B"]) -> Float[Array, "*B A"]:
        """For each alternative: if it is `action`, log P that it is chosen; otherwise, that it is not (≥ log 10⁻⁶)."""
        chosen = action[..., None] == jnp.arange(self.log_probs.shape[-1])
        return jnp.where(chosen, self.log_probs, jnp.log1p(-jnp.exp(jnp.minimum(self.log_probs, _ALMOST_SURE))))

    def entropy(self) -> Float[Array, "*B"]:
        """−Σ p log p; illegal choices add nothing, since p is exactly 0 there."""
        probs = jnp.exp(self.log_probs)
        return -jnp.sum(jnp.where(probs > 0, probs * self.log_probs, 0.0), axis=-1)


@struct.dataclass
class SquashedNormal(OfBox):
    """Normal numbers u = μ + σε, squashed into a Box, in each entry."""

    mu: Float[Array, "*B N S"]
    log_sigma: Float[Array, "*B N S"]
    legal: Bool[Array, "*B N"]
    low: float = struct.field(pytree_node=False)
    high: float = struct.field(pytree_node=False)

    free_start = -0.7  # σ is then about a quarter of the width of the Box

    @staticmethod
    def num_free(space: spaces.Box) -> int:
        return space.size

    @classmethod
    def of(
        cls, space: spaces.Box, scores: Float[Array, "*B S"], free: Float[Array, "*B S"], legal: Bool[Array, "*B"]
    ) -> "SquashedNormal":
        """The distribution given by means and by free parameters, which are log σ, clipped to [−5, 1]."""
        log_sigma = jnp.clip(free.astype(jnp.float32), *_LOG_SIGMA_RANGE)
        return cls(scores.astype(jnp.float32), log_sigma, legal, space.low, space.high)

    @property
    def num_uniforms(self) -> int:
        return self.mu.shape[-1]

    def sample(self, numbers: Float[Array, " K *B"]) -> Float[Array, "*B S"]:
        return self.squash(self._unsquashed_sample(numbers))

    def sample_and_log_prob(self, numbers: Float[Array, " K *B"]) -> tuple[Float[Array, "*B S"], Float[Array, "*B"]]:
        """A sample, differentiable in μ and σ, and its log-probability, computed from the u behind it."""
        u = self._unsquashed_sample(numbers)
        return self.squash(u), self._log_prob_of(u)

    def mode(self) -> Float[Array, "*B S"]:
        """The action at u = μ."""
        return self.squash(self.mu)

    def log_prob(self, action: Float[Array, "*B S"]) -> Float[Array, "*B"]:
        """The log-density at `action`; near the bounds, where it diverges, that of the nearest action well inside."""
        x = 2 * (action - self.low) / (self.high - self.low) - 1
        return self._log_prob_of(jnp.arctanh(jnp.clip(x, -_INSIDE, _INSIDE)))

    def entropy(self) -> Float[Array, "*B"]:
        """By Gauss–Hermite quadrature with 16 nodes, not sampled: within 0.004 nat for |μ| ≤ 3, 0.05 ≤ σ ≤ 2."""
        u = self.mu[..., None] + 2**0.5 * jnp.exp(self.log_sigma)[..., None] * _NODES.astype(np.float32)
        squashing = jnp.sum(_log_slope(u) * (_WEIGHTS / math.sqrt(math.pi)).astype(np.float32), axis=-1)
        each = 0.5 * math.log(2 * math.pi * math.e) + self.log_sigma + self._log_half_width + squashing
        return jnp.where(self.legal, jnp.sum(each, axis=-1), 0.0)

    @property
    def _log_half_width(self) -> float:
        return math.log((self.high - self.low) / 2)

    def _unsquashed_sample(self, numbers: Float[Array, " K *B"]) -> Float[Array, "*B S"]:
        return self.mu + jnp.exp(self.log_sigma) * gamma.standard_normal(jnp.moveaxis(numbers, 0, -1))

    def _log_prob_of(self, u: Float[Array, "*B S"]) -> Float[Array, "*B"]:
        deviations = (u - self.mu) * jnp.exp(-self.log_sigma)
        normal = -0.5 * deviations**2 - self.log_sigma - 0.5 * math.log(2 * math.pi)
        each = normal - self._log_half_width - _log_slope(u)
        return jnp.where(self.legal, jnp.sum(each, axis=-1), 0.0)


@struct.dataclass
class StateDependentNormal(SquashedNormal):
    """A `SquashedNormal` whose spread, too, depends on what the agent sees."""

    @staticmethod
    def num_scores(space: spaces.Box) -> int:
        return 2 * space.size

    @staticmethod
    def num_free(space: spaces.Box) -> int:
        return 0

    @classmethod
    def of(
        cls, space: spaces.Box, scores: Float[Array, "*B T"], free: Float[Array, "*B 0"], legal: Bool[Array, "*B"]
    ) -> "StateDependentNormal":
        """Scores are the means, then log σ, clipped to [−5, 2]."""
        mu, log_sigma = jnp.split(scores.astype(jnp.float32), 2, axis=-1)
        return cls(mu, jnp.clip(log_sigma, *_WIDE_LOG_SIGMA_RANGE), legal, space.low, space.high)


def _log_slope(u: Float[Array, "*B"]) -> Float[Array, "*B"]:
    """log d tanh(u)/du = log(1 − tanh² u), without cancellation."""
    return 2 * (math.log(2) - u - jax.nn.softplus(-2 * u))


@struct.dataclass
class Dirichlet(OfEntries):
    """Shares of a whole over the legal entries of a Simplex; illegal entries have share 0 and enter no sum."""

    alpha: Float[Array, "*B N S"]  # concentrations
    legal: Bool[Array, "*B N S"]

    @classmethod
    def of(
        cls, space: spaces.Simplex, scores: Float[Array, "*B S"], free: Float[Array, "*B 0"], legal: Bool[Array, "*B S"]
    ) -> "Dirichlet":
        """Concentrations are min(0.05 + 0.95 · (softplus(score) / ln 2)², 1000); if all scores are 0, it is uniform.

        They grow into the hundreds as a policy becomes sure. If they were linear in large scores, so would scores, and
        noise of a few percent in them would throw a small concentration to where it has no gradient, for good; if they
        were exponential, scores would have to be learned to a hundredth.
        """
        spread = (jax.nn.softplus(scores.astype(jnp.float32)) / math.log(2)) ** 2
        return cls(jnp.minimum(_ALPHA_LEAST + (1 - _ALPHA_LEAST) * spread, _ALPHA_MOST), legal)

    @property
    def num_uniforms(self) -> int:
        return gamma.NUM_UNIFORMS * self.alpha.shape[-1]

    def sample(self, numbers: Float[Array, " K *B"]) -> Float[Array, "*B S"]:
        """Gamma variates divided by their sum, differentiable in the concentrations; legal shares are ≥ about 10⁻⁶."""
        drawn = numbers.reshape(gamma.NUM_UNIFORMS, -1, *numbers.shape[1:])
        logarithms = gamma.log_gamma(self.alpha, jnp.moveaxis(drawn, 1, -1))
        shares = jax.nn.softmax(jnp.where(self.legal, logarithms, NEVER))
        return self._rescaled(jnp.maximum(shares, _LEAST_SHARE))

    def mode(self) -> Float[Array, "*B S"]:
        """The mean, since a mode need not exist."""
        return self._rescaled(self.alpha)

    def log_prob(self, action: Float[Array, "*B S"]) -> Float[Array, "*B"]:
        """ln Γ(α₀) − Σ ln Γ(α_k) + Σ (α_k − 1) ln x_k."""
        logarithms = jnp.log(jnp.where(self.legal, jnp.maximum(action, 1e-30), 1.0))
        return self._zero_without_choice(-self._log_norm() + self._total((self.alpha - 1) * logarithms))

    def entropy(self) -> Float[Array, "*B"]:
        """Σ ln Γ(α_k) − ln Γ(α₀) + (α₀ − A) ψ(α₀) − Σ (α_k − 1) ψ(α_k), where A is the number of legal entries."""
        alpha, whole, count = self._safe_alpha, self._alpha_sum, jnp.sum(self.legal, axis=-1)
        entropy = self._log_norm() + (whole - count) * digamma(whole) - self._total((alpha - 1) * digamma(alpha))
        return self._zero_without_choice(entropy)

    @property
    def _safe_alpha(self) -> Float[Array, "*B S"]:
        return jnp.where(self.legal, self.alpha, 1.0)

    @property
    def _alpha_sum(self) -> Float[Array, "*B"]:
        """α₀; 1 if nothing is legal."""
        return jnp.where(jnp.any(self.legal, axis=-1), self._total(self.alpha), 1.0)

    def _log_norm(self) -> Float[Array, "*B"]:
        return self._total(gammaln(self._safe_alpha)) - gammaln(self._alpha_sum)

    def _total(self, x: Float[Array, "*B S"]) -> Float[Array, "*B"]:
        return jnp.sum(jnp.where(self.legal, x, 0.0), axis=-1)

    def _rescaled(self, x: Float[Array, "*B S"]) -> Float[Array, "*B S"]:
        """Legal entries divided by their sum."""
        total = jnp.where(jnp.any(self.legal, axis=-1), self._total(x), 1.0)
        return jnp.where(self.legal, x / total[..., None], 0.0)

    def _zero_without_choice(self, x: Float[Array, "*B"]) -> Float[Array, "*B"]:
        return jnp.where(self.decides, x, 0.0)


class Head(Protocol):
    """What `Categorical`, `SquashedNormal` and `Dirichlet` have in common."""

    free_start: float  # initial value of the free parameters
    scores_are_odds: bool

    @staticmethod
    def num_scores(space: Any) -> int:
        """How many outputs of the network it needs for each agent."""
        ...

    @staticmethod
    def num_free(space: Any) -> int:
        """How many parameters it needs that do not depend on what the agent sees."""
        ...

    @classmethod
    def of(cls, space: Any, scores: Array, free: Array, legal: Array) -> Any:
        """The distribution for all agents, from scores [*B, N, num_scores] and free parameters [*B, N, num_free]."""
        ...

    @property
    def num_uniforms(self) -> int: ...

    @property
    def decides(self) -> Bool[Array, "*B N"]: ...

    def sample(self, numbers: Float[Array, " K *B"]) -> Array: ...

    def mode(self) -> Array: ...

    def log_prob(self, action: Any) -> Float[Array, "*B N"]: ...

    def entropy(self) -> Float[Array, "*B N"]: ...


HEADS: Mapping[type, type[Head]] = {
    spaces.Discrete: Categorical,
    spaces.Box: SquashedNormal,
    spaces.Simplex: Dirichlet,
}
