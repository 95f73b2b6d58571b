"""The rack against a discrete-event model that is given the same tasks and the same choices."""

import functools
import itertools
import math
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference.rack_episodes import batch_player, check_episode, model_of, record, stack

from jaxdlb.games.rack import Action, Rack
from jaxdlb.games.rack.dealing import Weighted
from jaxdlb.mechanics.arrivals import Step

NODES, NUM_SLICES, RECORDED = 3, 400, 6000
GAME = Rack(NODES, max_cores=4, max_io_cores=3, max_tasks=4096, max_arrivals=32, max_delay=40)
UNEVEN = dict(cores=[4, 1, 2], core_perf=[1.0, 0.7, 2.5], io_cores=[1, 3, 2], io_perf=[2.0, 0.5, 1.3])
LINKED = dict(latency=[0.31, 0.07, 0.52], packet_overhead=[40.0, 0.0, 90.0])
SILENT = dict(heartbeat_period=1e6, heartbeat_phase=10**6)  # no heartbeat within the run


def runtimes(law, size):
    """Run times with the mean 1, ms."""
    generator = np.random.default_rng(11)
    return {
        "exponential": generator.exponential(size=size),
        "normal": np.maximum(generator.normal(1, 0.4, size), 0),
        "pareto": (1 + generator.pareto(1.6, size)) * 0.6 / 1.6,
        "bimodal": np.where(generator.random(size) < 0.9, 0.5, 5.5),
        "constant": np.ones(size),
    }[law]


def tasks(law, io_time=0.3, payload=500.0, gaps=None):
    generator = np.random.default_rng(12)
    gaps = generator.exponential(size=RECORDED) if gaps is None else gaps
    io_times = generator.exponential(io_time, RECORDED)
    return record(gaps, runtimes(law, RECORDED), io_times, generator.uniform(0, 2 * payload, RECORDED))


def bursts(size):
    """Gaps between tasks of which so many arrive almost at once."""
    gaps = np.where(np.arange(RECORDED) % size == size - 1, 1.0, 0.0)
    return gaps / gaps.mean() + 1e-3


def itself():
    return np.broadcast_to(np.arange(NODES, dtype=np.int32), (NUM_SLICES, NODES))


def anybody(seed):
    """Any node, or what no node may choose."""
    return np.random.default_rng(seed).integers(-1, NODES + 1, (NUM_SLICES, NODES), dtype=np.int32)


def next_one():
    return (itself() + 1) % NODES


ONE_NODE = dict(tasks=tasks("exponential"), arrival_rate=2.5, dealing=Weighted([1.0, 0.0, 0.0]))

