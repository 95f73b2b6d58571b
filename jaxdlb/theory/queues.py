"""Queues in closed form or by small chains: what simulations of nodes that serve tasks must meet.

Queues of one server or of many (`one_server_…`, `many_server_…`) live in continuous time: tasks
arrive as a Poisson process with the rate λ and are served first come, first served, all times in one unit.

All others play rounds. At the end of a round a node holds n tasks, and events of the next round are drawn: a task
arrives with probability p, and if n ≥ 1 one completes with probability q, independently. In the next round the
completed task leaves and the arrived one lands, so that n becomes n − C + A: a task that lands in one round completes
in the next at the earliest. Loads are counted at the end of a round, after landing. By Little's law, L/p is a task's
response time: the number of rounds at the end of which it is present.
"""

import functools
import itertools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy import special  # type: ignore[import-untyped]

Law = Float[np.ndarray, " S"]
Rates = Float[np.ndarray, " N"] | Sequence[float]

_SETTLED = 1e-13  # how little a law may change in a step of the iteration towards its fixed point
_MOST_STEPS = 100_000
_ROUNDING = 1e-9  # by how much a mean square may fall short of the squared mean


def one_node_law(arrival_prob: float, completion_prob: float, longest: int) -> Law:
    """The stationary probabilities of 0, 1, …, `longest` tasks at a node alone; their sum falls short by the tail.

    A birth–death chain: from 0 up with p, from n ≥ 1 up with p(1 − q) and down with q(1 − p). Balance across each cut
    gives π_0 = 1 − p/q and π_n = π_0 · p/(q(1 − p)) · ρ^(n−1) for n ≥ 1, ρ = p(1 − q)/(q(1 − p)): the Geo/Geo/1 queue
    (Hunter 1983, *Mathematical Techniques of Applied Probability*, volume 2).

    Raises:
        ValueError: unless 0 < p < q ≤ 1.
    """
    p, q, rho = _stable(arrival_prob, completion_prob)
    some = p / (q * (1 - p)) * rho ** np.arange(longest)
    return (1 - p / q) * np.concatenate([[1.0], some])


def one_node_load(arrival_prob: float, completion_prob: float) -> float:
    """L = Σ n π_n = (p/q)/(1 − ρ) = p(1 − p)/(q − p), in tasks; L/p is the response time (1 − p)/(q − p), in rounds.

    Raises:
        ValueError: unless 0 < p < q ≤ 1.
    """
    p, q, _ = _stable(arrival_prob, completion_prob)
    return p * (1 - p) / (q - p)


def one_node_variance(arrival_prob: float, completion_prob: float) -> float:
    """The variance of the load, in tasks²: (p/q)(1 + ρ)/(1 − ρ)² − L², since the load of a busy node is geometric.

    Raises:
        ValueError: unless 0 < p < q ≤ 1.
    """
    p, q, rho = _stable(arrival_prob, completion_prob)
    return p / q * (1 + rho) / (1 - rho) ** 2 - one_node_load(p, q) ** 2


def independent_imbalance(arrival_prob: Rates, completion_prob: Rates) -> float:
    """E[mean_i (ℓ_i − ℓ̄)²] of N independent nodes, ℓ_i = x_i/q_i, in rounds².

    With m_i and s_i² the mean and variance of ℓ_i: mean(s_i² + m_i²) − (mean m_i)² − (mean s_i²)/N.

    Raises:
        ValueError: unless 0 < p_i < q_i ≤ 1 for every node.
    """
    nodes = list(zip(arrival_prob, completion_prob, strict=True))
    mean = np.array([one_node_load(p, q) / q for p, q in nodes])
    variance = np.array([one_node_variance(p, q) / q**2 for p, q in nodes])
    return float(np.mean(variance + mean**2) - np.mean(mean) ** 2 - np.mean(variance) / len(nodes))


def pooled_queue_law(arrival_prob: Rates, completion_prob: Rates, longest: int) -> Law:
    """The stationary law of the tasks in one queue that N nodes serve, the fastest first; at most `longest` fit in.

    From M tasks, the min(M, N) largest of the q_i complete one each with their probabilities, and each p_i adds one.
    Solved as a chain on 0 … `longest`; what would exceed that is lost, so choose it where the law has faded.
    """
    fastest = np.sort(np.asarray(completion_prob, np.float64))[::-1]
    arrivals = _sum_of_events(arrival_prob)
    kernel = np.zeros((longest + 1, longest + 1))
    for present in range(longest + 1):
        completions = _sum_of_events(fastest[:present])
        change = np.convolve(arrivals, completions[::-1])  # from −(tasks served) up
        after = present - (len(completions) - 1) + np.arange(len(change))
        np.add.at(kernel[present], np.clip(after, 0, longest), change)
    return _stationary(kernel)


