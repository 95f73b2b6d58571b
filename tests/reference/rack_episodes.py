"""Episodes of the library's rack, and their comparison with the discrete-event model, slice by slice."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from reference.rack import Machine, Rack, Task

from jaxdlb.games.rack.sources import Recorded

SLICES, RELATIVE = 1e-3, 1e-4  # by how much times may differ: of a slice, or of the time itself


def play(game, with_tasks, key, params, actions):
    """One episode under the given actions [T, N]: (states, timesteps), leading axis T + 1, the reset and T slices.

    Without tasks, of these there are only the free slots.
    """
    reset_key, step_key = jax.random.split(key)

    def seen(state, timestep):
        return state if with_tasks else state.replace(tasks=state.tasks.num_free), timestep

    def play_slice(state, inputs):
        key, action = inputs
        state, timestep = game.step(key, state, action, params)
        return state, seen(state, timestep)

    start = game.reset(reset_key, params)
    keys = jax.random.split(step_key, actions.dispatch.shape[0])
    _, rest = jax.lax.scan(play_slice, start[0], (keys, actions))
    return jax.tree.map(lambda first, rest: jnp.concatenate([first[None], rest]), seen(*start), rest)


@functools.cache
def batch_player(game, with_tasks=False):
    """`play` of a batch of racks, compiled: (keys, params, actions)."""
    return jax.jit(jax.vmap(functools.partial(play, game, with_tasks)))


def stack(trees):
    """One tree with a leading axis more."""
    return jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(leaf) for leaf in leaves]), *trees)


def record(gaps, runtimes, io_times, payloads):
    """A record of tasks: gaps in units of their mean, times in ms, payloads in bytes."""
    columns = [np.asarray(each, np.float32) for each in (gaps, runtimes, io_times, payloads)]
    means = (np.float32(each.mean()) for each in columns[1:3])
    return Recorded(*columns, *means, random_start=np.bool_(False))


def dealt_tasks(states, dt):
    """The tasks dealt in each slice, as the states before it foretell: a list of lists."""
    arrivals = states.generator.arrivals
    return [
        [
            Task(
                born=(slice + float(arrivals.instant[slice, k])) * dt,
                dealt=(slice + max(float(arrivals.instant[slice, k]), 0.0)) * dt,
                node=int(arrivals.node[slice, k]),
                runtime=float(arrivals.runtime[slice, k]),
                io_time=float(arrivals.io_time[slice, k]),
                payload=float(arrivals.payload[slice, k]),
            )
            for k in range(arrivals.num[slice])
        ]
        for slice in range(len(arrivals.num) - 1)
    ]


def machines_of(params):
    """The nodes of a rack."""
    columns = ("cores", "core_perf", "io_cores", "io_perf", "overhead", "bandwidth", "packet_overhead", "latency")
    return [Machine(*row) for row in zip(*(getattr(params, each).tolist() for each in columns), strict=True)]


def model_of(params, states, actions):
    """The discrete-event model of a rack, run with the tasks and the choices of an episode."""
    dt = float(params.dt)
    return Rack(
        machines_of(params),
        dt,
        dealt_tasks(states, dt),
        actions.dispatch.tolist(),
        actions.steal.tolist(),
        period=max(round(float(params.heartbeat_period) / dt), 1),
        phase=params.heartbeat_phase.tolist(),
    ).run()


def check_episode(params, states, timesteps, actions, model):
    """Assert that the episode is the model's; returns the largest disagreement of a response time, in slices."""
    dt, (num_slices, num_nodes) = float(params.dt), actions.dispatch.shape
    metrics = timesteps.metrics
    assert not np.any(metrics["drops"]), "the model drops nothing"
    for name, counts in (
        ("migrations", model.num_migrated),
        ("steal_requests", model.num_asked),
        ("steals", model.num_stolen),
    ):
        np.testing.assert_array_equal(metrics[name][1:], counts, err_msg=name)
    worst = 0.0
    for node in range(num_nodes):
        seen = (metrics[name][1:, node] for name in ("completed", "latency_sum"))
        worst = max(worst, check_completions(model.completions(node), *seen, dt))
    ends = np.arange(num_slices + 1) * dt
    check_lengths(model, states, metrics, ends)
    check_busy(model, metrics, params, ends)
    for slice in range(num_slices + 1):
        load, age = model.heard(slice)
        np.testing.assert_array_equal(states.heard_load[slice], load, err_msg=f"heard at slice {slice}")
        np.testing.assert_array_equal(states.heard_age[slice], age, err_msg=f"age at slice {slice}")
    return worst


def check_completions(tasks, completed, latency_sum, dt):
    """The k-th completion at a node is in its slice, and the response times of each slice add up."""
    assert completed.sum() == len(tasks)
    slice_of = np.repeat(np.arange(len(completed)), completed)
    done, response = (np.array([getattr(task, name) for task in tasks]) for name in ("done", "response"))
    allowed = np.maximum(SLICES * dt, RELATIVE * response)
    early, late = slice_of * dt - done, done - (slice_of + 1) * dt
    assert np.all(np.maximum(early, late) <= allowed), "a task is completed in another slice"
    expected, margin = (np.bincount(slice_of, each, len(completed)) for each in (response, allowed))
    error = np.abs(latency_sum - expected)
    assert np.all(error <= margin), f"response times differ by {np.max(error) / dt:.3g} slices"
    return np.max(error[completed == 1] / dt, initial=0.0)


def check_lengths(model, states, metrics, ends):
    """How many tasks wait, are present and travel at the end of each slice."""
    tasks, num_in_rack = model.all_tasks(), 0
    for node in range(len(model.nodes)):
        here = [task for task in tasks if task.visits and task.visits[-1][0] == node]
        visits = [visit[1:] for task in tasks for visit in task.visits if visit[0] == node]
        waiting = count_during(visits, ends)
        in_io = count_during([(task.computed, task.io_started) for task in here], ends)
        present = waiting + count_during([(task.started, task.done) for task in here], ends)
        np.testing.assert_array_equal(metrics["cpu_queue"][:, node], waiting)
        np.testing.assert_array_equal(metrics["io_queue"][:, node], in_io)
        np.testing.assert_array_equal(states.bound[:, node] - states.landing[:, node], present)
        num_in_rack += present
    in_rack = count_during([(task.dealt, task.done) for task in tasks], ends)
    np.testing.assert_array_equal(metrics["total_in_transit"], in_rack - num_in_rack)


def count_during(spans, instants):
    """How many of the spans (start, end) have begun before each instant and have not ended before it."""
    starts, ends = np.sort(np.reshape(spans, (-1, 2)), axis=0).T
    return np.searchsorted(starts, instants) - np.searchsorted(ends, instants)


def check_busy(model, metrics, params, ends):
    """The work done on cores and in I/O in each slice."""
    slice = ends[1]
    for node in range(len(model.nodes)):
        here = [task for task in model.all_tasks() if task.visits and task.visits[-1][0] == node]
        for name, spans, num in (
            ("cpu_utilisation", [(task.started, task.computed) for task in here], params.cores[node]),
            ("io_utilisation", [(task.io_started, task.done) for task in here], params.io_cores[node]),
        ):
            starts, stops = np.minimum(np.reshape(spans, (-1, 2)), ends[-1]).T[..., None]
            work = np.sum(np.clip(ends, starts, stops) - starts, axis=0)
            np.testing.assert_allclose(metrics[name][1:, node], np.diff(work) / slice / num, atol=SLICES)
