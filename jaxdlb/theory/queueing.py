"""Queues in closed form or by small chains: what simulations of nodes that serve tasks must meet.

Queues of servers (Erlang B and C, M/M/1, M/M/c, M/G/1) and `power_of_d_tail` live in continuous time: tasks arrive as a
Poisson process with the rate λ and are served first come, first served, all times in one unit. The offered load is
a = λ E[S], with S the service time.

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

from jaxdlb.checks import (
    NON_NEGATIVE,
    POSITIVE,
    POSITIVE_PROBABILITY,
    PROBABILITY,
    SHARE,
    Interval,
    as_numbers,
    check_array,
    check_size,
)

Law = Float[np.ndarray, " S"]
Rates = Float[np.ndarray, " N"] | Sequence[float]

_SETTLED = 1e-13  # how little a law may change in a step of the iteration towards its fixed point
_MOST_STEPS = 200_000
_FADED = 1e-9  # how little of a law may lie at the end of its table
_ROUNDING = 1e-9  # by how much a mean square may fall short of the squared mean
_LONGEST = 4_000  # what is solved takes 8 · longest² bytes, a few times
_LARGEST_CAPACITY = 64  # of two nodes: the equations of their chain take 8 (K + 1)⁴ bytes, a few times
_BELOW_ONE = Interval(0, 1, high_open=True)


def one_node_law(arrival_prob: float, completion_prob: float, longest: int) -> Law:
    """The stationary probabilities of 0, 1, …, `longest` tasks at a node alone; their sum falls short by the tail.

    A birth–death chain: from 0 up with p, from n ≥ 1 up with p(1 − q) and down with q(1 − p). Balance across each cut
    gives π_0 = 1 − p/q and π_n = π_0 · p/(q(1 − p)) · ρ^(n−1) for n ≥ 1, ρ = p(1 − q)/(q(1 − p)): the Geo/Geo/1 queue
    (Hunter 1983, *Mathematical Techniques of Applied Probability*, volume 2).

    Raises:
        ValueError: unless 0 < p < q ≤ 1 and `longest` is an integer ≥ 0.
    """
    p, q, rho = _stable(arrival_prob, completion_prob)
    check_size("longest", longest, 0)
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
    nodes = _nodes(arrival_prob, completion_prob, SHARE)
    for index, (p, q) in enumerate(nodes):
        _check_below(f"arrival_prob[{index}]", p, f"completion_prob[{index}]", q)
    mean = np.array([one_node_load(p, q) / q for p, q in nodes])
    variance = np.array([one_node_variance(p, q) / q**2 for p, q in nodes])
    return float(np.mean(variance + mean**2) - np.mean(mean) ** 2 - np.mean(variance) / len(nodes))


def pooled_queue_law(arrival_prob: Rates, completion_prob: Rates, longest: int) -> Law:
    """The stationary law of the tasks in one queue that N nodes serve, the fastest first; at most `longest` fit in.

    From M tasks, the min(M, N) largest of the q_i complete one each with their probabilities, and each p_i adds one.
    Solved as a chain on 0 … `longest`; what would exceed that is lost, so choose it where the law has faded.

    Raises:
        ValueError: unless 0 ≤ p_i ≤ 1, 0 < q_i ≤ 1, Σ p_i < Σ q_i, and `longest` is an integer from 0 to 4,000.
    """
    p, q = _nodes(arrival_prob, completion_prob, PROBABILITY).T
    _check_below("the sum of arrival_prob", p.sum(), "that of completion_prob", q.sum())
    check_size("longest", longest, 0, _LONGEST)
    fastest = np.sort(q)[::-1]
    arrivals = _sum_of_events(p)
    kernel = np.zeros((longest + 1, longest + 1))
    for present in range(longest + 1):
        completions = _sum_of_events(fastest[:present])
        change = np.convolve(arrivals, completions[::-1])  # from −(tasks served) up
        after = present - (len(completions) - 1) + np.arange(len(change))
        np.add.at(kernel[present], np.clip(after, 0, longest), change)
    return _stationary(kernel)


def join_shortest_queue_of_two(arrival_prob: Rates, completion_prob: Rates, capacity: int) -> Float[np.ndarray, "S S"]:
    """The stationary law of the loads of two nodes that send each task to the shorter queue (JSQ), as [x_1, x_2].

    Both dispatchers know both loads as they were at the end of the last round, completions of this round not counted;
    each breaks ties by a coin of its own, and tasks land at once. The chain on (K + 1)² states is solved, with K the
    `capacity` at which a node drops what exceeds it: in continuous time equal nodes have a generating function (Kingman
    1961, *Two similar queues in parallel*), and in rounds no closed form is known.

    Raises:
        ValueError: unless 0 ≤ p_i < 1 and 0 < q_i ≤ 1 for both nodes, and K is an integer from 1 to 64.
    """
    p, q = _nodes(arrival_prob, completion_prob, _BELOW_ONE, num_nodes=2).T
    check_size("capacity", capacity, 1, _LARGEST_CAPACITY)
    size = capacity + 1
    first, second = (each.ravel() for each in np.meshgrid(np.arange(size), np.arange(size), indexing="ij"))
    states = np.arange(size**2)
    kernel = np.zeros((size**2, size**2))
    shorter = np.sign(first - second)  # −1: the first is shorter
    for arrived, completed, coins in itertools.product(itertools.product((0, 1), repeat=2), repeat=3):
        likely = _chance(arrived, p) / 4
        loads = []
        targets = [np.where(shorter == 0, coin, shorter > 0) for coin in coins]
        weight = np.full(size**2, likely)
        for node, load in enumerate((first, second)):
            completes = q[node] if completed[node] else 1 - q[node]
            weight = weight * np.where(load > 0, completes, 1 - completed[node])
            landing = sum(arrived[k] * (targets[k] == node) for k in (0, 1))
            loads.append(np.minimum(load - completed[node] * (load > 0) + landing, capacity))
        np.add.at(kernel, (states, loads[0] * size + loads[1]), weight)
    return _stationary(kernel).reshape(size, size)


def power_of_d_tail(load: float, choices: int, longest: int) -> Law:
    """The share of nodes with at least 0, 1, …, `longest` tasks where each task joins the shortest of d sampled queues.

    ρ^((d^k − 1)/(d − 1)), and ρ^k for d = 1: infinitely many equal nodes in continuous time, Poisson arrivals and
    exponential service (Vvedenskaya, Dobrushin and Karpelevich 1996; Mitzenmacher 2001, doi 10.1109/71.963420).
    `load` is ρ, `choices` d.

    Raises:
        ValueError: unless 0 < ρ < 1, d is an integer ≥ 1 and `longest` one ≥ 0.
    """
    rho = _number("load", load, SHARE)
    check_size("choices", choices, 1)
    check_size("longest", longest, 0)
    k = np.arange(longest + 1)
    with np.errstate(over="ignore"):  # what is too large an exponent leaves nothing of ρ
        return np.asarray(rho ** (k if choices == 1 else (float(choices) ** k - 1) / (choices - 1)))


def power_of_d_limit(arrival_prob: float, completion_prob: float, choices: int, longest: int) -> Law:
    """The law of a node's load, 0 … `longest`, among infinitely many equal nodes that play power of d in rounds.

    A task chooses among d = `choices` nodes: the one where it arrived and d − 1 others, by the loads at the end of the
    last round, ties broken at random. With s_k the share of nodes with at least k tasks, the chosen one holds k with
    probability s_k^d − s_{k+1}^d; so a node with k tasks is sent λ_k = p (s_k^d − s_{k+1}^d)/(s_k − s_{k+1}) tasks in a
    round. A d-th of them is its own, at most one task; those of others are a Poisson number as N → ∞. The law is the
    fixed point of that round, found by iteration: the mean-field limit in the manner of Mitzenmacher (2001), in
    discrete time. As p and q tend to 0 it tends to `power_of_d_tail`.

    Raises:
        ValueError: unless 0 < p < q ≤ 1, d is an integer ≥ 1, and `longest` one of at most 4,000 at which the law has
            faded to 1e-9.
        ArithmeticError: it has not settled after 200,000 rounds, as happens with q about a thousandth.
    """
    p, q, _ = _stable(arrival_prob, completion_prob)
    check_size("choices", choices, 1)
    check_size("longest", longest, 0, _LONGEST)
    law = np.zeros(longest + 1)
    law[0] = 1.0
    for _ in range(_MOST_STEPS):
        before, law = law, _round_of_power_of_d(law, p, q, choices)
        if np.abs(law - before).max() < _SETTLED:
            return _faded(law)
    raise ArithmeticError(f"no fixed point in {_MOST_STEPS:,} rounds")


def erlang_b(offered_load: float, num_servers: int) -> float:
    """B, the probability that a task finds all c servers busy and is lost, where none can wait: Erlang's B formula.

    (aᶜ/c!)/Σ_{k ≤ c} aᵏ/k!, whatever the law of service, by the recursion B_0 = 1, B_k = a B_{k−1}/(k + a B_{k−1})
    (Kleinrock 1975, *Queueing Systems*, volume 1, section 3.6).

    Raises:
        ValueError: unless a > 0 and c is an integer ≥ 1.
    """
    offered = _number("offered_load", offered_load, POSITIVE)
    check_size("num_servers", num_servers, 1)
    lost = 1.0
    for k in range(1, num_servers + 1):
        lost = offered * lost / (k + offered * lost)
    return lost


def erlang_c(offered_load: float, num_servers: int) -> float:
    """C, the probability that a task has to wait for one of c servers with exponential service: Erlang's C formula.

    From Erlang's B formula: C = c B/(c − a (1 − B)) (Kleinrock 1975, section 3.5).

    Raises:
        ValueError: unless 0 < a < c and c is an integer ≥ 1.
    """
    lost = erlang_b(offered_load, num_servers)
    _check_below("offered_load", offered_load, "num_servers", num_servers)
    return num_servers * lost / (num_servers - offered_load * (1 - lost))


def mmc_response(arrival_rate: float, mean_service: float, num_servers: int) -> float:
    """The mean response time of M/M/c: E[S] + C E[S]/(c − λ E[S]), with C by Erlang's formula.

    Raises:
        ValueError: unless λ > 0, E[S] > 0, λ E[S] < c, and c is an integer ≥ 1.
    """
    offered = _offered(arrival_rate, mean_service, num_servers)
    return mean_service + erlang_c(offered, num_servers) * mean_service / (num_servers - offered)


def mm1_response_law(arrival_rate: float, mean_service: float, time: float) -> float:
    """The share of tasks of M/M/1 whose response time is at most `time`: 1 − e^(−(1/E[S] − λ) · time).

    The response time is exponential with the rate 1/E[S] − λ (Kleinrock 1975, section 5.7).

    Raises:
        ValueError: unless λ > 0, E[S] > 0, λ E[S] < 1 and time ≥ 0.
    """
    _offered(arrival_rate, mean_service, 1)
    return float(-np.expm1(-_number("time", time, NON_NEGATIVE) * (1 / mean_service - arrival_rate)))


def mm1_response_quantile(arrival_rate: float, mean_service: float, share: float) -> float:
    """The response time that a share of the tasks of M/M/1 does not exceed: −log(1 − share)/(1/E[S] − λ).

    Raises:
        ValueError: unless λ > 0, E[S] > 0, λ E[S] < 1 and 0 ≤ share < 1.
    """
    _offered(arrival_rate, mean_service, 1)
    return float(-np.log1p(-_number("share", share, _BELOW_ONE)) / (1 / mean_service - arrival_rate))


def pollaczek_khinchine(arrival_rate: float, mean_service: float, mean_square_service: float) -> float:
    """The mean time that a task of M/G/1 waits before it is served: λ E[S²]/(2 (1 − λ E[S])).

    The formula of Pollaczek (1930) and Khinchine (1932); Kleinrock 1975, section 5.5. The mean response time is E[S]
    more.

    Raises:
        ValueError: unless λ > 0, E[S] > 0, λ E[S] < 1 and E[S]² ≤ E[S²] < ∞.
    """
    offered = _offered(arrival_rate, mean_service, 1)
    square = _number("mean_square_service", mean_square_service, POSITIVE)
    if square < mean_service**2 * (1 - _ROUNDING):
        raise ValueError(
            f"mean_square_service is {square:g}; it must be at least the square of mean_service, {mean_service**2:g}"
        )
    return arrival_rate * square / (2 * (1 - offered))


def _offered(arrival_rate: float, mean_service: float, num_servers: int) -> float:
    """a = λ E[S], of servers that keep up with their arrivals."""
    rate, service = _number("arrival_rate", arrival_rate, POSITIVE), _number("mean_service", mean_service, POSITIVE)
    check_size("num_servers", num_servers, 1)
    _check_below("arrival_rate · mean_service", rate * service, "the number of servers", num_servers)
    return rate * service


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
    p = _number("arrival_prob", arrival_prob, SHARE)
    q = _number("completion_prob", completion_prob, POSITIVE_PROBABILITY)
    _check_below("arrival_prob", p, "completion_prob", q)
    return p, q, p * (1 - q) / (q * (1 - p))


def _nodes(
    arrival_prob: Rates, completion_prob: Rates, arrivals: Interval, num_nodes: int | None = None
) -> Float[np.ndarray, "N 2"]:
    """p and q of each node; as many nodes as are wanted, or else one or more."""
    shape = (max(np.size(as_numbers("arrival_prob", arrival_prob)), 1) if num_nodes is None else num_nodes,)
    p = check_array("arrival_prob", arrival_prob, shape, arrivals)
    return np.stack([p, check_array("completion_prob", completion_prob, shape, POSITIVE_PROBABILITY)], axis=1)


def _number(name: str, value: float, allowed: Interval) -> float:
    return float(check_array(name, value, (), allowed))


def _check_below(name: str, value: float, limit_name: str, limit: float) -> None:
    if not value < limit:
        raise ValueError(f"{name} is {value:g}; it must be below {limit_name}, {limit:g}")


def _faded(law: Law) -> Law:
    """The law, if the end of its table cuts off next to nothing of it."""
    if law[-1] > _FADED:
        raise ValueError(
            f"longest is {len(law) - 1}; it must be so large that at most {_FADED:g} of all nodes hold as many tasks, "
            f"not {law[-1]:.2g}"
        )
    return law


def _sum_of_events(probabilities: Float[np.ndarray, " N"]) -> Law:
    """The law of the number of independent events that happen."""
    return functools.reduce(np.convolve, [np.array([1 - p, p]) for p in probabilities], np.ones(1))


def _chance(happened: Sequence[int], probabilities: Float[np.ndarray, " N"]) -> float:
    """The probability that of independent events exactly these happen."""
    return float(np.prod([p if yes else 1 - p for yes, p in zip(happened, probabilities, strict=True)]))


def _stationary(kernel: Float[np.ndarray, "S S"]) -> Law:
    """The law π with π = π · kernel, of a chain with one recurrent class."""
    size = len(kernel)
    balance = kernel.T - np.eye(size)
    balance[-1] = 1.0  # in place of one equation, which follows from the others: π sums to 1
    return np.asarray(np.linalg.solve(balance, np.eye(size)[-1]))
