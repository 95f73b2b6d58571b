"""What holds in every slice of every run, whatever the agents do; and that a run is the same in any batch."""

import functools
import itertools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
from reference.episodes import entry, random_actions
from reference.rack import Rack as Model
from reference.rack import Task
from reference.rack_episodes import batch_player, machines_of, stack

from jaxdlb.games.rack import Action, Rack
from jaxdlb.games.rack.responses import percentile
from jaxdlb.mechanics.distributions import Constant, Exponential

NODES, SLOTS = 3, 96
GAME = Rack(NODES, max_cores=2, max_io_cores=2, max_tasks=SLOTS, max_arrivals=8, max_delay=6, heartbeats="per_link")
RACKS, NUM_SLICES = 12, 300  # as many hostile racks, and as many peaceful ones
NUMBER = dict(zip(("hostile", "peaceful"), (slice(RACKS), slice(RACKS, None)), strict=True))
LAWS = dict(runtime=Exponential(1.0), io_time=Exponential(0.4), payload=Constant(400.0))


def hostile_params(seed):
    """A rack in which everything happens: too many tasks for its slots, slow links, churn, lost heartbeats."""
    generator = np.random.default_rng(seed)

    def per_node(low, high):
        return generator.uniform(low, high, NODES)

    rate = generator.uniform(1.5, 5)
    return GAME.default_params(
        **LAWS,
        cores=generator.integers(1, 3, NODES),
        io_cores=generator.integers(1, 3, NODES),
        core_perf=per_node(0.5, 2),
        io_perf=per_node(0.5, 2),
        overhead=per_node(0, 0.2),
        bandwidth=10 ** per_node(6, 8),
        packet_overhead=per_node(0, 100),
        latency=per_node(0, 1),
        arrival_rate=rate,
        dt=generator.uniform(2, 5) / rate,
        heartbeat_period=2.0,
        heartbeat_loss=0.2,
        failure_prob=generator.choice([0.0, 0.02]),
        repair_prob=0.1,
    )


def peaceful_params():
    """A rack that keeps up with what arrives, and whose nodes say nothing."""
    links = dict(bandwidth=[2e7, 1e7, 4e7], latency=[0.3, 0.1, 0.5], heartbeat_period=1e6, heartbeat_phase=10**6)
    cores = dict(cores=[2, 1, 2], core_perf=[1.0, 1.5, 0.8], io_cores=1, io_perf=[1.0, 1.5, 0.8])
    return GAME.default_params(**LAWS, **links, **cores, arrival_rate=1.8, dt=0.8)


