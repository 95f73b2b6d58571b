"""What a step of the cluster reports, and what tables make of it."""

import math
from collections.abc import Callable, Mapping

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxdlb.game import Column, Sums, Verdict
from jaxdlb.games.cluster import nodes
from jaxdlb.games.cluster.dynamics import Tally
from jaxdlb.games.cluster.nodes import Passed
from jaxdlb.games.cluster.types import CLASSES, EMPTY, Params, State
from jaxdlb.games.cluster.utility import JOULES_PER_KWH, Costs

_WH_PER_KWH = 1000.0
_BY_CLASS = {
    "arrivals": "tasks that came to be placed",
    "drops": "tasks dropped, since no node could take them",
    "completions": "tasks completed",
    "on_time": "tasks completed by their deadline",
    "missed": "tasks on nodes whose deadline passed",
    "completion_time": "time from arrival to completion of the tasks completed, s in total",
    "presence": "time that tasks spent waiting to be placed, travelling, waiting and running, s in total",
}
_COUNTS = ("arrivals", "drops", "completions", "on_time", "missed")

METRICS = {
    "time": "time that passed, s",
    "slots": "slots that passed",
    **_BY_CLASS,
    "energy_kwh": "energy drawn, kWh",
    "utilisation": "share of a node's cores that is used, mean over nodes, times the time that passed",
    "balance": "variance over nodes of the share of cores used, times the time that passed",
    "present": "tasks on nodes after the step",
    "asleep": "nodes that sleep after the step",
    "utility": "minus the sum of the four costs; of a slot, minus the cost of a task in the mean",
    "cost_sla": "cost of deadlines missed and of tasks dropped",
    "cost_completion": "cost of completion time",
    "cost_energy": "cost of energy",
    "cost_balance": "cost of imbalance",
    **{f"{name}_{each}": f"`{name}`, {each.replace('_', ' ')} tasks" for name in _BY_CLASS for each in CLASSES},
    **{
        f"energy_kwh_{each}": f"energy that {each.replace('_', ' ')} tasks added to that of idle nodes, kWh"
        for each in CLASSES
    },
}


def nothing() -> dict[str, Array]:
    """The metrics at reset."""
    integers = {"slots", "present", "asleep", *_COUNTS, *(f"{name}_{each}" for name in _COUNTS for each in CLASSES)}
    return {name: jnp.int32(0) if name in integers else jnp.float32(0) for name in METRICS}


def counted(
    after: State,
    passes: Bool[Array, ""],
    tally: Tally,
    passed: Passed,
    costs: Costs,
    params: Params,
) -> dict[str, Array]:
    """The metrics of a step that led to the state `after`."""
    time = jnp.where(passes, params.slot, 0.0)
    by_class = {
        "arrivals": tally.arrived,
        "drops": tally.dropped,
        "completions": passed.completions,
        "on_time": passed.on_time,
        "missed": passed.missed,
        "completion_time": passed.completion_time,
        "presence": passed.presence + tally.waited,
    }
    by_class = {name: _whole(each) if name in _COUNTS else each for name, each in by_class.items()}
    return {
        "time": time,
        "slots": passes.astype(jnp.int32),
        **{name: jnp.sum(each) for name, each in by_class.items()},
        "energy_kwh": jnp.sum(passed.energy) / JOULES_PER_KWH,
        "utilisation": jnp.mean(passed.use) * time,
        "balance": jnp.var(passed.use) * time,
        "present": jnp.sum(after.status != EMPTY, dtype=jnp.int32),
        "asleep": jnp.sum(nodes.asleep(after, params), dtype=jnp.int32),
        "utility": costs.utility,
        "cost_sla": costs.sla,
        "cost_completion": costs.completion,
        "cost_energy": costs.energy,
        "cost_balance": costs.balance,
        **{f"{name}_{each}": of[i] for name, of in by_class.items() for i, each in enumerate(CLASSES)},
        **{f"energy_kwh_{each}": passed.dynamic_energy[i] / JOULES_PER_KWH for i, each in enumerate(CLASSES)},
    }


def _whole(counts: Float[Array, " 3"]) -> Int[Array, " 3"]:
    """Counts that were added up as float32, which is exact up to 2²⁴."""
    return jnp.round(counts).astype(jnp.int32)


def of(is_episode: bool) -> Mapping[str, Column]:
    """The columns of a game's tables; totals only where there is an `episode` of so many tasks."""
    totals = {
        "energy_total": Column("energy, kWh", "of the whole episode", lambda sums: sums["energy_kwh"]),
        "tasks": Column("tasks", "completed in the episode", lambda sums: sums["completions"]),
    }
    return {
        "utility": Column("utility", "minus the cost of a task, mean over slots", _quotient("utility", "slots")),
        "completion_time": Column(
            "completion time, s",
            "from a task's arrival, by Little's law, so that no task is left out because it is not done yet",
            _quotient("presence", "arrivals"),
            Verdict(better="faster", worse="slower"),
        ),
        "sla": Column(
            "deadlines kept",
            "the share of deadlines that were kept, of those that came; a dropped task counts as not kept",
            lambda sums: _sla(sums, ""),
            Verdict(better="more deadlines kept", worse="fewer deadlines kept", lower_is_better=False),
        ),
        "energy_per_task": Column(
            "Wh a task",
            "energy drawn for each task completed",
            lambda sums: _over(sums["energy_kwh"] * _WH_PER_KWH, sums["completions"]),
            Verdict(better="less energy", worse="more energy"),
        ),
        "completed_share": Column(
            "completed", "tasks completed for each that came", _quotient("completions", "arrivals")
        ),
        **{name: column for each in CLASSES for name, column in _of_class(each).items()},
        **(totals if is_episode else {}),
    }


def _of_class(name: str) -> dict[str, Column]:
    of, end = name.replace("_", " "), f"_{name}"
    return {
        f"completion_time{end}": Column(
            f"completion time, s, {of}", f"of {of} tasks", _quotient(f"presence{end}", f"arrivals{end}")
        ),
        f"sla{end}": Column(f"deadlines kept, {of}", f"of {of} tasks", lambda sums: _sla(sums, end)),
        f"energy_per_task{end}": Column(
            f"Wh a task, {of}",
            f"energy that {of} tasks added to that of idle nodes, for each completed",
            lambda sums: _over(sums[f"energy_kwh{end}"] * _WH_PER_KWH, sums[f"completions{end}"]),
        ),
        f"completed_share{end}": Column(
            f"completed, {of}", f"of {of} tasks", _quotient(f"completions{end}", f"arrivals{end}")
        ),
    }


def _sla(sums: Sums, end: str) -> float:
    on_time, missed, drops = (sums[f"{name}{end}"] for name in ("on_time", "missed", "drops"))
    return _over(on_time, on_time + missed + drops)


def _quotient(metric: str, by: str) -> Callable[[Sums], float]:
    return lambda sums: _over(sums[metric], sums[by])


def _over(number: float, by: float) -> float:
    """The quotient; NaN, which tables show as a dash, where there is nothing to divide by."""
    return float(number / by) if by else math.nan
