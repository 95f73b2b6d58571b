"""What is known of clusters by formulas."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from ratios import assert_ratio

from jaxdlb.games.cluster import Cluster

ONE = Cluster(num_nodes=1, num_dispatchers=1, num_candidates=1, max_tasks=32)
MANY = Cluster(num_nodes=5, num_dispatchers=64, num_candidates=4, max_tasks=1)
COUNTED = ("presence", "arrivals", "drops", "utilisation", "time")


@functools.partial(jax.jit, static_argnums=2)
def counted(params, keys, steps):
    """Of an episode from each key, in which everybody takes the first choice: some metrics [episodes, steps]."""

    def play(key):
        def advance(state, key):
            state, timestep = ONE.step(key, state, jnp.zeros(1, jnp.int32), params)
            return state, {name: timestep.metrics[name] for name in COUNTED}

        start, rest = jax.random.split(key)
        return jax.lax.scan(advance, ONE.reset(start, params)[0], jax.random.split(rest, steps))[1]

    return jax.vmap(play)(keys)


@functools.partial(jax.jit, static_argnums=0)
def windows(game, params, keys):
    """The first tasks of an episode from each key."""
    return jax.vmap(lambda key: game.reset(key, params)[0].window)(keys)


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
        sleep_after=1e9,
        cores_law=(0, 0, 1, 1),
        memory_law=(0, 0, 1, 1),
        exec_least=mean * 3 / 4,
        exec_shape=4,
        exec_cap=1e5,
        arrival_rate=load * speed / mean,
        slot=0.5,
    )
    metrics = counted(params, jax.random.split(jax.random.key(0), 192), 2500)
    presence, arrivals, drops, use, time = (np.asarray(metrics[name], np.float64)[:, 200:].sum(1) for name in COUNTED)
    assert not drops.any()
    assert_ratio(presence, arrivals, mean / speed / (1 - load), largest=0.03, bias=0.03)
    assert_ratio(use, time, load, largest=0.02)


def test_tasks_follow_their_laws():
    """Within 4.5 standard errors of each share and mean."""
    law = {"exec_least": 2, "exec_shape": 1.5, "exec_cap": 50, "class_share": (0.2, 0.7, 0.1)}
    law |= {"cores_law": (0.3, 0.5, 0.5, 3), "memory_law": (1.0, 0.8, 1, 6), "arrival_rate": 4}
    window = windows(MANY, MANY.default_params(memory=64, **law), jax.random.split(jax.random.key(2), 200))
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
    window = windows(MANY, MANY.default_params(memory=64), jax.random.split(jax.random.key(3), 200))
    node = np.asarray(window.candidates).reshape(-1, 4)
    error = 4.5 * np.sqrt(0.2 * 0.8 / len(node))
    for place in range(4):
        for each in range(5):
            assert abs(np.mean(node[:, place] == each) - 0.2) < error
        for other in range(place):
            assert abs(np.mean(node[:, place] == node[:, other]) - 0.2) < error
    assert abs(np.mean(node[1:] == node[:-1]) - 0.2) < error / 2


def test_tasks_are_the_same_however_many_are_seen_at_once():
    few, keys = (
        Cluster(num_nodes=5, num_dispatchers=3, num_candidates=4, max_tasks=1),
        jax.random.split(jax.random.key(4), 200),
    )
    params = MANY.default_params()
    some, many = (jax.tree.map(lambda leaf: leaf[:, :3], windows(game, params, keys)) for game in (few, MANY))
    for one, other in zip(jax.tree.leaves(some), jax.tree.leaves(many), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)


FEW = Cluster(num_nodes=2, num_dispatchers=2, num_candidates=2, max_tasks=4)


@jax.jit
def seen_over_time(params, key):
    """The clock, the state of the law of arrivals, the first task of the window and its arrivals, after each step."""

    def advance(state, _):
        state, _ = FEW.step(key, state, jnp.zeros(2, jnp.int32), params)
        return state, state

    start, _ = FEW.reset(key, params)
    _, states = jax.lax.scan(advance, start, length=80)
    states = jax.tree.map(lambda first, rest: jnp.concatenate([first[None], rest]), start, states)
    return states.clock, states.modulation, states.index, states.window.arrives


def arrivals(clock, index, arrives):
    """When each task came, and in which state of the record it came into sight first."""
    found = {}
    for place, (now, first, row) in enumerate(zip(clock, index, arrives, strict=True)):
        for offset, each in enumerate(row):
            found.setdefault(int(first) + offset, (float(now) + float(each), place))
    return found


def test_a_gap_goes_by_the_regime_of_the_slot_in_which_the_task_comes_into_sight():
    """With regimes that change in every slot: calm, 0.5, and busy, 2, in turn."""
    key, flips = jax.random.key(4), {"calm": 0.5, "busy": 2.0, "calm_to_busy": 1.0, "busy_to_calm": 1.0}
    usual = [np.asarray(each) for each in seen_over_time(FEW.default_params(arrival_rate=1.5, memory=64), key)]
    params = FEW.default_params(arrival_rate=1.5, memory=64, arrival_modulation={"kind": "markov", **flips})
    clock, regime, index, arrives = (np.asarray(each) for each in seen_over_time(params, key))
    assert (regime == (regime[0] + clock) % 2).all() and clock[-1] > 20
    steady, varied = arrivals(usual[0], *usual[2:]), arrivals(clock, index, arrives)
    compared = set()
    for task in range(FEW.num_dispatchers, min(len(steady), len(varied))):
        unit = steady[task][0] - steady[task - 1][0]
        factor = (0.5, 2.0)[regime[varied[task][1] - 1]]
        np.testing.assert_allclose(factor * (varied[task][0] - varied[task - 1][0]), unit, atol=1e-3)
        compared.add(factor)
    assert len(varied) > 30 and compared == {0.5, 2.0}
