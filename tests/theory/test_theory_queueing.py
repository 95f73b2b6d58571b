"""Closed forms and solved chains of queues against each other, against chains written out, and against their limits."""

import itertools
import re

import jaxtyping
import numpy as np
import pytest
from scipy import optimize, stats

from jaxdlb import theory
from jaxdlb.theory import queueing

RATES = [(0.3, 0.5), (0.45, 0.6), (0.05, 0.99), (0.7, 1.0)]
LONGEST = 300
COUNT = np.arange(LONGEST + 1)


def settled(step, size):
    """The law that a chain, given as {(state, next): probability}, settles at: plain powers of its matrix."""
    kernel = np.zeros((size, size))
    for (state, after), probability in step.items():
        kernel[state, after] += probability
    np.testing.assert_allclose(kernel.sum(axis=1), 1)
    return np.linalg.matrix_power(kernel, 2**16)[0]


def birth_and_death(p, q, size):
    step = {}
    for n in range(size):
        up, down = (p, 0.0) if n == 0 else (p * (1 - q), q * (1 - p))
        for after, probability in ((n + 1, up), (n - 1, down), (n, 1 - up - down)):
            place = (n, min(max(after, 0), size - 1))
            step[place] = step.get(place, 0.0) + probability
    return step


@pytest.mark.parametrize(("p", "q"), RATES)
def test_one_node_has_the_law_that_its_chain_settles_at(p, q):
    law = theory.one_node_law(p, q, LONGEST)
    np.testing.assert_allclose(law[:60], settled(birth_and_death(p, q, 120), 120)[:60], atol=1e-9)
    assert law.sum() == pytest.approx(1)
    assert law @ COUNT == pytest.approx(theory.one_node_load(p, q))
    assert law @ COUNT**2 - (law @ COUNT) ** 2 == pytest.approx(theory.one_node_variance(p, q))


def test_the_response_time_of_a_node_tends_to_one_round_as_it_becomes_quick():
    assert theory.one_node_load(0.4, 1.0) / 0.4 == pytest.approx(1)
    assert theory.one_node_load(1e-9, 0.25) / 1e-9 == pytest.approx(4)


def test_the_imbalance_of_independent_nodes_is_the_sum_over_their_laws():
    p, q = (0.2, 0.1), (0.5, 0.9)
    laws = [theory.one_node_law(*node, 60) for node in zip(p, q, strict=True)]
    half = np.subtract.outer(np.arange(61) / q[0], np.arange(61) / q[1]) / 2  # each node's distance from their mean
    expected = np.sum(np.outer(*laws) * half**2)
    assert theory.independent_imbalance(p, q) == pytest.approx(expected)
    assert theory.independent_imbalance([0.2], [0.5]) == pytest.approx(0)


def test_the_pooled_queue_of_one_node_is_that_node():
    law = theory.pooled_queue_law([0.3], [0.5], 80)
    np.testing.assert_allclose(law[:40], theory.one_node_law(0.3, 0.5, 39), atol=1e-12)


def test_the_pooled_queue_settles_as_its_chain_written_out():
    p, q, size = (0.2, 0.5), (0.3, 0.8), 60
    step = {}
    for present, *events in itertools.product(range(size), *[(0, 1)] * 4):
        arrived, completed = events[:2], events[2:]
        chances = [*p, *(q if present > 1 else (0.0, q[1]) if present else (0.0, 0.0))]  # the second is the fastest
        probability = np.prod([c if yes else 1 - c for yes, c in zip(events, chances, strict=True)])
        place = (present, min(max(present + sum(arrived) - sum(completed), 0), size - 1))
        step[place] = step.get(place, 0.0) + probability
    law = theory.pooled_queue_law(p, q, 100)
    np.testing.assert_allclose(law[:40], settled(step, size)[:40], atol=1e-9)


