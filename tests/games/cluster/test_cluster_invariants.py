"""What holds in every step of every cluster, whatever is chosen and whatever its parameters are."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference.cluster import CLASSES
from reference.cluster_episodes import GAMES, NEVER, play_all, played, random_cluster

from jaxdlb.games.cluster import Cluster

KINDS = ("", *(f"_{each}" for each in CLASSES))
SLOT_FIELDS = ("left", "task_cores", "task_memory", "task_class", "age", "due", "arrives", "number")

# Long episodes: of each pair of one cluster and one key under two policies, which reach the end.
PAIRS, LONG, TASKS = 24, 300, 40
FINITE = Cluster(6, 3, 2, 6, episode_tasks=TASKS)
WATTS = 7.0  # that work of one core at speed 1 takes on every node


@functools.cache
def long_played():
    draws = np.random.default_rng(1)
    params = [finite_cluster(draws) for _ in range(PAIRS)]
    choices = draws.integers(0, 2, (2 * PAIRS, LONG, 3)).astype(np.int32)
    choices[PAIRS:] = 0
    keys = jax.random.split(jax.random.key(8), PAIRS)
    return play_all(FINITE, 2 * params, np.zeros(2 * PAIRS, bool), choices, jnp.concatenate([keys, keys]))


def finite_cluster(draws):
    """A random cluster that can take every task, in which work takes the same energy on every node."""
    params = random_cluster(FINITE, draws, exact=False)
    cores = params.cores + 2
    return params.replace(
        cores=cores,
        memory=params.memory + 8,
        dynamic_power=WATTS * cores * params.speed,
        arrival_rate=0.5 * params.arrival_rate,
        horizon=jnp.int32(10_000),
    )


def of(game):
    return long_played() if game is FINITE else played(game)


def summed(made, name):
    """Of a metric, what has come about until each step."""
    return np.cumsum(made.timesteps.metrics[name].astype(np.float64), axis=1)


def each(made, name):
    """A parameter of all clusters, with an axis for steps."""
    return np.stack([np.asarray(getattr(params, name)) for params in made.params])[:, None]


def asleep(made):
    return made.states.idle_for >= each(made, "sleep_after")[..., None]


every_game = pytest.mark.parametrize("game", [*GAMES, FINITE], ids=lambda game: f"{game.num_nodes}")


@every_game
def test_every_task_is_accounted_for(game):
    made = of(game)
    metrics, is_over = made.timesteps.metrics, made.states.over
    present = (made.states.status > 0).sum((-1, -2))
    assert np.array_equal(metrics["present"], present)
    assert np.array_equal(summed(made, "arrivals"), summed(made, "completions") + summed(made, "drops") + present)
    assert np.array_equal(summed(made, "arrivals"), made.states.index)
    for name in ("arrivals", "drops", "completions", "on_time", "missed"):
        assert np.array_equal(metrics[name], sum(metrics[f"{name}_{each}"] for each in CLASSES))
    if game.episode_tasks:
        assert np.array_equal(summed(made, "arrivals") == game.episode_tasks, made.states.index == game.episode_tasks)
        assert (made.states.index <= game.episode_tasks).all()
        assert np.array_equal(is_over, (made.states.index == game.episode_tasks) & (present == 0))


@every_game
def test_every_task_is_on_time_or_missed_or_dropped_once(game):
    made = of(game)
    for rank, kind in enumerate(KINDS[1:]):
        counted = sum(summed(made, name + kind) for name in ("on_time", "missed", "drops"))
        is_of_class = (made.states.status > 0) & (made.states.task_class == rank)
        open_ones = (is_of_class & (made.states.due >= 0)).sum((-1, -2))
        assert np.array_equal(summed(made, "arrivals" + kind), counted + open_ones)


@every_game
def test_slots_hold_tasks_or_zeros(game):
    states = of(game).states
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


@every_game
def test_what_runs_fits_into_memory(game):
    made = of(game)
    wanted = np.where(made.states.status == 2, made.states.task_memory, 0).sum(-1)
    assert (wanted <= each(made, "memory") + 2e-6 * (1 + wanted)).all()
    assert (np.where(made.states.status > 0, made.states.task_memory, 0) <= each(made, "memory")[..., None]).all()


@every_game
def test_all_numbers_are_finite(game):
    made = of(game)
    shown = (made.timesteps, made.global_states, made.states.idle_for, made.states.wake_in)
    for path, leaf in jax.tree_util.tree_leaves_with_path(shown):
        assert np.isfinite(leaf).all(), jax.tree_util.keystr(path)


@every_game
def test_a_node_with_tasks_is_awake_and_one_without_falls_asleep_in_time(game):
    made = of(game)
    busy = (made.states.status > 0).any(-1)
    assert not asleep(made)[busy].any()
    assert not asleep(made)[np.squeeze(each(made, "sleep_after") == np.float32(NEVER), 1)].any()
    assert np.array_equal(asleep(made).sum(-1)[:, 1:], metric_after(made, "asleep"))
    assert (made.states.wake_in <= each(made, "wake_time")[..., None]).all()


def metric_after(made, name):
    """A metric of every step; in steps after the end it is 0, where the state would say otherwise."""
    is_past = made.states.over[:, :-1]
    found = made.timesteps.metrics[name][:, 1:]
    assert not found[is_past].any()
    return np.where(is_past, asleep(made).sum(-1)[:, 1:], found)


@every_game
def test_the_end_is_absorbing(game):
    made = of(game)
    before, after = made.at(made.states, slice(None), slice(-1)), made.at(made.states, slice(None), slice(1, None))
    timesteps = made.at(made.timesteps, slice(None), slice(1, None))
    is_past = before.over
    assert is_past.any() == (game.episode_tasks is not None)
    for (path, one), other in zip(jax.tree_util.tree_leaves_with_path(before), jax.tree.leaves(after), strict=True):
        if not jnp.issubdtype(one.dtype, jax.dtypes.prng_key):
            assert np.array_equal(one[is_past], other[is_past]), jax.tree_util.keystr(path)
    for leaf in (*timesteps.metrics.values(), timesteps.reward, timesteps.elapsed):
        assert not leaf[is_past].any()
    assert np.array_equal(timesteps.discount == 0, after.over)
    assert timesteps.last[after.over].all()


@every_game
def test_candidates_are_all_nodes_in_order_or_some_of_them(game):
    made = of(game)
    observed = made.timesteps.observation
    has_task = observed.own[..., 0] == 1
    power = np.stack([np.asarray(params.idle_power) for params in made.params])[:, None, None, :]
    shown = observed.peers[..., 3]
    if game.num_candidates == game.num_nodes:
        assert (shown == power)[has_task].all()
    else:
        assert (shown[..., None] == power[..., None, :]).any(-1)[has_task].all()
    assert not observed.peers[~has_task].any() and not observed.own[~has_task][:, :8].any()
    only_first = np.arange(game.num_candidates) == 0
    assert (observed.legal[~has_task] == only_first).all()


def test_every_episode_ends():
    made = long_played()
    assert made.states.over[:, -1].all()
    counted = sum(summed(made, name)[:, -1] for name in ("on_time", "missed", "drops"))
    assert (counted == TASKS).all()


def test_energy_is_the_integral_of_power():
    """Of awake and of sleeping nodes, and of all work done; a task that comes brings its run time as work."""
    made = long_played()
    states, is_past = made.states, made.states.over[:, :-1]
    slot = each(made, "slot")
    slept = asleep(made)[:, :-1] & (states.idle_for[:, 1:] > 0)
    share = np.where(slept, each(made, "sleep_power")[..., None], 1)
    idle = (each(made, "idle_power") * share).sum(-1) * slot * (made.timesteps.elapsed[:, 1:] > 0)
    left = (states.left.astype(np.float64) * states.task_cores).sum((-1, -2))
    came = brought(made)
    done = came - np.diff(left, axis=1)
    expected = np.where(is_past, 0, idle + WATTS * done)
    found = 3.6e6 * made.timesteps.metrics["energy_kwh"][:, 1:]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-2)
    assert 0.05 < slept[~is_past].mean() < 0.95


def brought(made):
    """In every step, cores times run time of the tasks that dispatchers placed."""
    own, dropped = made.timesteps.observation.own[:, :-1], made.timesteps.metrics["drops"][:, 1:]
    assert not dropped.any()
    return (own[..., 0].astype(np.float64) * own[..., 1] * own[..., 2]).sum(-1)


def test_presence_is_the_time_until_completion():
    """Little's law, in whole episodes: what is counted step by step is what tasks took, each in the end."""
    made = long_played()
    presence, took = (summed(made, name)[:, -1] for name in ("presence", "completion_time"))
    np.testing.assert_allclose(presence, took, rtol=1e-4)
    sums = {name: float(summed(made, name)[0, -1]) for name in made.timesteps.metrics} | {"steps": LONG}
    table = {name: column.of(sums) for name, column in FINITE.columns.items()}
    assert table["completion_time"] == pytest.approx(took[0] / TASKS, rel=1e-4)
    assert table["sla"] == pytest.approx(sums["on_time"] / TASKS)
    assert table["completed_share"] == pytest.approx(1)
    assert table["energy_per_task"] == pytest.approx(1000 * sums["energy_kwh"] / TASKS)