@functools.cache
def played():
    """(params, states, timesteps, actions) of all racks; leading axes: rack, slice."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # most of the hostile racks are overloaded, on purpose
        params = stack([hostile_params(seed) for seed in range(RACKS)] + [peaceful_params()] * RACKS)
    actions = random_actions(np.random.default_rng(70), (2 * RACKS, NUM_SLICES, NODES))
    nobody = jnp.broadcast_to(jnp.arange(NODES), (RACKS, NUM_SLICES, NODES))
    actions = Action(dispatch=actions.dispatch, steal=actions.steal.at[NUMBER["peaceful"]].set(nobody))
    keys = jax.random.split(jax.random.key(71), 2 * RACKS)
    return jax.tree.map(np.asarray, (params, *batch_player(GAME, with_tasks=True)(keys, params, actions), actions))


def run_of(kind):
    return jax.tree.map(lambda leaf: leaf[NUMBER[kind]], played())


@functools.cache
def places():
    """Of every hostile rack and slice: the free slots, and the lines as {(kind, station, line): slots}."""
    _, states, _, _ = run_of("hostile")
    return {
        (rack, slice): places_in(entry(entry(states, rack), slice))
        for rack in range(RACKS)
        for slice in range(NUM_SLICES + 1)
    }


def places_in(state):
    tasks, lines = state.tasks, {}
    following = tasks.following.tolist()
    for kind, heads in (("link", state.links.head), ("output", state.outputs.head)):
        for (station, line), head in np.ndenumerate(heads):
            lines[kind, station, line] = found = []
            slot = int(head)
            while slot != -1 and len(found) <= SLOTS:
                found.append(slot)
                slot = following[slot]
    return tasks.free[: tasks.num_free].tolist(), lines


def test_tasks_are_conserved_in_every_slice():
    for kind in NUMBER:
        metrics = run_of(kind)[2].metrics
        total = {name: np.cumsum(metrics[name], axis=1) for name in ("arrivals", "completions", "drops")}
        present = metrics["total_load"] + metrics["total_in_transit"]
        np.testing.assert_array_equal(total["arrivals"], total["completions"] + total["drops"] + present)
    for name in ("arrivals", "completions", "migrations", "steal_requests", "steals", "drops"):
        assert run_of("hostile")[2].metrics[name].sum() > 300, f"hardly any {name}: the run tests little"


def test_every_slot_is_free_or_in_one_line():
    """A task in I/O needs none any more."""
    assert min(len(free) for free, _ in places().values()) == 0
    for free, lines in places().values():
        assert sorted(free + list(itertools.chain(*lines.values()))) == list(range(SLOTS))


def test_the_tasks_of_a_node_are_those_in_its_lines_and_in_io():
    _, states, _, _ = run_of("hostile")
    in_io = np.sum((states.io_free > 0) & np.isfinite(states.io_free), axis=-1)
    for (rack, slice), (_, lines) in places().items():
        num = in_io[rack, slice].copy()
        for (_, station, _), slots in lines.items():
            num[station] += len(slots)
        np.testing.assert_array_equal(num, states.bound[rack, slice])


def test_every_line_is_in_the_order_of_time():
    _, states, _, _ = run_of("hostile")
    for (rack, slice), (_, lines) in places().items():
        for (kind, _, _), slots in lines.items():
            ready = states.tasks.lands if kind == "link" else states.tasks.computed
            assert np.all(np.diff(ready[rack, slice, slots]) >= 0)


def test_an_interface_sends_one_packet_at_a_time_and_none_arrives_before_its_latency():
    """Each task that came from another node had a span of time in which it left; no two of one sender overlap.

    Tasks that left, arrived and were done within a slice are not seen, nor are requests and heartbeats, whose spans lie
    between those of tasks.
    """
    params, states, timesteps, _ = run_of("hostile")
    sent = {}
    for (rack, slice), (_, lines) in places().items():
        for (kind, station, sender), slots in lines.items():
            if kind == "output" or station == sender:
                continue
            columns = (getattr(states.tasks, name) for name in ("runtime", "payload", "born", "lands"))
            for runtime, payload, born, lands in zip(*(each[rack, slice, slots] for each in columns), strict=True):
                packet = (runtime, round(born + slice, 2))  # which tells the task
                times = (lands + slice, payload, born + slice)
                sent.setdefault((rack, sender), {}).setdefault((station, *packet), times)
    num_packets = 0
    for (rack, sender), packets in sent.items():
        dt = params.dt[rack]
        arrived, payload, born = np.array(sorted(packets.values())).T
        left = arrived - params.latency[rack, sender] / dt
        occupied = 8000 * (payload + params.packet_overhead[rack, sender]) / params.bandwidth[rack, sender] / dt
        assert np.all(left - occupied >= born - 1e-3)
        assert np.all(np.diff(left) >= occupied[1:] - 1e-3)
        num_packets += len(packets)
    metrics = timesteps.metrics
    assert num_packets >= 0.75 * (metrics["migrations"] + metrics["steals"]).sum()


def test_nodes_that_are_down_start_nothing():
    _, states, _, _ = run_of("hostile")
    down = ~states.alive[:, :-1]
    assert down.sum() > 500
    for queue in (states.cpu_queue, states.io_queue):
        assert np.all(np.diff(queue, axis=1)[down] >= 0)


def test_nothing_is_negative_and_no_more_is_used_than_there_is():
    params, states, timesteps, _ = run_of("hostile")
    for name in ("bound", "landing", "cpu_queue", "io_queue", "completed"):
        assert getattr(states, name).min() == 0, name
    for name, num in (("core_free", params.cores), ("io_free", params.io_cores)):
        assert np.all(np.isfinite(getattr(states, name)).sum(axis=-1) == num[:, None])
    for name in ("cpu_utilisation", "io_utilisation"):
        assert timesteps.metrics[name].min() == 0
        assert 0.999 < timesteps.metrics[name].max() < 1 + 1e-5


def test_tasks_are_dropped_when_there_are_no_free_slots_and_only_then():
    _, states, timesteps, _ = run_of("hostile")
    num = states.generator.arrivals.num[:, :-1]
    lost = np.maximum(num - states.tasks.num_free[:, :-1], 0)
    np.testing.assert_array_equal(timesteps.metrics["drops"][:, 1:], lost)
    np.testing.assert_array_equal(timesteps.metrics["arrivals"][:, 1:], num)


def test_what_arrives_beyond_the_most_of_a_slice_waits_for_the_next():
    _, states, _, _ = run_of("hostile")
    arrivals = states.generator.arrivals
    counts = np.arange(GAME.max_arrivals) < arrivals.num[..., None]
    instant = np.where(counts, arrivals.instant, 0)
    held_back = np.any(instant < 0, axis=-1)
    assert held_back.sum() > 50
    assert np.all(arrivals.num[:, :-1][held_back[:, 1:]] == GAME.max_arrivals)
    assert np.all(instant < 1)
    for rack in range(RACKS):
        born = instant[rack] + np.arange(NUM_SLICES + 1)[:, None]
        assert np.all(np.diff(born[counts[rack]]) >= -1e-4)


def test_the_histogram_and_the_sums_are_of_the_same_tasks():
    for kind in NUMBER:
        metrics = run_of(kind)[2].metrics
        np.testing.assert_array_equal(metrics["responses"].sum(axis=-1), metrics["completions"])
        np.testing.assert_array_equal(metrics["completed"].sum(axis=-1), metrics["completions"])
        assert np.all((metrics["latency_sum"] > 0) == (metrics["completed"] > 0))


def test_a_run_is_the_same_alone_and_in_any_batch():
    params, states, timesteps, actions = played()
    keys = jax.random.split(jax.random.key(71), 2 * RACKS)
    rows = slice(3, 4)
    own = jax.tree.map(lambda leaf: leaf[rows], (keys, params, actions))
    again = batch_player(GAME, with_tasks=True)(*own)
    expected = jax.tree.map(lambda leaf: leaf[rows], (states, timesteps))
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-6), again, expected)


def drawn_tasks(generator, rate, dt):
    """A Poisson process dealt round robin, slice by slice."""
    born = np.cumsum(generator.exponential(1 / rate, int(2 * rate * dt * NUM_SLICES)))
    tasks = [[] for _ in range(NUM_SLICES)]
    for k, instant in enumerate(born[born < NUM_SLICES * dt]):
        needs = generator.exponential([1.0, 0.4]).tolist()
        tasks[int(instant / dt)].append(Task(instant, instant, k % NODES, *needs, 400.0))
    return tasks


def test_percentiles_are_those_of_the_discrete_event_model_with_tasks_of_its_own():
    """Mean over as many runs of each; within 4.5 standard errors and the 1% of a bin."""
    params, _, timesteps, _ = run_of("peaceful")
    generator, own = np.random.default_rng(72), entry(params, 0)
    dt, rate = float(own.dt), float(own.arrival_rate)
    itself = [list(range(NODES))] * NUM_SLICES
    responses = []
    for _ in range(RACKS):
        anybody = random_actions(generator, (NUM_SLICES, NODES)).dispatch.tolist()
        model = Model(machines_of(own), dt, drawn_tasks(generator, rate, dt), anybody, itself, 10**6, [10**6] * NODES)
        model.run()
        responses.append([task.response for node in range(NODES) for task in model.completions(node)])
    assert timesteps.metrics["drops"].sum() == 0
    for percent in (50, 95, 99):
        expected = [np.percentile(each, percent) for each in responses]
        measured = [percentile(each, percent) for each in timesteps.metrics["responses"].sum(axis=1)]
        error = np.hypot(*(np.std(each, ddof=1) / RACKS**0.5 for each in (expected, measured)))
        assert error < 0.1 * np.mean(expected)
        assert abs(np.mean(measured) - np.mean(expected)) <= 4.5 * error + 0.01 * np.mean(expected)
