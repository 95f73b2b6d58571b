"""Closed forms and solved chains of queues against each other, against chains written out, and against their limits."""

import itertools

import numpy as np
import pytest

from jaxdlb import theory

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


@pytest.mark.parametrize(("p", "q"), [(0.5, 0.5), (0.6, 0.5), (0.0, 0.5), (0.5, 1.1), (float("nan"), 0.5)])
def test_a_node_that_cannot_keep_up_is_refused(p, q):
    for of_node in (theory.one_node_load, theory.one_node_variance):
        with pytest.raises(ValueError, match="they must satisfy 0 < p < q ≤ 1"):
            of_node(p, q)


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
    arrival_rate, mean_service = offered / 2, 2.0
    waits = theory.many_server_waiting_probability(arrival_rate, mean_service, num_servers)
    assert waits == pytest.approx(law[num_servers:].sum(), rel=1e-6)
    response = law @ np.arange(1000) / arrival_rate  # Little's law
    assert theory.many_server_response(arrival_rate, mean_service, num_servers) == pytest.approx(response, rel=1e-6)


def test_one_exponential_server_is_the_same_by_every_formula():
    """M/M/1: the mean is 1/(μ − λ), and the integral of the quantiles."""
    rate, service = 0.7, 1.25
    mean = 1 / (1 / service - rate)
    shares = (np.arange(2000) + 0.5) / 2000
    quantiles = [theory.one_server_response_quantile(rate, service, share) for share in shares]
    assert theory.many_server_waiting_probability(rate, service, 1) == pytest.approx(rate * service)
    assert theory.many_server_response(rate, service, 1) == pytest.approx(mean)
    assert theory.one_server_response(rate, service, 2 * service**2) == pytest.approx(mean)
    assert np.mean(quantiles) == pytest.approx(mean, rel=5e-3)
    assert theory.one_server_response_quantile(rate, service, 0.0) == 0


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
    expected = theory.one_server_response(rate, 1.0, 1.0 if law == "constant" else 0.9 * 0.25 + 0.1 * 30.25)
    assert error < 0.02 * expected
    assert abs(means.mean() - expected) < 4 * error


@pytest.mark.parametrize(("rate", "service", "num_servers"), [(1.0, 1.0, 1), (3.0, 1.5, 4), (0.0, 1.0, 1), (-1, -1, 2)])
def test_servers_that_cannot_keep_up_are_refused(rate, service, num_servers):
    for response in (theory.many_server_response, theory.many_server_waiting_probability):
        with pytest.raises(ValueError, match=r"^arrival_rate is .* product below num_servers, "):
            response(rate, service, num_servers)
    with pytest.raises(ValueError, match=r"^arrival_rate is "):
        theory.one_server_response(rate, service * num_servers, 10.0)
    with pytest.raises(ValueError, match=r"^arrival_rate is "):
        theory.one_server_response_quantile(rate, service * num_servers, 0.5)


def test_moments_and_shares_that_cannot_be_are_refused():
    for square in (0.9, float("inf"), float("nan")):
        with pytest.raises(ValueError, match=r"^mean_square_service is .*; it must be finite and at least the square"):
            theory.one_server_response(0.5, 1.0, square)
    for share in (-0.1, 1.0, float("nan")):
        with pytest.raises(ValueError, match=r"^share is .*; it must be in \[0, 1\)$"):
            theory.one_server_response_quantile(0.5, 1.0, share)
