"""What is known of clusters by formulas."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from ratios import assert_ratio
from reference.cluster_episodes import NEVER

from jaxdlb.games.cluster import Cluster

ONE = Cluster(num_nodes=1, num_dispatchers=1, num_candidates=1, max_tasks=32)
FEW = Cluster(num_nodes=3, num_dispatchers=2, num_candidates=3, max_tasks=8, episode_tasks=12)


@functools.partial(jax.jit, static_argnums=(0, 3))
def metrics_of(game, params, keys, steps):
    """Of an episode from each key, in which everybody takes the first choice: metrics [episodes, steps], the end."""

    def play(key):
        def advance(state, key):
            state, timestep = game.step(key, state, jnp.zeros(game.num_dispatchers, jnp.int32), params)
            return state, timestep.metrics

        start, rest = jax.random.split(key)
        end, metrics = jax.lax.scan(advance, game.reset(start, params)[0], jax.random.split(rest, steps))
        return metrics, end

    return jax.vmap(play)(keys)


def test_one_node_shares_its_processor():
    """M/G/1 with processor sharing: whatever the law of run times, a task stays E[e]/(s (1 − ρ)) in the mean.

    Slots make it longer: tasks wait for the next one, Δ/2, and what a task sets free lies idle until then, which adds
    at most Δ/2 to E[e]. That is 3% here.
    """
    speed, mean, load = 2.0, 20.0, 0.5
    params = ONE.default_params(
        cores=1,
        memory=1000,
        speed=speed,
        network_delay=0,
        sleep_after=NEVER,
        cores_law=(0, 0, 1, 1),
        memory_law=(0, 0, 1, 1),
        exec_least=mean * 3 / 4,
        exec_shape=4,
        exec_cap=1e5,
        arrival_rate=load * speed / mean,
        slot=0.5,
    )
    metrics, _ = metrics_of(ONE, params, jax.random.split(jax.random.key(0), 256), 4000)
    presence, arrivals = (np.asarray(metrics[name], np.float64)[:, 200:].sum(1) for name in ("presence", "arrivals"))
    assert not metrics["drops"].any()
    assert_ratio(presence, arrivals, mean / speed / (1 - load), largest=0.02, bias=0.03)
    use, time = (np.asarray(metrics[name], np.float64)[:, 200:].sum(1) for name in ("utilisation", "time"))
    assert_ratio(use, time, load, largest=0.02)


def test_a_cluster_that_never_sleeps_takes_its_idle_power_and_that_of_all_work():
    """On equal nodes it does not matter when or where work is done, however tasks crowd each other."""
    watts, idle, cores, speed = 80.0, 30.0, 4.0, 1.5
    params = FEW.default_params(
        cores=cores,
        memory=64,
        speed=speed,
        idle_power=idle,
        dynamic_power=watts,
        sleep_after=NEVER,
        exec_cap=30,
        arrival_rate=1,
    )
    keys = jax.random.split(jax.random.key(1), 8)
    metrics, end = metrics_of(FEW, params, keys, 200)
    assert end.over.all() and not metrics["drops"].any()
    time = np.asarray(metrics["time"]).sum(1)
    windows = jax.vmap(lambda key: first_tasks(params, jax.random.split(key)[0]))(keys)
    work = np.asarray(windows[0] * windows[1], np.float64).sum(1)
    expected = 3 * idle * time + watts / cores / speed * work
    found = 3.6e6 * np.asarray(metrics["energy_kwh"], np.float64).sum(1)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    use = np.asarray(metrics["utilisation"], np.float64).sum(1)
    np.testing.assert_allclose(3 * cores * speed * use, work, rtol=1e-4)


def first_tasks(params, key):
    """Run times and cores of all tasks of an episode of `FEW`, as one that sees so many at once meets them."""
    many = Cluster(num_nodes=3, num_dispatchers=FEW.episode_tasks, num_candidates=3, max_tasks=1)
    window = many.reset(key, params)[0].window
    return window.run_time, window.cores


def test_tasks_follow_their_laws():
    """Within 4.5 standard errors of each share and mean."""
    many = Cluster(num_nodes=2, num_dispatchers=64, num_candidates=1, max_tasks=1)
    law = {"exec_least": 2, "exec_shape": 1.5, "exec_cap": 50, "class_share": (0.2, 0.7, 0.1)}
    law |= {"cores_law": (0.3, 0.5, 0.5, 3), "memory_law": (1.0, 0.8, 1, 6), "arrival_rate": 4}
    params = many.default_params(memory=64, **law)
    keys = jax.random.split(jax.random.key(2), 200)
    window = jax.vmap(lambda key: many.reset(key, params)[0].window)(keys)
    num = 200 * 64

    def assert_share(found, expected):
        assert abs(np.mean(found) - expected) < 4.5 * np.sqrt(expected * (1 - expected) / num)

    for x in (2.5, 5.0, 20.0, 49.9):
        assert_share(window.run_time > x, (2 / x) ** 1.5)
    assert window.run_time.min() >= 2 and window.run_time.max() == 50
    for rank, share in enumerate(law["class_share"]):
        assert_share(window.task_class == rank, share)
    normal = {-1: 0.158655, 0: 0.5, 1: 0.841345}
    for name in ("cores", "memory"):
        mean, spread, low, high = law[f"{name}_law"]
        found = np.asarray(getattr(window, name))
        for deviations, share in normal.items():
            edge = np.exp(mean + spread * deviations)
            if low < edge < high:
                assert_share(found <= edge, share)
        assert found.min() >= low and found.max() == np.float32(high)
    gaps = np.diff(np.asarray(window.arrives, np.float64), axis=1, prepend=0)
    for x in (0.05, 0.25, 1.0):
        assert_share(gaps > x, np.exp(-4 * x))
    attributes = [np.asarray(each).ravel() for each in (gaps, window.run_time, window.cores, window.memory)]
    attributes.append(np.asarray(window.task_class).ravel())
    ranks = np.array([each.argsort().argsort() for each in attributes])
    correlations = np.corrcoef(ranks) - np.eye(5)
    assert np.abs(correlations).max() < 4.5 / np.sqrt(num)


def test_candidates_are_drawn_evenly_each_by_itself():
    """Within 4.5 standard errors of each share."""
    game = Cluster(num_nodes=5, num_dispatchers=64, num_candidates=4, max_tasks=1)
    params = game.default_params(memory=64, idle_power=range(1, 6), arrival_rate=1e5)
    nobody = jnp.zeros(64, jnp.int32)

    def see(key):
        state, _ = game.reset(key, params)
        return game.step(key, state, nobody, params)[1].observation

    seen = jax.jit(jax.vmap(see))(jax.random.split(jax.random.key(3), 100))
    assert (seen.own[..., 0] == 1).all()
    node = np.asarray(seen.peers[..., 3]).reshape(-1, 4)
    error = 4.5 * np.sqrt(0.2 * 0.8 / len(node))
    for place in range(4):
        for each in range(1, 6):
            assert abs(np.mean(node[:, place] == each) - 0.2) < error
        for other in range(place):
            assert abs(np.mean(node[:, place] == node[:, other]) - 0.2) < error
    assert abs(np.mean(node[1:] == node[:-1]) - 0.2) < error / 2
