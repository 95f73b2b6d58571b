"""The DLB game once more, in scalars: an independent reading of its rules that the library is compared with.

Nothing here shares code or structure with the library. Loads are lists of ints, tasks under way are kept one by one
with the round in which they land, heartbeats are a log of what each node said in each round, and every stage is a loop
over nodes. What chance decides is handed in (`Events`); all else follows.
"""

import dataclasses
import math
from typing import Any


@dataclasses.dataclass
class Rules:
    """The static sizes of the game."""

    num_nodes: int
    capacity: int
    imbalance: str
    max_delay: int


@dataclasses.dataclass
class Events:
    """What chance decides in a round: who is up after it, which links lose what they carry, the next events."""

    alive: list[bool]
    lost: list[list[bool]]  # [receiver][sender]
    modulation: int  # state of the law by which arrivals vary, in the round to come
    arrived: list[bool]
    completed: list[bool]


@dataclasses.dataclass
class Cluster:
    """The cluster between two rounds."""

    round: int
    load: list[int]
    alive: list[bool]
    arrived: list[bool]
    completed: list[bool]
    modulation: int
    heard_load: list[list[int]]  # [receiver][sender]
    heard_age: list[list[int]]
    under_way: list[tuple[int, int]] = dataclasses.field(default_factory=list)  # (round in which it lands, node)
    said: dict[tuple[int, int], int] = dataclasses.field(default_factory=dict)  # (round, sender) -> load


@dataclasses.dataclass
class Tally:
    """What the agents and the utility are told of a round."""

    migrated: list[bool]
    asked: list[bool]
    steals: int
    drops: list[int]
    utility: list[float]
    reward: list[float]


def begin(rules: Rules, params: Any, modulation: int, arrived: list[bool], completed: list[bool]) -> Cluster:
    """At reset: loads as given, nothing in transit, everyone has heard the initial loads, all alive."""
    everyone = range(rules.num_nodes)
    return Cluster(
        round=0,
        load=[params.initial_load[i] for i in everyone],
        alive=[True for _ in everyone],
        arrived=list(arrived),
        completed=list(completed),
        modulation=modulation,
        heard_load=[[params.initial_load[j] for j in everyone] for _ in everyone],
        heard_age=[[0 for _ in everyone] for _ in everyone],
    )


def play_round(
    rules: Rules, params: Any, before: Cluster, dispatch: list[int], steal: list[int], events: Events
) -> tuple[Cluster, Tally]:
    """One round, stage by stage."""
    now = before.round
    dispatch = [played(rules, before, i, dispatch[i], before.arrived[i]) for i in range(rules.num_nodes)]
    steal = [played(rules, before, i, steal[i], before.completed[i]) for i in range(rules.num_nodes)]
    under_way = list(before.under_way)

    load = list(before.load)
    for i in range(rules.num_nodes):  # 1. complete
        if before.completed[i]:
            load[i] -= 1

    stolen = 0
    can_give = [max(load[j] - 1, 0) if before.alive[j] else 0 for j in range(rules.num_nodes)]
    for turn in range(rules.num_nodes):  # 2. steal
        thief = (now + turn) % rules.num_nodes
        victim = steal[thief]
        if victim != thief and can_give[victim] > 0:
            can_give[victim] -= 1
            load[victim] -= 1
            under_way.append((now + params.transfer_delay, thief))
            stolen += 1

    migrated = [False for _ in range(rules.num_nodes)]
    for i in range(rules.num_nodes):  # 3. dispatch
        if before.arrived[i]:
            migrated[i] = dispatch[i] != i
            under_way.append((now + params.transfer_delay if migrated[i] else now, dispatch[i]))

    still_under_way = []
    for landing_round, node in under_way:  # 4. land
        if landing_round == now:
            load[node] += 1
        else:
            still_under_way.append((landing_round, node))
    drops = [max(load[j] - rules.capacity, 0) for j in range(rules.num_nodes)]
    load = [min(load[j], rules.capacity) for j in range(rules.num_nodes)]

    after = Cluster(  # 5. churn, and the next events
        round=now + 1,
        load=load,
        alive=list(events.alive),
        arrived=list(events.arrived),
        completed=list(events.completed),
        modulation=events.modulation,
        heard_load=[list(row) for row in before.heard_load],
        heard_age=[list(row) for row in before.heard_age],
        under_way=still_under_way,
        said=dict(before.said),
    )
    exchange_heartbeats(params, after, now, events.lost)  # 6. heartbeats

    asked = [steal[i] != i for i in range(rules.num_nodes)]
    held = bound_for(after)
    shares = imbalance(rules, params, held)
    utility = []
    for i in range(rules.num_nodes):  # 7. utility
        cost = params.imbalance_weight * shares[i] + params.holding_weight * held[i]
        cost += params.migration_cost if migrated[i] else 0.0
        cost += params.steal_cost if asked[i] else 0.0
        cost += params.drop_cost * drops[i]
        utility.append(-cost)
    mean = sum(utility) / rules.num_nodes
    reward = [(1 - params.selfishness) * mean + params.selfishness * own for own in utility]
    return after, Tally(migrated, asked, stolen, drops, utility, reward)


def played(rules: Rules, cluster: Cluster, node: int, choice: int, has_event: bool) -> int:
    """An illegal choice is played as the no-op, the own index."""
    if not has_event or not cluster.alive[node]:
        return node
    if choice < 0 or choice >= rules.num_nodes:
        return node
    return choice