def test_join_the_shortest_queue_settles_as_its_chain_written_out():
    p, q, capacity = (0.3, 0.4), (0.8, 0.35), 4
    size, step = capacity + 1, {}
    for x, y, *events in itertools.product(range(size), range(size), *[(0, 1)] * 4):
        chances = [*p, q[0] if x else 0.0, q[1] if y else 0.0]
        probability = np.prod([c if yes else 1 - c for yes, c in zip(events, chances, strict=True)])
        tied = [(0, 0), (0, 1), (1, 0), (1, 1)]
        for targets in tied if x == y else [(0, 0)] if x < y else [(1, 1)]:
            sent = [sum(yes for yes, to in zip(events[:2], targets, strict=True) if to == node) for node in (0, 1)]
            after = [
                min(max(load - done, 0) + more, capacity)
                for load, done, more in zip((x, y), events[2:], sent, strict=True)
            ]
            place = (x * size + y, after[0] * size + after[1])
            step[place] = step.get(place, 0.0) + probability / (4 if x == y else 1)
    law = theory.join_shortest_queue_of_two(p, q, capacity)
    np.testing.assert_allclose(law.ravel(), settled(step, size**2), atol=1e-9)


def test_two_queues_lie_between_the_pooled_queue_and_nodes_alone():
    loads = np.arange(31)
    law = theory.join_shortest_queue_of_two([0.4, 0.4], [0.5, 0.5], 30)
    shared = np.sum(law * np.add.outer(loads, loads))
    np.testing.assert_allclose(law, law.T, atol=1e-12)
    pooled = theory.pooled_queue_law([0.4, 0.4], [0.5, 0.5], 100) @ np.arange(101)
    assert pooled < shared < 2 * theory.one_node_load(0.4, 0.5)


@pytest.mark.parametrize("choices", [2, 3])
def test_power_of_d_in_short_rounds_is_that_of_continuous_time(choices):
    """By how much it misses is in proportion to q, as a round's length is."""
    tail = theory.power_of_d_tail(0.8, choices, 6)
    missed = []
    for q in (0.04, 0.02):
        law = theory.power_of_d_limit(0.8 * q, q, choices, 20)
        missed.append(np.abs(np.cumsum(law[::-1])[::-1][:7] - tail).max())
    assert missed[1] < 0.01
    assert missed[1] / missed[0] == pytest.approx(0.5, abs=0.05)


def test_power_of_one_leaves_nodes_alone():
    np.testing.assert_allclose(theory.power_of_d_limit(0.3, 0.5, 1, 60), theory.one_node_law(0.3, 0.5, 60), atol=1e-10)
    np.testing.assert_allclose(theory.power_of_d_tail(0.5, 1, 3), [1, 0.5, 0.25, 0.125])


def test_the_nodes_of_the_limit_receive_what_arrives():
    law = theory.power_of_d_limit(0.45, 0.5, 2, 25)
    assert law.sum() == pytest.approx(1)
    assert 0.5 * (1 - law[0]) == pytest.approx(0.45)


@pytest.mark.parametrize(("offered", "num_servers"), [(0.3, 1), (0.9, 1), (1.7, 2), (3.6, 4), (30.0, 40)])
def test_tasks_wait_for_one_of_many_servers_as_often_as_in_the_chain_written_out(offered, num_servers):
    """A birth–death chain in continuous time: up at the offered rate, down at the number of busy servers."""
    down = np.minimum(np.arange(1, 1000), num_servers)
    log_law = np.append(0.0, np.cumsum(np.log(offered) - np.log(down)))
    law = np.exp(log_law - log_law.max())
    law /= law.sum()
    assert theory.erlang_c(offered, num_servers) == pytest.approx(law[num_servers:].sum(), rel=1e-6)
    arrival_rate, mean_service = offered / 2, 2.0
    response = law @ np.arange(1000) / arrival_rate  # Little's law
    assert theory.mmc_response(arrival_rate, mean_service, num_servers) == pytest.approx(response, rel=1e-6)


@pytest.mark.parametrize(("offered", "num_servers"), [(0.5, 1), (3.0, 5), (30.0, 20), (500.0, 500)])
def test_tasks_are_lost_as_often_as_the_number_of_a_poisson_law_cut_off_is_the_largest(offered, num_servers):
    """The closed form against the recursion: B is the share of the last of 0 … c in the law of Poisson."""
    busy = stats.poisson(offered)
    assert theory.erlang_b(offered, num_servers) == pytest.approx(busy.pmf(num_servers) / busy.cdf(num_servers))


