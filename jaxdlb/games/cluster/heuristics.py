"""The heuristics of the cluster: each scores candidates, and the least score among the legal ones is chosen.

They see what dispatchers see; ties are broken at random.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxdlb.checks import AMOUNT, POSITIVE, POSITIVE_COUNT
from jaxdlb.games.cluster.sums import products
from jaxdlb.games.cluster.types import Action, Params
from jaxdlb.games.cluster.utility import JOULES_PER_WH
from jaxdlb.games.cluster.views import Observation, Own, Peer
from jaxdlb.policies import Family, Policy, choice
from jaxdlb.policies.options import labelled, numbers, tried

Scores = Float[Array, "M K"]
Rule = Callable[..., Scores]  # (observation, params, key, **options) → scores, of which the least is chosen

_LAST = 1e30  # a score that is chosen only if there is no other
_JOULES_PER_KJ = 1000.0
_TASK_FITS = 1 + 1e-6  # share of a node's cores, up to rounding


def _of(observation: Observation, column: Peer) -> Scores:
    return observation.peers[..., column]


def _own(observation: Observation, column: Own) -> Float[Array, "M 1"]:
    return observation.own[:, column, None]


def _cores_in_use(observation: Observation) -> Scores:
    """Cores of all tasks on the node, over those that it has."""
    return _of(observation, Peer.RUNNING_CORES) + _of(observation, Peer.WAITING_CORES)


def _memory_in_use(observation: Observation) -> Scores:
    return _of(observation, Peer.RUNNING_MEMORY) + _of(observation, Peer.WAITING_MEMORY)


def _is_free(observation: Observation) -> Bool[Array, "M K"]:
    """Whether the node has cores and memory for the task now."""
    cores = _cores_in_use(observation) + _of(observation, Peer.TASK_CORES) <= _TASK_FITS
    return cores & (_of(observation, Peer.FITS) > 0)


def _preferring(observation: Observation, preferred: Bool[Array, "M K"], score: Scores) -> Scores:
    """The score among the legal candidates that are preferred; where there are none, T̂ among all."""
    preferred = preferred & observation.legal
    any_preferred = jnp.any(preferred, axis=1, keepdims=True)
    return jnp.where(any_preferred, jnp.where(preferred, score, _LAST), _of(observation, Peer.COMPLETION))


def _random(observation: Observation, params: Params, key: PRNGKeyArray) -> Scores:
    """0."""
    return jnp.zeros_like(_of(observation, Peer.WORK))


def _least_loaded(observation: Observation, params: Params, key: PRNGKeyArray) -> Scores:
    """The work of the node."""
    return _of(observation, Peer.WORK)


def _priority_min_min(observation: Observation, params: Params, key: PRNGKeyArray) -> Scores:
    """The source's: the use of cores among nodes that are free for the task."""
    return _preferring(observation, _is_free(observation), _cores_in_use(observation))


def _capacity_score(observation: Observation, params: Params, key: PRNGKeyArray) -> Scores:
    """The follow-up's, without its network: nodes that are free for the task, idle, and of the right size for it."""
    of_task, most = _of(observation, Peer.TASK_CORES), jnp.max(params.cores)
    size = _of(observation, Peer.CORES) / most * (1 - jnp.abs(of_task - 0.5))
    spare = 0.3 * (1 - _cores_in_use(observation)) + 0.2 * (1 - _memory_in_use(observation))
    return _preferring(observation, _is_free(observation), -(spare + 0.15 * size))


def _best_fit(observation: Observation, params: Params, key: PRNGKeyArray) -> Scores:
    """The memory that is left, among awake nodes where the task fits."""
    is_awake = _of(observation, Peer.ASLEEP) == 0
    left = (1 - _memory_in_use(observation)) * _of(observation, Peer.MEMORY)
    return _preferring(observation, is_awake & (_of(observation, Peer.FITS) > 0), left)


def _earliest_completion(observation: Observation, params: Params, key: PRNGKeyArray) -> Scores:
    """T̂."""
    return _of(observation, Peer.COMPLETION)


def _power_of_d(observation: Observation, params: Params, key: PRNGKeyArray, d: Any) -> Scores:
    """T̂ among d of the legal candidates, every set of d equally likely."""
    number = jnp.where(observation.legal, jax.random.uniform(key, observation.legal.shape), jnp.inf)
    place = jnp.clip(jnp.asarray(d, jnp.int32) - 1, 0, number.shape[1] - 1)
    last = jnp.take_along_axis(jnp.sort(number, axis=1), jnp.broadcast_to(place, (len(number), 1)), axis=1)
    return _preferring(observation, number <= last, _of(observation, Peer.COMPLETION))


def _cheapest_in_time(observation: Observation, params: Params, key: PRNGKeyArray, margin: Any) -> Scores:
    """Ê among nodes that are done within `margin` of what is left until the deadline."""
    in_time = _of(observation, Peer.COMPLETION) <= margin * _own(observation, Own.DUE)
    return _preferring(observation, in_time, _of(observation, Peer.ENERGY))


