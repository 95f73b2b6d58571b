"""The parameters, the state and the action of the pods."""

from typing import Any

from flax import struct
from jaxtyping import Array, Bool, Float, Int

from jaxdlb.checks import (
    COST,
    COUNT,
    LARGEST_INT,
    POSITIVE_COUNT,
    POSITIVE_PROBABILITY,
    PROBABILITY,
    Interval,
)
from jaxdlb.mechanics.demand import LAWS as DEMAND_LAWS
from jaxdlb.mechanics.demand import Demand
from jaxdlb.parameters import law, parameter, per_size

Action = Float[Array, "N 1"] | Int[Array, " N"]  # in a Box, or among choices

# What bounds of a limit, and of what it is spent on, stay within, so that float32 tells a millicore from the next.
MILLICORES = Interval(1, 1e7)
WORK = Interval(1e-3, 1e7)  # CPU-ms
SECONDS = Interval(1e-3, 1e4)


def _third_of_a_core_each(game: Any) -> float:
    return 1000 * game.num_pods / 3


def _as_there_is_room_for(game: Any) -> float:
    return min(15.0, game.max_arrivals / min(game.num_pods, 4))  # the greatest demand by default


@struct.dataclass(kw_only=True)
class Params:
    """Everything a user may sweep or randomise; every leaf is an array. CPU is in millicores (mc), of which one does 1
    CPU-ms of work in a second; times are in seconds, unless they are said to be in steps.
    """

    # r: requests a second at demand factor 1
    rate: Float[Array, " N"] = parameter(
        Interval(0, 1e6), per_size("15, or what max_arrivals has room for", _as_there_is_room_for)
    )
    demand: Demand = law(DEMAND_LAWS)  # how the factors on the rates vary
    # φ: requests a second that each held one keeps from coming: 1 / think time of users who wait for their answers
    feedback: Float[Array, " N"] = parameter(Interval(0, 1e6), 0.0)
    work_mean: Float[Array, " N"] = parameter(WORK, 10.0)  # w̄: mean work of a request, CPU-ms
    work_shape: Float[Array, " N"] = parameter(  # θ: work is w̄ · E^θ / Γ(1 + θ): 0 constant, 1 exponential, E ~ Exp(1)
        Interval(0, 3), 1.0
    )
    max_usage: Float[Array, " N"] = parameter(MILLICORES, 1000.0)  # p: the most CPU it can use at once, mc
    burst: Float[Array, ""] = parameter(Interval(0, 10), 0.1)  # b: seconds' worth of limit that an idle pod saves up
    slo: Float[Array, " N"] = parameter(SECONDS, 0.25)  # s: objective of response times, s
    priority: Float[Array, " N"] = parameter(POSITIVE_PROBABILITY, 1.0)  # ϖ: weight of its violations

    min_limit: Float[Array, " N"] = parameter(MILLICORES, 50.0)  # the least limit, mc
    max_limit: Float[Array, " N"] = parameter(MILLICORES, 1000.0)  # the greatest limit, mc
    initial_limit: Float[Array, " N"] = parameter(MILLICORES, 100.0)  # limit at reset and on joining, mc
    budget: Float[Array, ""] = parameter(  # B: the most that all limits together may be, mc; at least Σ min_limit
        Interval(1, 1e9), per_size("1000 · N / 3", _third_of_a_core_each)
    )
    step_size: Float[Array, ""] = parameter(  # Δx: the largest change by `delta`, the outermost by `discrete`, mc
        MILLICORES, 50.0
    )
    interval: Float[Array, ""] = parameter(SECONDS, 1.0)  # Δ: seconds in a step

    joins_at: Int[Array, " N"] = parameter(COUNT, 0)  # the first step for which it is scheduled
    leaves_at: Int[Array, " N"] = parameter(COUNT, LARGEST_INT)  # the first step for which it is not any more
    leave_prob: Float[Array, " N"] = parameter(PROBABILITY, 0.0)  # probability, per step, that a running pod stops
    join_prob: Float[Array, " N"] = parameter(PROBABILITY, 0.0)  # probability, per step, that a stopped one runs again

    cpu_cost: Float[Array, ""] = parameter(COST, 1.0)  # w_c: for each core-second of limit
    # w_v: for each request past its objective, times the priority of its pod
    violation_cost: Float[Array, ""] = parameter(COST, 0.1)
    change_cost: Float[Array, ""] = parameter(COST, 0.0)  # w_r: for each core by which a limit changes
    selfishness: Float[Array, ""] = parameter(PROBABILITY, 0.0)  # κ: weight of an agent's own utility in its reward

    lower_usage: Float[Array, ""] = parameter(Interval(0, 1e4), 30.0)  # ℓ: percent; lower end of MARLISE's band
    upper_usage: Float[Array, ""] = parameter(Interval(0, 1e4), 60.0)  # h: percent; its upper end
    response_weight: Float[Array, ""] = parameter(COST, 5.0)  # α: weight of response times in MARLISE's rewards
    horizon: Int[Array, ""] = parameter(POSITIVE_COUNT, 60)  # steps in an episode


@struct.dataclass
class State:
    """One cluster between two steps. K is the game's `queue_capacity`, H its `history`."""

    limit: Float[Array, " N"]  # x, mc; 0 of an absent pod, like all that follows but `running`
    running: Bool[Array, " N"]  # rather than stopped
    present: Bool[Array, " N"]  # running, and scheduled
    held: Int[Array, " N"]  # requests
    age: Float[Array, "N K"]  # of those held, oldest first: seconds since they came
    work: Float[Array, "N K"]  # CPU-ms still to do
    tokens: Float[Array, " N"]  # CPU-ms
    usage: Float[Array, " N"]  # of the last step, mc
    percent: Float[Array, " N"]  # 100 · usage / limit of the last step; a burst may lift it over 100
    history: Float[Array, "N H 7"]  # oldest row first; columns: `views.Row`
    demand: Any  # the state of the law of demand
    step: Int[Array, ""]