@pytest.mark.parametrize(
    ("blocking", "num_servers", "offered"),
    [(0.01, 1, 0.0101), (0.01, 10, 4.46), (0.01, 50, 37.9), (0.05, 5, 2.22), (0.1, 20, 17.6)],
)
def test_erlang_b_gives_the_traffic_of_the_tables(blocking, num_servers, offered):
    """The offered load in Erlangs at which tables of telephone traffic give that blocking, to three digits."""
    found = optimize.brentq(lambda load: theory.erlang_b(load, num_servers) - blocking, 1e-6, 100)
    assert found == pytest.approx(offered, rel=2e-3)


def test_one_exponential_server_is_the_same_by_every_formula():
    """M/M/1: the mean is 1/(μ − λ), and the integral of the quantiles."""
    rate, service = 0.7, 1.25
    mean = 1 / (1 / service - rate)
    shares = (np.arange(2000) + 0.5) / 2000
    quantiles = [theory.mm1_response_quantile(rate, service, share) for share in shares]
    assert theory.erlang_c(rate * service, 1) == pytest.approx(rate * service)
    assert theory.mmc_response(rate, service, 1) == pytest.approx(mean)
    assert service + theory.pollaczek_khinchine(rate, service, 2 * service**2) == pytest.approx(mean)
    assert np.mean(quantiles) == pytest.approx(mean, rel=5e-3)
    assert quantiles == pytest.approx(stats.expon(scale=mean).ppf(shares))
    assert [theory.mm1_response_law(rate, service, time) for time in quantiles] == pytest.approx(shares)
    assert theory.mm1_response_quantile(rate, service, 0.0) == theory.mm1_response_law(rate, service, 0.0) == 0


@pytest.mark.parametrize("law", ["constant", "bimodal"])
def test_one_server_of_any_law_is_lindleys_recursion(law):
    """Within 4 standard errors over 400 independent runs; under 2% of the mean."""
    generator, rate = np.random.default_rng(50), 0.6
    size = (400, 4000)
    service = np.ones(size) if law == "constant" else np.where(generator.random(size) < 0.9, 0.5, 5.5)
    gaps = generator.exponential(1 / rate, size)
    wait, responses = np.zeros(len(service)), []
    for gap, work in zip(gaps.T, service.T, strict=True):
        wait = np.maximum(wait - gap, 0)
        responses.append(wait + work)
        wait = wait + work
    means = np.mean(responses[1000:], axis=0)
    error = means.std(ddof=1) / np.sqrt(len(means))
    expected = 1.0 + theory.pollaczek_khinchine(rate, 1.0, 1.0 if law == "constant" else 0.9 * 0.25 + 0.1 * 30.25)
    assert error < 0.02 * expected
    assert abs(means.mean() - expected) < 4 * error