def test_all_policies_live_through_the_same_time_and_meet_the_same_tasks_and_candidates():
    made = long_played()
    one, other = (made.at(made.states, part) for part in (slice(PAIRS), slice(PAIRS, None)))
    lived = ~(one.over | other.over)
    assert lived.mean() > 0.2
    assert np.array_equal(one.clock[lived], other.clock[lived])
    for first, second in zip(jax.tree.leaves(one.window), jax.tree.leaves(other.window), strict=True):
        assert np.array_equal(first[lived], second[lived])
    peers = made.timesteps.observation.peers[..., :6]
    assert np.array_equal(peers[:PAIRS][lived], peers[PAIRS:][lived])
    assert not np.array_equal(one.status[lived], other.status[lived])


def test_a_cluster_alone_is_what_it_is_among_many():
    made, which = long_played(), 3
    params, step = made.params[which], jax.jit(FINITE.step)
    start = jax.random.split(jax.random.split(jax.random.key(8), PAIRS)[which], LONG + 1)[0]
    state, _ = FINITE.reset(start, params)
    for t in range(60):
        among = made.at(made.states, which, t)
        for name in ("status", "number", "index", "clock", "step", "over"):
            assert np.array_equal(getattr(state, name), getattr(among, name)), (name, t)
        for name in ("left", "due", "idle_for", "wake_in"):
            np.testing.assert_allclose(getattr(state, name), getattr(among, name), rtol=1e-4, atol=1e-4)
        state, _ = step(jax.random.key(t), state, jnp.asarray(made.actions[which, t]), params)
