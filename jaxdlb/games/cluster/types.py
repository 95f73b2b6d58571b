"""The parameters, the state and the action of the cluster."""

from typing import Any

from flax import struct
from jaxtyping import Array, Bool, Float, Int, UInt32

from jaxdlb.checks import COST, FINITE, POSITIVE_COUNT, PROBABILITY, Interval
from jaxdlb.games.cluster import reference
from jaxdlb.games.cluster.workload import WORKLOADS, Workload
from jaxdlb.mechanics.arrivals import LAWS, Modulation
from jaxdlb.parameters import NEVER, law, parameter, per_size

Action = Int[Array, " M"]

CLASSES = ("production", "batch", "best_effort")
EMPTY, WAITING, RUNNING = range(3)  # of a slot

# What numbers stay within, so that none that is made of them leaves float32.
CORES = Interval(1e-3, 1e6)
GIGABYTES = Interval(1e-3, 1e6)
SPEED = Interval(1e-3, 1e3)
WATTS = Interval(0, 1e6)
SECONDS = Interval(0, 1e6)
POSITIVE_SECONDS = Interval(1e-3, 1e6)
SCALE = Interval(1e-3, 1e6)


def _numbers(*numbers: float, text: str = "") -> Any:
    """These numbers, at every size."""
    return per_size(text or ", ".join(f"{each:g}" for each in numbers), lambda game: numbers)


def _of_nodes(name: str, text: str = "by tier, see below") -> Any:
    """The reference nodes' value."""
    return per_size(text, lambda game: reference.nodes(game.num_nodes)[name])


@struct.dataclass(kw_only=True)
class Params:
    """Everything a user may sweep or randomise; every leaf is an array. Times are in seconds, memory is in GB."""

    cores: Float[Array, " N"] = parameter(CORES, _of_nodes("cores"))  # C: of the node
    # of the node, GB; drawn by `random_clusters` alone, since a node must have room for the largest task
    memory: Float[Array, " N"] = parameter(GIGABYTES, _of_nodes("memory"), drawn=NEVER)
    # s: seconds of run time, as at speed 1, that a task does in a second on cores of its own
    speed: Float[Array, " N"] = parameter(SPEED, _of_nodes("speed"))
    idle_power: Float[Array, " N"] = parameter(WATTS, _of_nodes("idle_power"))  # W drawn always while awake
    dynamic_power: Float[Array, " N"] = parameter(WATTS, _of_nodes("dynamic_power"))  # W added at full use of the cores
    network_delay: Float[Array, " N"] = parameter(SECONDS, _of_nodes("network_delay"))  # s until a task is at the node
    transfer_time: Float[Array, " N"] = parameter(SECONDS, 0.0)  # s more for each GB of the task's memory
    # 0 high, 1 medium, 2 low: for reports and a centralised critic
    tier: Int[Array, " N"] = parameter(Interval(0, 2, integer=True), _of_nodes("tier", "0, 1, 2"))
    # s without tasks after which a node sleeps; 10⁹: never
    sleep_after: Float[Array, ""] = parameter(Interval(0, 1e9), 20.0)
    sleep_power: Float[Array, ""] = parameter(PROBABILITY, 0.1)  # of a sleeping node, as a share of `idle_power`
    wake_time: Float[Array, ""] = parameter(SECONDS, 10.0)  # s from the placing on a sleeping node until it works

    arrival_rate: Float[Array, ""] = parameter(SCALE, 27.5)  # λ: tasks a second of the whole cluster
    arrival_modulation: Modulation = law(LAWS)  # a factor on λ, slot by slot; below 0.001 it counts as that
    workload: Workload = law(WORKLOADS)  # what tasks need: drawn by the six parameters below, or recorded
    # run time at speed 1 is min(least · U^(−1/shape), cap), U uniform
    exec_least: Float[Array, ""] = parameter(POSITIVE_SECONDS, 10.0)  # least run time, s
    exec_shape: Float[Array, ""] = parameter(Interval(1e-2, 1e3), 2.5)  # shape of the Pareto law of run times
    exec_cap: Float[Array, ""] = parameter(POSITIVE_SECONDS, 500.0)  # greatest run time, s
    # μ, σ, low, high: exp(μ + σ · normal) within [low, high]
    cores_law: Float[Array, " 4"] = parameter(FINITE, _numbers(0.5, 0.8, 0.5, 8), drawn=NEVER)
    # μ, σ, low, high of memory, GB, likewise
    memory_law: Float[Array, " 4"] = parameter(FINITE, _numbers(2, 1, 1, 32), drawn=NEVER)
    # shares of production, batch and best effort
    class_share: Float[Array, " 3"] = parameter(PROBABILITY, _numbers(0.25, 0.6, 0.15), drawn=NEVER)
    # F, by class: the deadline is F times the run time after the arrival
    deadline_factor: Float[Array, " 3"] = parameter(SCALE, _numbers(1.5, 3, 5))

    slot: Float[Array, ""] = parameter(Interval(1e-2, 1e4), 1.0)  # Δ: s that a slot lasts
    # w: of deadlines, completion time, energy and balance
    weights: Float[Array, " 4"] = parameter(COST, _numbers(0.4, 0.3, 0.2, 0.1))
    # ω, by class: of a missed deadline
    class_weight: Float[Array, " 3"] = parameter(COST, _numbers(4 / 3.1, 3 / 3.1, 2 / 3.1, text="(4, 3, 2) / 3.1"))
    completion_scale: Float[Array, ""] = parameter(SCALE, 20.0)  # τ: mean completion time that counts as 1, s
    energy_scale: Float[Array, ""] = parameter(SCALE, 0.15)  # ε: energy of a task that counts as 1, Wh
    balance_scale: Float[Array, ""] = parameter(SCALE, 0.1)  # v: variance of the nodes' use that counts as 1
    drop_cost: Float[Array, ""] = parameter(COST, 10.0)  # a dropped task counts as so many missed deadlines
    horizon: Int[Array, ""] = parameter(POSITIVE_COUNT, 1000)  # steps after which an episode is cut