NAN, INF = float("nan"), float("inf")
REFUSED = {
    "arrival_prob is 0; it must be a finite number in (0, 1)": lambda: theory.one_node_law(0.0, 0.5, 9),
    "arrival_prob is nan; it must be a finite number in (0, 1)": lambda: theory.one_node_load(NAN, 0.5),
    "arrival_prob is 0.5; it must be below completion_prob, 0.5": lambda: theory.one_node_variance(0.5, 0.5),
    "completion_prob is 1.1; it must be a finite number in (0, 1]": lambda: theory.one_node_load(0.5, 1.1),
    "longest is 2.5; it must be an integer ≥ 0": lambda: theory.one_node_law(0.3, 0.5, 2.5),
    "arrival_prob[1] is 0.6; it must be below completion_prob[1], 0.5": (
        lambda: theory.independent_imbalance([0.2, 0.6], [0.5, 0.5])
    ),
    "completion_prob has shape (1,); it must have shape (2,)": lambda: theory.independent_imbalance([0.1, 0.1], [0.5]),
    "arrival_prob has shape (0,); it must have shape (1,)": lambda: theory.independent_imbalance([], []),
    "the sum of arrival_prob is 1.2; it must be below that of completion_prob, 1.2": (
        lambda: theory.pooled_queue_law([0.7, 0.5], [0.3, 0.9], 50)
    ),
    "arrival_prob[0] is -0.1; it must be a finite number in [0, 1]": (
        lambda: theory.pooled_queue_law([-0.1, 0.5], [0.3, 0.9], 50)
    ),
    "longest is -1; it must be an integer ≥ 0": lambda: theory.pooled_queue_law([0.1], [0.3], -1),
    "arrival_prob has shape (3,); it must have shape (2,)": (
        lambda: theory.join_shortest_queue_of_two([0.1] * 3, [0.5] * 3, 4)
    ),
    "arrival_prob[1] is 1; it must be a finite number in [0, 1)": (
        lambda: theory.join_shortest_queue_of_two([0.1, 1.0], [0.5, 0.5], 4)
    ),
    "completion_prob[0] is 0; it must be a finite number in (0, 1]": (
        lambda: theory.join_shortest_queue_of_two([0.1, 0.1], [0.0, 0.5], 4)
    ),
    "capacity is 0; it must be an integer ≥ 1": lambda: theory.join_shortest_queue_of_two([0.1] * 2, [0.5] * 2, 0),
    "capacity is 65; it must be at most 64": lambda: theory.join_shortest_queue_of_two([0.1] * 2, [0.5] * 2, 65),
    "load is 1; it must be a finite number in (0, 1)": lambda: theory.power_of_d_tail(1.0, 2, 4),
    "choices is 0; it must be an integer ≥ 1": lambda: theory.power_of_d_tail(0.9, 0, 4),
    "choices is 1.5; it must be an integer ≥ 1": lambda: theory.power_of_d_limit(0.3, 0.5, 1.5, 30),
    "arrival_prob is 0.9; it must be below completion_prob, 0.5": lambda: theory.power_of_d_limit(0.9, 0.5, 2, 30),
    "longest is 4001; it must be at most 4000": lambda: theory.power_of_d_limit(0.3, 0.5, 1, 4001),
    "longest is 3; it must be so large that at most 1e-09 of all nodes hold as many tasks, not 0.17": (
        lambda: theory.power_of_d_limit(0.45, 0.5, 2, 3)
    ),
    "offered_load is 0; it must be a finite number > 0": lambda: theory.erlang_b(0.0, 3),
    "num_servers is 0; it must be an integer ≥ 1": lambda: theory.erlang_b(1.0, 0),
    "num_servers is 2.0; it must be an integer ≥ 1": lambda: theory.erlang_c(1.0, 2.0),
    "offered_load is 3; it must be below num_servers, 3": lambda: theory.erlang_c(3.0, 3),
    "offered_load is nan; it must be a finite number > 0": lambda: theory.erlang_c(NAN, 3),
    "arrival_rate is -1; it must be a finite number > 0": lambda: theory.mmc_response(-1.0, -1.0, 2),
    "arrival_rate · mean_service is 4.5; it must be below the number of servers, 4": (
        lambda: theory.mmc_response(3.0, 1.5, 4)
    ),
    "mean_service is 0; it must be a finite number > 0": lambda: theory.pollaczek_khinchine(0.5, 0.0, 1.0),
    "arrival_rate · mean_service is 1; it must be below the number of servers, 1": (
        lambda: theory.pollaczek_khinchine(0.5, 2.0, 5.0)
    ),
    "mean_square_service is 0.9; it must be at least the square of mean_service, 1": (
        lambda: theory.pollaczek_khinchine(0.5, 1.0, 0.9)
    ),
    "mean_square_service is inf; it must be a finite number > 0": lambda: theory.pollaczek_khinchine(0.5, 1.0, INF),
    "time is -1; it must be a finite number ≥ 0": lambda: theory.mm1_response_law(0.5, 1.0, -1.0),
    "share is 1; it must be a finite number in [0, 1)": lambda: theory.mm1_response_quantile(0.5, 1.0, 1.0),
    "share is nan; it must be a finite number in [0, 1)": lambda: theory.mm1_response_quantile(0.5, 1.0, NAN),
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_what_lies_outside_a_formulas_domain_is_refused_in_one_sentence(sentence, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # users have no checks of annotations
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        REFUSED[sentence]()


def test_a_limit_that_does_not_settle_is_not_given(monkeypatch):
    monkeypatch.setattr(queueing, "_MOST_STEPS", 1000)
    with pytest.raises(ArithmeticError, match="no fixed point in 1,000 rounds"):
        theory.power_of_d_limit(0.99e-2, 1e-2, 2, 12)