# Each: fields of the parameters, where tasks are sent, whom nodes ask for one; None: nowhere, nobody.
ALONE = {
    "slices much shorter than tasks": (dict(tasks=tasks("normal"), dt=0.07, arrival_rate=3.0), None, None),
    "slices much longer than tasks": (dict(tasks=tasks("exponential"), dt=3.0, arrival_rate=3.5), None, None),
    "one node": (ONE_NODE | dict(dt=1.6), None, None),
    "one node in slices half as long": (ONE_NODE | dict(dt=0.8), None, None),
    "heavy tails": (dict(tasks=tasks("pareto"), dt=0.5, arrival_rate=3.0, overhead=0.15), None, None),
    "two sizes": (dict(tasks=tasks("bimodal"), dt=0.4, arrival_rate=4.0, overhead=[0, 0.11, 0.23]), None, None),
    "all alike": (dict(tasks=tasks("constant", io_time=0.0), dt=0.9, arrival_rate=1.1), None, None),
    "slow I/O": (dict(tasks=tasks("exponential", io_time=1.6), dt=0.6, arrival_rate=4.0), None, None),
    "bursts": (dict(tasks=tasks("normal", gaps=bursts(80)), dt=1.0, arrival_rate=3.0), None, None),
    "a burst before a calm": (
        dict(tasks=tasks("normal", gaps=bursts(80)), dt=1.0, arrival_rate=3.0)
        | dict(arrival_modulation=Step(at=1, before=1.0, after=0.02)),
        None,
        None,
    ),
    "thousands waiting": (dict(tasks=tasks("normal"), dt=0.6, arrival_rate=20.0), None, None),
}
MIGRATING = {
    "to the next": (dict(tasks=tasks("exponential"), dt=0.25, arrival_rate=3.0), next_one(), None),
    "to anybody, with heartbeats": (
        dict(tasks=tasks("bimodal"), dt=0.26, arrival_rate=4.0, bandwidth=[2e7, 1e7, 4e7])
        | dict(heartbeat_period=0.78, heartbeat_phase=[0, 1, 2]),
        anybody(13),
        None,
    ),
    "slow links": (
        dict(tasks=tasks("normal"), dt=0.25, arrival_rate=3.0, bandwidth=[1.2e6, 3e6, 2e6]),
        anybody(14),
        None,
    ),
}
STEALING = {
    "from anybody": (
        dict(tasks=tasks("exponential"), dt=0.25, arrival_rate=4.5, bandwidth=[2e7, 1e7, 4e7]),
        None,
        anybody(15),
    ),
    "from the one who gets everything": (
        dict(tasks=tasks("normal"), dt=0.1, arrival_rate=3.0, dealing=Weighted([0.0, 1.0, 0.0])),
        None,
        np.broadcast_to(np.int32([1, 1, 1]), (NUM_SLICES, NODES)),
    ),
    "while sending": (
        dict(tasks=tasks("pareto"), dt=0.4, arrival_rate=4.0, bandwidth=[5e6, 9e6, 6e6])
        | dict(heartbeat_period=2.0, heartbeat_phase=[0, 1, 2]),
        anybody(16),
        anybody(17),
    ),
}
REFUSED = {
    "both from the one who gets nothing": (
        dict(tasks=tasks("normal"), dt=0.25, arrival_rate=2.0, dealing=Weighted([1.0, 0.0, 1.0]))
        | dict(bandwidth=[1e7, 4.137e5, 1e7], latency=0.1037, packet_overhead=20.0),
        None,
        np.broadcast_to(np.int32([1, 1, 1]), (NUM_SLICES, NODES)),
    ),
}
CASES = ALONE | MIGRATING | STEALING | REFUSED


def params_of(fields):
    plain = dict(dealing=Weighted([1.0, 0.5, 1.5]), arrival_modulation=Step())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one of the racks is overloaded, on purpose
        return GAME.default_params(**plain | UNEVEN | LINKED | SILENT | fields)


@functools.cache
def played():
    """(params, states, timesteps, actions) of every case, which one compiled program plays."""
    params = stack([params_of(fields) for fields, _, _ in CASES.values()])
    chosen = [[itself() if each is None else each for each in choices] for _, *choices in CASES.values()]
    actions = Action(*(jnp.asarray(np.stack(each)) for each in zip(*chosen, strict=True)))
    keys = jax.random.split(jax.random.key(18), len(CASES))
    batch = jax.tree.map(np.asarray, (params, *batch_player(GAME)(keys, params, actions), actions))
    return {name: jax.tree.map(lambda leaf, i=i: leaf[i], batch) for i, name in enumerate(CASES)}


@functools.cache
def modelled(case):
    params, states, _, actions = played()[case]
    return model_of(params, states, actions)


def metrics(case):
    return played()[case][2].metrics


@pytest.mark.parametrize("case", CASES)
def test_every_task_is_completed_when_the_model_completes_it(case):
    """Of tasks that are alone in being completed at a node in a slice, the response time is known of each."""
    assert check_episode(*played()[case], modelled(case)) < 1e-4
    assert metrics(case)["completions"].sum() > 70


