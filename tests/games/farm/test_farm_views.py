"""Who sees what, number by number, against plain readings of states drawn at random."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from jaxdlb.games.farm import Farm, views
from jaxdlb.games.farm.types import Phase
from jaxdlb.games.farm.views import Row

NUM_WORKERS, NUM_STATES = 5, 40
GAME = Farm(NUM_WORKERS, num_sizes=8, task_law="deterministic")
PARAMS = GAME.default_params(job=500, task_time=2.0, comm_time=0.3, comm_per_task=0.01, drift=0, speed=[1, 2, 3, 4, 5])


reset = jax.jit(GAME.reset)
START, _ = reset(jax.random.key(0), PARAMS)


def a_state(seed):
    """A farm in the middle of something: any phases, some of which hold a chunk, and chunks that came back."""
    random = np.random.default_rng(seed)
    phase = random.integers(0, 4, NUM_WORKERS)
    busy = phase == Phase.BUSY
    size = np.where(busy, random.integers(1, 20, NUM_WORKERS), 0)
    done = random.integers(0, 4, NUM_WORKERS)
    waiting = np.flatnonzero(phase == Phase.WAITING)
    returned = np.zeros((2 * NUM_WORKERS, 2), int)
    rows = random.integers(0, 3)
    returned[:rows] = np.stack([random.integers(0, 100, rows), random.integers(1, 9, rows)], axis=1)
    times = {name: random.uniform(0.1, 9, NUM_WORKERS) for name in ("until_back", "waited", "told_wait", "last_time")}
    changes = {
        "time": 7.0,
        "until_change": np.where(random.random(NUM_WORKERS) < 0.5, random.uniform(0.1, 12, NUM_WORKERS), np.inf),
        "remaining": random.integers(*((1, 4) if seed % 2 else (50, 200))) + returned[:, 1].sum(),
        "next_task": random.integers(0, 200),
        "returned": returned,
        "phase": phase,
        "until_start": random.uniform(-5, 2, NUM_WORKERS),
        "chunk_size": size,
        "chunks_done": done,
        "weighted_time": np.where(done > 0, random.uniform(1, 30, NUM_WORKERS), 0),
        "weighted_size": np.where(done > 0, random.integers(1, 60, NUM_WORKERS), 0),
        "last_size": random.integers(0, 20, NUM_WORKERS),
        "until_free": random.uniform(0, 1),
        "decider": random.choice(waiting) if len(waiting) else NUM_WORKERS,
        **times,
    }
    like = {name: jnp.asarray(value, getattr(START, name).dtype) for name, value in changes.items()}
    return dataclasses.replace(START, **like)


@functools.cache
def states():
    """States of all kinds, and the same stacked."""
    each = [a_state(seed) for seed in range(NUM_STATES)]
    return each, jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)


@functools.cache
def seen(what):
    """What a function of the game says of all states."""
    return jax.jit(jax.vmap(getattr(GAME, what), (0, None)))(states()[1], PARAMS)


def rates_of(state):
    """r, worker by worker."""
    measured = [bool(state.weighted_time[i] > 0) for i in range(NUM_WORKERS)]
    each = [float(state.weighted_size[i] / state.weighted_time[i]) if measured[i] else None for i in range(NUM_WORKERS)]
    there = [each[i] for i in range(NUM_WORKERS) if measured[i] and state.phase[i] != Phase.ABSENT]
    unknown = sum(there) / len(there) if there else 1 / 2.0
    return [unknown if rate is None else rate for rate in each]


def row_of(state, i, rate):
    """What worker i is told."""
    present = [j for j in range(NUM_WORKERS) if state.phase[j] != Phase.ABSENT]
    waiting = [j for j in present if state.phase[j] == Phase.WAITING]
    lengths = [int(count) for _, count in np.asarray(state.returned) if count]
    others = [0.0]
    for j in range(NUM_WORKERS):
        if j != i and state.chunk_size[j] > 0:
            begun = max(-float(state.until_start[j]), 0)
            others.append(max(float(state.until_start[j]), 0) + max(float(state.chunk_size[j]) / rate[j] - begun, 0))
    return {
        Row.DECIDES: int(state.decider) == i,
        Row.PRESENT: i in present,
        Row.REMAINING: int(state.remaining),
        Row.INTERVAL: lengths[0] if lengths else int(state.remaining),
        Row.OUTSTANDING: int(state.chunk_size.sum()),
        Row.NUM_PRESENT: len(present),
        Row.OTHERS_WAITING: len([j for j in waiting if j != i]),
        Row.TOLD_WAIT: float(state.told_wait[i]),
        Row.WAITED: float(state.waited[i]),
        Row.MEASURED: state.chunks_done[i] > 0,
        Row.RATE: rate[i],
        Row.TOTAL_RATE: sum(rate[j] for j in present),
        Row.OTHERS_TIME: max(others),
        Row.LAST_SIZE: int(state.last_size[i]),
        Row.LAST_TIME: float(state.last_time[i]),
        Row.COMM_TIME: 0.3 + 0.01,
        Row.SPEED: 0,
        Row.TOTAL_SPEED: 0,
    }


@pytest.fixture(scope="module")
def observed():
    """What workers are told in each state."""
    return jax.jit(jax.vmap(lambda state: views.observe(state, PARAMS, GAME.num_sizes)))(states()[1])


def test_each_worker_is_told_what_the_master_knows(observed):
    for number, state in enumerate(states()[0]):
        rate = rates_of(state)
        for i in range(NUM_WORKERS):
            expected = [float(each) for each in row_of(state, i, rate).values()]
            np.testing.assert_allclose(observed.own[number, i], expected, rtol=1e-5, atol=1e-5, err_msg=f"{number} {i}")
    kinds = {int(each) for state in states()[0] for each in state.phase}
    assert kinds == set(Phase) and any(state.returned[0, 1] for state in states()[0])


def test_at_the_start_everyone_is_told_of_those_ahead_and_the_first_decides():
    state, timestep = reset(jax.random.key(0), PARAMS.replace(join_time=jnp.array([0.0, 4, 0, 0, 0])))
    np.testing.assert_allclose(timestep.observation.own[:, Row.TOLD_WAIT], [0, 0, 0.3, 0.6, 0.9], rtol=1e-6)
    np.testing.assert_array_equal(timestep.observation.own[:, Row.DECIDES], [1, 0, 0, 0, 0])
    np.testing.assert_array_equal(timestep.observation.own[:, Row.PRESENT], [1, 0, 1, 1, 1])
    assert float(state.until_change[1]) == 4
    _, nobody = reset(jax.random.key(0), PARAMS.replace(join_time=jnp.full(NUM_WORKERS, 4.0)))
    assert not nobody.observation.own[:, Row.DECIDES].any() and not nobody.observation.legal[:, 1:].any()


def test_the_decider_alone_has_a_choice(observed):
    for number, state in enumerate(states()[0]):
        legal = np.asarray(observed.legal[number])
        for i in range(NUM_WORKERS):
            if i != state.decider:
                assert legal[i].tolist() == [True] + [False] * 7
                continue
            present = sum(int(each) != Phase.ABSENT for each in state.phase)
            most = row_of(state, i, rates_of(state))[Row.INTERVAL]
            shares = [2 ** ((k - 8 + 5) / 2) * int(state.remaining) / present for k in range(8)]
            gives = [0, 1, *(min(most, max(1, int(np.ceil(share - 1e-3)))) for share in shares[2:])]
            expected = [bool(state.chunk_size.any()), True, *(gives[k] > gives[k - 1] for k in range(2, 8))]
            assert legal[i].tolist() == expected


def test_oracles_see_the_true_speeds_besides(observed):
    true = seen("true_observation")
    np.testing.assert_array_equal(true.own[..., : Row.SPEED], observed.own[..., : Row.SPEED])
    np.testing.assert_array_equal(true.legal, observed.legal)
    for number, state in enumerate(states()[0]):
        there = np.asarray(state.phase) != Phase.ABSENT
        np.testing.assert_allclose(true.own[number, :, Row.SPEED], [1, 2, 3, 4, 5], rtol=1e-6)
        np.testing.assert_allclose(true.own[number, :, Row.TOTAL_SPEED], np.arange(1, 6)[there].sum(), rtol=1e-6)


def test_a_critic_sees_every_worker_and_the_farm():
    found = np.asarray(seen("global_state"), np.float64)
    assert found.shape == (NUM_STATES, 12 * NUM_WORKERS + 13)
    for number, state in enumerate(states()[0]):
        phase, back = np.asarray(state.phase), np.asarray(state.until_back, np.float64)
        busy, speed = phase == Phase.BUSY, np.arange(1.0, 6.0)
        until_back = np.where(busy, back, 0)
        columns = [phase == kind for kind in range(4)]
        columns += [state.chunk_size, until_back, speed, rates_of(state), np.arange(NUM_WORKERS) == int(state.decider)]
        total = speed[phase != Phase.ABSENT].sum()
        work = float(state.remaining) * 2.0 + (until_back * speed).sum()
        farm = [state.remaining, state.until_free, (phase == Phase.WAITING).sum(), 0.3, total]
        farm += [work / total if total else 0, until_back.max()]
        expected = np.concatenate([np.stack([np.asarray(each, float) for each in columns], -1).ravel(), farm])
        np.testing.assert_allclose(found[number, : len(expected)], expected, rtol=1e-5, atol=1e-5, err_msg=f"{number}")


def end_of(state):
    """When all is done if what is not in hand is shared in the best way: by bisection, worker by worker."""
    free_in, speeds, last, work = [], [], 0.0, 2.0 * float(state.remaining)
    for i in range(NUM_WORKERS):
        busy, back, change = state.phase[i] == Phase.BUSY, float(state.until_back[i]), float(state.until_change[i])
        if busy and change < back:
            work += 2.0 * float(state.chunk_size[i])
            continue
        moment = change if state.phase[i] == Phase.ABSENT else busy * back
        last = max(last, busy * back)
        if np.isfinite(moment):
            free_in.append(moment)
            speeds.append(i + 1.0)
    if not speeds:
        return work / 0.15
    free_in, speeds = np.array(free_in), np.array(speeds)
    latest = (work + speeds @ free_in) / speeds.sum() + 1
    return max(last, optimize.brentq(lambda time: speeds @ np.maximum(time - free_in, 0) - work, 0, latest))


def test_a_critic_foresees_what_is_left_where_nothing_changes():
    """Speeds stay and tasks cost the same, so what is foreseen is what is: the work left, at the speeds present."""
    found = np.asarray(seen("global_state"), np.float64)[:, 9 * NUM_WORKERS + 7 :]
    ideal = 500 * 2.0 / 15
    for number, state in enumerate(states()[0]):
        each, farm = found[number, : 3 * NUM_WORKERS].reshape(NUM_WORKERS, 3), found[number, 3 * NUM_WORKERS :]
        np.testing.assert_allclose(each[:, 1:], np.arange(1.0, 6.0)[:, None].repeat(2, 1), rtol=1e-5)
        busy = np.asarray(state.phase) == Phase.BUSY
        work = float(state.remaining) * 2.0 + np.where(busy, np.asarray(state.until_back) * np.arange(1, 6), 0).sum()
        total = np.arange(1, 6)[np.asarray(state.phase) != Phase.ABSENT].sum()
        needed = work / max(total, 0.15)
        expected = [ideal, work, needed, needed, needed / ideal, 1]
        np.testing.assert_allclose(farm, expected, rtol=1e-4, err_msg=f"{number}")


def test_what_everybody_still_earns_is_foreseen_up_to_the_last_chunk():
    found = np.asarray(seen("potential"))
    ends = np.array([end_of(state) for state in states()[0]])
    np.testing.assert_allclose(found, -(ends * 15 / 1000)[:, None].repeat(NUM_WORKERS, 1), rtol=1e-4)
    waits = [float(np.where(np.asarray(state.phase) == Phase.BUSY, state.until_back, 0).max()) for state in states()[0]]
    assert 3 <= sum(end <= wait for end, wait in zip(ends, waits, strict=True)) < NUM_STATES / 2
    over = states()[0][0].replace(over=jnp.bool_(True))
    assert not GAME.potential(over, PARAMS).any()
    assert not Farm(NUM_WORKERS, objective="idle").potential(START, PARAMS).any()