def join_shortest_queue_of_two(arrival_prob: Rates, completion_prob: Rates, capacity: int) -> Float[np.ndarray, "S S"]:
    """The stationary law of the loads of two nodes that send each task to the shorter queue, as [x_1, x_2].

    Both dispatchers know both loads as they were at the end of the last round, completions of this round not counted;
    each breaks ties by a coin of its own, and tasks land at once. No closed form is known for uneven nodes; the chain
    on (K + 1)² states is solved, with K the `capacity` at which a node drops what exceeds it.
    """
    size = capacity + 1
    first, second = (each.ravel() for each in np.meshgrid(np.arange(size), np.arange(size), indexing="ij"))
    states = np.arange(size**2)
    kernel = np.zeros((size**2, size**2))
    shorter = np.sign(first - second)  # −1: the first is shorter
    for arrived, completed, coins in itertools.product(itertools.product((0, 1), repeat=2), repeat=3):
        likely = _chance(arrived, arrival_prob) / 4
        loads = []
        targets = [np.where(shorter == 0, coin, shorter > 0) for coin in coins]
        weight = np.full(size**2, likely)
        for node, load in enumerate((first, second)):
            q = completion_prob[node]
            weight = weight * np.where(load > 0, q if completed[node] else 1 - q, 1 - completed[node])
            landing = sum(arrived[k] * (targets[k] == node) for k in (0, 1))
            loads.append(np.minimum(load - completed[node] * (load > 0) + landing, capacity))
        np.add.at(kernel, (states, loads[0] * size + loads[1]), weight)
    return _stationary(kernel).reshape(size, size)


def power_of_d_tail(load: float, choices: int, longest: int) -> Law:
    """The share of nodes with at least 0, 1, …, `longest` tasks where each task joins the shortest of d sampled queues.

    ρ^((d^k − 1)/(d − 1)), and ρ^k for d = 1: infinitely many equal nodes in continuous time, Poisson arrivals and
    exponential service (Vvedenskaya, Dobrushin and Karpelevich 1996; Mitzenmacher 2001, doi 10.1109/71.963420).
    `load` is ρ, `choices` d.
    """
    k = np.arange(longest + 1)
    return np.asarray(load ** (k if choices == 1 else (float(choices) ** k - 1) / (choices - 1)))


def power_of_d_limit(arrival_prob: float, completion_prob: float, choices: int, longest: int) -> Law:
    """The law of a node's load, 0 … `longest`, among infinitely many equal nodes that play power of d in rounds.

    A task chooses among d = `choices` nodes: the one where it arrived and d − 1 others, by the loads at the end of the
    last round, ties broken at random. With s_k the share of nodes with at least k tasks, the chosen one holds k with
    probability s_k^d − s_{k+1}^d; so a node with k tasks is sent λ_k = p (s_k^d − s_{k+1}^d)/(s_k − s_{k+1}) tasks in a
    round. A d-th of them is its own, at most one task; those of others are a Poisson number as N → ∞. The law is the
    fixed point of that round, found by iteration: the mean-field limit in the manner of Mitzenmacher (2001), in
    discrete time. As p and q tend to 0 it tends to `power_of_d_tail`.

    Raises:
        ValueError: unless 0 < p < q ≤ 1.
    """
    p, q, _ = _stable(arrival_prob, completion_prob)
    law = np.zeros(longest + 1)
    law[0] = 1.0
    for _ in range(_MOST_STEPS):
        after = _round_of_power_of_d(law, p, q, choices)
        if np.abs(after - law).max() < _SETTLED:
            break
        law = after
    return after


def many_server_waiting_probability(arrival_rate: float, mean_service: float, num_servers: int) -> float:
    """C, the probability that a task has to wait for one of c servers with exponential service: Erlang's C formula.

    With a = λ E[S] and Erlang's B formula, B_0 = 1 and B_k = a B_{k−1}/(k + a B_{k−1}), it is c B_c/(c − a (1 − B_c))
    (Kleinrock 1975, *Queueing Systems*, volume 1, section 3.5).

    Raises:
        ValueError: unless 0 < λ E[S] < c.
    """
    offered = _offered(arrival_rate, mean_service, num_servers)
    blocked = 1.0
    for k in range(1, num_servers + 1):
        blocked = offered * blocked / (k + offered * blocked)
    return num_servers * blocked / (num_servers - offered * (1 - blocked))


def many_server_response(arrival_rate: float, mean_service: float, num_servers: int) -> float:
    """The mean response time in the same queue: E[S] + C E[S]/(c − λ E[S]).

    Raises:
        ValueError: unless 0 < λ E[S] < c.
    """
    waits = many_server_waiting_probability(arrival_rate, mean_service, num_servers)
    return mean_service + waits * mean_service / (num_servers - arrival_rate * mean_service)


