"""The heuristics of the pods: each says which limit a pod is meant to have; `actions.nearest` makes the action of it.

They see what agents see, and act for all of them: the budget is what is available and all limits together.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxdlb.checks import AMOUNT, POSITIVE, POSITIVE_COUNT, PROBABILITY, Interval
from jaxdlb.games.pods.actions import nearest
from jaxdlb.games.pods.types import Action, Params
from jaxdlb.games.pods.views import Demand, Facts, Observation, Row, TrueObservation, facts, histories, newest
from jaxdlb.policies import Family, Policy, Span
from jaxdlb.policies.options import labelled, numbers, tried
from jaxdlb.spaces import Box, Discrete

Rule = Callable[..., Float[Array, " N"]]  # (observation, params, **options) → limits, mc

_BISECTIONS = 40  # halve the interval of the water level to a 10¹²-th
_GROWTH, _FIRST_BUCKET, _NUM_BUCKETS = 1.05, 1.0, 121  # of the histogram of `vpa`, mc
_LEAST_RECOMMENDED, _LEAST_WEIGHT = 25.0, 0.1  # mc, cores


def _present(observation: Observation) -> Bool[Array, " N"]:
    return facts(observation.own)[:, Facts.PRESENT] > 0


def _budget(observation: Observation) -> Float[Array, ""]:
    """What is available and what is given out already; 0 if nobody is present."""
    row = newest(observation.own)
    return jnp.max(row[:, Row.AVAILABLE]) + jnp.sum(row[:, Row.LIMIT])


def _fixed_equal(observation: Observation, params: Params) -> Float[Array, " N"]:
    """B / pods present."""
    return _budget(observation) / jnp.maximum(facts(observation.own)[:, Facts.PODS_PRESENT], 1.0)


def _fixed_by_priority(observation: Observation, params: Params) -> Float[Array, " N"]:
    """B · ϖ_i / Σ ϖ."""
    priority = newest(observation.own)[:, Row.PRIORITY]
    return _budget(observation) * priority / jnp.maximum(jnp.sum(priority), 1e-6)


def _usage_threshold(observation: Observation, params: Params, lower: Any, upper: Any, step: Any) -> Float[Array, " N"]:
    """A step up above the upper percentage of usage, and a step down below the lower one."""
    row = newest(observation.own)
    percent = 100 * row[:, Row.RATIO]
    return row[:, Row.LIMIT] + step * ((percent > upper).astype(jnp.float32) - (percent < lower))


def _target_usage(observation: Observation, params: Params, target: Any) -> Float[Array, " N"]:
    """Usage / target, as a horizontal autoscaler sets the number of replicas."""
    return newest(observation.own)[:, Row.USAGE] / target


def _last(rows: Float[Array, "N H"], steps: Any) -> Bool[Array, "N H"]:
    """Which rows are of the last `steps`."""
    return jnp.broadcast_to(jnp.arange(rows.shape[1]) >= rows.shape[1] - steps, rows.shape)


def _peak_usage(observation: Observation, params: Params, steps: Any, target: Any) -> Float[Array, " N"]:
    """The greatest usage of the last steps / target."""
    usage = histories(observation.own)[..., Row.USAGE]
    return jnp.max(jnp.where(_last(usage, steps), usage, 0.0), axis=1) / target


def _headroom(
    observation: Observation, params: Params, fading: Any, target: Any, margin: Any, full: Any, bias: Any
) -> Float[Array, " N"]:
    """A mean of past usage over the target, and a margin, both times priority^bias, as far as the budget goes.

    Each row of the past weighs `fading` as much as the next: usage is noisy while the pod keeps up. While it does not,
    where usage is above `full` of the limit, usage says nothing but "more", and the last counts alone if it is greater.
    """
    row, usage = newest(observation.own), histories(observation.own)[..., Row.USAGE]
    weight = jnp.float32(fading) ** jnp.arange(usage.shape[1])[::-1]
    mean = jnp.sum(weight * usage, axis=1) / jnp.sum(weight)
    level = jnp.where(row[:, Row.RATIO] >= full, jnp.maximum(mean, row[:, Row.USAGE]), mean)
    present = _present(observation)
    return _filled((level / target + margin) * jnp.where(present, row[:, Row.PRIORITY], 1.0) ** bias, observation)


def _water_filling(observation: TrueObservation, params: Params, target: Any, z: Any) -> Float[Array, " N"]:
    """What each pod needs, as far as the budget goes.

    That is what comes to it in the mean, and what it holds, within a step, over the target, and z deviations.
    """
    demand = observation.demand
    mean = demand[:, Demand.RATE] * demand[:, Demand.WORK_MEAN]
    deviation = jnp.sqrt(demand[:, Demand.RATE] * demand[:, Demand.WORK_SQUARE] / params.interval)
    need = (mean + demand[:, Demand.WORK_HELD] / params.interval) / target + z * deviation
    return _filled(need, observation)


def _filled(need: Float[Array, " N"], observation: Observation) -> Float[Array, " N"]:
    """What each pod needs, within its bounds; where that exceeds the budget, at most a common level times the priority.

    Nobody gets less than its least. The level is found by bisection.
    """
    known, present = facts(observation.own), _present(observation)
    least, budget = known[:, Facts.MIN_LIMIT], _budget(observation)
    need = jnp.clip(need, least, known[:, Facts.MAX_LIMIT])
    priority = jnp.where(present, newest(observation.own)[:, Row.PRIORITY], 1.0)

    def up_to(level: Float[Array, ""]) -> Float[Array, " N"]:
        return jnp.minimum(need, jnp.maximum(least, level * priority))

    def halve(_: Any, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        middle = (ends[0] + ends[1]) / 2
        fits = jnp.sum(up_to(middle)) <= budget
        return jnp.where(fits, middle, ends[0]), jnp.where(fits, ends[1], middle)

    level, _ = jax.lax.fori_loop(0, _BISECTIONS, halve, (jnp.float32(0.0), jnp.max(need / priority)))
    return jnp.where(jnp.sum(need) > budget, up_to(level), need)


@struct.dataclass
class Heuristic:
    """A rule with options, which says what limits pods are meant to have."""

    family: str = struct.field(pytree_node=False)  # the name in the catalogue, without options
    rule: Rule = struct.field(pytree_node=False)
    options: dict[str, Any] = struct.field(default_factory=dict)
    kind: str = struct.field(pytree_node=False, default="heuristic")  # or oracle, which is given the truth

    @property
    def name(self) -> str:
        return labelled(self.family, self.options)

    def init(self, game: Any) -> "Kind":
        """The kind of action that the game takes, and nothing else."""
        return Kind(game.action)

    def act(self, key: PRNGKeyArray, carry: "Kind", observation: Observation, params: Params) -> tuple[Any, Action]:
        """The action of each pod; consumes `key`."""
        limit = newest(observation.own)[:, Row.LIMIT]
        desired = self.rule(observation, params, **self.options)
        return carry, nearest(carry.action, key, desired, limit, observation.legal, params)


@struct.dataclass
class Kind:
    """What a rule must know of the game to make actions of limits."""

    action: str = struct.field(pytree_node=False)


@struct.dataclass
class Recommender:
    """Usage as the Vertical Pod Autoscaler remembers it."""

    kind: Kind
    weights: Float[Array, "N 121"]  # of each bucket of usage
    was_present: Bool[Array, " N"]  # when the rule acted last


@struct.dataclass
class VerticalPodAutoscaler:
    """The rule of the Vertical Pod Autoscaler of Kubernetes (its recommender, of the licence Apache-2.0).

    Each pod has a histogram of its usage, over buckets that begin at (1.05^k − 1)/0.05 mc. In each step all weights
    fade by 2^(−1/half_life), and the limit in cores, at least 0.1, is added to the bucket of the usage. What is
    recommended is the end of the first bucket at which the weights so far reach the percentile of all, times the
    margin, and at least 25 mc; a pod whose histogram is empty keeps its limit. A throttled pod uses no more than its
    limit, so the rule climbs slowly.
    """

    percentile: Any
    margin: Any
    half_life: Any  # steps

    kind = "heuristic"

    @property
    def name(self) -> str:
        options = {"half_life": self.half_life, "margin": self.margin, "percentile": self.percentile}
        return labelled("vpa", options)

    def init(self, game: Any) -> Recommender:
        """Empty histograms."""
        pods = game.num_agents
        return Recommender(Kind(game.action), jnp.zeros((pods, _NUM_BUCKETS)), jnp.zeros(pods, bool))

    def act(
        self, key: PRNGKeyArray, carry: Recommender, observation: Observation, params: Params
    ) -> tuple[Recommender, Action]:
        """The histograms with the last usage, and the action of each pod; consumes `key`."""
        present, row = _present(observation), newest(observation.own)
        is_measured = present & carry.was_present
        weights = jnp.where(is_measured[:, None], carry.weights, 0.0) * 2 ** (-1 / self.half_life)
        place = jnp.clip(jnp.floor(jnp.log1p(0.05 * row[:, Row.USAGE]) / jnp.log(_GROWTH)), 0, _NUM_BUCKETS - 1)
        added = jnp.where(is_measured, jnp.maximum(row[:, Row.LIMIT] / 1000, _LEAST_WEIGHT), 0.0)
        weights = weights + added[:, None] * (jnp.arange(_NUM_BUCKETS) == place[:, None])
        desired = jnp.where(is_measured, self._recommended(weights), row[:, Row.LIMIT])
        action = nearest(carry.kind.action, key, desired, row[:, Row.LIMIT], observation.legal, params)
        return Recommender(carry.kind, weights, present), action

    def _recommended(self, weights: Float[Array, "N 121"]) -> Float[Array, " N"]:
        up_to = jnp.cumsum(weights, axis=1)
        first: Int[Array, " N"] = jnp.argmax(up_to >= self.percentile * up_to[:, -1:], axis=1)
        end = (_GROWTH ** (first + 1.0) - 1) / 0.05
        return jnp.maximum(self.margin * end, _LEAST_RECOMMENDED)


@struct.dataclass
class Random:
    """Uniform over what a pod may do, anew in every step."""

    name, kind = "random", "heuristic"

    def init(self, game: Any) -> "Spaces":
        """The action space of the game, and nothing else."""
        return Spaces(game.action_space)

    def act(self, key: PRNGKeyArray, carry: "Spaces", observation: Observation, params: Params) -> tuple[Any, Action]:
        """An action of each pod; consumes `key`."""
        return carry, carry.space.sample(key, observation.legal)


@struct.dataclass
class Spaces:
    """The action space of a game."""

    space: Box | Discrete = struct.field(pytree_node=False)


_SHARE = Interval(0, 1, low_open=True)
_ALLOWED = {
    "lower": AMOUNT,
    "upper": AMOUNT,
    "step": AMOUNT,
    "target": POSITIVE,
    "steps": POSITIVE_COUNT,
    "fading": PROBABILITY,
    "percentile": _SHARE,
    "margin": AMOUNT,
    "half_life": POSITIVE,
    "z": AMOUNT,
    "full": PROBABILITY,
    "bias": AMOUNT,
}


_numbers = functools.partial(numbers, _ALLOWED)


def _make_fixed_equal() -> Policy:
    return Heuristic("fixed_equal", _fixed_equal)


def _make_fixed_by_priority() -> Policy:
    return Heuristic("fixed_by_priority", _fixed_by_priority)


def _make_usage_threshold(lower: Any = 30.0, upper: Any = 60.0, step: Any = 25.0) -> Policy:
    return Heuristic("usage_threshold", _usage_threshold, _numbers(lower=lower, upper=upper, step=step))


def _make_target_usage(target: Any = 0.5) -> Policy:
    return Heuristic("target_usage", _target_usage, _numbers(target=target))


def _make_peak_usage(steps: Any = 3, target: Any = 0.6) -> Policy:
    return Heuristic("peak_usage", _peak_usage, _numbers(steps=steps, target=target))


def _make_headroom(
    fading: Any = 0.5, target: Any = 0.9, margin: Any = 150.0, full: Any = 0.95, bias: Any = 0.5
) -> Policy:
    options = _numbers(fading=fading, target=target, margin=margin, full=full, bias=bias)
    return Heuristic("headroom", _headroom, options)


def _make_vpa(percentile: Any = 0.9, margin: Any = 1.15, half_life: Any = 86_400.0) -> Policy:
    return VerticalPodAutoscaler(**_numbers(percentile=percentile, margin=margin, half_life=half_life))


def _make_oracle_water_filling(target: Any = 0.8, z: Any = 2.0) -> Policy:
    return Heuristic("oracle_water_filling", _water_filling, _numbers(target=target, z=z), kind="oracle")


def _stepstried(game: Any) -> list[int]:
    return sorted({min(steps, game.history) for steps in (2, 3, 6)})


_TARGETS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)

HEURISTICS: Mapping[str, Family] = {
    "fixed_equal": Family(_make_fixed_equal),
    "random": Family(Random),
    "fixed_by_priority": Family(_make_fixed_by_priority),
    "usage_threshold": Family(
        _make_usage_threshold, grid=tried(lower=(20.0, 30.0, 40.0), upper=(50.0, 60.0, 70.0), step=(25.0, 50.0))
    ),
    "target_usage": Family(_make_target_usage, grid=tried(target=_TARGETS)),
    "peak_usage": Family(_make_peak_usage, grid=lambda game: {"steps": _stepstried(game), "target": _TARGETS}),
    "headroom": Family(
        _make_headroom,
        box=lambda game: {
            "fading": Span(0.0, 1.0),
            "target": Span(0.3, 1.2),
            "margin": Span(0.0, 300.0),
            "full": Span(0.5, 1.0),
            "bias": Span(0.0, 2.0),
        },
    ),
    "vpa": Family(
        _make_vpa, grid=tried(percentile=(0.9, 0.95, 0.98), margin=(1.15, 1.5, 2.0), half_life=(10.0, 60.0, 600.0))
    ),
    "oracle_water_filling": Family(_make_oracle_water_filling),
}