def exchange_heartbeats(params: Any, cluster: Cluster, now: int, lost: list[list[bool]]) -> None:
    """Stage 6 at the end of round `now`, on the cluster as it is after landing and churn."""
    num_nodes = len(cluster.load)
    for j in range(num_nodes):
        is_due = (now - params.heartbeat_phase[j]) % params.heartbeat_period == 0
        if cluster.alive[j] and is_due:
            cluster.said[now, j] = cluster.load[j]
    for i in range(num_nodes):
        for j in range(num_nodes):
            hear(params, cluster, now, i, j, lost[i][j])


def hear(params: Any, cluster: Cluster, now: int, receiver: int, sender: int, is_lost: bool) -> None:
    """What `receiver` knows of `sender` at the end of round `now`."""
    news = cluster.said.get((now - params.heartbeat_delay, sender))
    if receiver == sender:
        cluster.heard_load[receiver][sender] = cluster.load[sender]
        cluster.heard_age[receiver][sender] = 0
    elif news is None or is_lost:
        cluster.heard_age[receiver][sender] += 1
    else:
        cluster.heard_load[receiver][sender] = news
        cluster.heard_age[receiver][sender] = params.heartbeat_delay


def bound_for(cluster: Cluster) -> list[int]:
    """How many tasks belong to each node: those that it has, and those on their way to it."""
    bound = list(cluster.load)
    for _, node in cluster.under_way:
        bound[node] += 1
    return bound


def imbalance(rules: Rules, params: Any, held: list[int]) -> list[float]:
    """Each node's share of the imbalance of drain times."""
    drain = [held[j] / params.completion_prob[j] for j in range(rules.num_nodes)]
    mean = sum(drain) / rules.num_nodes
    if rules.imbalance == "variance":
        return [(time - mean) ** 2 for time in drain]
    if rules.imbalance == "mean_absolute":
        return [abs(time - mean) for time in drain]
    if rules.imbalance == "range":
        return [max(drain) - min(drain) for _ in drain]
    raise ValueError(rules.imbalance)


def arrival_factor(kind: str, law: Any, state: int, now: int) -> float:
    """The multiplier of p in round `now`."""
    if kind == "Constant":
        return 1.0
    if kind == "Sinusoidal":
        return 1 + law.amplitude * math.sin(2 * math.pi * (now + law.phase) / law.period)
    if kind == "Step":
        return law.after if now >= law.at else law.before
    if kind == "MarkovModulated":
        return law.busy if state == 1 else law.calm
    if kind == "Trace":
        position = state
        for _ in range(now // law.rounds_per_sample):
            position = position + 1 if position + 1 < len(law.factors) else 0
        return law.factors[position]
    raise ValueError(kind)


def impossible(params: Any, factor: float, before: Cluster | None, after: Cluster) -> list[str]:
    """Which of the events that were drawn cannot happen, in words; `before` is None at reset."""
    wrong = _impossible_regime(params, before, after)
    for i in range(len(after.load)):
        arrival = min(max(params.arrival_prob[i] * factor, 0.0), 1.0) if after.alive[i] else 0.0
        completion = params.completion_prob[i] if after.alive[i] and after.load[i] > 0 else 0.0
        wrong += _impossible_outcome(f"arrival at {i}", after.arrived[i], arrival)
        wrong += _impossible_outcome(f"completion at {i}", after.completed[i], completion)
        was_up = before.alive[i] if before else True
        change = params.failure_prob[i] if was_up else params.repair_prob[i]
        wrong += _impossible_outcome(f"change of node {i}", after.alive[i] != was_up, change if before else 0.0)
    return wrong


def _impossible_regime(params: Any, before: Cluster | None, after: Cluster) -> list[str]:
    """The state of the arrival modulation moves only between two regimes, and starts anywhere only in a trace."""
    if params.kind == "MarkovModulated" and before:
        change = params.law.calm_to_busy if before.modulation == 0 else params.law.busy_to_calm
        return _impossible_outcome("change of regime", after.modulation != before.modulation, change)
    if params.kind == "Trace" and params.law.random_start and not before:
        return [] if 0 <= after.modulation < len(params.law.factors) else ["a start beyond the trace"]
    expected = before.modulation if before else 0
    return [] if after.modulation == expected else ["a change of regime in a law that has none"]


def _impossible_outcome(what: str, happened: bool, probability: float) -> list[str]:
    if happened and probability == 0:
        return [f"{what} with probability 0"]
    if not happened and probability == 1:
        return [f"no {what} with probability 1"]
    return []


def in_transit(rules: Rules, cluster: Cluster) -> list[list[int]]:
    """[k][j]: how many tasks land at j in the (k+1)-th round from now."""
    rows = [[0] * rules.num_nodes for _ in range(rules.max_delay)]
    for landing_round, node in cluster.under_way:
        rows[landing_round - cluster.round][node] += 1
    return rows


def observation(params: Any, cluster: Cluster) -> dict[str, list]:
    """What each agent may know: `own`, `peers` and the legal choices of both heads."""
    everyone = range(len(cluster.load))
    own, peers, dispatch, steal = [], [], [], []
    for i in everyone:
        own.append(
            [cluster.load[i], cluster.arrived[i], cluster.completed[i], params.completion_prob[i], cluster.alive[i]]
        )
        heard = [(cluster.heard_load[i][j], cluster.heard_age[i][j]) for j in everyone]
        heard[i] = (cluster.load[i], 0)
        peers.append([[*heard[j], params.completion_prob[j], j == i] for j in everyone])
        dispatch.append([cluster.arrived[i] or k == i for k in everyone])
        steal.append([cluster.completed[i] or k == i for k in everyone])
    return {"own": own, "peers": peers, "dispatch": dispatch, "steal": steal}
