"""A step of the pods once more, in scalars: an independent reading of its rules that the library is compared with.

Nothing here shares code or structure with the library: loops over pods and requests, and a server that goes from event
to event, in double precision. What chance decides is handed in: which requests come, which pods run on.

The rules are a mapping `p`: the parameters by their names, of each pod a list, and the game's `action`, `num_choices`,
`sharing`, `reward`, `queue_capacity` and `history`. CPU is in millicores, work in CPU-ms, time in seconds.
"""

import dataclasses
import math
from typing import Any

Facts = dict[str, Any]
Request = tuple[
    float, float
]  # of one that is held: age and work left; of one that comes: its time in the step and work

_LONGEST_RESPONSE = 2.0  # that a reward tells from longer ones
_RESPONSE_GOAL = 0.01  # s


@dataclasses.dataclass
class Pod:
    """One slot, at the start of a step."""

    limit: float
    tokens: float = 0.0
    usage: float = 0.0
    percent: float = 0.0
    held: list[Request] = dataclasses.field(default_factory=list)  # oldest first
    running: bool = True
    present: bool = True
    rows: list[list[float]] = dataclasses.field(default_factory=list)  # the history, oldest first


@dataclasses.dataclass
class Cluster:
    """All slots, at the start of a step."""

    pods: list[Pod]
    step: int = 0


@dataclasses.dataclass
class Served:
    """What the server of one pod did in one step."""

    departures: list[float]  # of each request, the held ones first; infinite if not in this step
    left: list[float]  # work of each at the end
    tokens: float  # at the end
    work: float  # done


def rules(num_pods: int, **given: Any) -> Facts:
    """The defaults, with some replaced; of what each pod has its own, a single number stands for all."""
    of_each = {
        **{"rate": 15, "feedback": 0, "work_mean": 10, "work_shape": 1, "max_usage": 1000, "slo": 0.25, "priority": 1},
        **{"min_limit": 50, "max_limit": 1000, "initial_limit": 100, "joins_at": 0, "leaves_at": 2**31 - 1},
    }
    of_all = {
        **{"action": "delta", "num_choices": 3, "sharing": "proportional", "reward": "cost"},
        **{"queue_capacity": 64, "max_arrivals": 64, "history": 6},
        **{"burst": 0.1, "budget": 1000 * num_pods / 3, "step_size": 50, "interval": 1},
        **{"cpu_cost": 1, "violation_cost": 0.1, "change_cost": 0, "selfishness": 0},
        **{"lower_usage": 30, "upper_usage": 60, "response_weight": 5},
    }
    unknown = set(given) - set(of_each) - set(of_all)
    assert not unknown, unknown
    each = {name: given.get(name, value) for name, value in of_each.items()}
    lists = {
        name: list(value) if isinstance(value, list | tuple) else [value] * num_pods for name, value in each.items()
    }
    return of_all | given | lists


def serve(
    held: list[Request],
    arrivals: list[Request],
    limit: float,
    max_usage: float,
    tokens: float,
    burst: float,
    interval: float,
) -> Served:
    """First in, first out, from event to event, under a token bucket that holds burst · limit."""
    came = [0.0] * len(held) + [time for time, _ in arrivals]
    left = [work for _, work in [*held, *arrivals]]
    departures = [math.inf] * len(left)
    capacity = burst * limit
    content = min(tokens, capacity)
    now, first, done = 0.0, 0, 0.0
    while True:
        while first < len(left) and came[first] <= now and left[first] == 0:
            departures[first] = now
            first += 1
        if now >= interval:
            return Served(departures, left, content, done)
        coming = came[first] - now if first < len(left) else math.inf
        works = coming <= 0
        speed = 0.0 if not works else max_usage if content > 0 else min(max_usage, limit)
        filling = limit - speed if content < capacity else min(limit - speed, 0.0)
        events = {
            "end": interval - now,
            "arrival": math.inf if works else coming,
            "completion": left[first] / speed if works else math.inf,
            "full": (capacity - content) / filling if filling > 0 else math.inf,
            "empty": content / -filling if filling < 0 else math.inf,
        }
        lasts = min(events.values())
        happens = {event for event, time in events.items() if time == lasts}
        done += speed * lasts
        if works:
            left[first] = 0.0 if "completion" in happens else left[first] - speed * lasts
        content = 0.0 if "empty" in happens else capacity if "full" in happens else content + filling * lasts
        now = interval if "end" in happens else came[first] if "arrival" in happens else now + lasts


