"""What each node and each link did: against sums in plain Python."""

import dataclasses

import jax
import numpy as np
import pytest

from jaxdlb.games.edge.game import Edge

# The path 0–1–2, and node 3 with no neighbour and no requests; node 2 has no instances, and so serves nothing.
FLOW = [[36, 18, 0, 0], [7, 0, 6, 0], [0, 11, 32, 0], [0, 0, 0, 0]]
REJECTED = [[2.5, 1.25, 0, 0], [0.5, 0, 6, 0], [0, 0.75, 32, 0], [0, 0, 0, 0]]
SERVICE_TIME = [0.25, 0.5, 0.0, 0.0]
THERE = [[0, 0.01, 0, 0], [0.02, 0, 0.03, 0], [0, 0.04, 0, 0], [0, 0, 0, 0]]
BACK = [[0, 0.05, 0, 0], [0.06, 0, 0.07, 0], [0, 0.08, 0, 0], [0, 0, 0, 0]]
NODES = range(4)


@pytest.fixture(scope="module")
def measure():
    """The metrics of a state of which some fields are given, and all else is 0."""
    game = Edge(num_nodes=4, max_instances=14, max_delay=0)
    params = game.default_params(instances=[14, 12, 0, 8])
    shapes, _ = jax.eval_shape(game.reset, jax.random.key(0), params)
    nothing = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    compiled = jax.jit(game.node_metrics)

    def measured(**fields):
        given = {name: np.asarray(value, getattr(nothing, name).dtype) for name, value in fields.items()}
        return jax.device_get(compiled(dataclasses.replace(nothing, **given), params))

    return measured


@pytest.fixture(scope="module")
def metrics(measure):
    return measure(
        previous_input=[60, 13, 45, 0],
        flow=FLOW,
        refused=[6, 0, 2, 0],
        rejected=REJECTED,
        expected=[3, 2, 38, 0],
        cold_share=[0.1, 0.2, 0, 0],
        service_time=SERVICE_TIME,
        warm_instances=[13, 11, 0, 0],
        late=[7, 2, 4, 0],
        reward=[0.7, 0.8, 0.75, 0],
        there=THERE,
        back=BACK,
    )


def over_forwarded(seconds):
    """The mean over what each node forwards, of a time that depends on where from and where to."""
    means = []
    for i in NODES:
        sent = [(FLOW[i][j], seconds(i, j)) for j in NODES if j != i]
        total = sum(amount for amount, _ in sent)
        means.append(sum(amount * time for amount, time in sent) / total if total else 0.0)
    return means


def others(i):
    return [j for j in NODES if j != i]


EXPECTED = {
    "input_rate": [60, 13, 45, 0],
    "local": [36, 0, 32, 0],
    "forwarded": [18, 13, 11, 0],
    "refused": [6, 0, 2, 0],
    "load": [43, 29, 38, 0],
    "received": [7, 29, 6, 0],
    "rejected_here": [3, 2, 38, 0],
    "local_rejected": [2.5, 0, 32, 0],
    "received_rejected": [sum(REJECTED[i][j] for i in others(j)) for j in NODES],
    "forward_rejected": [sum(REJECTED[i][j] for j in others(i)) for i in NODES],
    "reward": [0.7, 0.8, 0.75, 0],
    "local_response": [0.25, 0, 0, 0],
    "forwarded_response": over_forwarded(lambda i, j: SERVICE_TIME[j]),
    "network_there": over_forwarded(lambda i, j: THERE[i][j]),
    "network_back": over_forwarded(lambda i, j: BACK[i][j]),
    "expected": [3, 2, 38, 0],
    "cold_share": [0.1, 0.2, 0, 0],
    "warm_instances": [13, 11, 0, 0],
    "late": [7, 2, 4, 0],
    "utilisation": [40 * 0.25 / 14, 27 * 0.5 / 12, 0, 0],
    "flow": FLOW,
    "rejected": REJECTED,
    "response": [[0, 0.5, 0, 0], [0.25, 0, 0, 0], [0, 0.5, 0, 0], [0, 0, 0, 0]],
    "there": THERE,
    "back": BACK,
}


def test_there_are_these_metrics_and_no_others(metrics):
    assert set(metrics) == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_a_metric_is_what_plain_sums_say(metrics, name):
    np.testing.assert_allclose(metrics[name], EXPECTED[name], rtol=1e-6)


def test_where_nothing_is_forwarded_nothing_has_a_time(measure):
    idle = measure(there=THERE, back=BACK, service_time=SERVICE_TIME)
    assert not any(np.any(value) for value in idle.values())
