"""In-place vertical scaling of pods under a shared budget, after MARLISE (arXiv 2507.07671), as pure functions."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxdlb import parameters
from jaxdlb.checks import POSITIVE_COUNT, SWITCH, Interval
from jaxdlb.game import TimeStep
from jaxdlb.games.pods import columns, dynamics, generator, server, utility, views
from jaxdlb.games.pods.types import Action, Params, State
from jaxdlb.games.pods.views import Facts, Observation, Row, TrueObservation
from jaxdlb.parameters import parameter
from jaxdlb.spaces import Box, Discrete

_BOXES = {"delta": Box(-1.0, 1.0), "instant": Box(0.0, 1.0)}
_USUAL_CHOICES = 3
CHOICES = Interval(3, 10_001, integer=True)


@dataclasses.dataclass(frozen=True)
class Pods:
    """N pods, each with one agent that sets its CPU limit while it runs; all limits share one budget.

    In each step, nominally a second, agents ask for limits and get them as far as the budget goes; then requests come
    to every pod, which serves them first in first out, within its limit (`server` has the token bucket). What is not
    complete is held for the next step; a request violates its objective once, when it is too old.

    State: `State`. CPU is in millicores (mc), work in CPU-ms: 1 mc does 1 CPU-ms in a second.

    Observation (`views.Observation`), with the agent as the leading axis: `own` float32 [N, 7H + 5], a history of H
    rows (columns `Row`) and what stays the same (columns `Facts`); `legal`: who is present.

    Action, by `action`: `delta`, a change of the limit in step sizes, float32 [N, 1] within [−1, 1]; `instant`, the
    limit as a share of the greatest, float32 [N, 1] within [0, 1]; `discrete`, one of n changes, and `levels`, one of n
    limits, int32 [N]. Anything can be played: what is no number, or no choice, leaves the limit as it is.

    Reward, float32 [N]: (1 − κ) · u + κ · u_i, where u_i is minus the cost of pod i in CPU, violations and changes, and
    u the mean over pods present; or one of the rewards of MARLISE.

    Termination: none. `last` is true when `params.horizon` steps are played; `discount` stays 1.

    Raises:
        ValueError: a size below its minimum, an unknown `action`, `sharing`, `reward` or `global_view`, an even
            `num_choices`, or one that is given where the action lies in a Box.
    """

    num_pods: int = parameter(POSITIVE_COUNT, 3)  # N: slots for pods, each with one agent
    action: str = parameter(tuple(dynamics.ACTIONS), "delta")  # how agents say what limit they want
    # n: of `discrete` and `levels`, odd; null: 3
    num_choices: int | None = parameter(CHOICES, None)
    # who gets what where raises exceed what is free: each in proportion, by priority, or by turns
    sharing: str = parameter(tuple(dynamics.SHARINGS), "proportional")
    reward: str = parameter(tuple(utility.REWARDS), "cost")  # what agents are to minimise, or a reward of MARLISE
    queue_capacity: int = parameter(POSITIVE_COUNT, 64)  # K: requests that a pod holds from one step to the next
    max_arrivals: int = parameter(POSITIVE_COUNT, 64)  # A: the most that come to a pod in a step
    history: int = parameter(POSITIVE_COUNT, 6)  # H: steps that an agent remembers
    global_view: str = parameter(tuple(views.GLOBAL_VIEWS), "full")  # what a centralised critic sees; summary: at any N
    percentiles: bool = parameter(SWITCH, False)  # whether metrics hold a histogram of response times

    name = "pods"

    def __post_init__(self) -> None:
        parameters.check(self)
        if self.num_choices is None:
            return
        if self.action in _BOXES:
            kinds = " or ".join(each for each in dynamics.ACTIONS if each not in _BOXES)
            raise ValueError(
                f"num_choices is {self.num_choices}; it must not be given where action is {self.action!r}, only {kinds}"
            )
        if self.num_choices % 2 == 0:
            raise ValueError(f"num_choices is {self.num_choices}; it must be odd, so that one choice keeps the limit")

    @property
    def num_agents(self) -> int:
        return self.num_pods

    @property
    def dims(self) -> Mapping[str, int]:
        return {"N": self.num_pods}

    @property
    def choices(self) -> int | None:
        """The number of choices; None where the action lies in a Box."""
        return None if self.action in _BOXES else self.num_choices or _USUAL_CHOICES

    @property
    def action_space(self) -> Box | Discrete:
        return Discrete(self.choices) if self.choices else _BOXES[self.action]

    @property
    def observation_shapes(self) -> Observation:
        own: Any = jax.ShapeDtypeStruct((self.num_pods, len(Row) * self.history + len(Facts)), jnp.float32)
        masks = (self.num_pods, self.choices) if self.choices else (self.num_pods,)
        legal: Any = jax.ShapeDtypeStruct(masks, jnp.bool_)
        return Observation(own=own, legal=legal)

    @property
    def metrics(self) -> Mapping[str, str]:
        return columns.METRICS | (columns.HISTOGRAM_METRIC if self.percentiles else {})

    @property
    def columns(self) -> Mapping[str, Any]:
        return columns.of(self.reward, self.percentiles)

    def default_params(self, **fields: Any) -> Params:
        """The reference cluster at this size, with `fields` replaced; see `generator.make_params`."""
        return generator.make_params(self, **fields)

    def validate(self, params: Params) -> None:
        """Check every field of `params` (for one cluster, not a batch) on the host.

        Raises:
            ValueError: names the field, the offending entry and the allowed range.
        """
        generator.validate(params, self)

    def reset(self, key: PRNGKeyArray, params: Params) -> tuple[State, TimeStep[Observation]]:
        """The start of an episode: all run, those scheduled are present, nobody has any requests, buckets are full."""
        pods, slots = self.num_pods, (self.num_pods, self.queue_capacity)
        step, nothing = jnp.int32(0), jnp.zeros(self.num_pods)
        present = dynamics.is_scheduled(step, params)
        limit = dynamics.fit(params.initial_limit, present, params)
        rows = jnp.zeros((pods, self.history, len(Row)))
        state = State(
            limit=limit,
            running=jnp.ones(pods, bool),
            present=present,
            held=jnp.zeros(pods, jnp.int32),
            age=jnp.zeros(slots),
            work=jnp.zeros(slots),
            tokens=params.burst * limit,
            usage=nothing,
            percent=nothing,
            history=views.remember(rows, limit, nothing, nothing, present, present, params),
            demand=dynamics.start_demand(key, pods, params),
            step=step,
        )
        return state, self._timestep(state, nothing, columns.nothing(pods, self.percentiles), params)

    def step(
        self, key: PRNGKeyArray, state: State, action: Action, params: Params
    ) -> tuple[State, TimeStep[Observation]]:
        """One step: ask, grant, arrive, serve, keep or drop, violations, utility, churn, observe."""
        limit, denied = self._set(state.limit, action, state.present, state.step, params)
        outcome = dynamics.serve(key, state, limit, params, self.max_arrivals)
        usage = outcome.done / params.interval
        percent = jnp.where(state.present, 100 * usage / jnp.maximum(limit, 1e-6), 0.0)
        change = jnp.abs(limit - state.limit)
        reward, worth = utility.REWARDS[self.reward](
            utility.Step(
                present=state.present,
                limit=limit,
                change=change,
                violations=outcome.violations,
                percent=percent,
                percent_before=state.percent,
                response=_responses(outcome),
            ),
            params,
        )

        step = state.step + 1
        running, present = dynamics.stay(key, state.running, step, params)
        joined, stayed = present & ~state.present, present & state.present
        evictions = jnp.sum(jnp.where(stayed, 0, outcome.held))
        fitted = dynamics.fit(jnp.where(joined, params.initial_limit, limit), present, params)
        tokens = jnp.where(joined, params.burst * fitted, jnp.minimum(outcome.tokens, params.burst * fitted))
        usage_now, percent_now = (jnp.where(stayed, each, 0.0) for each in (usage, percent))
        after = State(
            limit=fitted,
            running=running,
            present=present,
            held=jnp.where(stayed, outcome.held, 0),
            age=jnp.where(stayed[:, None], outcome.age.T, 0.0),
            work=jnp.where(stayed[:, None], outcome.work.T, 0.0),
            tokens=jnp.where(present, tokens, 0.0),
            usage=usage_now,
            percent=percent_now,
            history=views.remember(state.history, fitted, usage_now, percent_now, present, joined, params),
            demand=dynamics.advance_demand(key, state, step, params),
            step=step,
        )
        metrics = {
            **columns.counted(outcome, state.present, params.priority, self.percentiles),
            "evictions": evictions,
            "held": jnp.sum(after.held),
            "usage": jnp.sum(usage),
            "provisioned": jnp.sum(limit),
            "denied": denied,
            "change": jnp.sum(change),
            "pods_present": jnp.sum(state.present),
            "pod_limit": limit,
            "pod_usage": usage,
            "pod_violations": outcome.violations,
            "utility": worth,
        }
        return after, self._timestep(after, reward, metrics, params)

    def plan(
        self,
        limit: Float[Array, " N"],
        action: Action,
        present: Bool[Array, " N"],
        step: Int[Array, ""],
        params: Params,
    ) -> Float[Array, " N"]:
        """The limits that pods get for what they do, as for pods of a running system: stages 1 and 2 of a step."""
        return self._set(limit, action, present, step, params)[0]

    def remember(
        self,
        history: Float[Array, "N H 7"],
        limit: Float[Array, " N"],
        usage: Float[Array, " N"],
        percent: Float[Array, " N"],
        present: Bool[Array, " N"],
        joined: Bool[Array, " N"],
        params: Params,
    ) -> tuple[Float[Array, "N H 7"], Observation]:
        """The history and the observation after a step, from what was measured in it: stage 9 of a step."""
        history = views.remember(history, limit, usage, percent, present, joined, params)
        return history, views.observe(history, present, params, self.choices)

    def global_state(self, state: State, params: Params) -> Float[Array, " G"]:
        """The cluster as a centralised critic sees it in training; see `views.full` and `views.summary`."""
        return views.GLOBAL_VIEWS[self.global_view](state, params)

    def true_observation(self, state: State, params: Params) -> TrueObservation:
        """The observation, and besides what comes to each pod and what it holds, for oracles."""
        return views.true_observation(views.observe(state.history, state.present, params, self.choices), state, params)

    def _set(
        self,
        limit: Float[Array, " N"],
        action: Action,
        present: Bool[Array, " N"],
        step: Int[Array, ""],
        params: Params,
    ) -> tuple[Float[Array, " N"], Float[Array, ""]]:
        desired = dynamics.ask(self.action, action, limit, present, params, self.choices or _USUAL_CHOICES)
        return dynamics.grant(self.sharing, desired, limit, step, params)

    def _timestep(
        self, state: State, reward: Float[Array, " N"], metrics: dict[str, Array], params: Params
    ) -> TimeStep[Observation]:
        return TimeStep(
            observation=views.observe(state.history, state.present, params, self.choices),
            reward=reward,
            discount=jnp.float32(1.0),
            last=state.step >= params.horizon,
            elapsed=jnp.float32(1.0),
            metrics=metrics,
        )


def _responses(outcome: server.Outcome) -> Float[Array, " N"]:
    """The mean response time of what was completed, else the age of the oldest held, else 0; in seconds."""
    mean = outcome.response_sum / jnp.maximum(outcome.completions, 1)
    return jnp.where(outcome.completions > 0, mean, outcome.age[0])
