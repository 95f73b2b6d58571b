"""What holds in every step of every farm, whatever is played and whatever its parameters are."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference.farm_episodes import ABSENT, BUSY, FARMS, GAMES, STEPS, WAITING, play_all, played, played_evenly, stacked

ONE, TWO, THREE = GAMES[:3]
NEVER = np.inf


@functools.cache
def crowded(game):
    """Farms whose workers take large chunks and then single tasks, fail before they finish them, and come again."""
    draws = np.random.default_rng(7)
    shape = (FARMS, game.num_workers)
    params = stacked(game, job=60, comm_time=0.125, speed=draws.choice([0.01, 1.0], shape), noise=0.0, drift=0.0)
    changes = draws.integers(1, 6, (*shape, STEPS + 1)) / 4
    actions = np.where(np.arange(STEPS)[:, None] < 2 * game.num_workers, game.num_sizes + 7, 1)
    keys = jax.random.split(jax.random.key(8), FARMS)
    return play_all(game, keys, params, np.broadcast_to(actions, (FARMS, STEPS, game.num_workers)), changes)


KINDS = {"random": played, "even": lambda game: played_evenly(game)[0], "crowded": crowded}


def of_kinds(*kinds):
    farms = [(kind, game) for kind in kinds for game in (GAMES if kind == "random" else GAMES[1::2])]
    return pytest.mark.parametrize("made", farms, ids=lambda farm: f"{farm[0]}-{farm[1].num_workers}", indirect=True)


every_farm = of_kinds(*KINDS)


@pytest.fixture
def made(request):
    kind, game = request.param
    return KINDS[kind](game)


def of_each(made, name):
    """A parameter of all farms, with an axis for steps."""
    return np.asarray(getattr(made.params, name), np.float64)[:, None]


def ideal(made):
    return made.job * of_each(made, "task_time")[:, 0] / np.asarray(made.params.speed, np.float64).sum(-1)


@every_farm
def test_every_task_is_done_in_hand_or_still_to_be_handed_out(made):
    metrics, states = made.metrics, made.states
    done = np.cumsum(metrics["tasks_done"], axis=1)
    found = done + metrics["outstanding"] + metrics["remaining"]
    assert (found[:, 1:] == made.job[:, None])[made.counts].all()
    fresh = made.job[:, None] - states["next_task"]
    np.testing.assert_array_equal(states["remaining"], fresh + states["returned"][..., 1].sum(-1))
    assert (done[:, -1] == made.job)[states["over"][:, -1]].all()


@every_farm
def test_no_task_is_twice_on_the_farm_and_none_comes_back_once_it_is_done(made):
    """In farms of at most 100 tasks."""
    states, small = made.states, made.job <= 100
    first = np.concatenate([states["chunk_start"], states["returned"][..., 0], states["next_task"][..., None]], -1)
    fresh = made.job[:, None, None] - states["next_task"][..., None]
    count = np.concatenate([states["chunk_size"], states["returned"][..., 1], fresh], -1)
    task = np.arange(100)
    within = [
        (first[small, :, k, None] <= task) & (task < (first + count)[small, :, k, None]) for k in range(first.shape[-1])
    ]
    held = np.sum(within, axis=0)
    assert held.max() == 1 and np.diff(held, axis=1).max() <= 0
    np.testing.assert_array_equal(held[:, 0].sum(-1), made.job[small])


@every_farm
def test_time_is_spent_computing_communicating_or_idle_by_all_who_are_present(made):
    metrics, present = made.metrics, (made.states["phase"] != ABSENT).sum(-1)
    spent = sum(metrics[f"{kind}_time"][:, 1:].astype(np.float64) for kind in ("compute", "comm", "idle"))
    worth = metrics["time"][:, 1:] * np.where(made.counts, present[:, :-1], 0)
    np.testing.assert_allclose(spent, worth, rtol=1e-5, atol=1e-4)
    for kind in ("compute", "comm", "idle"):
        assert metrics[f"{kind}_time"].min() > -1e-4


@every_farm
def test_rewards_add_up_to_the_makespan_or_to_the_time_that_is_lost(made):
    metrics, rewards = made.metrics, made.timestep["reward"].astype(np.float64)
    if made.game.objective == "makespan":
        lost = metrics["time"].sum(1, dtype=np.float64)
        np.testing.assert_allclose(lost, made.states["time"][:, -1], rtol=1e-5)
        np.testing.assert_allclose(
            rewards.sum(1), np.repeat(-(lost / ideal(made))[:, None], rewards.shape[-1], 1), rtol=1e-5
        )
    else:
        lost = (metrics["idle_time"] + metrics["comm_time"]).sum(1, dtype=np.float64)
        expected = -lost / (made.game.num_workers * ideal(made))
        np.testing.assert_allclose(rewards.mean(-1).sum(1), expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(rewards.mean(-1), metrics["utility"], rtol=1e-5, atol=1e-5)


@of_kinds("random", "even")
def test_a_job_that_is_over_stays_so(made):
    over = made.states["over"]
    assert over[:, :-2].any()
    stays = over[:, :-1] & over[:, 1:]
    np.testing.assert_array_equal(over[:, :-1], stays)
    for name, each in made.states.items():
        before, after = each[:, :-1][stays], each[:, 1:][stays]
        np.testing.assert_array_equal(before, after, err_msg=name)
    for name, each in [*made.metrics.items(), *((name, made.timestep[name]) for name in ("reward", "elapsed"))]:
        assert not each[:, 1:][stays].any(), name


@every_farm
def test_only_the_end_of_a_job_is_worth_nothing_and_a_horizon_cuts_it(made):
    over, states = made.states["over"], made.states
    np.testing.assert_array_equal(made.timestep["discount"], np.where(over, 0, 1))
    is_late = states["step"] >= np.asarray(made.params.horizon)[:, None]
    np.testing.assert_array_equal(made.timestep["last"], over | is_late)
    np.testing.assert_array_equal(np.diff(states["step"], axis=1), made.counts)


@every_farm
def test_only_the_decider_has_a_choice_and_may_decline_while_another_has_a_chunk(made):
    states, legal = made.states, made.legal
    decides = states["decider"][..., None] == np.arange(made.game.num_workers)
    assert legal[~decides][:, 0].all() and not legal[~decides][:, 1:].any()
    assert legal[decides][:, 1].all()
    assert (states["phase"][decides] == WAITING).all()
    in_hand = (states["chunk_size"] > 0).any(-1, keepdims=True)  # the decider has none
    np.testing.assert_array_equal(legal[decides][:, 0], np.broadcast_to(in_hand, decides.shape)[decides])
    declined = made.metrics["declines"][:, 1:] > 0
    assert (in_hand[:, :-1, 0] & decides[:, :-1].any(-1))[declined].all()


@every_farm
def test_chunks_that_came_back_stand_in_front_of_unused_rows(made):
    rows, workers = made.states["returned"], made.game.num_workers
    used = rows[..., 1] > 0
    assert not rows[~used].any()
    assert (np.diff(used.astype(int), axis=-1) <= 0).all()
    held = (made.states["chunk_size"] > 0).sum(-1)
    np.testing.assert_array_equal(made.states["chunk_size"] > 0, made.states["phase"] == BUSY)
    assert (used.sum(-1) + held)[used.any(-1)].max(initial=0) <= 2 * workers


@every_farm
def test_all_numbers_are_finite_but_the_time_until_a_change(made):
    for name, each in made.states.items():
        assert np.isfinite(each).all() or name == "until_change", name
    for each in (made.own, made.true_own, made.global_state, *made.timestep.values(), *made.metrics.values()):
        assert np.isfinite(each).all()
    assert not made.own[..., 16:].any() and (made.true_own[..., :16] == made.own[..., :16]).all()


@pytest.mark.parametrize("game", [TWO, THREE], ids=lambda game: str(game.num_workers))
def test_the_rows_for_what_came_back_suffice_when_all_but_fill_them(game):
    made = crowded(game)
    used = (made.states["returned"][..., 1] > 0).sum(-1)
    held = (made.states["chunk_size"] > 0).sum(-1)
    full = used + held == 2 * game.num_workers
    assert full.any(1).sum() > FARMS // 4
    assert used.max() == 2 * game.num_workers


def alike(game, changes=(), actions=1, **fields):
    """An episode of one farm, played by all; the first."""
    table = np.full((FARMS, game.num_workers, STEPS + 1), NEVER)
    for i, stays in enumerate(changes):
        table[:, i, : len(stays)] = stays
    fields = {name: np.broadcast_to(each, (FARMS, *np.shape(each))) for name, each in fields.items()}
    keys = jax.random.split(jax.random.key(9), FARMS)
    return play_all(game, keys, stacked(game, **fields), np.full((FARMS, STEPS, game.num_workers), actions), table)


def test_a_step_in_which_nobody_decides_goes_on_to_the_first_who_joins():
    made = alike(THREE, join_time=[4.0, 2.0, 3.0])
    assert made.states["decider"][0, :3].tolist() == [3, 3, 1]
    assert made.states["time"][0, :3].tolist() == [0, 2, 2]
    assert made.metrics["joins"][0, :3].tolist() == [0, 1, 0]
    assert made.legal[0, :2].sum() == 6 and made.legal[0, :2, :, 0].all()
    assert made.global_state[0, 0, -1] == 0 and not made.own[0, 0, :, 1].any()


def test_when_all_fail_at_once_one_goes_after_the_other_and_all_work_comes_back():
    made = alike(THREE, [[2.0, 1.0, NEVER]] * 3, actions=19, job=20, speed=0.1, comm_time=0.25, noise=0.0, drift=0.0)
    assert made.states["time"][0, :8].tolist() == [0, 0.25, 0.5, 2, 2, 2, 3, 3]
    assert made.metrics["failures"][0, :8].tolist() == [0, 0, 0, 1, 1, 1, 0, 0]
    assert made.states["remaining"][0, 5] == 20 and made.metrics["tasks_returned"][0, :6].sum() == 12
    assert made.states["returned"][0, 5, :4].tolist() == [[0, 4], [4, 4], [8, 4], [0, 0]]
    assert made.metrics["present"][0, 5] == 0
    assert made.states["over"][0, -1] and made.metrics["tasks_done"][0].sum() == 20


@pytest.mark.parametrize("game", [ONE, TWO, THREE], ids=lambda game: str(game.num_workers))
def test_a_job_of_one_task_is_over_in_one_step(game):
    made = alike(game, job=1, comm_time=0.5, comm_per_task=0.25, latency=0.125, speed=2.0, drift=0.0, actions=2**31 - 1)
    time = 0.5 + 0.25 + 2 * 0.125 + made.costs[:, 0] / 2
    np.testing.assert_allclose(made.states["time"][:, 1], time, rtol=1e-6)
    assert made.states["over"][:, 1].all() and (made.metrics["tasks_done"][:, 1] == 1).all()
    assert made.legal[0, 0, 0].sum() == 1


def test_a_worker_alone_does_the_largest_job_in_the_time_of_all_its_tasks():
    """Whose costs have the mean 1, wherever the episode begins."""
    size, job = 5000, 65_536
    made = alike(
        ONE,
        job=job,
        comm_time=0.5,
        comm_per_task=0.01,
        latency=0.25,
        speed=2.0,
        drift=0.0,
        noise=1.0,
        actions=size + 15,
    )
    chunks = math.ceil(job / size)
    expected = chunks * (0.5 + 2 * 0.25) + 0.01 * job + job / 2
    np.testing.assert_allclose(made.states["time"][:, chunks], expected, rtol=1e-5)
    assert made.states["over"][:, chunks].all() and (made.states["chunks"][:, chunks] == chunks).all()
    assert len(set(made.states["time"][:, 1].tolist())) > FARMS // 2


@pytest.mark.parametrize("game", GAMES, ids=lambda game: game.task_law)
def test_the_tasks_of_every_episode_are_those_of_one_table_from_another_place(game):
    """They are as far from 1 as the noise says, and cost 1 on average."""
    made = played(game)
    noise = np.asarray(made.params.noise)
    np.testing.assert_allclose(made.costs.mean(1, dtype=np.float64), 1, rtol=1e-5)
    table = made.costs[np.flatnonzero(noise == 1)[0]]
    starts = set()
    for which in np.flatnonzero(noise > 0.3)[:12]:
        costs = 1 + noise[which] * (table - 1)
        is_first = (np.abs(costs - made.costs[which, 0]) < 1e-5) & (
            np.abs(np.roll(costs, -1) - made.costs[which, 1]) < 1e-5
        )
        agree = [k for k in np.flatnonzero(is_first) if np.allclose(np.roll(costs, -k), made.costs[which], atol=1e-5)]
        starts.update(agree[:1])
    assert len(starts) > 8


def test_the_same_key_gives_the_same_episode_among_whatever_others():
    made, others = played(THREE), np.roll(np.arange(FARMS)[::-1], 7)
    keys = jax.random.split(jax.random.key(5 + GAMES.index(THREE)), FARMS // 2)
    params = jax.tree.map(lambda leaf: leaf[others], made.params)
    again = play_all(THREE, jnp.append(keys, keys, 0)[others], params, made.actions[others])
    for one, other in ((made.states, again.states), (made.metrics, again.metrics), (made.timestep, again.timestep)):
        for name in one:
            np.testing.assert_array_equal(one[name][others], other[name], err_msg=name)
    np.testing.assert_array_equal(made.own[others], again.own)
