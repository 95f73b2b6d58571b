"""What a step of pods reports, and what tables make of it."""

import math
from collections.abc import Mapping

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxdlb.game import Column, Sums, Verdict, mean_of
from jaxdlb.games.pods import server
from jaxdlb.mechanics.histograms import Bins

BINS = Bins(least=1e-3, num=700, growth=1.02)  # of response times, s
CLASSES = ("high", "medium", "low")  # of priorities: thirds of (0, 1]

METRICS = {
    "arrivals": "requests that came",
    "completions": "requests completed",
    "violations": "requests that passed their response-time objective, or were dropped before that",
    "drops": "requests dropped for want of room",
    "evictions": "requests lost because their pod left",
    "truncated": "pods to which more requests may have come than there was room for in a step",
    "response_sum": "response times of completed requests, seconds in total",
    "held": "requests held at the end of the step",
    "usage": "CPU used, mc",
    "provisioned": "sum of limits, mc",
    "denied": "CPU asked for but not granted, mc",
    "change": "absolute changes of limits, mc in total",
    "pods_present": "pods present",
    "class_arrivals": "requests that came to pods of high, medium and low priority",
    "class_violations": "violations at pods of high, medium and low priority",
    "pod_limit": "limit of the pod during the step, mc",
    "pod_usage": "CPU that the pod used, mc",
    "pod_violations": "violations at the pod",
    "utility": "minus the cost a pod present, or the mean reward of MARLISE",
}
HISTOGRAM_METRIC = {"response_histogram": "requests completed, by response time on a logarithmic grid"}


def nothing(num_pods: int, percentiles: bool) -> dict[str, Array]:
    """The metrics at reset."""
    integers = ("arrivals", "completions", "violations", "drops", "evictions", "truncated", "held", "pods_present")
    metrics = {name: jnp.int32(0) if name in integers else jnp.float32(0) for name in METRICS}
    metrics |= {name: jnp.zeros(len(CLASSES), jnp.int32) for name in ("class_arrivals", "class_violations")}
    metrics |= {name: jnp.zeros(num_pods) for name in ("pod_limit", "pod_usage")}
    metrics["pod_violations"] = jnp.zeros(num_pods, jnp.int32)
    return metrics | ({"response_histogram": BINS.none()} if percentiles else {})


def counted(
    outcome: server.Outcome, present: Bool[Array, " N"], priority: Float[Array, " N"], percentiles: bool
) -> dict[str, Array]:
    """What was counted of requests in a step."""
    place = jnp.clip(jnp.floor(3 * (1 - priority) + 1e-4), 0, 2)
    members = (place == jnp.arange(len(CLASSES))[:, None]) & present
    metrics = {
        "arrivals": jnp.sum(outcome.arrivals),
        "completions": jnp.sum(outcome.completions),
        "violations": jnp.sum(outcome.violations),
        "drops": jnp.sum(outcome.drops),
        "truncated": jnp.sum(outcome.is_truncated, dtype=jnp.int32),
        "response_sum": jnp.sum(outcome.response_sum),
        "class_arrivals": _by_class(outcome.arrivals, members),
        "class_violations": _by_class(outcome.violations, members),
    }
    if percentiles:
        is_complete = ~jnp.isnan(outcome.response)
        metrics["response_histogram"] = BINS.count(BINS.none(), outcome.response, is_complete)
    return metrics


def _by_class(each: Int[Array, " N"], members: Bool[Array, "3 N"]) -> Int[Array, " 3"]:
    return jnp.sum(jnp.where(members, each, 0), axis=1)


def of(reward: str, percentiles: bool) -> Mapping[str, Column]:
    """The columns of a game's tables."""
    return {
        "utility": Column("utility", _MEANINGS.get(reward, _MARLISE), mean_of("utility")),
        "violation_share": Column(
            "violations",
            "the share of requests that pass their response-time objective",
            lambda sums: sums["violations"] / sums["arrivals"],
            Verdict(better="fewer violations", worse="more violations"),
        ),
        "response_time": Column(
            "response time, s",
            "of completed requests",
            lambda sums: sums["response_sum"] / sums["completions"],
        ),
        **({f"p{percent}": _percentile(percent) for percent in (50, 95, 99)} if percentiles else {}),
        "cores": Column(
            "cores provisioned",
            "sum of limits, mean over steps",
            lambda sums: sums["provisioned"] / sums["steps"] / 1000,
            Verdict(better="fewer cores", worse="more cores"),
        ),
        "utilisation": Column(
            "utilisation", "CPU used as a share of the limits", lambda sums: sums["usage"] / sums["provisioned"]
        ),
        **{f"violations_{name}": _class_column(name, index) for index, name in enumerate(CLASSES)},
        "truncated": Column(
            "pods cut short, a step",
            "pods to which more requests may have come than there was room for, mean over steps",
            mean_of("truncated"),
            warning="More requests may have come to a pod in a step than max_arrivals has room for",
        ),
    }


_MEANINGS = {"cost": "minus the cost a pod and step: of CPU, of violations and of changes"}
_MARLISE = "mean reward of a pod in a step"


def _class_column(name: str, index: int) -> Column:
    def share(sums: Sums) -> float:
        arrivals = sums["class_arrivals"][index]
        return float(sums["class_violations"][index] / arrivals) if arrivals else math.nan

    return Column(f"violations, {name} priority", f"the same at pods of {name} priority", share)


def _percentile(percent: int) -> Column:
    return Column(
        f"p{percent}, s",
        f"the response time that {percent}% of completed requests do not exceed",
        lambda sums: BINS.percentile(sums["response_histogram"], percent),
        Verdict(better="faster at p99", worse="slower at p99") if percent == 99 else None,
    )