def asked(p: Facts, pod: Pod, i: int, action: float) -> float:
    """The limit that an action asks for."""
    x, least, most = pod.limit, p["min_limit"][i], p["max_limit"][i]
    n, size = p["num_choices"], p["step_size"]
    if p["action"] in ("discrete", "levels"):
        if not 0 <= action <= n - 1:
            return x
        factor = -1 + 2 * int(action) / (n - 1)
        of_the_most = x if factor == 0 else factor * most
        wanted = x + factor * size if p["action"] == "discrete" else of_the_most
    elif not math.isfinite(action):
        return x
    elif p["action"] == "delta":
        wanted = x + size * min(max(action, -1), 1)
    else:
        wanted = min(max(action, 0), 1) * most
    return min(max(wanted, least), most)


def grant(p: Facts, cluster: Cluster, wanted: list[float]) -> tuple[list[float], float]:
    """The new limits, and how much of what was asked for is denied; `wanted` of an absent pod counts for nothing."""
    pods = cluster.pods
    wanted = [x if pod.present else pod.limit for x, pod in zip(wanted, pods, strict=True)]
    limits = [min(pod.limit, x) for pod, x in zip(pods, wanted, strict=True)]
    asks = [max(x - pod.limit, 0.0) for pod, x in zip(pods, wanted, strict=True)]
    free = max(p["budget"] - sum(limits), 0.0)
    if sum(asks) <= free:
        grants = asks
    elif p["sharing"] == "proportional":
        grants = [ask * free / sum(asks) for ask in asks]
    else:
        start = cluster.step % len(pods)
        order = [(start + k) % len(pods) for k in range(len(pods))]
        if p["sharing"] == "priority":
            order.sort(key=lambda i: -p["priority"][i])
        grants = [0.0] * len(pods)
        for i in order:
            grants[i] = min(asks[i], free)
            free -= grants[i]
    return [x + g for x, g in zip(limits, grants, strict=True)], sum(asks) - sum(grants)


def fit(p: Facts, limits: list[float], present: list[bool]) -> list[float]:
    """Limits that keep the budget: what is too much is taken in proportion to what each has above its minimum."""
    limits = [x if is_present else 0.0 for x, is_present in zip(limits, present, strict=True)]
    excess = sum(limits) - p["budget"]
    if excess <= 0:
        return limits
    slack = [x - p["min_limit"][i] if present[i] else 0.0 for i, x in enumerate(limits)]
    share = excess / sum(slack) if sum(slack) > 0 else 0.0  # only rounding exceeds the budget where there is no slack
    return [x - share * each for x, each in zip(limits, slack, strict=True)]


def rate(p: Facts, pod: Pod, i: int, factor: float) -> float:
    """Requests a second that come to a pod in a step that starts so."""
    return max(factor * p["rate"][i] - p["feedback"][i] * len(pod.held), 0.0) if pod.present else 0.0


def reset(p: Facts) -> Cluster:
    """The cluster at the start of an episode."""
    nodes = range(len(p["rate"]))
    present = [_scheduled(p, i, 0) for i in nodes]
    limits = fit(p, p["initial_limit"], present)
    pods = [Pod(limits[i], p["burst"] * limits[i], present=present[i]) for i in nodes]
    cluster = Cluster(pods)
    for i in nodes:
        pods[i].rows = [row(p, cluster, i)] * p["history"]
    return cluster