def one_server_response(arrival_rate: float, mean_service: float, mean_square_service: float) -> float:
    """The mean response time at one server with any law of service: E[S] + λ E[S²]/(2 (1 − λ E[S])).

    The formula of Pollaczek (1930) and Khinchine (1932); Kleinrock 1975, section 5.6.

    Raises:
        ValueError: unless 0 < λ E[S] < 1 and E[S]² ≤ E[S²] < ∞.
    """
    offered = _offered(arrival_rate, mean_service, 1)
    if not mean_service**2 * (1 - _ROUNDING) <= mean_square_service < np.inf:
        raise ValueError(
            f"mean_square_service is {mean_square_service:g}; it must be finite and at least the square of "
            f"mean_service, {mean_service**2:g}"
        )
    return mean_service + arrival_rate * mean_square_service / (2 * (1 - offered))


def one_server_response_quantile(arrival_rate: float, mean_service: float, share: float) -> float:
    """The response time that a share of tasks does not exceed, at one server with exponential service.

    The response time is exponential with the rate 1/E[S] − λ, so the quantile is −log(1 − share)/(1/E[S] − λ)
    (Kleinrock 1975, section 5.6).

    Raises:
        ValueError: unless 0 < λ E[S] < 1 and 0 ≤ share < 1.
    """
    _offered(arrival_rate, mean_service, 1)
    if not 0 <= share < 1:
        raise ValueError(f"share is {share:g}; it must be in [0, 1)")
    return float(-np.log1p(-share) / (1 / mean_service - arrival_rate))


def _offered(arrival_rate: float, mean_service: float, num_servers: int) -> float:
    """λ E[S], of servers that keep up with their arrivals."""
    offered = float(arrival_rate) * float(mean_service)
    if not (arrival_rate > 0 and 0 < offered < num_servers):
        raise ValueError(
            f"arrival_rate is {arrival_rate:g} and mean_service {mean_service:g}; both must be above 0, and their "
            f"product below num_servers, {num_servers}"
        )
    return offered


def _round_of_power_of_d(law: Law, p: float, q: float, choices: int) -> Law:
    """The law of a node's load one round later."""
    longest = len(law) - 1
    tail = np.append(np.cumsum(law[::-1])[::-1], 0.0)  # s_0 … s_{longest + 1}
    # (s^d − t^d)/(s − t) as a sum of products, which is exact where s = t
    powers = [tail[:-1] ** (choices - 1 - j) * tail[1:] ** j for j in range(choices)]
    sent = p * np.sum(powers, axis=0)  # λ_k
    count = np.arange(longest + 1)
    rate = (sent * (choices - 1) / choices)[:, None]
    others = np.exp(special.xlogy(count, rate) - rate - special.gammaln(count + 1))  # Poisson: [k, tasks]
    own = (sent / choices)[:, None]
    landing = others * (1 - own) + np.pad(others, ((0, 0), (1, 0)))[:, :-1] * own
    leaves = np.where(count > 0, q, 0.0)
    after = np.zeros(longest + 1)
    for completed, share in ((0, 1 - leaves), (1, leaves)):
        target = np.clip(count[:, None] - completed + count, 0, longest)
        np.add.at(after, target, (law * share)[:, None] * landing)
    return after / after.sum()  # what the tables cut off is below rounding


def _stable(arrival_prob: float, completion_prob: float) -> tuple[float, float, float]:
    """p, q and ρ of a node that keeps up with its arrivals."""
    p, q = float(arrival_prob), float(completion_prob)
    if not 0 < p < q <= 1:
        raise ValueError(f"arrival_prob is {p:g} and completion_prob {q:g}; they must satisfy 0 < p < q ≤ 1")
    return p, q, p * (1 - q) / (q * (1 - p))


def _sum_of_events(probabilities: Rates) -> Law:
    """The law of the number of independent events that happen."""
    return functools.reduce(np.convolve, [np.array([1 - p, p]) for p in probabilities], np.ones(1))


def _chance(happened: Sequence[int], probabilities: Rates) -> float:
    """The probability that of independent events exactly these happen."""
    return float(np.prod([p if yes else 1 - p for yes, p in zip(happened, probabilities, strict=True)]))


def _stationary(kernel: Float[np.ndarray, "S S"]) -> Law:
    """The law π with π = π · kernel, of a chain with one recurrent class."""
    size = len(kernel)
    balance = kernel.T - np.eye(size)
    balance[-1] = 1.0  # in place of one equation, which follows from the others: π sums to 1
    return np.asarray(np.linalg.solve(balance, np.eye(size)[-1]))