@struct.dataclass
class Slots:
    """The tasks on N nodes of Q slots each; all is 0 in an empty slot."""

    status: Int[Array, "N Q"]  # EMPTY, WAITING or RUNNING
    left: Float[Array, "N Q"]  # run time at speed 1 that is left, s
    task_cores: Float[Array, "N Q"]
    task_memory: Float[Array, "N Q"]  # GB
    task_class: Int[Array, "N Q"]
    age: Float[Array, "N Q"]  # s since it arrived at its dispatcher
    due: Float[Array, "N Q"]  # s until its deadline
    arrives: Float[Array, "N Q"]  # s until it is at the node
    number: Int[Array, "N Q"]  # k: it is the k-th task


@struct.dataclass
class Window:
    """The next M tasks, the oldest first."""

    arrives: Float[Array, " M"]  # s until they arrive; ≤ 0: at hand; +∞: there are no more
    run_time: Float[Array, " M"]  # e: s at speed 1
    cores: Float[Array, " M"]
    memory: Float[Array, " M"]  # GB
    task_class: Int[Array, " M"]
    candidates: Int[Array, "M K"]  # nodes among which the dispatcher of the task may choose


@struct.dataclass
class State(Slots):
    """One cluster between two steps; durations count down from now."""

    idle_for: Float[Array, " N"]  # s since the node had a task
    wake_in: Float[Array, " N"]  # s until the node works
    window: Window
    index: Int[Array, ""]  # k of the first task of the window
    clock: Int[Array, ""]  # slots that passed
    step: Int[Array, ""]
    modulation: Int[Array, ""]  # the state of the law of arrivals
    over: Bool[Array, ""]  # whether all tasks there were are done
    key: UInt32[Array, " 2"]  # the words of the reset's key, from which all chance follows