def step(
    p: Facts,
    before: Cluster,
    action: list[float],
    arrivals: list[list[Request]],
    running: list[bool] | None = None,
    truncated: int = 0,
) -> tuple[Cluster, Facts]:
    """What a step makes of a cluster, and what happened in it.

    `arrivals` are the requests (time, work) that come to each pod, in order, those of `truncated` pods cut short;
    `running` says which pods run afterwards, by default those that ran before.
    """
    pods, nodes, interval = before.pods, range(len(before.pods)), p["interval"]
    wanted = [asked(p, pods[i], i, action[i]) if pods[i].present else 0.0 for i in nodes]
    limits, denied = grant(p, before, wanted)
    facts: Facts = {"wanted": wanted, "limit": limits, "denied": denied, "responses": []}
    for name in ("departures", "violations", "drops", "completions", "mean_response", "own_utility"):
        facts[name] = []
    after = []
    for i in nodes:
        pod = pods[i]
        served, held, counts, responses = _pass_time(p, pod, i, limits[i], arrivals[i])
        usage = served.work / interval
        percent = 100 * usage / limits[i] if pod.present else 0.0
        after.append(Pod(limits[i], served.tokens, usage, percent, held, pod.running, pod.present, pod.rows))
        facts["departures"].append(served.departures)
        facts["responses"] += responses
        facts["violations"].append(counts["violations"])
        facts["drops"].append(counts["drops"])
        facts["completions"].append(len(responses))
        oldest = held[0][0] if held else 0.0
        mean = sum(responses) / len(responses) if responses else oldest
        facts["mean_response"].append(min(mean, _LONGEST_RESPONSE))
        cost = p["cpu_cost"] * limits[i] / 1000 * interval
        cost += p["violation_cost"] * p["priority"][i] * counts["violations"]
        cost += p["change_cost"] * abs(limits[i] - pod.limit) / 1000
        facts["own_utility"].append(-cost if pod.present else 0.0)
    facts["usage"], facts["percent"] = [pod.usage for pod in after], [pod.percent for pod in after]
    facts |= _rewards(p, before, facts)
    cluster = Cluster(after, before.step + 1)
    evictions = _churn(p, cluster, [pod.running for pod in pods] if running is None else running, pods)
    facts["metrics"] = {
        "arrivals": sum(len(each) for each in arrivals),
        "completions": sum(facts["completions"]),
        "violations": sum(facts["violations"]),
        "drops": sum(facts["drops"]),
        "evictions": evictions,
        "truncated": truncated,
        "response_sum": sum(facts["responses"]),
        "held": sum(len(pod.held) for pod in after),
        "usage": sum(facts["usage"]),
        "provisioned": sum(limits),
        "denied": denied,
        "change": sum(abs(x - pod.limit) for x, pod in zip(limits, pods, strict=True)),
        "pods_present": sum(pod.present for pod in pods),
        "utility": facts["utility"],
    }
    return cluster, facts


def _pass_time(
    p: Facts, pod: Pod, i: int, limit: float, arrivals: list[Request]
) -> tuple[Served, list[Request], dict[str, int], list[float]]:
    """One pod's service: what is held after it, how many violate and are dropped, the responses of those complete."""
    interval, objective = p["interval"], p["slo"][i]
    if not pod.present:
        assert not arrivals and not pod.held
        return Served([], [], 0.0, 0.0), [], {"violations": 0, "drops": 0}, []
    served = serve(pod.held, arrivals, limit, p["max_usage"][i], pod.tokens, p["burst"], interval)
    came = [-age for age, _ in pod.held] + [time for time, _ in arrivals]
    violations, drops, responses, held = 0, 0, [], []
    for arrived, departs, left in zip(came, served.departures, served.left, strict=True):
        due = arrived + objective
        violations += 0 < due <= interval and departs > due
        if departs <= interval:
            responses.append(departs - arrived)
        elif len(held) < p["queue_capacity"]:
            held.append((interval - arrived, left))
        else:
            drops += 1
            violations += due > interval
    return served, held, {"violations": violations, "drops": drops}, responses