def _least_cost(observation: Observation, params: Params, key: PRNGKeyArray, energy: Any, crowd: Any) -> Scores:
    """The terms of the reward as they are for this task, and a price for crowding others out."""
    sla, completion, power, _ = params.weights
    weight = products(observation.own[:, Own.PRODUCTION : Own.BEST_EFFORT + 1], params.class_weight)
    is_late = _of(observation, Peer.LATENESS) > 0
    joules = _of(observation, Peer.ENERGY) * _JOULES_PER_KJ
    run_time = _own(observation, Own.RUN_TIME)
    return (
        sla * weight[:, None] * is_late
        + completion * _of(observation, Peer.COMPLETION) / params.completion_scale
        + energy * power * joules / JOULES_PER_WH / params.energy_scale
        + crowd * completion * run_time / params.completion_scale * _cores_in_use(observation)
    )


@struct.dataclass
class Heuristic:
    """A rule with options, by which each dispatcher chooses for itself."""

    family: str = struct.field(pytree_node=False)  # the name in the catalogue, without options
    rule: Rule = struct.field(pytree_node=False)
    options: dict[str, Any] = struct.field(default_factory=dict)

    kind = "heuristic"

    @property
    def name(self) -> str:
        return labelled(self.family, self.options)

    def init(self, game: Any) -> tuple[()]:
        """No memory."""
        return ()

    def act(
        self, key: PRNGKeyArray, carry: tuple[()], observation: Observation, params: Params
    ) -> tuple[tuple[()], Action]:
        """The choice of each dispatcher; consumes `key`."""
        rule_key, tie_key = jax.random.split(key)
        scores = self.rule(observation, params, rule_key, **self.options)
        number = jax.random.uniform(tie_key, observation.legal.shape[:1])
        return carry, choice.pick_weighted(number, choice.least(scores, observation.legal))


@struct.dataclass
class WeightedRoundRobin:
    """Nodes in turn, in proportion to speed · cores; one memory for all dispatchers, who choose in their order.

    Before a choice, the credit of every node grows by its share of speed · cores; the one that is chosen, that of the
    most credit, then loses 1.
    """

    name, kind = "weighted_round_robin", "heuristic"

    def init(self, game: Any) -> Float[Array, " N"]:
        """No credit."""
        return jnp.zeros(game.num_nodes)

    def act(
        self, key: PRNGKeyArray, carry: Float[Array, " N"], observation: Observation, params: Params
    ) -> tuple[Float[Array, " N"], Action]:
        """The credit afterwards, and the choice of each dispatcher; consumes `key`."""
        capacity = params.speed * params.cores
        share = capacity / jnp.sum(capacity)
        has_task = observation.own[:, Own.HAS_TASK] > 0
        numbers = jax.random.uniform(key, has_task.shape)

        def turn(credit: Float[Array, " N"], at: Any) -> tuple[Float[Array, " N"], Int[Array, ""]]:
            listed, legal, has, number = at
            grown = credit + share
            best = choice.least(-grown[listed][None], legal[None])
            chosen = choice.pick_weighted(number[None], best)[0]
            return jnp.where(has, grown.at[listed[chosen]].add(-1.0), credit), chosen

        return jax.lax.scan(turn, carry, (observation.candidates, observation.legal, has_task, numbers))


_ALLOWED = {"d": POSITIVE_COUNT, "margin": POSITIVE, "energy": AMOUNT, "crowd": AMOUNT}
_numbers = functools.partial(numbers, _ALLOWED)


def _make_power_of_d(d: Any = 4) -> Policy:
    return Heuristic("power_of_d", _power_of_d, _numbers(d=d))


def _make_cheapest_in_time(margin: Any = 0.7) -> Policy:
    return Heuristic("cheapest_in_time", _cheapest_in_time, _numbers(margin=margin))


def _make_least_cost(energy: Any = 1.0, crowd: Any = 0.0) -> Policy:
    return Heuristic("least_cost", _least_cost, _numbers(energy=energy, crowd=crowd))


HEURISTICS: Mapping[str, Family] = {
    "random": Family(lambda: Heuristic("random", _random)),
    "weighted_round_robin": Family(WeightedRoundRobin),
    "least_loaded": Family(lambda: Heuristic("least_loaded", _least_loaded)),
    "priority_min_min": Family(lambda: Heuristic("priority_min_min", _priority_min_min)),
    "capacity_score": Family(lambda: Heuristic("capacity_score", _capacity_score)),
    "best_fit": Family(lambda: Heuristic("best_fit", _best_fit)),
    "earliest_completion": Family(lambda: Heuristic("earliest_completion", _earliest_completion)),
    "power_of_d": Family(_make_power_of_d, grid=tried(d=(2, 4, 8))),
    "cheapest_in_time": Family(_make_cheapest_in_time, grid=tried(margin=(0.5, 0.7, 1.0))),
    "least_cost": Family(_make_least_cost, grid=tried(energy=(0.3, 1.0, 3.0), crowd=(0.0, 1.0, 2.0, 4.0))),
}
