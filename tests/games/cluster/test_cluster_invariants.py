"""What holds in every step of every cluster, whatever is chosen and whatever its parameters are."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference.cluster import CLASSES
from reference.cluster_episodes import (
    CLUSTERS,
    FINITE,
    GAMES,
    NEVER,
    STEPS,
    play_all,
    played,
    random_clusters,
    replaced,
)

KINDS = ("", *(f"_{each}" for each in CLASSES))
SLOT_FIELDS = ("left", "task_cores", "task_memory", "task_class", "age", "due", "arrives", "number")

PAIRS, TASKS = CLUSTERS // 2, FINITE.episode_tasks
WATTS = 7.0  # that work of one core at speed 1 takes on every node


@functools.cache
def to_the_end():
    """Episodes that reach their end: of each pair of one cluster and one key, under two policies."""
    draws = np.random.default_rng(1)
    params = jax.tree.map(lambda leaf: jnp.concatenate([leaf, leaf]), roomy_clusters(draws))
    choices = draws.integers(0, FINITE.num_candidates, (CLUSTERS, STEPS, FINITE.num_dispatchers)).astype(np.int32)
    choices[PAIRS:] = 0
    keys = jax.random.split(jax.random.key(8), PAIRS)
    return play_all(FINITE, params, np.zeros(CLUSTERS, bool), choices, jnp.concatenate([keys, keys]))


def roomy_clusters(draws):
    """Random clusters that can take every task, and soon, and in which work takes the same energy on every node."""
    params = random_clusters(FINITE, draws, np.zeros(PAIRS, bool))
    cores, speed, slot = params.cores + 4, params.speed + 1, params.slot + 1
    fields = {".cores": cores, ".speed": speed, ".slot": slot, ".memory": params.memory + 8}
    fields |= {".dynamic_power": WATTS * cores * speed, ".arrival_rate": FINITE.num_dispatchers / slot}
    return replaced(params, {**fields, ".horizon": np.full(PAIRS, 10_000)})


def summed(made, name):
    """Of a metric, what has come about until each step."""
    return np.cumsum(made.timesteps.metrics[name].astype(np.float64), axis=1)


def each(made, name):
    """A parameter of all clusters, with an axis for steps."""
    return np.asarray(getattr(made.params, name))[:, None]


def is_busy(made):
    return (made.states.status > 0).any(-1)


def asleep(made):
    return (made.states.idle_for >= each(made, "sleep_after")[..., None]) & ~is_busy(made)


PLAYED = {name: functools.partial(played, game) for name, game in GAMES.items()} | {"to the end": to_the_end}


@pytest.fixture(scope="module", params=PLAYED)
def made(request):
    return PLAYED[request.param]()


@pytest.fixture(scope="module")
def whole():
    return to_the_end()


def test_every_task_is_accounted_for(made):
    metrics, is_over = made.timesteps.metrics, made.states.over
    present = (made.states.status > 0).sum((-1, -2))
    assert np.array_equal(metrics["present"], present)
    assert np.array_equal(summed(made, "arrivals"), summed(made, "completions") + summed(made, "drops") + present)
    assert np.array_equal(summed(made, "arrivals"), made.states.index)
    for name in ("arrivals", "drops", "completions", "on_time", "missed"):
        assert np.array_equal(metrics[name], sum(metrics[f"{name}_{each}"] for each in CLASSES))
    if made.game is FINITE:
        assert (made.states.index <= TASKS).all()
        assert np.array_equal(is_over, (made.states.index == TASKS) & (present == 0))


def test_every_task_is_on_time_or_missed_or_dropped_once(made):
    for rank, kind in enumerate(KINDS[1:]):
        counted = sum(summed(made, name + kind) for name in ("on_time", "missed", "drops"))
        is_of_class = (made.states.status > 0) & (made.states.task_class == rank)
        open_ones = (is_of_class & (made.states.due >= 0)).sum((-1, -2))
        assert np.array_equal(summed(made, "arrivals" + kind), counted + open_ones)


def test_slots_hold_tasks_or_zeros(made):
    states = made.states
    held = states.status > 0
    assert np.isin(states.status, (0, 1, 2)).all()
    for name in SLOT_FIELDS:
        assert not getattr(states, name)[~held].any(), name
        assert np.isfinite(getattr(states, name)).all(), name
    assert (states.left[held] > 0).all() and (states.age[held] >= 0).all()
    number = states.number.reshape(*states.number.shape[:2], -1)
    among = held.reshape(number.shape)
    assert (np.where(among, number, -1) < states.index[..., None]).all()
    distinct = np.sort(np.where(among, number, -1 - np.arange(number.shape[-1])), axis=-1)
    assert (np.diff(distinct, axis=-1) > 0).all()


def test_what_runs_fits_into_memory(made):
    wanted = np.where(made.states.status == 2, made.states.task_memory, 0).sum(-1)
    assert (wanted <= each(made, "memory") + 2e-6 * (1 + wanted)).all()
    assert (np.where(made.states.status > 0, made.states.task_memory, 0) <= each(made, "memory")[..., None]).all()


def test_all_numbers_are_finite(made):
    shown = (made.timesteps, made.global_states, made.states.idle_for, made.states.wake_in)
    for path, leaf in jax.tree_util.tree_leaves_with_path(shown):
        assert np.isfinite(leaf).all(), jax.tree_util.keystr(path)


def test_a_node_with_tasks_is_awake_and_one_without_falls_asleep_in_time(made):
    """However soon nodes fall asleep: among these are some that do so at once."""
    assert not made.states.idle_for[is_busy(made)].any()
    assert not asleep(made)[np.squeeze(each(made, "sleep_after") == np.float32(NEVER), 1)].any()
    assert asleep(made)[np.squeeze(each(made, "sleep_after") == 0, 1)].any()
    is_past = made.states.over[:, :-1]
    told = np.where(is_past, 0, asleep(made).sum(-1)[:, 1:])
    assert np.array_equal(told, made.timesteps.metrics["asleep"][:, 1:])
    assert (made.states.wake_in <= each(made, "wake_time")[..., None]).all()


def test_the_end_is_absorbing(made):
    before, after = made.at(made.states, slice(None), slice(-1)), made.at(made.states, slice(None), slice(1, None))
    timesteps = made.at(made.timesteps, slice(None), slice(1, None))
    is_past = before.over
    assert is_past.any() == (made.game is FINITE)
    for (path, one), other in zip(jax.tree_util.tree_leaves_with_path(before), jax.tree.leaves(after), strict=True):
        if not jnp.issubdtype(one.dtype, jax.dtypes.prng_key):
            assert np.array_equal(one[is_past], other[is_past]), jax.tree_util.keystr(path)
    for leaf in (*timesteps.metrics.values(), timesteps.reward, timesteps.elapsed):
        assert not leaf[is_past].any()
    assert np.array_equal(timesteps.discount == 0, after.over)
    assert timesteps.last[after.over].all()


def test_candidates_are_all_nodes_in_order_or_some_of_them(made):
    observed = made.timesteps.observation
    has_task = observed.own[..., 0] == 1
    if made.game is FINITE:
        assert (observed.candidates == np.arange(FINITE.num_nodes))[has_task].all()
    else:
        assert np.isin(observed.candidates, np.arange(made.game.num_nodes)).all()
    for column, name in enumerate(("cores", "memory", "speed", "idle_power", "dynamic_power")):
        of_nodes = np.take_along_axis(each(made, name)[:, None], observed.candidates, axis=-1)
        assert np.array_equal(observed.peers[..., column], np.where(has_task[..., None], of_nodes, 0))
    for name in ("candidates", "peers"):
        assert not getattr(observed, name)[~has_task].any()
    assert not observed.own[~has_task][:, :8].any()
    only_first = np.arange(made.game.num_candidates) == 0
    assert (observed.legal[~has_task] == only_first).all()


def test_a_critic_sees_nothing_of_a_first_task_where_no_more_come(made):
    no_more = np.isinf(made.states.window.arrives[..., 0])
    assert no_more.any() == (made.game is FINITE)
    assert not made.global_states[no_more][:, :6].any()


def test_every_episode_ends(whole):
    assert whole.states.over[:, -1].all()
    counted = sum(summed(whole, name)[:, -1] for name in ("on_time", "missed", "drops"))
    assert (counted == TASKS).all()


def test_energy_is_the_integral_of_power(whole):
    """Of awake and of sleeping nodes, and of all work done; a task that comes brings its run time as work."""
    states, is_past = whole.states, whole.states.over[:, :-1]
    slept = asleep(whole)[:, :-1] & (states.idle_for[:, 1:] > 0)
    share = np.where(slept, each(whole, "sleep_power")[..., None], 1)
    idle = (each(whole, "idle_power") * share).sum(-1) * whole.timesteps.elapsed[:, 1:]
    left = (states.left.astype(np.float64) * states.task_cores).sum((-1, -2))
    done = brought(whole) - np.diff(left, axis=1)
    expected = np.where(is_past, 0, idle + WATTS * done)
    found = 3.6e6 * whole.timesteps.metrics["energy_kwh"][:, 1:]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-2)
    assert 0.05 < slept[~is_past].mean() < 0.95


def brought(made):
    """In every step, cores times run time of the tasks that dispatchers placed."""
    own, dropped = made.timesteps.observation.own[:, :-1], made.timesteps.metrics["drops"][:, 1:]
    assert not dropped.any()
    return (own[..., 0].astype(np.float64) * own[..., 1] * own[..., 2]).sum(-1)


def test_presence_is_the_time_until_completion(whole):
    """Little's law, in whole episodes: what is counted step by step is what tasks took, each in the end."""
    presence, took = (summed(whole, name)[:, -1] for name in ("presence", "completion_time"))
    np.testing.assert_allclose(presence, took, rtol=1e-4)
    sums = {name: float(summed(whole, name)[0, -1]) for name in whole.timesteps.metrics}
    table = {name: column.of(sums) for name, column in FINITE.columns.items()}
    assert table["completion_time"] == pytest.approx(took[0] / TASKS, rel=1e-4)
    assert table["sla"] == pytest.approx(sums["on_time"] / TASKS)
    assert table["completed_share"] == pytest.approx(1)
    assert table["energy_per_task"] == pytest.approx(1000 * sums["energy_kwh"] / TASKS)
    by_class = [(sums[f"arrivals_{each}"], table[f"completion_time_{each}"]) for each in CLASSES]
    assert sum(count * took for count, took in by_class if count) == pytest.approx(took[0], rel=1e-4)


def test_all_policies_live_through_the_same_time_and_meet_the_same_tasks_and_candidates(whole):
    one, other = (whole.at(whole.states, part) for part in (slice(PAIRS), slice(PAIRS, None)))
    lived = ~(one.over | other.over)
    assert lived.mean() > 0.15
    assert np.array_equal(one.clock[lived], other.clock[lived])
    for first, second in zip(jax.tree.leaves(one.window), jax.tree.leaves(other.window), strict=True):
        assert np.array_equal(first[lived], second[lived])
    candidates = whole.timesteps.observation.candidates
    assert np.array_equal(candidates[:PAIRS][lived], candidates[PAIRS:][lived])
    assert not np.array_equal(one.status[lived], other.status[lived])