def _rewards(p: Facts, before: Cluster, facts: Facts) -> Facts:
    pods, nodes = before.pods, range(len(before.pods))
    present = [i for i in nodes if pods[i].present]
    if p["reward"] == "cost":
        own, kappa = facts["own_utility"], p["selfishness"]
        utility = _mean([own[i] for i in present])
        return {"utility": utility, "reward": [(1 - kappa) * utility + kappa * each for each in own]}
    kind, response = int(p["reward"].removeprefix("marlise_")), facts["mean_response"]
    if kind in (1, 2):
        weighted = sum((1 + p["priority"][i]) * response[i] for i in present)
        shared = 1 - p["response_weight"] * (weighted - _RESPONSE_GOAL)
    else:
        shared = (0 if kind == 4 else 1) - 10 * _mean([response[i] for i in present])
    reward = [shared] * len(pods)
    for i in present:
        reward[i] += _own_part(p, kind, facts["percent"][i], pods[i].percent) / 2
    return {"utility": _mean([reward[i] for i in present]), "reward": reward}


def _own_part(p: Facts, kind: int, percent: float, previous: float) -> float:
    lower, upper = p["lower_usage"], p["upper_usage"]
    if kind == 1:
        return -1.0 if percent <= lower else 0.0
    if percent < lower:
        return min(max((percent - previous) / 10, -1.0), 1.0)
    if kind in (2, 3) and percent <= upper:
        return 1 + percent / (upper - lower)
    return 0.0


def _churn(p: Facts, cluster: Cluster, running: list[bool], before: list[Pod]) -> int:
    """Pods leave and join, limits are fitted, histories go on; the number of requests evicted."""
    pods, nodes, evictions, joined = cluster.pods, range(len(cluster.pods)), 0, []
    for i in nodes:
        pod = pods[i]
        pod.running = running[i]
        pod.present = running[i] and _scheduled(p, i, cluster.step)
        if before[i].present and not pod.present:
            evictions += len(pod.held)
            pod.limit = pod.tokens = pod.usage = pod.percent = 0.0
            pod.held = []
        if pod.present and not before[i].present:
            joined.append(i)
            pod.limit = p["initial_limit"][i]
    for i, limit in enumerate(fit(p, [pod.limit for pod in pods], [pod.present for pod in pods])):
        full = p["burst"] * limit
        pods[i].limit, pods[i].tokens = limit, full if i in joined else min(pods[i].tokens, full)
    for i in nodes:
        new = row(p, cluster, i)
        starts_anew = i in joined or not pods[i].present
        pods[i].rows = [new] * p["history"] if starts_anew else [*pods[i].rows[1:], new]
    return evictions


def row(p: Facts, cluster: Cluster, i: int) -> list[float]:
    """The newest row of a pod's history."""
    pod = cluster.pods[i]
    others = [j for j, each in enumerate(cluster.pods) if each.present and j != i]
    return [
        pod.limit,
        pod.usage,
        p["budget"] - sum(each.limit for each in cluster.pods),
        pod.percent / 100,
        _mean([cluster.pods[j].percent / 100 for j in others]),
        p["priority"][i],
        _mean([p["priority"][j] for j in others]),
    ]


def observation(p: Facts, cluster: Cluster) -> list[list[float]]:
    """What each agent observes, `own`."""
    count = sum(pod.present for pod in cluster.pods)
    seen = []
    for i, pod in enumerate(cluster.pods):
        entries = [each for one in pod.rows for each in one]
        entries += [1.0, p["min_limit"][i], p["max_limit"][i], p["slo"][i], float(count)]
        seen.append(entries if pod.present else [0.0] * len(entries))
    return seen


def _scheduled(p: Facts, i: int, step: int) -> bool:
    return bool(p["joins_at"][i] <= step < p["leaves_at"][i])


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0