def test_the_cases_are_what_they_are_called():
    def waits(case):
        return [task.visits[0][1] - task.dealt for task in modelled(case).all_tasks() if task.visits]

    assert metrics("thousands waiting")["cpu_queue"].sum(axis=1).max() > 2000
    assert metrics("slow I/O")["io_queue"].max() > 50
    assert np.max(waits("slow links")) > 20 * 0.25
    assert min(metrics(case)["migrations"].sum() for case in MIGRATING) > 100
    assert min(metrics(case)["steals"].sum() for case in STEALING) > 20
    assert metrics(*REFUSED)["steal_requests"].sum() > 50
    assert metrics(*REFUSED)["steals"].sum() == 0
    assert all(metrics(case)["steal_requests"].sum() > metrics(case)["steals"].sum() for case in STEALING)
    assert max(task.dealt - task.born for task in modelled("bursts").all_tasks()) > 1.9


def test_slices_half_as_long_complete_the_same_tasks_at_the_same_times():
    whole, halves = metrics("one node"), metrics("one node in slices half as long")
    for name in ("completed", "latency_sum"):
        pairs = halves[name][1:].reshape(NUM_SLICES // 2, 2, NODES).sum(axis=1)
        np.testing.assert_allclose(pairs, whole[name][1 : NUM_SLICES // 2 + 1], rtol=1e-4, atol=1e-3)
    assert halves["completions"].sum() > 500


@pytest.mark.parametrize("case", STEALING)
def test_a_stolen_task_is_the_one_that_waited_longest_and_travels_as_long_as_its_link_takes(case):
    """As the test above finds in the game what is in the model, the model's tasks are asked."""
    params, tasks = played()[case][0], modelled(case).all_tasks()
    stolen = [(task, *pair) for task in tasks for pair in itertools.pairwise(task.visits)]
    assert len(stolen) > 20
    for task, (victim, landed, left), (_, arrived, _) in stolen:
        occupied = 8000 * (task.payload + params.packet_overhead[victim]) / params.bandwidth[victim]
        assert arrived - left >= (params.latency[victim] + occupied) * (1 - 1e-6)
        visits = [visit for other in tasks for visit in other.visits if visit[0] == victim]
        assert not any(came < landed and went > left for _, came, went in visits)


@pytest.mark.parametrize("case", ["bursts", "a burst before a calm"])
def test_a_task_that_the_load_balancer_held_back_keeps_the_time_of_its_arrival(case):
    """80 tasks come within 1/30 of a slice, and 32 are dealt in each; the rate may fall after the first slice."""
    first = modelled(case).all_tasks()[:80]
    assert [task.dealt for task in first[32:]] == [1.0] * 32 + [2.0] * 16
    born = [task.born for task in first]
    assert born == sorted(born)
    assert born[0] == 0
    assert born[-1] < 0.034
    assert all(task.born > 20 for task in modelled(case).all_tasks()[80:])


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("column", "percent"), [("p50", 50), ("p95", 95), ("p99", 99), ("p99_9", 99.9)])
def test_percentiles_are_within_1_percent_of_the_exact_ones(case, column, percent):
    responses = np.sort([task.response for node in range(NODES) for task in modelled(case).completions(node)])
    exact = responses[math.ceil(round(percent * len(responses) / 100, 6)) - 1]
    measured = GAME.columns[column].of({"responses": metrics(case)["responses"].sum(axis=0)})
    assert abs(measured - exact) <= 0.01 * exact


@pytest.mark.parametrize("case", ["slices much shorter than tasks", "slices much longer than tasks", "heavy tails"])
def test_a_record_is_dealt_in_order_and_at_the_rate_that_is_asked_for(case):
    params, dealt = played()[case][0], modelled(case).all_tasks()
    expected = np.cumsum(params.tasks.gap, dtype=np.float64)[: len(dealt) - 1] / params.arrival_rate
    np.testing.assert_allclose([task.born for task in dealt[1:]], expected, rtol=1e-5)
    for name, column in (("runtime", "runtimes"), ("io_time", "io_times"), ("payload", "payloads")):
        np.testing.assert_array_equal(
            [getattr(task, name) for task in dealt], getattr(params.tasks, column)[: len(dealt)]
        )
