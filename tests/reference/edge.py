"""A step of the edge once more, in scalars: an independent reading of its rules that the library is compared with.

Nothing here shares code or structure with the library: loops over nodes, whole numbers of Python, probabilities in
double precision from the balance of the chain of warm instances. What chance decides, the next inputs and bandwidths,
is handed in.
"""

import math
from typing import Any

Facts = dict[str, Any]


def split(total: int, weights: list[int], first: int) -> list[int]:
    """The largest-remainder rule."""
    whole = sum(weights)
    if whole == 0:
        return [0] * len(weights)
    parts = [total * weight // whole for weight in weights]
    by_claim = sorted(range(len(weights)), key=lambda k: (-(total * weights[k] % whole), k != first, k))
    for k in by_claim[: total - sum(parts)]:
        parts[k] += 1
    return parts


def service(rate: float, warm: float, cold: float, idle: float, instances: int) -> tuple[float, float, float]:
    """Probabilities of a rejection and of a cold start, and the mean pool, from the stationary law term by term."""
    if rate == 0 or instances == 0:
        return (1.0, 0.0, 0.0) if instances == 0 else (0.0, 1.0, 0.0)
    busy = [1.0]
    removal = [0.0]
    for m in range(1, instances + 1):
        busy.append(rate * warm * busy[-1] / (m + rate * warm * busy[-1]))
        per_second = rate * (busy[m - 1] - busy[m])
        removal.append(removal[-1] + (1 / _life(per_second, idle, warm) if per_second > 0 else 1 / idle))
    logs = [0.0]
    for m in range(1, instances + 1):
        grows = rate * busy[m - 1] / (1 + rate * busy[m - 1] * cold)
        logs.append(logs[-1] + (math.log(grows) if grows > 0 else -math.inf) - math.log(removal[m]))
    weights = [math.exp(each - max(logs)) for each in logs]
    total = sum(weights)
    law = [weight / total for weight in weights]
    reject = law[instances] * busy[instances]
    start = sum(law[m] * busy[m] for m in range(instances))
    return reject, start, sum(m * p for m, p in enumerate(law))


def _life(per_second: float, idle: float, warm: float) -> float:
    time = idle + warm
    y = per_second * time
    return idle + math.expm1(min(per_second * idle, 600)) * _gap(per_second, y, time)


def _gap(per_second: float, y: float, time: float) -> float:
    if y < 1e-4:  # the difference below cancels: its series
        return time * (y / 2 - y**2 / 3 + y**3 / 8)
    return -math.expm1(-y) / per_second - time * math.exp(-y)


def weigh(share: list[float], itself: int, neighbours: list[bool]) -> list[int]:
    """Whole weights for each node, and for refusal."""
    weights = []
    for each in share:
        within = 0.0 if math.isnan(each) or each < 0 else min(each, 1.0)
        weights.append(round(within * 2**15))
    for j, may in enumerate(neighbours):
        if j != itself and not may:
            weights[itself] += weights[j]
            weights[j] = 0
    weights[itself] = min(weights[itself], 2**15)
    if sum(weights) == 0:
        weights[itself] = 1
    return weights


def step(p: Facts, before: Facts, share: list[list[float]], coming: Facts) -> Facts:
    """What a step makes of a state; `p` holds the parameters and both names, `coming` what chance decides."""
    n = before["input_rate"]
    nodes = range(len(n))
    after: Facts = {"previous_input": n, "step": before["step"] + 1}
    flow, refused = [], []
    for i in nodes:
        parts = split(n[i], weigh(share[i], i, p["adjacency"][i]), i)
        flow.append(parts[:-1])
        refused.append(parts[-1])
    load = [sum(flow[i][j] for i in nodes) for j in nodes]
    expected, cold, time, pool, rejected = [], [], [], [], [[0.0] * len(n) for _ in nodes]
    for j in nodes:
        times = p["warm_time"][j], p["cold_time"][j]
        reject, start, size = service(load[j], *times, p["idle_time"][j], p["instances"][j])
        serves = load[j] > 0 and 1 - reject > 1e-6
        expected.append(load[j] * reject)
        cold.append(start / (1 - reject) if serves else 0.0)
        time.append(cold[j] * times[1] + (1 - cold[j]) * times[0] if serves else 0.0)
        pool.append(size if load[j] else 0.0)
        column = [flow[i][j] for i in nodes]
        if p["rejections"] == "rounded":
            column = split(min(max(round(expected[j]), 0), load[j]), column, j)
        else:
            column = [expected[j] * each / load[j] if load[j] else 0.0 for each in column]
        for i in nodes:
            rejected[i][j] = column[i]
    there, back = _carry(p, flow, before["bandwidth_now"])
    late = [sum(_late(p, i, j, flow, rejected, there, back, cold) for j in nodes) for i in nodes]
    earned = []
    for i in nodes:
        served = sum(flow[i]) - sum(rejected[i])
        forwarded = sum(flow[i]) - flow[i][i]
        costs = p["refusal_cost"] * refused[i] + p["loss_cost"] * sum(rejected[i])
        earned.append(served - costs - p["forwarding_cost"] * forwarded - p["lateness_cost"] * late[i])
    utility = sum(earned) / sum(n) if sum(n) else 0.0
    kappa = p["selfishness"]
    own = [earned[i] / n[i] if n[i] else 0.0 for i in nodes]
    after |= {
        "flow": flow,
        "refused": refused,
        "rejected": rejected,
        "expected": expected,
        "cold_share": cold,
        "service_time": time,
        "warm_instances": pool,
        "late": late,
        "there": there,
        "back": back,
        "reward": [(1 - kappa) * utility + kappa * each for each in own],
    }
    return after | coming | _heard(p, before, coming["input_rate"], load) | {"utility": utility}


def _carry(p: Facts, flow: list[list[int]], bandwidth: list[list[float]]) -> tuple[Any, Any]:
    """Times of messages from each node to each, there and back."""
    nodes = range(len(flow))

    def free(i: int, j: int) -> float:
        capacity = 1e6 * bandwidth[i][j]
        carried = 8 * (flow[i][j] * p["request_bytes"] + flow[j][i] * p["response_bytes"])
        return max(capacity - p["link_sharing"] * carried, 0.01 * capacity)

    there, back = ([[0.0] * len(flow) for _ in nodes] for _ in range(2))
    for i in nodes:
        for j in nodes:
            if p["adjacency"][i][j]:
                there[i][j] = p["access_delay"][i][j] + 8 * p["request_bytes"] / free(i, j)
                back[i][j] = p["access_delay"][j][i] + 8 * p["response_bytes"] / free(j, i)
    return there, back


def _late(p: Any, i: int, j: int, flow: Any, rejected: Any, there: Any, back: Any, cold: Any) -> float:
    left = p["deadline"] - there[i][j] - back[i][j]

    def longer(mean: float) -> float:
        return math.exp(-max(left, 0) / mean) if p["service_times"] == "exponential" else float(left < mean)

    mixed = cold[j] * longer(p["cold_time"][j]) + (1 - cold[j]) * longer(p["warm_time"][j])
    return (flow[i][j] - rejected[i][j]) * mixed


def took_at_most(p: Facts, after: Facts, times: list[float]) -> list[float]:
    """Of the requests served in a step, how many took at most each of some times."""
    counts = []
    for time in times:
        at = p | {"deadline": time}
        count = 0.0
        for i in range(len(after["flow"])):
            served = sum(after["flow"][i]) - sum(after["rejected"][i])
            names = ("flow", "rejected", "there", "back", "cold_share")
            late = sum(_late(at, i, j, *(after[name] for name in names)) for j in range(len(after["flow"])))
            count += served - late
        counts.append(count)
    return counts


def _heard(p: Facts, before: Facts, n: list[int], load: list[int]) -> Facts:
    """News after the step. `before["sent"]` lists what each node sent: (step, node, input, load); it grows here."""
    now, period, delay = before["step"], p["heartbeat_period"], p["heartbeat_delay"]
    heard = {name: list(before[name]) for name in ("heard_input", "heard_load", "heard_age")}
    sent = list(before["sent"])
    for j in range(len(n)):
        if period > 0 and (now - p["heartbeat_phase"][j]) % period == 0:
            sent.append((now, j, n[j], load[j]))
        heard["heard_age"][j] += 1 if period > 0 else 0
        for when, who, its_input, its_load in sent:
            if who == j and when + delay == now:
                heard["heard_input"][j], heard["heard_load"][j], heard["heard_age"][j] = its_input, its_load, delay
    return heard | {"sent": sent}
